//! The one connection that writes.
//!
//! Every verb is one script, sent in one call: the driver runs each connection on a thread of its own, so
//! every call costs a trip between threads (about 40 us, a quarter of a durable write). The statements of a
//! script share its arguments by number: `$1`, since with `?1` the driver would bind a statement that skips a
//! number, and those after it, to the wrong arguments.

use std::{
    fmt,
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, Connection, Executor, SqliteConnection,
    sqlite::{SqliteArguments, SqliteRow},
};
use tokio::sync::Mutex;

use super::errors::store_error;
use crate::ports::StoreError;

/// How long to wait before each repetition when another process holds the lock, besides SQLite's own
/// waiting (`busy_timeout`).
const RETRIES: [Duration; 5] = [
    Duration::from_millis(5),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// Scripts wait here for their turn, first come, first served.
pub(super) struct Writer(Mutex<State>);

struct State {
    connection: SqliteConnection,
    /// A transaction may be open, since a script failed or its caller went away in the middle.
    unfinished: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    pub(super) fn new(connection: SqliteConnection) -> Writer {
        Writer(Mutex::new(State { connection, unfinished: false }))
    }

    /// Runs a script and answers all its rows. `BUSY` is repeated up to five times.
    pub(super) async fn script(
        &self,
        sql: &'static str,
        arguments: SqliteArguments,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut state = self.0.lock().await;
        let mut retries = RETRIES.into_iter();
        loop {
            let error = match state.run(sql, arguments.clone()).await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            match (store_error(&error), retries.next()) {
                (StoreError::Busy(_), Some(delay)) => tokio::time::sleep(delay).await,
                _ => return Err(error),
            }
        }
    }

    /// How long a durable statement without arguments takes, sync included.
    pub(super) async fn timed(&self, sql: &'static str) -> Result<Duration, sqlx::Error> {
        let mut state = self.0.lock().await;
        let began = Instant::now();
        state.run(sql, SqliteArguments::default()).await?;
        Ok(began.elapsed())
    }

    pub(super) async fn limit_pages(&self, pages: u32) -> Result<(), sqlx::Error> {
        // A pragma takes no arguments; the number is ours.
        let sql = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        self.0.lock().await.connection.execute(sql).await.map(drop)
    }

    /// For large amounts of data that can be made again: commits are synced with the next checkpoint only, and those
    /// come rarely.
    pub(super) async fn hurry(&self) -> Result<(), sqlx::Error> {
        let sql = "PRAGMA synchronous = NORMAL; PRAGMA cache_size = -262144; PRAGMA wal_autocheckpoint = 20000";
        self.0.lock().await.connection.execute(sqlx::raw_sql(sql)).await.map(drop)
    }

    /// Waits for the script in progress, then closes. Folds the log back into the database file.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        self.0.into_inner().connection.close().await
    }
}

impl State {
    async fn run(&mut self, sql: &'static str, arguments: SqliteArguments) -> Result<Vec<SqliteRow>, sqlx::Error> {
        if self.unfinished {
            self.roll_back().await;
        }
        self.unfinished = true;
        let rows = self.connection.fetch_all(sqlx::query_with(sql, arguments)).await;
        if rows.is_err() {
            self.roll_back().await;
        }
        self.unfinished = false;
        rows
    }

    async fn roll_back(&mut self) {
        // The only error says that no transaction was open, which is what is wanted.
        self.connection.execute("ROLLBACK").await.ok();
    }
}
