//! Metrics: what a completion is worth beside the text that was there. Definitions and sources:
//! `docs/fim-eval.md`.
//!
//! Owns: the formulae, on plain texts. Does not own: examples, averages, intervals (`summary`,
//! `stats`). All values are 0 to 1 unless the name says otherwise. Start reading at [`text`].

mod identifiers;
mod pass_at_k;
mod syntax;
mod text;

pub use identifiers::{identifier_exact_match, identifier_f1};
pub use pass_at_k::pass_at_k;
pub use syntax::{Parsed, SyntaxScores};
pub use text::{
    MAX_COMPARED_CHARS, edit_similarity, exact_match, first_line, fuzz_ratio, is_bracket_only,
    line_exact_match, lines_exact_match, over_generated, prefix_match_chars,
    whitespace_exact_match,
};
