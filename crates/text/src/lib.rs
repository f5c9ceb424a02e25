//! Text of an open document: a rope, its version, LSP positions and incremental edits.
//!
//! Owns: line breaks as LSP defines them (`\n`, `\r\n`, `\r`), the three position encodings, edits
//! with the facts that an incremental parser needs. Does not own: tokens, syntax trees, files, the
//! protocol's types. Start at [`Document`].

mod document;
mod position;
mod utf16;

pub use document::{Document, EditInfo, Point};
pub use position::{Encoding, Position, PositionError, Range};
pub use ropey::Rope;
pub use utf16::Utf16Text;
