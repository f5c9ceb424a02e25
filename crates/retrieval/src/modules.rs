//! From an import to the files it means, as each language resolves it.
//!
//! Rough where a compiler would be exact: where the project's own files do not say where a package
//! lies, the longest end of its path that some file has is taken.

use lacuna_context::{ImportPath, Language};

use crate::index::{FileId, Index};
use crate::manifest::Says;
use crate::paths;

/// Files that one import may mean.
const MAX_FILES: usize = 64;

/// A file that imports.
#[derive(Clone, Copy)]
pub(crate) struct From<'a> {
    pub root: usize,
    pub path: &'a str,
    pub language: Language,
}

/// The files of the import's module, the most likely first.
pub(crate) fn files(index: &Index, from: From<'_>, import: &ImportPath) -> Vec<FileId> {
    let module = import.module.as_str();
    let mut found = match from.language {
        Language::Python => python(index, from, module),
        Language::JavaScript | Language::TypeScript | Language::Tsx => {
            javascript(index, from, module)
        }
        Language::Rust => rust(index, from, module),
        Language::Go => go(index, from, module),
        Language::Java => java(index, from, import),
        Language::C | Language::Cpp => c(index, from, module),
        Language::Text => Vec::new(),
    };
    // Never the file itself; of several the nearest.
    found.retain(|id| index.path(*id) != from.path || !is_of(index, *id, from.root));
    found.sort_by_key(|id| {
        let path = index.path(*id);
        (
            !is_of(index, *id, from.root),
            usize::MAX - paths::shared(path, from.path),
            path.split('/').count(),
        )
    });
    found.dedup();
    found.truncate(MAX_FILES);
    found
}

fn is_of(index: &Index, id: FileId, root: usize) -> bool {
    index.file(id).is_some_and(|file| file.root == root)
}

/// Files whose module is exactly this path, in the root of the file that imports.
fn exactly(index: &Index, from: From<'_>, path: &str) -> Vec<FileId> {
    let is_it =
        |id: &FileId| is_of(index, *id, from.root) && paths::module(index.path(*id)) == path;
    index.modules(path).filter(is_it).collect()
}

/// `a.b`, `..a.b`.
fn python(index: &Index, from: From<'_>, module: &str) -> Vec<FileId> {
    let name = module.trim_start_matches('.');
    let n_dots = module.len() - name.len();
    let path = name.replace('.', "/");
    if n_dots == 0 {
        // `import typing` does not mean any file of that name, but one where imports are looked
        // for.
        let is_found = |id: &FileId| {
            let module = paths::module(index.path(*id));
            let root = module.strip_suffix(&path).unwrap_or(module).trim_end_matches('/');
            root.is_empty()
                || from.path.starts_with(&format!("{root}/"))
                || ["src", "lib", "python", "source"].contains(&paths::last(root))
        };
        return index.modules(&path).filter(is_found).collect();
    }
    let up = format!("{}{path}", "../".repeat(n_dots - 1));
    match paths::join(paths::folder(from.path), &up) {
        Some(path) => exactly(index, from, &path),
        None => Vec::new(),
    }
}

/// `./a`, `@/a` by `tsconfig.json`, `@scope/package/a` by `package.json`.
fn javascript(index: &Index, from: From<'_>, module: &str) -> Vec<FileId> {
    let plain = ["js", "jsx", "ts", "tsx", "mjs", "cjs", "mts", "cts"]
        .iter()
        .find_map(|ending| module.strip_suffix(ending)?.strip_suffix('.'))
        .unwrap_or(module);
    if module.starts_with('.') {
        let path = paths::join(paths::folder(from.path), plain);
        // `./index` is the folder's.
        let path = path.map(|path| path.strip_suffix("/index").unwrap_or(&path).to_owned());
        return path.map_or_else(Vec::new, |path| exactly(index, from, &path));
    }
    let mut found = Vec::new();
    for (root, says) in index.says().filter(|(root, _)| *root == from.root) {
        match says {
            Says::Alias { below, prefix, target } => {
                let is_below = below.is_empty() || from.path.starts_with(&format!("{below}/"));
                if let Some(rest) = plain.strip_prefix(prefix.as_str()).filter(|_| is_below)
                    && let Some(path) = paths::join(target, rest)
                {
                    found.extend(exactly(index, from, &path));
                }
            }
            Says::Package { name, folder } => {
                let Some(rest) = below(plain, name) else { continue };
                for inner in ["", "src", "lib"] {
                    let path = paths::join(folder, &format!("{inner}/{rest}"));
                    let path = path.unwrap_or_default();
                    let of_root = From { root, ..from };
                    found.extend(exactly(index, of_root, &path));
                }
            }
        }
    }
    found
}

/// What stands behind a package's name: `""`, `a/b`.
fn below<'a>(path: &'a str, package: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(package)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// `crate::a`, `super::a`, `other_crate::a`. The last parts may be items: what is left of the path
/// then is the module.
fn rust(index: &Index, from: From<'_>, module: &str) -> Vec<FileId> {
    let parts: Vec<&str> = module.split("::").collect();
    let own = paths::module(from.path);
    let source = own.rfind("/src/").map_or_else(
        || if own.starts_with("src/") { "src".to_owned() } else { String::new() },
        |at| own[..at + 4].to_owned(),
    );
    let is_crate_root = matches!(paths::last(own), "lib" | "main");
    let own = if is_crate_root { paths::folder(own) } else { own };
    let (base, rest) = match parts[0] {
        "crate" => (source, &parts[1..]),
        "self" => (own.to_owned(), &parts[1..]),
        "super" => {
            let n = parts.iter().take_while(|part| **part == "super").count();
            let up = paths::join(own, &"../".repeat(n)).unwrap_or_default();
            (up, &parts[n..])
        }
        name => {
            let package = index.says().find_map(|(root, says)| match says {
                Says::Package { name: of, folder } if of == name && root == from.root => {
                    Some(folder.as_str())
                }
                _ => None,
            });
            match package {
                Some(folder) => (paths::join(folder, "src").unwrap_or_default(), &parts[1..]),
                // A module beside this one, or one that is known by its path alone.
                None => (own.to_owned(), &parts[..]),
            }
        }
    };
    for n in (0..=rest.len()).rev() {
        let path = paths::join(&base, &rest[..n].join("/")).unwrap_or_default();
        let mut found = exactly(index, from, &path);
        if n == 0 {
            for root in ["lib", "main"] {
                found.extend(exactly(index, from, &paths::join(&base, root).unwrap_or_default()));
            }
        }
        if !found.is_empty() {
            return found;
        }
    }
    // Of the path's end, what some file has: `crate_name::a::b` without its manifest.
    (0..rest.len())
        .map(|skipped| index.modules(&rest[skipped..].join("/")).collect::<Vec<_>>())
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// All files of the package's folder.
fn go(index: &Index, from: From<'_>, module: &str) -> Vec<FileId> {
    let of_language = |id: &FileId| index.language(*id) == Language::Go;
    for (root, says) in index.says().filter(|(root, _)| *root == from.root) {
        let Says::Package { name, folder } = says else { continue };
        let Some(rest) = below(module, name) else { continue };
        let path = paths::join(folder, rest).unwrap_or_default();
        let is_it = |id: &FileId| {
            is_of(index, *id, root) && paths::folder(index.path(*id)) == path && of_language(id)
        };
        let found: Vec<FileId> = index.in_folders(&path).filter(is_it).collect();
        if !found.is_empty() {
            return found;
        }
    }
    let parts: Vec<&str> = module.split('/').collect();
    (0..parts.len())
        .map(|skipped| {
            index.in_folders(&parts[skipped..].join("/")).filter(of_language).collect::<Vec<_>>()
        })
        .find(|found| !found.is_empty())
        .unwrap_or_default()
}

/// The class's file, or all of the package's folder. `import static a.B.c` means a/B.java.
fn java(index: &Index, _: From<'_>, import: &ImportPath) -> Vec<FileId> {
    let path = import.module.replace('.', "/");
    let mut found = Vec::new();
    for (name, _) in &import.names {
        found.extend(index.modules(&format!("{path}/{name}")));
    }
    found.extend(index.modules(&path));
    if import.all {
        found.extend(index.in_folders(&path));
    }
    found.retain(|id| index.language(*id) == Language::Java);
    found
}

/// A file beside the one that includes it, or anywhere with that path's end.
fn c(index: &Index, from: From<'_>, module: &str) -> Vec<FileId> {
    if let Some(path) = paths::join(paths::folder(from.path), module)
        && let Some(id) = index.id(from.root, &path)
    {
        return vec![id];
    }
    let end = paths::join("", module).unwrap_or_default();
    index
        .modules(paths::module(&end))
        .filter(|id| paths::ends_with(index.path(*id), &end))
        .collect()
}
