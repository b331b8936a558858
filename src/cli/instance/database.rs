//! An instance on a database.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Background, Files, Instance, Ledger, Ports};
use crate::{
    cli::{
        Context,
        config::{Config, DatabaseConfig, RedisConfig},
        fault::Fault,
        out::Out,
    },
    control::{LeaseConfig, Segments},
    feed::{MemoryFeed, RedisFeed, RedisFeedConfig},
    model::Lane,
    ports::{BootTime, Feed, Ids, Queue, StoreError, StoreTime},
    queue::{NotifyConfig, NotifyQueue, RedisQueue, RedisQueueConfig},
    store::{PgConfig, PgStore, Pooling},
    system::{BootClock, OffsetClock, RandomIds},
};

/// Between two tries to reach the database at the start.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a process asks what time it is in the database.
const LEARN: Duration = Duration::from_secs(10);

/// How often it is told that it is waited for.
const PROGRESS: Duration = Duration::from_secs(5);

/// What workers of a database have besides those of a data folder.
#[derive(Debug, Clone)]
pub struct Fleet {
    pub lease: LeaseConfig,
    /// Where heartbeats go, on a connection of their own: whatever the others wait for, these do not.
    pub beats: PgConfig,
    /// The time in the database; its offset is told by the beats.
    pub time: Arc<OffsetClock>,
}

impl Instance {
    /// Opens what the configuration names, for a process that stays: it brings the schema of a database up to date,
    /// and waits for one that cannot be reached. `listens`: somebody here waits for runs.
    pub async fn open_patiently(context: &Context, wait: Duration, listens: bool) -> Result<Instance, Fault> {
        match &context.config.database {
            Some(database) => {
                let store = reach(&context.out, database, wait).await?;
                Instance::of_database(&context.config, store, listens).await
            }
            None => Instance::of_folder(&context.config).await,
        }
    }

    pub(super) async fn of_database(config: &Config, store: PgStore, listens: bool) -> Result<Instance, Fault> {
        let Some(database) = &config.database else {
            return Err(Fault::internal("INTERNAL", "no database is named"));
        };
        Instance::create_folder(config)?;
        let files = Files::open(config)?;
        let background = Background::default();
        let (queue, feed) = between_processes(config, database, &store, listens, &background);
        let (store, time) = (Arc::new(store), Arc::new(OffsetClock::new()));
        // Before anything is dated here: a machine that is ahead would date runs, and their waits, into the future.
        learn(&store, &time).await?;
        background.tasks.spawn(keep_learning(store.clone(), time.clone(), background.stop.clone()));
        let ledger = Ledger::Database(store, database.postgres.place().into());
        let ports = Ports {
            segments: Segments::new(ledger.rows(), files.artifacts.clone()),
            ledger,
            queue,
            feed,
            clock: time.clone(),
            fleet: Some(Fleet { lease: database.lease, beats: database.postgres.clone().alone(), time }),
            background,
        };
        Instance::compose(config, files, ports)
    }
}

/// Tells a clock the time in the database.
async fn learn(store: &PgStore, time: &OffsetClock) -> Result<(), StoreError> {
    let sent = BootClock.since_boot();
    let now = store.time().await?;
    time.told(now, sent, BootClock.since_boot());
    Ok(())
}

/// Goes on telling it until `stop` fires; in a worker the beats do so too.
async fn keep_learning(store: Arc<PgStore>, time: Arc<OffsetClock>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(LEARN)).await.is_some() {
        // Where the database is away others say so, and the time goes on from what it said last.
        if let Some(Err(error)) = stop.run_until_cancelled(learn(&store, &time)).await {
            tracing::debug!(%error, "the database does not tell its time");
        }
    }
}

/// How processes tell each other of runs to claim, and of events: through Redis if one is named, else through the
/// database, where events are found by looking.
fn between_processes(
    config: &Config,
    database: &DatabaseConfig,
    store: &PgStore,
    listens: bool,
    background: &Background,
) -> (Arc<dyn Queue>, Arc<dyn Feed>) {
    let Background { tasks, stop } = background;
    let name = RandomIds.worker_id().to_string();
    if let Some(RedisConfig { server, prefix }) = config.redis.clone() {
        let lanes = if listens { Lane::ALL.to_vec() } else { Vec::new() };
        let feed = RedisFeedConfig { server: server.clone(), prefix: prefix.clone(), name: name.clone() };
        let queue = RedisQueueConfig { server, prefix, lanes, name };
        return (Arc::new(RedisQueue::start(queue, tasks, stop)), Arc::new(RedisFeed::start(feed, tasks, stop)));
    }
    let pooled = store.pooling() == Pooling::Transaction;
    let notify = NotifyConfig {
        connection: if pooled { database.postgres.bare_options() } else { database.postgres.session_options() },
        listens: listens && !pooled,
        name,
    };
    if listens && pooled {
        tracing::info!("a pooler in transaction mode is in between: runs are looked for once a second");
    }
    (Arc::new(NotifyQueue::start(notify, tasks, stop.clone())), Arc::new(MemoryFeed::new()))
}

/// Opens the database, again and again while it cannot be reached.
async fn reach(out: &Out, database: &DatabaseConfig, wait: Duration) -> Result<PgStore, Fault> {
    let place = database.postgres.place();
    let deadline = Instant::now() + wait;
    let mut tell_at = Instant::now();
    loop {
        let error = match PgStore::open(&database.postgres).await {
            Ok(store) => return Ok(store),
            Err(error) => error,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if !may_pass(&error) || left.is_zero() {
            return Err(unreachable(&place, wait, &error));
        }
        if tell_at <= Instant::now() {
            tell_at = Instant::now() + PROGRESS;
            out.message(format!("waiting for the database {place}, {} s at most: {error}", left.as_secs() + 1));
        }
        tokio::time::sleep(PAUSE.min(left)).await;
    }
}

/// Whether the same call may succeed when the database is up.
fn may_pass(error: &StoreError) -> bool {
    matches!(error, StoreError::Busy(_) | StoreError::Unavailable(_))
}

fn unreachable(place: &str, wait: Duration, error: &StoreError) -> Fault {
    Fault::internal("DATABASE_UNAVAILABLE", format!("the database {place} could not be used for {wait:?}: {error}"))
        .help("is it up, and are DATABASE_URL, the role and the network right? --wait gives it more time")
}
