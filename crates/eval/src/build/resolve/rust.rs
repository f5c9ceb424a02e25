//! `use crate::a::b`, `super::`, `self::`, and other crates of the workspace.

use super::{FileIndex, folder, join};

/// More paths in one statement are not looked at.
const MAX_PATHS: usize = 200;

pub(super) fn resolve(from: &str, import: &str, files: &FileIndex) -> Vec<String> {
    let Some((_, tree)) = import.split_once("use ") else { return Vec::new() };
    let tree: String = tree.chars().filter(|c| !c.is_whitespace() && *c != ';').collect();
    let mut paths = Vec::new();
    expand("", &tree, &mut paths, 0);
    paths.iter().filter_map(|path| file_of(from, path, files)).collect()
}

/// Writes out the braces: `a::{b,c::d}` is `a::b` and `a::c::d`.
fn expand(before: &str, tree: &str, paths: &mut Vec<String>, depth: usize) {
    if paths.len() >= MAX_PATHS || depth > 16 {
        return;
    }
    let Some(open) = tree.find('{') else {
        paths.push(format!("{before}{tree}"));
        return;
    };
    let head = format!("{before}{}", &tree[..open]);
    let inner = &tree[open + 1..tree.rfind('}').unwrap_or(tree.len()).max(open + 1)];
    let (mut level, mut start) = (0usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => level += 1,
            '}' => level = level.saturating_sub(1),
            ',' if level == 0 => {
                expand(&head, &inner[start..at], paths, depth + 1);
                start = at + 1;
            }
            _ => {}
        }
    }
    expand(&head, &inner[start..], paths, depth + 1);
}

fn file_of(from: &str, path: &str, files: &FileIndex) -> Option<String> {
    // `asname` is what is left of `as name` without the blanks; only the segment before it can be a
    // file.
    let mut segments: Vec<&str> = path.split("::").filter(|s| !s.is_empty() && *s != "*").collect();
    let first = *segments.first()?;
    let mut base = match first {
        "crate" => crate_root(from)?.to_owned(),
        "self" => module_folder(from),
        "super" => {
            let mut base = module_folder(from);
            while segments.first() == Some(&"super") {
                segments.remove(0);
                base = folder(&base).to_owned();
            }
            segments.insert(0, "super");
            base
        }
        name => other_crate(name, files)?,
    };
    segments.remove(0);
    for n in (1..=segments.len()).rev() {
        let stem = join(&base, &segments[..n].join("/"));
        if let Some(path) =
            [format!("{stem}.rs"), join(&stem, "mod.rs")].into_iter().find(|p| files.contains(p))
        {
            return Some(path);
        }
    }
    // The name is defined in the module's own file.
    let own = [join(&base, "lib.rs"), join(&base, "main.rs"), join(&base, "mod.rs")];
    if let Some(path) = own.into_iter().find(|p| files.contains(p)) {
        return Some(path);
    }
    base.push_str(".rs");
    files.contains(&base).then_some(base)
}

/// `…/src` of the crate that a file is in.
fn crate_root(from: &str) -> Option<&str> {
    let at =
        from.rfind("/src/").map(|at| at + 4).or_else(|| from.starts_with("src/").then_some(3))?;
    Some(&from[..at])
}

/// Folder of the modules inside of a file's module.
fn module_folder(from: &str) -> String {
    let (folder, name) = from.rsplit_once('/').unwrap_or(("", from));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => join(folder, name.strip_suffix(".rs").unwrap_or(name)),
    }
}

fn other_crate(name: &str, files: &FileIndex) -> Option<String> {
    [name.to_owned(), name.replace('_', "-")].iter().find_map(|folder| {
        match files.ending_with(&format!("{folder}/src/lib.rs"))[..] {
            [path] => Some(path.strip_suffix("/lib.rs")?.to_owned()),
            _ => None,
        }
    })
}
