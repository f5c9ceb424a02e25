//! The crate through its public boundary, on values. Fixtures: `//- path` begins a file, `$0` is
//! the cursor.

mod choose;
mod hostile;
mod index;
mod store;

use lacuna_context::{Language, Rope, SyntaxTree};
use lacuna_retrieval::{Chosen, Index, Place, choose};

/// The files of a fixture.
fn files(fixture: &str) -> Vec<(String, String)> {
    fixture
        .split("//- ")
        .skip(1)
        .map(|part| {
            let (path, text) = part.split_once('\n').expect("a path and a text");
            (path.trim().to_owned(), text.to_owned())
        })
        .collect()
}

/// An index of the files of a fixture, and what is chosen for the one with the cursor.
fn chosen_of(fixture: &str, max_bytes: usize) -> Vec<Chosen> {
    let files = files(fixture);
    let (path, text) = files.iter().find(|(_, text)| text.contains("$0")).expect("a cursor");
    let cursor = text.find("$0").expect("a cursor");
    let rope = Rope::from_str(&text.replacen("$0", "", 1));
    let tree = SyntaxTree::parse(Language::from_path(path.as_ref()), &rope);
    let others = files.iter().filter(|(other, _)| other != path);
    let index = Index::of_texts(others.map(|(path, text)| (path.as_str(), text.as_str())));
    let place = Place { root: 0, path, rope: &rope, tree: &tree, cursor };
    choose(&index, &place, max_bytes, |path, text| format!("# {path}\n{text}"))
}

/// The texts, sorted, so that a test does not depend on their hashes.
fn shown(fixture: &str, max_bytes: usize) -> String {
    let mut texts: Vec<String> =
        chosen_of(fixture, max_bytes).into_iter().map(|c| c.excerpt.text).collect();
    texts.sort();
    texts.join("\n")
}
