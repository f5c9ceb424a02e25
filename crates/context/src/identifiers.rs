//! [`identifiers`]: the names that a part of a text uses, by the tree where there is one.

use std::ops::Range;

use crate::tree::Visit;
use crate::{LexKind, Lexer, SyntaxTree};

/// Names that stand wholly or partly in `bytes` of `text`, in order, each as often as it is used.
/// `tree` is the tree of `text`.
///
/// With a tree: leaves whose kind says `identifier` (variables, fields, types, packages); no
/// keywords, no words in strings or comments. Without: every word outside of strings and comments
/// that does not start with a digit, keywords included.
pub fn identifiers<'a>(tree: &SyntaxTree, text: &'a str, bytes: Range<usize>) -> Vec<&'a str> {
    let mut names = Vec::new();
    if !tree.is_present() {
        let mut at = 0;
        for lexeme in Lexer::new(tree.language(), text) {
            let is_name = lexeme.kind == LexKind::Word
                && !text[lexeme.range.clone()].starts_with(|c: char| c.is_ascii_digit());
            if is_name && lexeme.range.end > bytes.start {
                names.push(&text[lexeme.range.clone()]);
            }
            at = at.max(lexeme.range.end);
            if at >= bytes.end {
                break;
            }
        }
        return names;
    }
    tree.walk(|node, _, _| {
        let range = node.byte_range();
        if range.start >= bytes.end {
            return Visit::Stop;
        }
        if range.end <= bytes.start {
            return Visit::Over;
        }
        if node.child_count() == 0 && node.kind().contains("identifier") && !range.is_empty() {
            names.extend(text.get(range));
        }
        Visit::Into
    });
    names
}
