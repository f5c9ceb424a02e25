//! What is known about the code around a cursor: language, syntax tree, scope, imports, where a
//! completion ends.
//!
//! Owns: tree-sitter (nobody above sees it), the rough lexer for text that no grammar accepts,
//! excerpts and their ranking. Does not own: tokens, prompts, models, files. Everything works on
//! broken code, and on text without a tree. Start at [`SyntaxTree`], [`cursor_facts`] and
//! [`first_syntactic_end`].

mod balance;
mod cursor;
mod excerpt;
mod identifiers;
mod imports;
mod language;
mod lex;
mod names;
mod others;
mod outline;
mod prose;
mod scope;
mod secret;
mod spans;
mod stop;
mod tree;

pub use balance::{Bracket, Brackets, balance, cut_repeated_closers};
pub use cursor::{CursorFacts, cursor_facts};
pub use excerpt::{Excerpt, ExcerptKind, FileFacts, gather, rank};
pub use identifiers::identifiers;
pub use imports::Import;
pub use lacuna_text::Rope;
pub use language::Language;
pub use lex::{LexKind, Lexeme, Lexer};
pub use names::{LineNames, Names, line_names};
pub use others::{OtherFile, similar};
pub use outline::{Definition, DefinitionKind, ImportPath, Outline, outline};
pub use prose::{Prose, prose_at};
pub use scope::{Scope, ScopeKind};
pub use secret::{inside_key, looks_secret, without_secrets};
pub use spans::{MAX_SPANS, NodeSpan, SpanKind, spans};
pub use stop::{SyntacticEnd, first_lines, first_syntactic_end, syntactic_end};
pub use tree::{MAX_PARSE_BYTES, ParseLimit, SyntaxTree};
