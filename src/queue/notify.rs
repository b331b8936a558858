//! Doorbells between processes, by LISTEN and NOTIFY of PostgreSQL.
//!
//! Inside the process a ring takes the short way of [`ChannelQueue`]. Other processes are told on a connection of
//! its own, after the fact and never inside a transaction of somebody else: NOTIFY makes commits wait for each
//! other. Rings that come while one is being told are told together, and there are at most 500 tellings a second.
//!
//! A ring may be lost: whoever claims also looks by itself. So nothing here is ever an error for anybody else. A
//! connection that is lost is made again, with growing pauses, and then every lane is rung, because something may
//! have been missed. Where LISTEN does not work (a pooler that gives every transaction another connection swallows
//! it silently) the missing answer to a call to itself tells, and it is said once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use sqlx::{
    AssertSqlSafe, Executor,
    postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::ChannelQueue;
use crate::{
    model::Lane,
    ports::{Doorbell, Queue},
};

/// The channel of all notifications.
const CHANNEL: &str = "opsroom";

/// Between two tellings.
const SPACING: Duration = Duration::from_millis(2);

/// The pauses between two tries to connect.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// How long a connection or a telling may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the end of a process may wait for what was rung last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often it calls itself, to notice a connection that is silently dead, and how long the answer may take.
const CALL_EVERY: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(5);

/// How doorbells of other processes are heard.
#[derive(Debug, Clone)]
pub struct NotifyConfig {
    pub connection: PgConnectOptions,
    /// Whether anybody in this process waits for rings.
    pub listens: bool,
    /// What sets this process apart from the others; letters, digits and `-`.
    pub name: String,
}

/// The doorbells of all processes on one database.
#[derive(Debug)]
pub struct NotifyQueue {
    local: Arc<ChannelQueue>,
    rung: Arc<Rung>,
}

/// Lanes that other processes are to be told of.
#[derive(Debug, Default)]
struct Rung {
    lanes: AtomicU8,
    wake: Notify,
}

impl Rung {
    fn add(&self, lanes: u8) {
        self.lanes.fetch_or(lanes, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn is_empty(&self) -> bool {
        self.lanes.load(Ordering::SeqCst) == 0
    }
}

impl NotifyQueue {
    /// Starts on `tasks`, without waiting for the database; ends when `stop` fires.
    pub fn start(config: NotifyConfig, tasks: &TaskTracker, stop: CancellationToken) -> NotifyQueue {
        let (local, rung) = (Arc::new(ChannelQueue::new()), Arc::<Rung>::default());
        let mut teller = Teller { config, local: local.clone(), rung: rung.clone(), is_deaf: false };
        tasks.spawn(async move {
            stop.run_until_cancelled(teller.run()).await;
            teller.tell_rest().await;
        });
        NotifyQueue { local, rung }
    }
}

impl Queue for NotifyQueue {
    fn ring(&self, lane: Lane) {
        self.local.ring(lane);
        self.rung.add(bit(lane));
    }

    fn listen(&self, lane: Lane) -> Box<dyn Doorbell> {
        self.local.listen(lane)
    }
}

fn bit(lane: Lane) -> u8 {
    1 << lane as u8
}

/// Tells other processes, and listens to them.
struct Teller {
    config: NotifyConfig,
    local: Arc<ChannelQueue>,
    rung: Arc<Rung>,
    /// LISTEN does not work here; it was said.
    is_deaf: bool,
}

/// The calls of a connection to itself.
struct Calls {
    /// When the next one is made, or given up.
    due: Instant,
    is_open: bool,
}

impl Teller {
    async fn run(&mut self) {
        let (mut pause, mut is_told) = (SHORTEST, false);
        loop {
            if !self.is_listening() && self.rung.is_empty() {
                // Most processes that only look never ring.
                self.rung.wake.notified().await;
            }
            let connected = tokio::time::timeout(PATIENCE, self.connect()).await;
            match connected.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut)) {
                Ok(listener) => {
                    (pause, is_told) = (SHORTEST, false);
                    // Something may have been missed.
                    for lane in Lane::ALL {
                        self.local.ring(*lane);
                    }
                    let error = self.serve(listener).await;
                    tracing::warn!(%error, "the connection for wake-ups is lost; connecting again");
                }
                Err(error) if is_told => tracing::debug!(%error, "wake-ups still cannot be told"),
                Err(error) => {
                    is_told = true;
                    tracing::warn!(%error, "wake-ups cannot be told to other processes; trying again and again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// What was rung last must not wait for somebody's next look.
    async fn tell_rest(&self) {
        if self.rung.is_empty() {
            return;
        }
        let telling = async {
            let mut listener = self.connect().await?;
            self.tell(&mut listener).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, telling).await {
            tracing::debug!(%error, "the last wake-ups could not be told");
        }
    }

    async fn connect(&self) -> Result<PgListener, sqlx::Error> {
        let options = PgPoolOptions::new().max_connections(1).acquire_timeout(PATIENCE);
        let pool: PgPool =
            options.idle_timeout(None).max_lifetime(None).connect_lazy_with(self.config.connection.clone());
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        if self.is_listening() {
            listener.listen(CHANNEL).await?;
        }
        Ok(listener)
    }

    fn is_listening(&self) -> bool {
        self.config.listens && !self.is_deaf
    }

    /// Answers why it ended.
    async fn serve(&mut self, mut listener: PgListener) -> sqlx::Error {
        let mut calls = Calls { due: Instant::now(), is_open: false };
        let mut next = Instant::now();
        let mut is_rung = !self.rung.is_empty();
        loop {
            let done = tokio::select! {
                () = self.rung.wake.notified(), if !is_rung => {
                    is_rung = true;
                    Ok(())
                }
                () = tokio::time::sleep_until(next), if is_rung => {
                    is_rung = false;
                    next = Instant::now() + SPACING;
                    self.tell(&mut listener).await
                }
                heard = listener.try_recv(), if self.is_listening() => match heard {
                    Ok(Some(heard)) => {
                        self.hear(heard.payload(), &mut calls);
                        Ok(())
                    }
                    Ok(None) => Err(sqlx::Error::PoolClosed),
                    Err(error) => Err(error),
                },
                () = tokio::time::sleep_until(calls.due), if self.is_listening() => {
                    self.call(&mut listener, &mut calls).await
                }
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    async fn tell(&self, listener: &mut PgListener) -> Result<(), sqlx::Error> {
        let lanes = self.rung.lanes.swap(0, Ordering::SeqCst);
        let letters: String =
            Lane::ALL.iter().filter(|lane| lanes & bit(**lane) != 0).map(|lane| lane.as_str()).collect();
        let told = self.notify(listener, &letters).await;
        if told.is_err() {
            // They are told over the next connection.
            self.rung.add(lanes);
        }
        told
    }

    /// Looks whether this connection hears what it says itself.
    async fn call(&mut self, listener: &mut PgListener, calls: &mut Calls) -> Result<(), sqlx::Error> {
        if calls.is_open {
            tracing::warn!(
                "wake-ups of other processes cannot be heard (LISTEN does not work behind a pooler in transaction mode); \
                 runs are looked for once a second"
            );
            self.is_deaf = true;
            return Ok(());
        }
        *calls = Calls { due: Instant::now() + ANSWER, is_open: true };
        self.notify(listener, "?").await
    }

    async fn notify(&self, listener: &mut PgListener, what: &str) -> Result<(), sqlx::Error> {
        // The simple protocol: one message, whatever stands between us and the server.
        let sql = format!("SELECT pg_notify('{CHANNEL}', '{what}:{}')", self.config.name);
        let told = tokio::time::timeout(PATIENCE, listener.execute(sqlx::raw_sql(AssertSqlSafe(sql)))).await;
        told.unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut)).map(drop)
    }

    fn hear(&self, payload: &str, calls: &mut Calls) {
        let Some((what, name)) = payload.split_once(':') else { return };
        match (what, name == self.config.name) {
            ("?", true) => *calls = Calls { due: Instant::now() + CALL_EVERY, is_open: false },
            // What it says itself was heard the short way.
            ("?", false) | (_, true) => {}
            (letters, false) => {
                let lanes = Lane::ALL.iter().filter(|lane| letters.contains(lane.as_str()));
                lanes.for_each(|lane| self.local.ring(*lane));
            }
        }
    }
}
