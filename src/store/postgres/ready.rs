//! Connections that are ready for the next statement.
//!
//! The driver's pool asks every connection that comes back whether it still works: one more exchange with the server
//! for each statement. So those that have just answered are kept here, and the pool makes and replaces them.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a statement waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// What nobody has used for so long goes back to the pool, which closes it.
const IDLE: Duration = Duration::from_mins(1);
/// The same for what is so old, so that a balancer or a failover spreads connections anew.
const LIFETIME: Duration = Duration::from_mins(30);

#[derive(Debug)]
pub(super) struct ReadyConnections {
    pool: PgPool,
    /// As many as the pool may have: whoever has a turn finds a connection, here or there.
    turns: Semaphore,
    /// The last one used is the first one taken.
    ready: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connection: PoolConnection<Postgres>,
    taken_at: Instant,
    used_at: Instant,
}

/// A connection, for one statement. Dropped, it goes back to the pool, which sees to what is left on it.
#[derive(Debug)]
pub(super) struct Lent<'a> {
    connection: Option<PoolConnection<Postgres>>,
    taken_at: Instant,
    turn: Option<SemaphorePermit<'a>>,
    /// Dropped as it is, it is closed: a transaction that was begun would keep its locks until somebody comes back to
    /// the connection, and a caller that goes away half-way, as the client of a request may, cannot end it.
    pub(super) closes: bool,
}

impl<'a> Lent<'a> {
    fn new(connection: PoolConnection<Postgres>, taken_at: Instant, turn: SemaphorePermit<'a>) -> Lent<'a> {
        Lent { connection: Some(connection), taken_at, turn: Some(turn), closes: false }
    }

    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        self.connection.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// Closes it at once, without a word to the server.
    pub(super) fn cut(mut self) {
        self.closes = true;
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take().filter(|_| self.closes) {
            drop(connection.detach());
        }
    }
}

impl ReadyConnections {
    pub(super) fn new(pool: PgPool) -> ReadyConnections {
        let turns = Semaphore::new(pool.options().get_max_connections() as usize);
        ReadyConnections { pool, turns, ready: Mutex::default() }
    }

    pub(super) async fn take(&self) -> Result<Lent<'_>, sqlx::Error> {
        let turn = tokio::time::timeout(TURN, self.turns.acquire()).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let turn = turn.map_err(|_| sqlx::Error::PoolClosed)?;
        let kept = self.ready().pop();
        match kept {
            Some(Kept { connection, taken_at, .. }) => Ok(Lent::new(connection, taken_at, turn)),
            None => Ok(Lent::new(self.pool.acquire().await?, Instant::now(), turn)),
        }
    }

    /// Keeps a connection that has answered to the end.
    pub(super) fn keep(&self, mut lent: Lent<'_>) {
        let (taken_at, turn) = (lent.taken_at, lent.turn.take());
        let Some(connection) = lent.connection.take() else { return };
        let mut ready = self.ready();
        if ready.first().is_some_and(|first| first.used_at.elapsed() > IDLE) {
            ready.remove(0);
        }
        if taken_at.elapsed() < LIFETIME && !self.turns.is_closed() {
            ready.push(Kept { connection, taken_at, used_at: Instant::now() });
        }
        // Not before it is there for the next one.
        drop(ready);
        drop(turn);
    }

    /// Gives all of them back to the pool, which asks them: a connection that is dead is rarely the only one.
    pub(super) fn distrust(&self) {
        self.ready().clear();
    }

    /// Connections that are open, and those of them that nobody uses.
    pub(super) fn usage(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle() + self.ready().len())
    }

    pub(super) async fn close(&self) {
        self.turns.close();
        self.ready().clear();
        self.pool.close().await;
    }

    fn ready(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
