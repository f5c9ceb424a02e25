//! Writing: sessions, batches of changes, retention, purge.

use rusqlite::{
    Connection, OptionalExtension, TransactionBehavior, params_from_iter, types::Value,
};

use super::schema::stored_ints;
use super::{Store, StoreError};
use crate::event::{CHECKS, Draft, Int, Text};
use crate::track::{Change, kept_per_mille};

/// A row's id is its session's number and its own.
const SEQ_BITS: u32 = 32;

impl Store {
    /// Begins a session; returns its number, which no other server has.
    pub fn begin_session(&mut self, at: i64) -> Result<i64, StoreError> {
        let sql = "INSERT INTO session_run(started) VALUES (?1) RETURNING id";
        self.connection.query_row(sql, [at], |row| row.get(0)).map_err(|e| self.error(e))
    }

    /// Ends it; `lost` changes could not be written.
    pub fn end_session(&mut self, session: i64, at: i64, lost: u64) -> Result<(), StoreError> {
        let sql = "UPDATE session_run SET ended = ?2, lost = ?3 WHERE id = ?1";
        self.connection.execute(sql, (session, at, lost as i64)).map_err(|e| self.error(e))?;
        Ok(())
    }

    /// Writes all of `changes`, or none. Errors: [`StoreError::Purged`] if somebody has purged the
    /// store since the session began.
    pub fn write(&mut self, session: i64, changes: &[Change]) -> Result<(), StoreError> {
        match self.try_write(session, changes) {
            Ok(true) => Ok(()),
            Ok(false) => {
                self.reload().map_err(|e| self.error(e))?;
                Err(StoreError::Purged { path: self.path.clone() })
            }
            Err(e) => {
                // Names of the transaction that was rolled back have no numbers any more.
                self.names.clear();
                Err(self.error(e))
            }
        }
    }

    /// False, and nothing done, if the numbers of names and the session belong to a store that was
    /// purged.
    fn try_write(&mut self, session: i64, changes: &[Change]) -> rusqlite::Result<bool> {
        let Store { connection, names, salt, installation, .. } = self;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let same = "SELECT 1 FROM meta WHERE key = 'installation' AND value = ?1";
        if transaction
            .prepare_cached(same)?
            .query_row([&*installation], |_| Ok(()))
            .optional()?
            .is_none()
        {
            return Ok(false);
        }
        for change in changes {
            match change {
                Change::Row(draft) => {
                    let document = super::salted(salt, &draft.document);
                    write_row(&transaction, names, session, document, draft)?;
                }
                Change::Check(check) => {
                    let column = CHECKS[check.check].1.name();
                    let kept = kept_per_mille(&check.inserted, &check.now);
                    let mut statement = transaction
                        .prepare_cached(&format!("UPDATE event SET {column} = ?2 WHERE id = ?1"))?;
                    statement.execute((id(session, check.seq), kept))?;
                }
            }
        }
        transaction.commit()?;
        Ok(true)
    }

    /// Bounds the file, as a disk that is full would: SQLite may not add pages beyond `pages`.
    pub fn limit_pages(&mut self, pages: i64) -> Result<(), StoreError> {
        let set =
            self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
        set.map_err(|e| self.error(e))
    }

    /// Deletes rows that started before `before` (milliseconds since 1970). Returns how many.
    pub fn forget_before(&mut self, before: i64) -> Result<usize, StoreError> {
        let run = |connection: &Connection| {
            // A session's rows began after it did: only those of sessions that began before are
            // looked at.
            let later = "SELECT min(id) FROM session_run WHERE started >= ?1";
            let end = connection
                .query_row(later, [before], |row| row.get::<_, Option<i64>>(0))?
                .map_or(i64::MAX, |later| id(later, 0));
            let n =
                connection.execute("DELETE FROM event WHERE id < ?2 AND at < ?1", [before, end])?;
            connection.execute("DELETE FROM exposure WHERE at < ?1", [before])?;
            Ok(n)
        };
        run(&self.connection).map_err(|e| self.error(e))
    }

    /// Deletes everything, sessions, names and experiments included, and the file's free pages with
    /// it. The salt is made anew, so that later rows cannot be joined with older exports.
    pub fn purge(&mut self) -> Result<usize, StoreError> {
        let run = |connection: &mut Connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let n = transaction.execute("DELETE FROM event", [])?;
            for table in ["exposure", "name", "session_run", "experiment"] {
                transaction.execute(&format!("DELETE FROM {table}"), [])?;
            }
            transaction.execute("UPDATE meta SET value = randomblob(32) WHERE key = 'salt'", [])?;
            transaction.execute(
                "UPDATE meta SET value = lower(hex(randomblob(8))) WHERE key = 'installation'",
                [],
            )?;
            transaction.commit()?;
            connection.execute_batch("VACUUM")?;
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(n)
        };
        let purged = run(&mut self.connection).map_err(|e| super::open::classify(&self.path, e))?;
        self.reload().map_err(|e| self.error(e))?;
        Ok(purged)
    }
}

pub(super) fn id(session: i64, seq: u32) -> i64 {
    session << SEQ_BITS | i64::from(seq)
}

type Names = std::collections::HashMap<String, i64>;

fn write_row(
    connection: &Connection,
    names: &mut Names,
    session: i64,
    document: i64,
    draft: &Draft,
) -> rusqlite::Result<()> {
    let mut values = Vec::with_capacity(1 + Text::COUNT + Int::COUNT);
    values.push(Value::Integer(id(session, draft.seq)));
    for column in Text::ALL {
        values.push(match draft.text(*column) {
            "" => Value::Null,
            text => Value::Integer(name(connection, names, text)?),
        });
    }
    let ints = draft.ints.with(Int::Session, session).with(Int::Document, document);
    values.extend(
        stored_ints()
            .filter(|c| !is_check(*c))
            .map(|c| ints.of(c).map_or(Value::Null, Value::Integer)),
    );
    connection.prepare_cached(upsert())?.execute(params_from_iter(values))?;
    let arms = draft.text(Text::Arms);
    if !arms.is_empty() && draft.text(Text::Kind) == "request" {
        let at = ints.of(Int::At).unwrap_or(0);
        let sql = "INSERT INTO exposure VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        connection.prepare_cached(sql)?.execute((names[arms], session, at))?;
    }
    Ok(())
}

/// Checks are written alone: a row that comes again must not undo them.
fn is_check(column: Int) -> bool {
    CHECKS.iter().any(|(_, c)| *c == column)
}

fn upsert() -> &'static str {
    static SQL: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    SQL.get_or_init(|| {
        let ints = stored_ints().filter(|c| !is_check(*c)).map(Int::name);
        let columns: Vec<&str> = Text::ALL.iter().map(|c| c.name()).chain(ints).collect();
        let places: Vec<String> = (0..=columns.len()).map(|i| format!("?{}", i + 1)).collect();
        let updates: Vec<String> = columns.iter().map(|c| format!("{c} = excluded.{c}")).collect();
        let (columns, places, updates) = (columns.join(", "), places.join(", "), updates.join(", "));
        format!("INSERT INTO event(id, {columns}) VALUES ({places}) ON CONFLICT(id) DO UPDATE SET {updates}")
    })
}

/// The number of a name, given out now if need be.
fn name(connection: &Connection, names: &mut Names, text: &str) -> rusqlite::Result<i64> {
    if let Some(number) = names.get(text) {
        return Ok(*number);
    }
    let find = |connection: &Connection| {
        connection
            .prepare_cached("SELECT id FROM name WHERE text = ?1")?
            .query_row([text], |row| row.get::<_, i64>(0))
            .optional()
    };
    let number = match find(connection)? {
        Some(number) => number,
        None => {
            connection.prepare_cached("INSERT INTO name(text) VALUES (?1)")?.execute([text])?;
            connection.last_insert_rowid()
        }
    };
    names.insert(text.to_owned(), number);
    Ok(number)
}
