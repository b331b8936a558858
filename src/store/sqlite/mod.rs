//! The store in one SQLite file.
//!
//! - **Isolation**: SQLite has one writer at a time, over all processes, so writing verbs are serializable;
//!   each reads and writes in one transaction that takes the write lock first (`BEGIN IMMEDIATE`, or a single
//!   writing statement), which is why they cannot deadlock and need no lock order among themselves. Reading
//!   verbs are single statements over a snapshot (WAL). `BUSY` is repeated five times before it is answered.
//! - **Durability**: `synchronous = FULL`: what was answered is on the disk. Claims and beats could do with
//!   less; switching the pragma costs two more calls to the connection's thread, as much as the sync saves.
//! - **Words** (statuses, lanes) are bound from [`crate::model`]; statements are in `queries/`, one verb a file.

mod archives;
mod arguments;
mod artifacts;
mod commit;
mod connect;
mod create;
mod doctor;
mod errors;
mod idempotency;
mod inserts;
mod list;
mod migrate;
mod probe;
mod reads;
mod rows;
mod runbooks;
mod schema;
mod seed;
mod segments;
mod sessions;
mod workers;
mod writer;

use std::{path::Path, time::Duration};

use async_trait::async_trait;
use sqlx::{
    Row, SqlitePool,
    sqlite::{SqliteArguments, SqliteRow},
};

use self::{
    arguments::{Hex, arguments, hex_list, id},
    errors::store_error,
    rows::{RunRecord, decode},
    writer::Writer,
};
pub use self::{doctor::examine_sqlite, schema::SqliteSchema};
use crate::{
    model::{Digest, Epoch, Lane, Micros, RunId, RunStatus, TenantId, WaitingOn, WorkerId},
    ports::{
        Beat, ClaimRequest, CommitAnswer, Creation, ExpiredWorkers, Idempotency, LiveCount, NewRun, Page, RunCommit,
        RunFilter, RunRow, SignalKind, SignalRow, StepRow, Store, StoreError, StoredEvent, WorkerRow, WorkerState,
    },
    store::{listing, seed::EndedRun, signal},
};

/// A store in one file that several processes of one machine may share.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Writer,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, creating it (mode 0600) and its schema as needed. A file of a newer schema is
    /// `Unavailable`.
    pub async fn open(path: &Path) -> Result<SqliteStore, StoreError> {
        let writer = Writer::new(connect::writer(path).await?);
        Ok(SqliteStore { writer, readers: connect::readers(path) })
    }

    /// Waits for what is in progress and closes the file.
    pub async fn close(self) -> Result<(), StoreError> {
        self.readers.close().await;
        self.writer.close().await.map_err(|error| store_error(&error))
    }

    /// How long a durable commit of one row takes through the connection that all writes take: the floor that a
    /// benchmark compares commits with. The first prepares it, and takes longer.
    pub async fn one_row_commit(&self) -> Result<Duration, StoreError> {
        self.writer.timed(include_str!("queries/probe.sql")).await.map_err(|error| store_error(&error))
    }

    /// Writes ended runs in one transaction, for measurements on a store that is full. Nobody else may write
    /// runs meanwhile.
    pub async fn seed(&self, runs: &[EndedRun]) -> Result<(), StoreError> {
        seed::seed(self, runs).await
    }

    /// Lets the file grow to so many pages only, for this connection: what a full disk looks like.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.writer.limit_pages(pages).await.map_err(|error| store_error(&error))
    }

    async fn write(&self, sql: &'static str, arguments: SqliteArguments) -> Result<Vec<SqliteRow>, StoreError> {
        self.writer.script(sql, arguments).await.map_err(|error| store_error(&error))
    }

    async fn read(&self, sql: &'static str, arguments: SqliteArguments) -> Result<Vec<SqliteRow>, StoreError> {
        sqlx::query_with(sql, arguments).fetch_all(&self.readers).await.map_err(|error| store_error(&error))
    }
}

/// Runs that were claimed, all of them: one that cannot be read must not keep the others from being begun.
fn readable(rows: &[SqliteRow]) -> Vec<RunRow> {
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
impl Store for SqliteStore {
    async fn put_plan(&self, tenant: TenantId, digest: Digest, plan: &[u8], source: &str) -> Result<(), StoreError> {
        let arguments = arguments!(id(tenant.0), digest.0.to_vec(), plan.to_vec(), source.to_owned());
        self.write(include_str!("queries/put_plan.sql"), arguments).await.map(drop)
    }

    async fn plan(&self, tenant: TenantId, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let arguments = arguments!(id(tenant.0), digest.0.to_vec());
        rows::scalar(&self.read(include_str!("queries/plan.sql"), arguments).await?)
    }

    async fn source(&self, tenant: TenantId, digest: Digest) -> Result<Option<String>, StoreError> {
        let arguments = arguments!(id(tenant.0), digest.0.to_vec());
        rows::scalar(&self.read(include_str!("queries/source.sql"), arguments).await?)
    }

    async fn create_runs(&self, runs: &[NewRun], idempotency: Option<&Idempotency>) -> Result<Creation, StoreError> {
        create::runs(self, runs, idempotency).await
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        let arguments = arguments!(
            request.lane.as_str(),
            arguments::limit(request.limit),
            id(request.worker.0),
            request.now.0,
            RunStatus::Claimed.as_str()
        );
        let rows = self.write(include_str!("queries/claim.sql"), arguments).await?;
        let mut runs = readable(&rows);
        // RETURNING promises no order.
        runs.sort_by_key(|run| (std::cmp::Reverse(run.priority), run.created_at, run.id));
        Ok(runs)
    }

    async fn commit(&self, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError> {
        commit::commit(&self.writer, batch).await
    }

    async fn signal(
        &self,
        run: RunId,
        kind: &SignalKind,
        at: Micros,
    ) -> Result<Option<Result<SignalRow, RunStatus>>, StoreError> {
        let (word, data) = signal::signal_parts(kind);
        let arguments =
            arguments!(id(run.0), at.0, word, data, RunStatus::Queued.as_str(), WaitingOn::Capacity.as_str());
        let rows = self.write(include_str!("queries/signal.sql"), arguments).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (status, seq) = rows::status_and_seq(run, row)?;
        if status.is_ended() {
            return Ok(Some(Err(status)));
        }
        Ok(Some(Ok(SignalRow { run, seq, at, kind: kind.clone() })))
    }

    async fn signals(&self, run: RunId, after: i64) -> Result<Vec<SignalRow>, StoreError> {
        reads::signals(self, run, after).await
    }

    async fn signalled(&self, worker: WorkerId) -> Result<Vec<RunId>, StoreError> {
        let rows = self.read(include_str!("queries/signalled.sql"), arguments!(id(worker.0))).await?;
        rows.iter().map(|row| rows::id_of("runs", "id", row).map(RunId)).collect()
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
        let arguments = arguments!(id(worker.0), id(tenant.0));
        Ok(!self.write(include_str!("queries/drain_worker.sql"), arguments).await?.is_empty())
    }

    async fn forget_workers(&self, workers: &[WorkerId]) -> Result<(), StoreError> {
        let arguments = arguments!(hex_list(workers.iter().map(|worker| worker.0)));
        self.write(include_str!("queries/forget_workers.sql"), arguments).await.map(drop)
    }

    async fn owners(&self) -> Result<Vec<WorkerId>, StoreError> {
        let rows = self.read(include_str!("queries/owners.sql"), arguments!()).await?;
        rows.iter().map(|row| rows::id_of("workers", "id", row).map(WorkerId)).collect()
    }

    async fn requeue(&self, dead: &[WorkerId], _now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let arguments = arguments!(
            hex_list(dead.iter().map(|worker| worker.0)),
            arguments::limit(limit),
            RunStatus::Queued.as_str(),
            WaitingOn::Capacity.as_str()
        );
        let rows = self.write(include_str!("queries/requeue.sql"), arguments).await?;
        rows.iter().map(rows::run_and_lane).collect()
    }

    async fn take_over(&self, dead: &[WorkerId], request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        let arguments = arguments!(
            hex_list(dead.iter().map(|worker| worker.0)),
            request.lane.as_str(),
            arguments::limit(request.limit),
            id(request.worker.0),
            request.now.0,
            RunStatus::Claimed.as_str()
        );
        let mut runs = readable(&self.write(include_str!("queries/take_over.sql"), arguments).await?);
        runs.sort_by_key(|run| run.id);
        Ok(runs)
    }

    async fn owned(&self, worker: WorkerId) -> Result<Vec<(RunId, Epoch)>, StoreError> {
        let rows = self.read(include_str!("queries/owned.sql"), arguments!(id(worker.0))).await?;
        rows.iter().map(rows::run_and_epoch).collect()
    }

    async fn give_back(&self, worker: WorkerId, runs: &[(RunId, Epoch)]) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let runs: Vec<(Hex, i64)> = runs.iter().map(|(run, epoch)| (Hex(run.0), epoch.0)).collect();
        let arguments = arguments!(
            id(worker.0),
            arguments::json(&runs),
            RunStatus::Queued.as_str(),
            WaitingOn::Capacity.as_str(),
            RunStatus::Running.as_str()
        );
        let rows = self.write(include_str!("queries/give_back.sql"), arguments).await?;
        rows.iter().map(rows::run_and_lane).collect()
    }

    async fn wake_due(&self, now: Micros, limit: usize) -> Result<Vec<(RunId, Lane)>, StoreError> {
        let arguments = arguments!(now.0, arguments::limit(limit), WaitingOn::Capacity.as_str());
        let rows = self.write(include_str!("queries/wake_due.sql"), arguments).await?;
        rows.iter().map(rows::run_and_lane).collect()
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>, StoreError> {
        let rows = self.read(include_str!("queries/run.sql"), arguments!(id(run.0))).await?;
        rows.first().map(decode::<RunRecord, _>).transpose()
    }

    async fn runs(&self, tenant: TenantId, filter: &RunFilter) -> Result<Page<RunRow>, StoreError> {
        listing::runs(self, tenant, filter).await
    }

    async fn live_counts(&self, tenant: TenantId) -> Result<Vec<LiveCount>, StoreError> {
        let rows = self.read(include_str!("queries/live_counts.sql"), arguments!(id(tenant.0))).await?;
        rows.iter().map(rows::live_count).collect()
    }

    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError> {
        let rows = self.read(include_str!("queries/queue_position.sql"), arguments!(id(run.0))).await?;
        let position: Option<i64> = rows::scalar(&rows)?;
        Ok(position.and_then(|position| u64::try_from(position).ok()))
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
        let rows = self.write(include_str!("queries/change_mark.sql"), arguments!()).await?;
        let row = rows.first().ok_or_else(|| StoreError::Unavailable("no data version".to_owned()))?;
        row.try_get(0).map_err(|error| store_error(&error))
    }
}
