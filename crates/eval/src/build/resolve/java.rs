//! `import a.b.C;`, `import static a.b.C.d;`, `import a.b.*;`.

use super::FileIndex;

/// Files of a package that an import of everything may mean.
const MAX_OF_PACKAGE: usize = 50;

pub(super) fn resolve(import: &str, files: &FileIndex) -> Vec<String> {
    let text = import.trim().trim_start_matches("import").trim().trim_end_matches(';').trim();
    let name: String = text.strip_prefix("static ").unwrap_or(text).split_whitespace().collect();
    if let Some(package) = name.strip_suffix(".*") {
        let path = package.replace('.', "/");
        let of_package = |folder: &str| {
            files
                .in_folder(folder)
                .iter()
                .filter(|p| p.ends_with(".java"))
                .take(MAX_OF_PACKAGE)
                .cloned()
                .collect()
        };
        let found: Vec<String> =
            files.folders_ending_with(&path).into_iter().next().map(of_package).unwrap_or_default();
        // `import static a.b.C.*` is about a class.
        return if found.is_empty() { class(package, files) } else { found };
    }
    class(&name, files)
}

/// The file of a class, of the class that a class or member is in.
fn class(name: &str, files: &FileIndex) -> Vec<String> {
    let mut path = name.replace('.', "/");
    for _ in 0..3 {
        if !path.contains('/') {
            break;
        }
        if let Some(found) = files.ending_with(&format!("{path}.java")).first() {
            return vec![(*found).to_owned()];
        }
        path = super::folder(&path).to_owned();
    }
    Vec::new()
}
