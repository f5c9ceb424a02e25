//! `import a.b`, `from a import b`, `from ..a import b`.

use super::{FileIndex, folder, join};

pub(super) fn resolve(from: &str, import: &str, files: &FileIndex) -> Vec<String> {
    let text: String = import
        .lines()
        .map(|line| line.split('#').next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join(" ");
    let text = text.replace(['(', ')', '\\', ';'], " ");
    let first_word = |part: &str| part.split_whitespace().next().unwrap_or("").to_owned();
    let mut found = Vec::new();
    if let Some(rest) = text.trim_start().strip_prefix("from ") {
        let Some((module, names)) = rest.split_once(" import ") else { return found };
        let module = module.trim();
        let names: Vec<String> =
            names.split(',').map(first_word).filter(|n| !n.is_empty() && n != "*").collect();
        let dots = module.len() - module.trim_start_matches('.').len();
        let path = module[dots..].replace('.', "/");
        let roots = if dots > 0 {
            relative_root(from, dots).into_iter().collect()
        } else {
            roots(from, files)
        };
        for root in &roots {
            let base = if path.is_empty() { root.clone() } else { join(root, &path) };
            let before = found.len();
            for name in &names {
                push_module(&join(&base, name), files, &mut found);
            }
            push_module(&base, files, &mut found);
            if found.len() > before {
                break;
            }
        }
    } else if let Some(rest) = text.trim_start().strip_prefix("import ") {
        for module in rest.split(',').map(first_word) {
            let path = module.replace('.', "/");
            for root in roots(from, files) {
                let before = found.len();
                push_module(&join(&root, &path), files, &mut found);
                if found.len() > before {
                    break;
                }
            }
        }
    }
    found
}

/// Folder that `dots` dots mean.
fn relative_root(from: &str, dots: usize) -> Option<String> {
    let mut root = folder(from);
    for _ in 1..dots {
        if root.is_empty() {
            return None;
        }
        root = folder(root);
    }
    Some(root.to_owned())
}

/// Where absolute imports start: beside the file's outermost package, and the usual places.
fn roots(from: &str, files: &FileIndex) -> Vec<String> {
    let mut package = folder(from);
    while !package.is_empty() && files.contains(&join(package, "__init__.py")) {
        package = folder(package);
    }
    let mut roots = vec![package.to_owned()];
    for usual in ["", "src", "lib"] {
        if !roots.iter().any(|r| r == usual) {
            roots.push(usual.to_owned());
        }
    }
    roots
}

fn push_module(base: &str, files: &FileIndex, found: &mut Vec<String>) {
    for path in [format!("{base}.py"), join(base, "__init__.py")] {
        if files.contains(&path) {
            found.push(path);
            return;
        }
    }
}
