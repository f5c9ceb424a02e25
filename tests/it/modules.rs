//! Inside a crate imports run one way too: no files that import each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lacuna_tests::workspace;

use crate::architecture::{rust_files, without_comments_and_strings};

/// The crates that keep to it.
const WITHOUT_CIRCLES: [&str; 5] =
    ["crates/config", "crates/serving", "crates/lsp", "crates/http", "crates/bench"];

/// A file by its names from the crate's root, which has none.
type Module = Vec<String>;
/// What each file imports of its crate.
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

#[test]
fn files_import_each_other_in_no_circle() {
    for folder in WITHOUT_CIRCLES {
        let arrows = arrows_of(&sources(&workspace().join(folder).join("src")));
        let n: usize = arrows.values().map(BTreeSet::len).sum();
        assert!(n >= arrows.len() / 2, "the imports of {folder} are seen: {arrows:?}");
        let circles = circles(arrows);
        assert!(circles.is_empty(), "{folder} has files that import each other: {circles:#?}");
    }
}

#[test]
fn the_scan_sees_every_way_to_name_a_module() {
    let source = |module: &[&str], text: &str| (names(module), text.to_owned());
    let sources = [
        source(&[], "mod a;\nmod b;\nuse b::c::D;\npub struct E;"),
        source(&["a"], "use super::{E, b::{self, c}};\nfn f() {}"),
        source(&["b"], "fn f() { c::g(); crate::a::f() }"),
        source(
            &["b", "c"],
            "// super::f\nfn g() { \"crate::a\" }\n#[cfg(test)]\nmod tests { use crate::a; }",
        ),
    ];
    let arrows = arrows_of(&sources);
    let of = |module: &[&str]| arrows[&names(module)].iter().cloned().collect::<Vec<_>>();
    assert_eq!(of(&[]), [names(&["b", "c"])]);
    assert_eq!(of(&["a"]), [names(&[]), names(&["b"]), names(&["b", "c"])]);
    assert_eq!(of(&["b"]), [names(&["a"]), names(&["b", "c"])]);
    assert!(of(&["b", "c"]).is_empty());
    let in_circles: Vec<Module> = circles(arrows).into_keys().collect();
    assert_eq!(in_circles, [names(&["a"]), names(&["b"])]);
}

fn names(module: &[&str]) -> Module {
    module.iter().map(|name| (*name).to_owned()).collect()
}

/// The files of a crate with their text.
fn sources(folder: &Path) -> Vec<(Module, String)> {
    let mut files = Vec::new();
    rust_files(folder, &mut files);
    let module = |file: &Path| -> Module {
        let inner = file.strip_prefix(folder).expect("below the folder").with_extension("");
        let names = inner.iter().map(|name| name.to_string_lossy().into_owned());
        names.filter(|name| !["lib", "mod"].contains(&name.as_str())).collect()
    };
    files
        .iter()
        .filter(|file| !file.ends_with("main.rs"))
        .map(|file| (module(file), std::fs::read_to_string(file).expect("source is UTF-8")))
        .collect()
}

/// What tests import does not count.
fn arrows_of(sources: &[(Module, String)]) -> Arrows {
    let modules: BTreeSet<&Module> = sources.iter().map(|(module, _)| module).collect();
    let of = |(module, text): &(Module, String)| {
        let end = text.find("\nmod tests {").unwrap_or(text.len());
        let code = without_comments_and_strings(&text[..end]);
        let named = paths(&code);
        let targets = named.iter().filter_map(|path| target(module, path, &modules));
        (module.clone(), targets.filter(|target| target != module).collect())
    };
    sources.iter().map(of).collect()
}

/// Every path of two names or more in some code, groups (`a::{b, c}`) taken apart.
fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let (mut found, mut groups) = (Vec::new(), Vec::<Vec<String>>::new());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match *token {
            "}" => drop(groups.pop()),
            // Another name for it, or a number's type.
            "as" => {
                at += 1;
                continue;
            }
            _ => {}
        }
        if !is_name(token) || at >= 2 && ["::", "."].contains(&tokens[at - 2]) {
            continue;
        }
        let mut path = groups.last().cloned().unwrap_or_default();
        path.push((*token).to_owned());
        while tokens.get(at) == Some(&"::") {
            match tokens.get(at + 1) {
                Some(&"{") => groups.push(path.clone()),
                Some(name) if is_name(name) => path.push((*name).to_owned()),
                _ => break,
            }
            at += 2;
        }
        if path.len() >= 2 {
            found.push(path);
        }
    }
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let part = |c: char| c.is_alphanumeric() || c == '_';
        let length = if part(first) {
            rest.find(|c| !part(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// The file that a path means, seen from another; `None`: none of the crate's.
fn target(from: &Module, path: &[String], modules: &BTreeSet<&Module>) -> Option<Module> {
    let mut at = from.clone();
    let mut rest = path;
    match path[0].as_str() {
        "crate" => {
            at.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                at.pop();
                rest = &rest[1..];
            }
        }
        child => {
            at.push(child.to_owned());
            if !modules.contains(&at) {
                return None;
            }
            rest = &path[1..];
        }
    }
    for name in rest {
        at.push(name.clone());
        if !modules.contains(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// What is left when everything is taken away that imports nothing, or that nothing imports.
fn circles(mut arrows: Arrows) -> Arrows {
    loop {
        let imported: BTreeSet<Module> = arrows.values().flatten().cloned().collect();
        let before = arrows.len();
        arrows.retain(|module, to| !to.is_empty() && imported.contains(module));
        let left: BTreeSet<Module> = arrows.keys().cloned().collect();
        arrows.values_mut().for_each(|to| to.retain(|module| left.contains(module)));
        if arrows.len() == before {
            return arrows;
        }
    }
}
