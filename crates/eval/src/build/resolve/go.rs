//! `import "module/folder"`: all files of the package, for modules whose `go.mod` is in the
//! repository.

use super::{FileIndex, join, quoted};

pub(super) fn resolve(import: &str, files: &FileIndex) -> Vec<String> {
    let mut found = Vec::new();
    for package in quoted(import) {
        let inside = |module: &str| {
            let rest = package.strip_prefix(module)?;
            if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
        };
        let hit = files
            .go_modules()
            .iter()
            .find_map(|(module, root)| inside(module).map(|rest| (root, rest)));
        if let Some((root, rest)) = hit {
            let folder = if rest.is_empty() { root.clone() } else { join(root, rest) };
            found.extend(
                files
                    .in_folder(&folder)
                    .iter()
                    .filter(|p| p.ends_with(".go") && !p.ends_with("_test.go"))
                    .cloned(),
            );
        }
    }
    found
}
