//! Where the chunks of runs are that were written on other machines.

use async_trait::async_trait;

use super::StoreError;
use crate::model::{Digest, Micros, RunId};

/// Some chunks of one run, as they are stored: JSON Lines in one zstd frame, which is a part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    pub run: RunId,
    /// Of its first chunk and of its last; no other chunk of the same owner is between them.
    pub first_sequence: u64,
    pub last_sequence: u64,
    /// The key in the artifact store of the file that it is in, with those of other runs.
    pub artifact: String,
    /// Its first byte in that file.
    pub position: u64,
    /// In bytes.
    pub size: u64,
    /// Of those bytes.
    pub digest: Digest,
    pub at: Micros,
}

/// The index of segments. Every verb is one transaction. No verb locks a run.
#[async_trait]
pub trait SegmentStore: Send + Sync {
    /// Records segments whose files are complete. One that is known (by run and first sequence) is left alone; one of
    /// a run that is archived, or gone, is passed over.
    async fn put_segments(&self, segments: &[SegmentRow]) -> Result<(), StoreError>;

    /// The segments of a run that have chunks with a sequence above `after`, in order, at most `limit`.
    async fn segments(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<SegmentRow>, StoreError>;

    /// Files in which every segment is of an archived run, at most `limit`.
    async fn unused_segments(&self, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Those of these files that no segment is recorded in.
    async fn unknown_segments(&self, artifacts: &[String]) -> Result<Vec<String>, StoreError>;

    /// Forgets the segments in unused files, after those were deleted.
    async fn forget_segments(&self, artifacts: &[String]) -> Result<(), StoreError>;
}
