//! What everything that answers shares: models as they are loaded, what a machine was measured to
//! cost, which files and languages are left alone, who may ask.
//!
//! Start reading at [`models`]. Owns no protocol and no command line.

pub mod costs;
mod files;
pub mod json;
pub mod languages;
pub mod left_alone;
pub mod models;
pub mod private;
mod raise;
pub mod store;
mod token;

use std::io::Write;

pub use files::{write_file, write_file_with};
pub use raise::RaiseOnDrop;
pub use token::Token;

/// A line on standard error; nobody listening there is no reason to fail.
pub fn say(message: &str) {
    let _ = writeln!(std::io::stderr(), "lacuna: {message}");
}
