//! How statements reach the server: a connection of the pool, a bound on the wait, and repetition of what may
//! succeed the next time.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use sqlx::{
    AssertSqlSafe, Connection, PgConnection,
    postgres::{PgArguments, PgRow},
};

use super::{
    connect::{self, PgConfig, Pooling},
    errors::{is_mixed_up, is_uncertain, reason, store_error},
    ready::ReadyConnections,
};
use crate::ports::StoreError;

/// How long to wait, about, before each repetition.
const RETRIES: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(40),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(600),
];
/// What the server and the network may take beyond the statement's own time limit before the connection is
/// given up: a peer that has vanished says nothing at all.
const GRACE: Duration = Duration::from_secs(5);

/// Plans are kept otherwise, even of statements that have no name. And what is planned anew reads the newest of a range
/// until it has enough: not all of it, to be sorted, because the planner has heard that it is short.
const PLANNED_ANEW: &str = "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_bitmapscan = off";

/// What became of a statement that was sent once or more often.
pub(super) struct Sent {
    pub(super) rows: Result<Vec<PgRow>, sqlx::Error>,
    /// An earlier try may have been carried out: its connection broke before the answer.
    pub(super) uncertain: bool,
}

/// What is sent.
#[derive(Debug, Clone, Copy)]
struct Statement {
    sql: &'static str,
    /// Whether the server keeps it, and perhaps its plan, for the next time.
    persistent: bool,
}

/// The connections of one store.
#[derive(Debug)]
pub(super) struct Link {
    connections: ReadyConnections,
    /// Whether every statement is a transaction of its own (see [`Pooling::Transaction`]).
    pooled: AtomicBool,
    begin: String,
    sent: AtomicU64,
    patience: Duration,
}

impl Link {
    pub(super) fn new(config: &PgConfig, pooling: Pooling) -> Link {
        Link {
            connections: ReadyConnections::new(connect::pool(config, pooling)),
            pooled: AtomicBool::new(pooling == Pooling::Transaction),
            begin: config.begin(),
            sent: AtomicU64::new(0),
            patience: config.statement_timeout.saturating_add(GRACE),
        }
    }

    /// Runs a statement and answers all its rows. For statements that may be carried out twice: passing errors
    /// and lost connections are repeated up to five times.
    pub(super) async fn rows(&self, sql: &'static str, arguments: PgArguments) -> Result<Vec<PgRow>, StoreError> {
        self.send(sql, arguments).await.rows.map_err(|error| store_error(&error))
    }

    /// The same, planned anew for these arguments each time, where the best plan depends on them.
    pub(super) async fn rows_unprepared(
        &self,
        sql: &'static str,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, StoreError> {
        let statement = Statement { sql, persistent: false };
        self.repeat(statement, arguments).await.rows.map_err(|error| store_error(&error))
    }

    /// The same as [`Link::rows`], for callers that must know whether a try may have been carried out unseen.
    pub(super) async fn send(&self, sql: &'static str, arguments: PgArguments) -> Sent {
        self.repeat(Statement { sql, persistent: true }, arguments).await
    }

    async fn repeat(&self, statement: Statement, arguments: PgArguments) -> Sent {
        let mut patience = Patience::new();
        let mut uncertain = false;
        loop {
            let error = match self.try_once(statement, arguments.clone()).await {
                Ok(rows) => return Sent { rows: Ok(rows), uncertain },
                Err(error) => error,
            };
            uncertain |= is_uncertain(&error);
            if !patience.again(&error).await {
                return Sent { rows: Err(error), uncertain };
            }
        }
    }

    /// One try.
    pub(super) async fn once(&self, sql: &'static str, arguments: PgArguments) -> Result<Vec<PgRow>, sqlx::Error> {
        self.try_once(Statement { sql, persistent: true }, arguments).await
    }

    async fn try_once(&self, statement: Statement, arguments: PgArguments) -> Result<Vec<PgRow>, sqlx::Error> {
        let began = Instant::now();
        let mut lent = self.connections.take().await?;
        let acquired = Instant::now();
        metrics::histogram!("opsroom_database_acquire_seconds").record(acquired - began);
        // Until the statement has its answer.
        lent.closes = !statement.persistent || self.pooled.load(Ordering::Relaxed);
        let run = self.run(lent.connection()?, statement, arguments);
        let rows = match tokio::time::timeout(self.patience, run).await {
            Ok(rows) => rows,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer from the database").into()),
        };
        lent.closes = false;
        metrics::histogram!("opsroom_database_statement_seconds").record(acquired.elapsed());
        if rows.as_ref().is_err_and(is_mixed_up) && !self.pooled.swap(true, Ordering::Relaxed) {
            tracing::warn!("a pooler changes server connections between transactions: nothing is prepared any more");
        }
        if rows.as_ref().is_err_and(is_uncertain) {
            // Not to be asked whether it still works: a vanished peer would not answer that either.
            lent.cut();
            self.connections.distrust();
        } else if rows.is_ok() {
            self.connections.keep(lent);
        }
        rows
    }

    async fn run(
        &self,
        connection: &mut PgConnection,
        Statement { sql, persistent }: Statement,
        arguments: PgArguments,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let query = sqlx::query_with(sql, arguments).persistent(persistent);
        // Behind a pooler parsing and execution, which are two exchanges, reach the same server connection only
        // within a transaction.
        let begin = match (self.pooled.load(Ordering::Relaxed), persistent) {
            (false, true) => return query.fetch_all(connection).await,
            (false, false) => format!("BEGIN; {PLANNED_ANEW}"),
            (true, true) => self.begin.clone(),
            (true, false) => format!("{}; {PLANNED_ANEW}", self.begin),
        };
        let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
        let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// What is between here and the server.
    pub(super) fn pooling(&self) -> Pooling {
        if self.pooled.load(Ordering::Relaxed) { Pooling::Transaction } else { Pooling::Session }
    }

    pub(super) fn statements(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Connections that are open, and those of them that nobody uses.
    pub(super) fn usage(&self) -> (u32, usize) {
        self.connections.usage()
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

/// How often something is tried again.
pub(super) struct Patience {
    begin: Instant,
    left: std::array::IntoIter<Duration, 5>,
}

impl Patience {
    pub(super) fn new() -> Patience {
        Patience { begin: Instant::now(), left: RETRIES.into_iter() }
    }

    /// Waits until it is time for another try; false where none is worth it.
    pub(super) async fn again(&mut self, error: &sqlx::Error) -> bool {
        if !is_mixed_up(error) && !matches!(store_error(error), StoreError::Busy(_)) {
            return false;
        }
        let Some(delay) = self.left.next() else { return false };
        metrics::counter!("opsroom_database_retries_total", "reason" => reason(error)).increment(1);
        tokio::time::sleep(jittered(delay, self.begin)).await;
        true
    }
}

/// Between a half and one and a half of `delay`. The jitter is what the clock shows below a millisecond: two
/// processes that met at a lock do not agree on that.
fn jittered(delay: Duration, begin: Instant) -> Duration {
    let noise = begin.elapsed().subsec_nanos() % 1_000;
    delay / 2 + delay * noise / 1_000
}
