//! Opening the database file.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};
use sqlx::{
    ConnectOptions, Connection, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tracing::log::LevelFilter;

use super::{errors::store_error, migrate};
use crate::ports::StoreError;

/// How long SQLite itself waits for a lock of another process before it says `BUSY`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);
/// Slower statements are logged.
const SLOW: Duration = Duration::from_millis(50);
/// Views and polls of one process rarely come more than a few at a time; each connection has its own thread.
const READERS: u32 = 4;
/// How often, and after which pauses, to ask whether another process has finished opening the file.
const OPEN_TRIES: u32 = 1_500;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// Opens the file for writing, creating it (mode 0600) and its schema.
pub(super) async fn writer(path: &Path) -> Result<SqliteConnection, StoreError> {
    // Held over the creation of the file and its switch to a write-ahead log, which fails for others while
    // one does it. Not a lock on the database itself: closing any descriptor of that would release
    // SQLite's own locks.
    let _lock = lock(path).await?;
    create(path).map_err(|error| cannot_open(path, &error))?;
    // FULL: a commit is on the disk when it is answered.
    let options = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        // In KiB. Rows are written at the ends of tables; what else is read again, the kernel has.
        .pragma("cache_size", "-8192");
    let mut connection = options.connect().await.map_err(|error| at(path, store_error(&error)))?;
    match migrate::up(&mut connection).await {
        Ok(()) => Ok(connection),
        Err(error) => {
            connection.close().await.ok();
            Err(at(path, error))
        }
    }
}

/// A connection to a file that is there, to change its schema.
pub(super) async fn changer(path: &Path) -> Result<SqliteConnection, StoreError> {
    let options = options(path).synchronous(SqliteSynchronous::Full).foreign_keys(true);
    options.connect().await.map_err(|error| at(path, store_error(&error)))
}

/// A connection that only reads a file that is there.
pub(super) async fn looker(path: &Path) -> Result<SqliteConnection, StoreError> {
    options(path).read_only(true).connect().await.map_err(|error| at(path, store_error(&error)))
}

/// Connections that only read, each from a snapshot of its own: they neither wait for the writer nor make
/// it wait.
pub(super) fn readers(path: &Path) -> SqlitePool {
    // No question whether a connection still lives before each statement: it is in this process, and the question
    // takes as long as most reads.
    let pool = SqlitePoolOptions::new().max_connections(READERS).test_before_acquire(false);
    pool.connect_lazy_with(options(path).read_only(true))
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .log_statements(LevelFilter::Off)
        .log_slow_statements(LevelFilter::Warn, SLOW)
}

async fn lock(path: &Path) -> Result<File, StoreError> {
    let beside = lock_path(path);
    let file = private().create(true).truncate(false).open(&beside).map_err(|error| cannot_open(&beside, &error))?;
    for _ in 0..OPEN_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => tokio::time::sleep(OPEN_PAUSE).await,
            Err(error) => return Err(cannot_open(&beside, &error.into())),
        }
    }
    Err(StoreError::Busy(format!("{}: another process has been opening it for too long", path.display())))
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Creates the file for this user only; SQLite gives its companions (`-wal`, `-shm`) the same mode.
fn create(path: &Path) -> io::Result<()> {
    match private().create_new(true).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn cannot_open(path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full(format!("{}: {error}", path.display()))
        }
        _ => StoreError::Unavailable(format!(
            "{}: {error}; check that the data folder exists and is writable for this user",
            path.display()
        )),
    }
}

/// Says which file an error is about.
fn at(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("{}: {why}", path.display())),
        other => other,
    }
}
