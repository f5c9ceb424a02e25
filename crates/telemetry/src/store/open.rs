//! Opening: migrations, the check for damage, and what is done with a damaged file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};

use super::schema::{MIGRATIONS, VERSION};
use super::{Store, StoreError};
use crate::clock::system_ms;

/// How long a writer waits for another server that is writing.
const BUSY: Duration = Duration::from_secs(5);
/// Larger files are only looked through after a session that did not end as it should.
const ALWAYS_CHECKED_BYTES: u64 = 256 << 20;
/// SQLite's instructions between two looks at how many are left.
const STRIDE: i32 = 10_000;
/// Strides that opening may take: looking through a file of [`ALWAYS_CHECKED_BYTES`] takes a
/// thousandth.
const OPENING: i64 = 10_000_000;
/// Strides that reading a small table may take.
pub(super) const SMALL: i64 = 10_000;

impl Store {
    /// Opens the store for writing; makes it, with its folder, if it is not there. Migrates older
    /// schemas.
    ///
    /// Errors: [`StoreError::Newer`], [`StoreError::Damaged`] (the file is left alone: see
    /// [`set_aside`]), and whatever the file system says.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        if let Some(folder) = path.parent() {
            own_folder(folder)
                .map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        }
        own_file(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let (mut connection, strides) = connect(path, flags)?;
        prepare(&mut connection).map_err(|e| classify(path, e))?;
        let found = version(&connection).map_err(|e| classify(path, e))?;
        if found > VERSION {
            return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION });
        }
        check(path, &connection)?;
        migrate(&mut connection).map_err(|e| classify(path, e))?;
        Store::with(path, connection, strides)
    }

    /// Opens an existing store of the current schema to read from it.
    pub fn open_to_read(path: &Path) -> Result<Store, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing { path: path.to_owned() });
        }
        let (connection, strides) =
            connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
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
        Store::with(path, connection, strides)
    }

    fn with(path: &Path, connection: Connection, strides: Strides) -> Result<Store, StoreError> {
        let (installation, salt) = facts(&connection).map_err(|e| classify(path, e))?;
        // What follows may be long, because there is much: only what servers read unasked is
        // bounded again.
        strides.allow(i64::MAX);
        Ok(Store {
            path: path.to_owned(),
            connection,
            installation,
            salt,
            names: Default::default(),
            strides,
        })
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
        statement.query_row([key], |row| {
            row.get_ref(0)?.as_bytes().map(<[u8]>::to_vec).map_err(Into::into)
        })
    };
    Ok((String::from_utf8_lossy(&value("installation")?).into_owned(), value("salt")?))
}

/// How many strides a connection may still go before what it does is broken off.
#[derive(Clone)]
pub(super) struct Strides(Arc<AtomicI64>);

impl Strides {
    pub(super) fn allow(&self, strides: i64) {
        self.0.store(strides, Ordering::Relaxed);
    }
}

/// Opens a file without believing it: it may have been put there by somebody else. No link is
/// followed in its name, its schema runs nothing (our own has neither views nor triggers), and what
/// does not end is broken off.
fn connect(path: &Path, flags: OpenFlags) -> Result<(Connection, Strides), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    if !std::fs::symlink_metadata(path).map_err(io)?.is_file() {
        return Err(StoreError::NoFile { path: path.to_owned() });
    }
    // The folder is the user's choice, links and all; SQLite refuses links anywhere in a name.
    let real = match (path.parent().map(Path::canonicalize), path.file_name()) {
        (Some(Ok(folder)), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    };
    let strides = Strides(Arc::new(AtomicI64::new(OPENING)));
    let left = Arc::clone(&strides.0);
    let open = || {
        let mut connection =
            Connection::open_with_flags(&real, flags | OpenFlags::SQLITE_OPEN_NOFOLLOW)?;
        connection.busy_timeout(BUSY)?;
        connection
            .progress_handler(STRIDE, Some(move || left.fetch_sub(1, Ordering::Relaxed) <= 0))?;
        for (setting, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
            (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        ] {
            connection.set_db_config(setting, on)?;
        }
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    };
    let connection = open().map_err(|e| classify(path, e))?;
    Ok((connection, strides))
}

/// Makes the folder, for its owner only, if it is not there.
fn own_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes the file, for its owner only, if it is not there, and takes others' rights from one that
/// is: what SQLite puts beside it gets the same rights.
fn own_file(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io { path: path.to_owned(), source };
    let mut options = std::fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(io(source)),
    }
    #[cfg(unix)]
    for suffix in ["", "-wal", "-shm"] {
        use std::os::unix::fs::PermissionsExt;
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let is_open =
            |meta: &std::fs::Metadata| meta.is_file() && meta.permissions().mode() & 0o077 != 0;
        if std::fs::symlink_metadata(&name).is_ok_and(|meta| is_open(&meta)) {
            // Somebody else's file stays as it is: opening it for writing says so.
            let _ = std::fs::set_permissions(&name, std::fs::Permissions::from_mode(0o600));
        }
    }
    Ok(())
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    // Committed batches survive the death of the process; a power cut may cost the last ones, never
    // the file.
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
        let unclean = connection
            .query_row(unclean, [], |_| Ok(()))
            .optional()
            .map_err(|e| classify(path, e))?;
        if unclean.is_none() {
            return Ok(());
        }
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|e| classify(path, e))?;
    if verdict == "ok" {
        Ok(())
    } else {
        Err(StoreError::Damaged { path: path.to_owned(), what: verdict })
    }
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
        rusqlite::Error::SqliteFailure(e, _) => {
            matches!(
                e.code,
                ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::OperationInterrupted
            )
        }
        _ => false,
    };
    // The right version, but not our tables.
    let foreign = matches!(source, rusqlite::Error::QueryReturnedNoRows)
        || ["no such table", "access to view"].iter().any(|told| source.to_string().contains(told));
    let path = path.to_owned();
    if damaged || foreign {
        StoreError::Damaged { path, what: source.to_string() }
    } else {
        StoreError::Sqlite { path, source }
    }
}

/// Renames a damaged store, with what belongs to it, so that a new one can begin. Returns the new
/// name.
pub fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let stamp = system_ms();
    let aside = name(&format!(".damaged-{stamp}"));
    std::fs::rename(path, &aside)
        .map_err(|source| StoreError::Io { path: path.to_owned(), source })?;
    for suffix in ["-wal", "-shm"] {
        // Left behind, they would be taken for the new file's.
        let _ = std::fs::rename(name(suffix), name(&format!(".damaged-{stamp}{suffix}")));
    }
    Ok(aside)
}
