//! A run's result on paper: Markdown, JSON and one self-contained HTML page.
//!
//! Owns: tables, graphs, the choice of examples to show. Does not own: numbers (`summary`).
//! Markdown and JSON contain no text of the sets; HTML does, where it shows the worst examples.
//! Start reading at [`markdown`].

mod html;
mod markdown;
mod published;
mod worst;

pub use html::html;
pub use markdown::{legacy_table, markdown, overview};
pub use published::{PUBLISHED, Published, published_for};
pub use worst::{Shown, worst_examples};
