//! The store in a PostgreSQL database that many processes share.
//!
//! - **Isolation**: READ COMMITTED. Every writing verb is one statement that first locks the rows that it will
//!   change and reads, from those very row versions, whether its guard holds: a waiter that gets the lock looks at
//!   the row again as it is then. Nothing is decided by a row that was read and not locked, so there is nothing
//!   that SERIALIZABLE would refuse, and it would cost every claim and commit a conflict check and its repetitions.
//!   Uniqueness (ids, idempotency keys, versions of runbooks) is that of indexes. Reading verbs are single
//!   statements over one snapshot. (`docs/decisions/0010-isolation-and-types-on-postgresql.md`)
//! - **Lock order**: sessions, idempotency key, workers, runs, each in the order of their ids; then rows of one run
//!   (events, steps, signals), which only the holder of the run's lock writes. Claims and wake-ups pass over locked
//!   rows; they wait for nobody.
//! - **Repetition**: serialization failures, deadlocks, lock and statement timeouts and lost connections are
//!   repeated up to five times, with jitter, before they are `Busy`. After a lost connection nobody knows whether
//!   the statement was carried out: each verb either may be carried out twice or finds out before it is repeated.
//! - **Durability**: what was answered is on the server's disk, as far as `synchronous_commit` is not switched off
//!   there. A standby that is promoted must be a synchronous one.
//! - **Pooling**: behind a pooler in transaction mode nothing is prepared and each statement is wrapped in a
//!   transaction of its own (`link.rs`).

mod archives;
mod arguments;
mod artifacts;
mod checks;
mod commit;
mod connect;
mod counts;
mod create;
mod doctor;
mod errors;
mod idempotency;
mod inserts;
mod link;
mod list;
mod measure;
mod migrate;
mod probe;
mod reads;
mod ready;
mod records;
mod rows;
mod run_reads;
mod runbooks;
mod seed;
mod segments;
mod sessions;
mod signals;
mod types;
mod workers;

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{
    Connection, PgConnection,
    postgres::{PgArguments, PgRow},
};

use self::{
    arguments::arguments,
    link::Link,
    records::{RunRecord, decode, scalar},
    run_reads::RunReads,
    types::{At, restored, stored},
};
pub use self::{
    connect::{BadUrl, PgConfig, Pooling, SCHEMES},
    doctor::examine_postgres,
    measure::PgCounts,
};
use crate::{
    model::{Digest, Epoch, Lane, Micros, RunId, RunStatus, TenantId, WaitingOn, WorkerId},
    ports::{
        Beat, ClaimRequest, CommitAnswer, Creation, ExpiredWorkers, Idempotency, LiveCount, NewRun, Page, RunCommit,
        RunFilter, RunRow, SignalKind, SignalRow, StepRow, Store, StoreError, StoredEvent, WorkerRow, WorkerState,
    },
    store::{listing, schema::MigrationState, seed::EndedRun},
};

/// A store in a PostgreSQL database. Cheap to share in an `Arc`.
#[derive(Debug)]
pub struct PgStore {
    link: Link,
    run_reads: RunReads,
}

impl PgStore {
    /// Connects, and creates or migrates the schema as needed, for which the role must own it; a role that may
    /// not opens a database that is up to date. A newer schema is `Unavailable`.
    pub async fn open(config: &PgConfig) -> Result<PgStore, StoreError> {
        let (mut connection, pooling) = connect::first(config).await?;
        let migrated = migrate::up(&mut connection).await;
        connection.close().await.ok();
        let applied = migrated.map_err(|error| at(config, error))?;
        if !applied.is_empty() {
            tracing::info!(database = %config.place(), migrations = applied.join(", "), "migrated the schema");
        }
        Ok(PgStore { link: Link::new(config, pooling), run_reads: RunReads::new() })
    }

    /// Connects to a database whose schema is this build's; anything else is `Unavailable`.
    pub async fn open_migrated(config: &PgConfig) -> Result<PgStore, StoreError> {
        let (mut connection, pooling) = connect::first(config).await?;
        let current = migrate::current(&mut connection).await;
        connection.close().await.ok();
        current.map_err(|error| at(config, error))?;
        Ok(PgStore { link: Link::new(config, pooling), run_reads: RunReads::new() })
    }

    /// Writes ended runs, for measurements on a store that is full; their plans are stored.
    pub async fn seed(&self, runs: &[EndedRun]) -> Result<(), StoreError> {
        seed::seed(self, runs).await
    }

    /// Waits for what is in progress and closes the connections.
    pub async fn close(&self) {
        self.link.close().await;
    }

    /// What is between here and the server: behind [`Pooling::Transaction`] nothing can LISTEN.
    pub fn pooling(&self) -> Pooling {
        self.link.pooling()
    }

    /// Connections that are open, and those of them that are idle.
    pub fn connections(&self) -> (u32, usize) {
        self.link.usage()
    }

    /// What the clock of the database shows.
    pub async fn time(&self) -> Result<Micros, StoreError> {
        let rows = self.rows(include_str!("queries/time.sql"), arguments!()).await?;
        let now: Option<At> = scalar(&rows)?;
        now.map(|At(now)| now).ok_or_else(|| StoreError::Unavailable("the database does not tell its time".to_owned()))
    }

    /// Statements that were sent so far.
    pub fn statements(&self) -> u64 {
        self.link.statements()
    }

    /// Runs a statement that may be carried out twice; passing errors are repeated.
    async fn rows(&self, sql: &'static str, arguments: PgArguments) -> Result<Vec<PgRow>, StoreError> {
        self.link.rows(sql, arguments).await
    }

    /// The same, planned anew for these arguments each time.
    async fn rows_once(&self, sql: &'static str, arguments: PgArguments) -> Result<Vec<PgRow>, StoreError> {
        self.link.rows_unprepared(sql, arguments).await
    }

    /// The same, for statements without an answer.
    async fn execute(&self, sql: &'static str, arguments: PgArguments) -> Result<(), StoreError> {
        self.link.rows(sql, arguments).await.map(drop)
    }
}

/// The schema of a database, for the commands that change it.
#[derive(Debug)]
pub struct PgSchema {
    connection: PgConnection,
}

impl PgSchema {
    /// Connects, and changes nothing.
    pub async fn open(config: &PgConfig) -> Result<PgSchema, StoreError> {
        connect::first(config).await.map(|(connection, _)| PgSchema { connection })
    }

    /// What this build knows, and what of it the database has. A newer schema is `Unavailable`.
    pub async fn status(&mut self) -> Result<Vec<MigrationState>, StoreError> {
        migrate::status(&mut self.connection).await
    }

    /// Applies the next migration, if there is one; answers its name. Of processes that do it at the same time each
    /// migration is applied by one.
    pub async fn step_up(&mut self) -> Result<Option<&'static str>, StoreError> {
        migrate::step_up(&mut self.connection).await
    }

    /// Takes back the last migration with all data that only it holds; answers its name.
    pub async fn step_down(&mut self) -> Result<Option<&'static str>, StoreError> {
        migrate::step_down(&mut self.connection).await
    }

    /// The workers that a change of the schema would pull the ground from under.
    pub async fn live_workers(&mut self) -> Result<Vec<String>, StoreError> {
        migrate::live_workers(&mut self.connection).await
    }

    /// Brings the schema up to this build's version; answers the names of what was applied.
    pub async fn up(&mut self) -> Result<Vec<&'static str>, StoreError> {
        migrate::up(&mut self.connection).await
    }

    /// Takes back the last `steps` migrations with all data that only they hold; answers their names.
    pub async fn down(&mut self, steps: usize) -> Result<Vec<&'static str>, StoreError> {
        migrate::down(&mut self.connection, steps).await
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.connection.close().await.ok();
    }
}

/// Says which database an error is about.
fn at(config: &PgConfig, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("{}: {why}", config.place())),
        other => other,
    }
}

/// Runs that were claimed, all of them: one that cannot be read must not keep the others from being begun.
fn readable(rows: &[PgRow]) -> Vec<RunRow> {
    let read = |row| match decode::<RunRecord, RunRow>(row) {
        Ok(run) => Some(run),
        Err(error) => {
            tracing::error!(%error, "a run was claimed that cannot be read; it is left where it is");
            None
        }
    };
    rows.iter().filter_map(read).collect()
}

#[async_trait]
impl Store for PgStore {
    async fn put_plan(&self, tenant: TenantId, digest: Digest, plan: &[u8], source: &str) -> Result<(), StoreError> {
        let arguments = arguments!(tenant.0, digest.0.to_vec(), plan.to_vec(), stored(source).into_owned());
        self.execute(include_str!("queries/put_plan.sql"), arguments).await
    }

    async fn plan(&self, tenant: TenantId, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        scalar(&self.rows(include_str!("queries/plan.sql"), arguments!(tenant.0, digest.0.to_vec())).await?)
    }

    async fn source(&self, tenant: TenantId, digest: Digest) -> Result<Option<String>, StoreError> {
        let rows = self.rows(include_str!("queries/source.sql"), arguments!(tenant.0, digest.0.to_vec())).await?;
        Ok(scalar(&rows)?.map(restored))
    }

    async fn create_runs(&self, runs: &[NewRun], idempotency: Option<&Idempotency>) -> Result<Creation, StoreError> {
        create::runs(self, runs, idempotency).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        let arguments = arguments!(
            request.lane.as_str(),
            arguments::limit(request.limit),
            request.worker.0,
            At(request.now),
            RunStatus::Claimed.as_str()
        );
        let rows = self.rows(include_str!("queries/claim.sql"), arguments).await?;
        Ok(readable(&rows))
    }

    async fn commit(&self, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError> {
        commit::commit(self, batch).await
    }

    async fn signal(
        &self,
        run: RunId,
        kind: &SignalKind,
        at: Micros,
    ) -> Result<Option<Result<SignalRow, RunStatus>>, StoreError> {
        signals::signal(self, run, kind, at).await
    }

    async fn signals(&self, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError> {
        reads::signals(self, run, after).await
    }

    async fn signalled(&self, worker: WorkerId) -> Result<Vec<RunId>, StoreError> {
        let rows = self.rows(include_str!("queries/signalled.sql"), arguments!(worker.0)).await?;
        rows.iter().map(|row| rows::id_of(row).map(RunId)).collect()
    }

    async fn register_worker(&self, worker: &WorkerRow, lease: Option<Duration>) -> Result<Beat, StoreError> {
        workers::register(self, worker, lease).await
    }

    async fn beat(&self, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError> {
        workers::beat(self, worker, lease).await
    }

    async fn expired_workers(&self, limit: usize) -> Result<ExpiredWorkers, StoreError> {
        workers::expired(self, limit).await
    }

    async fn workers(
        &self,
        tenant: TenantId,
        after: Option<WorkerId>,
        limit: usize,
    ) -> Result<Page<WorkerState>, StoreError> {
        workers::list(self, tenant, after, limit).await
    }

    async fn drain_worker(&self, tenant: TenantId, worker: WorkerId) -> Result<bool, StoreError> {
        workers::drain(self, tenant, worker).await
    }

    async fn forget_workers(&self, workers: &[WorkerId]) -> Result<(), StoreError> {
        let ids: Vec<_> = workers.iter().map(|worker| worker.0).collect();
        self.execute(include_str!("queries/forget_workers.sql"), arguments!(ids)).await
    }

    async fn owners(&self) -> Result<Vec<WorkerId>, StoreError> {
        let rows = self.rows(include_str!("queries/owners.sql"), arguments!()).await?;
        rows.iter().map(|row| rows::id_of(row).map(WorkerId)).collect()
    }

    async fn requeue(&self, dead: &[WorkerId], _now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let arguments = arguments!(
            dead.iter().map(|worker| worker.0).collect::<Vec<_>>(),
            arguments::limit(limit),
            RunStatus::Queued.as_str(),
            WaitingOn::Capacity.as_str()
        );
        let rows = self.rows(include_str!("queries/requeue.sql"), arguments).await?;
        rows.iter().map(rows::run_and_lane).collect()
    }

    async fn take_over(&self, dead: &[WorkerId], request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        let arguments = arguments!(
            dead.iter().map(|worker| worker.0).collect::<Vec<_>>(),
            request.lane.as_str(),
            arguments::limit(request.limit),
            request.worker.0,
            At(request.now),
            RunStatus::Claimed.as_str()
        );
        Ok(readable(&self.rows(include_str!("queries/take_over.sql"), arguments).await?))
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<(RunId, Epoch)>, StoreError> {
        let rows = self.rows(include_str!("queries/owned.sql"), arguments!(worker.0)).await?;
        rows.iter().map(rows::run_and_epoch).collect()
    }

    async fn give_back(&self, worker: WorkerId, runs: &[(RunId, Epoch)]) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let arguments = arguments!(
            worker.0,
            runs.iter().map(|(run, _)| run.0).collect::<Vec<_>>(),
            runs.iter().map(|(_, epoch)| epoch.0).collect::<Vec<_>>(),
            RunStatus::Queued.as_str(),
            WaitingOn::Capacity.as_str(),
            RunStatus::Running.as_str()
        );
        let rows = self.rows(include_str!("queries/give_back.sql"), arguments).await?;
        rows.iter().map(rows::run_and_lane).collect()
    }

    async fn wake_due(&self, now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let arguments = arguments!(At(now), arguments::limit(limit), WaitingOn::Capacity.as_str());
        let rows = self.rows(include_str!("queries/wake_due.sql"), arguments).await?;
        rows.iter().map(rows::run_and_lane).collect()
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        self.run_reads.run(&self.link, run).await
    }

    async fn runs(&self, tenant: TenantId, filter: &RunFilter) -> Result<Page<RunRow>, StoreError> {
        listing::runs(self, tenant, filter).await
    }

    async fn live_counts(&self, tenant: TenantId) -> Result<Vec<LiveCount>, StoreError> {
        counts::live(self, tenant).await
    }

    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        counts::queue_position(self, run).await
    }

    async fn events(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        reads::events(self, run, after, limit).await
    }

    async fn facts(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        reads::facts(self, run, after, limit).await
    }

    async fn steps(&self, run: RunId) -> Result<Vec<StepRow>, StoreError> {
        reads::steps(self, run).await
    }

    async fn change_mark(&self) -> Result<i64, StoreError> {
        let rows = self.rows(include_str!("queries/change_mark.sql"), arguments!()).await?;
        scalar(&rows)?.ok_or_else(|| StoreError::Unavailable("no snapshot".to_owned()))
    }
}
