//! The tables, version by version. A released version is never changed: what comes later is a
//! migration.

use crate::event::{Int, Text};

/// Schema this program writes; `PRAGMA user_version` of its files.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// What makes schema `i + 1` of schema `i`.
pub const MIGRATIONS: [fn() -> String; 3] = [rows, experiments, delay];

/// 1: rows, names, sessions.
fn rows() -> String {
    let texts = Text::ALL.iter().map(|c| format!("{} INTEGER", c.name()));
    let ints =
        stored_ints().filter(|c| *c != Int::DelayUs).map(|c| format!("{} INTEGER", c.name()));
    let columns: Vec<String> = texts.chain(ints).collect();
    format!(
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
         INSERT INTO meta VALUES ('installation', lower(hex(randomblob(8)))), ('salt', randomblob(32));
         CREATE TABLE name(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
         CREATE TABLE session_run(id INTEGER PRIMARY KEY, started INTEGER NOT NULL, ended INTEGER, lost INTEGER NOT NULL DEFAULT 0);
         CREATE TABLE event(id INTEGER PRIMARY KEY, {});",
        columns.join(", ")
    )
}

/// 2: experiments and who was exposed to what.
fn experiments() -> String {
    "CREATE TABLE experiment(name TEXT PRIMARY KEY, definition TEXT NOT NULL, started INTEGER NOT NULL, stopped INTEGER) WITHOUT ROWID;
     CREATE TABLE exposure(arms INTEGER NOT NULL REFERENCES name(id), session INTEGER NOT NULL, at INTEGER NOT NULL,
                           PRIMARY KEY (arms, session)) WITHOUT ROWID;"
        .to_owned()
}

/// 3: how long a request was held back.
fn delay() -> String {
    format!("ALTER TABLE event ADD COLUMN {} INTEGER;", Int::DelayUs.name())
}

/// Columns of their own: the row's number is its key.
pub fn stored_ints() -> impl Iterator<Item = Int> {
    Int::ALL.iter().copied().filter(|c| *c != Int::Row)
}
