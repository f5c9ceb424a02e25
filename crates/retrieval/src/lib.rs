//! What the workspace defines, and which of it a place in a file needs.
//!
//! Owns: the symbol index of a workspace (found on disk, kept up to date, stored between sessions),
//! how names and imports lead to files, and the choice of definitions for a cursor. Does not own:
//! grammars (`lacuna-context`), the form of a prompt, settings, which files are left alone (the
//! caller's [`Rules`]), threads. Nothing here runs while somebody waits but [`choose`] and what it
//! asks of the [`Index`].
//!
//! Start reading at [`Index`], [`refresh`] and [`choose`].

mod bytes;
mod choose;
mod index;
mod manifest;
mod modules;
mod paths;
mod postings;
mod refresh;
mod scope;
mod show;
mod store;
mod symbols;
mod walk;

pub use choose::{Chosen, Place, choose};
pub use index::{FileId, Index, Stamp, Symbol};
pub use refresh::{Counts, Limits, Refreshed, refresh};
pub use store::{StoreError, read_store, read_unchecked, write_store};
pub use walk::{Found, Rules, Walked, walk};
