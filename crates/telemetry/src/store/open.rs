//! Opening: migrations, the check for damage, and what is done with a damaged file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::schema::{MIGRATIONS, VERSION};
use super::{Store, StoreError};
use crate::clock::system_ms;

/// How long a writer waits for another server that is writing.
const BUSY: Duration = Duration::from_secs(5);
/// Larger files are only looked through after a session that did not end as it should.
const ALWAYS_CHECKED_BYTES: u64 = 256 << 20;

impl Store {
    /// Opens the store for writing; makes it, with its folder, if it is not there. Migrates older schemas.
    ///
    /// Errors: [`StoreError::Newer`], [`StoreError::Damaged`] (the file is left alone: see [`set_aside`]), and whatever the file
    /// system says.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = connect(path, flags)?;
        prepare(&mut connection).map_err(|e| classify(path, e))?;
        let found = version(&connection).map_err(|e| classify(path, e))?;
        if found > VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        check(path, &connection)?;
        migrate(&mut connection).map_err(|e| classify(path, e))?;
        Store::with(path, connection)
    }

    /// Opens an existing store of the current schema to read from it.
    pub fn open_to_read(path: &Path) -> Result<Store, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        let found = version(&connection).map_err(|e| classify(path, e))?;
        if found > VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        if found < VERSION {
            // Written by an older program: opening it for writing once brings it up to date.
            drop(connection);
            drop(Store::open(path)?);
            return Store::open_to_read(path);
        }
        Store::with(path, connection)
    }

    fn with(path: &Path, connection: Connection) -> Result<Store, StoreError> {
        let (installation, salt) = facts(&connection).map_err(|e| classify(path, e))?;
        Ok(Store { path: path.to_owned(), connection, installation, salt, names: Default::default() })
    }

    /// Learns who this installation is anew: the store was purged.
    pub(super) fn reload(&mut self) -> rusqlite::Result<()> {
        self.names.clear();
        (self.installation, self.salt) = facts(&self.connection)?;
        Ok(())
    }
}

/// The installation's number and salt.
fn facts(connection: &Connection) -> rusqlite::Result<(String, Vec<u8>)> {
    let value = |key: &str| {
        let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
        statement.query_row([key], |row| row.get_ref(0)?.as_bytes().map(<[u8]>::to_vec).map_err(Into::into))
    };
    Ok((String::from_utf8_lossy(&value("installation")?).into_owned(), value("salt")?))
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags).map_err(|e| classify(path, e))?;
    connection.busy_timeout(BUSY).map_err(|e| classify(path, e))?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    // Committed batches survive the death of the process; a power cut may cost the last ones, never the file.
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn check(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let size = std::fs::metadata(path).map_or(0, |m| m.len());
    if size > ALWAYS_CHECKED_BYTES {
        let unclean = "SELECT 1 FROM session_run WHERE ended IS NULL AND id = (SELECT max(id) FROM session_run)";
        let unclean = connection.query_row(unclean, [], |_| Ok(())).optional().map_err(|e| classify(path, e))?;
        if unclean.is_none() {
            return Ok(());
        }
    }
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(|e| classify(path, e))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: path.to_owned(), what: verdict }) }
}

fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    if version(connection)? == VERSION {
        return Ok(());
    }
    // Two servers may start at once: who comes second finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    for step in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(&step())?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Damage is told apart from everything else that can go wrong.
pub(super) fn classify(path: &Path, source: rusqlite::Error) -> StoreError {
    let damaged = match &source {
        rusqlite::Error::SqliteFailure(e, _) => matches!(e.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase),
        _ => false,
    };
    // The right version, but not our tables.
    let foreign = matches!(source, rusqlite::Error::QueryReturnedNoRows) || source.to_string().contains("no such table");
    let path = path.to_owned();
    if damaged || foreign { StoreError::Damaged { path, what: source.to_string() } } else { StoreError::Sqlite { path, source } }
}

/// Renames a damaged store, with what belongs to it, so that a new one can begin. Returns the new name.
pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp = system_ms();
    let aside = name(&format!(".damaged-{stamp}"));
    std::fs::rename(path, &aside).map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
    for suffix in ["-wal", "-shm"] {
        // Left behind, they would be taken for the new file's.
        let _ = std::fs::rename(name(suffix), name(&format!(".damaged-{stamp}{suffix}")));
    }
    Ok(aside)
}
