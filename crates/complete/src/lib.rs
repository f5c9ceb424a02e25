//! The facade: a file, a cursor, and what to insert there — or the reason why nothing.
//!
//! Owns: the life of one request (ghost text from memory, context, prompt, generation, stop and trim rules, parse check) and the
//! per-document state behind it. Does not own: editors, protocols, configuration files, weights.
//!
//! Start reading at [`Completer::complete`].

mod check;
mod completer;
mod decode;
mod ghost;
mod outcome;
mod slots;
mod trim;

pub use completer::{Completer, Request, Settings};
pub use outcome::{Explanation, Filter, Item, Milliseconds, Outcome, Reason, Reply, Tokens};
