//! The parse check: a completion must not leave the file in a worse state than it found it.

use lacuna_context::{Language, SyntaxTree, balance};
use lacuna_text::Document;

/// Whether inserting `completion` at `cursor` adds parse errors. Always false without a tree.
///
/// What a completion opens on purpose is closed for the comparison: after `if x:` the user goes on to write the body.
pub(crate) fn parses_worse(tree: &SyntaxTree, document: &Document, cursor: usize, completion: &str) -> bool {
    if !tree.is_present() {
        return false;
    }
    let without = tree.n_errors();
    let with = |text: &str| {
        let preview = tree.preview(document, cursor..cursor, text);
        // A parse that hit its time limit proves nothing.
        if preview.is_present() { preview.n_errors() } else { 0 }
    };
    with(completion) > without && with(&format!("{completion}{}", closing(tree.language(), completion))) > without
}

/// What closes the brackets and the block that `completion` leaves open.
fn closing(language: Language, completion: &str) -> String {
    let mut text = String::new();
    if language == Language::Python && completion.trim_end().ends_with(':') {
        text.push_str(" pass");
    }
    for opener in balance(language, completion).unmatched_openers.iter().rev() {
        text.push(match opener.byte {
            b'(' => ')',
            b'[' => ']',
            _ => '}',
        });
    }
    text
}
