//! Patterns of files, as settings write them.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Patterns as `.gitignore` reads them, as far as people use them here: without a slash they match
/// a name in any folder, with one the path below the workspace. Upper and lower case are the same:
/// on many file systems they are.
pub fn globs<S: AsRef<str>>(
    patterns: impl IntoIterator<Item = S>,
) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let pattern = pattern.as_ref();
        let anchored = pattern.trim_start_matches('/');
        let pattern =
            if pattern.contains('/') { anchored.to_owned() } else { format!("**/{pattern}") };
        set.add(GlobBuilder::new(&pattern).literal_separator(true).case_insensitive(true).build()?);
    }
    set.build()
}
