//! Which runs are archived, where, and what has become superfluous since.

use async_trait::async_trait;

use super::{StoreError, StoredEvent};
use crate::model::{Digest, Micros, RunId, TenantId};

/// An ended run whose events are not archived yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedRun {
    pub run: RunId,
    pub tenant: TenantId,
    pub ended_at: Micros,
    /// The last sequence that was assigned.
    pub sequence_head: u64,
}

/// Where the archive of a run is, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveRow {
    pub run: RunId,
    /// The key in the artifact store of the file that it is in, with those of other runs.
    pub artifact: String,
    /// Its first byte in that file.
    pub position: u64,
    /// In bytes.
    pub size: u64,
    /// Of those bytes.
    pub digest: Digest,
    /// The last link of the hash chain over the events.
    pub head: Digest,
    pub events: u64,
    pub last_sequence: u64,
    pub at: Micros,
}

/// What [`ArchiveStore::events_of`] answers has about so many bytes at most, so that whoever asks needs no more memory.
pub const EVENT_BYTES: i64 = 8 << 20;

/// The archives of runs. Every verb is one transaction.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// Ended runs without an archive, those that ended first, at most `limit`.
    async fn unarchived(&self, limit: usize) -> Result<Vec<EndedRun>, StoreError>;

    /// The durable events of several runs, at most `limit` altogether and about [`EVENT_BYTES`] of data, in order. A
    /// run whose events are not all there (and every one after it) is left out.
    async fn events_of(&self, runs: &[RunId], limit: usize) -> Result<Vec<(RunId, Vec<StoredEvent>)>, StoreError>;

    /// Records archives that are in one file. A run that has one already keeps it; a run that is gone is passed over.
    async fn record_archives(&self, archives: &[ArchiveRow]) -> Result<(), StoreError>;

    async fn archive(&self, run: RunId) -> Result<Option<ArchiveRow>, StoreError>;

    /// Those of `runs` that are archived, or gone.
    async fn settled(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError>;

    /// Deletes rows of durable events of runs that were archived before `before`, at most `limit` rows. Answers
    /// whether there is more to do.
    async fn trim_events(&self, before: Micros, limit: usize) -> Result<bool, StoreError>;

    /// Trimmed runs that were archived before `before`, at most `limit`.
    async fn expired(&self, before: Micros, limit: usize) -> Result<Vec<RunId>, StoreError>;

    /// Deletes ended runs and everything that belongs to them.
    async fn delete_runs(&self, runs: &[RunId]) -> Result<(), StoreError>;

    /// Files of archives of which no run is left, at most `limit`.
    async fn unused_packs(&self, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Those of these files that no archive is recorded in; a crash may have left them.
    async fn unknown_packs(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError>;

    /// Forgets unused files, after they were deleted.
    async fn forget_packs(&self, artifacts: &[String]) -> Result<(), StoreError>;
}
