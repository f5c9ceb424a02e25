//! Where prompts are built: serving, training and evaluation all call this crate, so that a model
//! is asked the way it was taught.
//!
//! Owns: the tokenizer, the fill-in-the-middle (FIM) sentinels as token ids, the layout of a
//! prompt, its exact token budget, and token healing at the cursor. Does not own: text buffers,
//! syntax, weights. A user's text never becomes a sentinel: sentinels enter a prompt as ids only,
//! and text is tokenised by a tokenizer that does not know them.
//!
//! Start reading at [`build`], then [`layout`]; [`excerpts`] is the form of what a prompt shows
//! besides.

mod build;
pub mod excerpts;
mod healing;
mod incremental;
mod sentinels;
mod template;
mod tokenizer;
pub mod vocabulary;
mod window;

pub use build::{Input, Options, Prompt, Section, SectionKind, build, plain};
pub use healing::Healing;
pub use sentinels::{Order, SentinelError, Sentinels, header, layout};
pub use template::split_template;
pub use tokenizer::{Tokenizer, TokenizerError};
