//! The database: one SQLite file in the user's data directory.
//!
//! Owns: the schema and its migrations, what happens to damaged and newer files, batches,
//! retention. Does not own: what is worth storing (`track`), what it means (`metrics`). No source
//! text, no file names and no paths come in here but to be hashed with the installation's salt.
//! Start at [`Store::open`].

mod experiments;
mod open;
mod read;
mod schema;
mod write;

use std::path::PathBuf;

use rusqlite::Connection;
use sha2::{Digest, Sha256};
use thiserror::Error;

pub use experiments::{Exposure, StoredExperiment};
pub use open::set_aside;
pub use read::{Census, Window};
pub use schema::VERSION;

/// Why the store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("no telemetry store at {}: nothing has been recorded yet", path.display())]
    Missing { path: PathBuf },
    #[error("the telemetry store {} has schema {found}, this lacuna knows {known}: use the newer lacuna, or move the file away", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("the telemetry store {} is damaged ({what}): move it away, the next `lacuna lsp` begins a new one", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{} is a link, a pipe or another thing that is no file: move it away, or choose another telemetry.dir", path.display())]
    NoFile { path: PathBuf },
    #[error("the telemetry store {} cannot be used: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Experiment(String),
    /// Nothing was written: the session is gone with everything else, begin another one.
    #[error("the telemetry store {} was purged meanwhile", path.display())]
    Purged { path: PathBuf },
}

impl StoreError {
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Damaged { .. })
    }
}

/// An open database of the current schema.
pub struct Store {
    path: PathBuf,
    connection: Connection,
    /// Random number of this installation, in hexadecimal.
    installation: String,
    salt: Vec<u8>,
    /// Numbers of names that are known to be committed or in the running transaction.
    names: std::collections::HashMap<String, i64>,
    strides: open::Strides,
}

impl Store {
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    pub fn installation(&self) -> &str {
        &self.installation
    }

    /// Never leaves this machine; who has it could tell documents from their names.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// What stands for a text that must not be stored.
    pub fn hash(&self, text: &str) -> i64 {
        salted(&self.salt, text)
    }

    fn error(&self, source: rusqlite::Error) -> StoreError {
        open::classify(&self.path, source)
    }
}

/// 63 bits of SHA-256 over salt and text.
pub fn salted(salt: &[u8], text: &str) -> i64 {
    let digest = Sha256::new().chain_update(salt).chain_update(text.as_bytes()).finalize();
    let bytes: [u8; 8] = digest[..8].try_into().expect("SHA-256 has 32 bytes");
    i64::from_be_bytes(bytes) & i64::MAX
}
