//! The state machine: from what a language server sees to rows, without a clock, a thread or a
//! file.
//!
//! Owns: which ghost text is on screen, what edits do to it, the watches over accepted text, active
//! time. Does not own: how texts are compared (the writer does that later: [`Change::Check`]),
//! storage, protocols. Start at [`Tracker`].
//!
//! Everything is inferred from edits, requests and closings alone, so that any client counts;
//! [`Signal::Accepted`] and the other client events refine that where they exist. A check at 30 s
//! is made on the text of that moment even if nothing happens then: before anything is applied, the
//! checks that fell due since are made on the text as it stood.

mod activity;
mod anchor;
mod ghost;
mod persistence;
mod recent;
mod suggestion;
mod tracker;
mod watch;

pub use anchor::{Anchored, Edit};
pub use persistence::kept_per_mille;
pub use suggestion::State;
pub use tracker::{Answer, Change, Signal, Tracker};
pub use watch::Check;
