//! Floor 3: traits of everything outside the pure core, and the records that pass through them.
//!
//! No implementation lives here; adapters are on floor 4 and never know each other.

mod archives;
mod artifact_index;
mod artifacts;
mod bundles;
mod executor;
mod feed;
mod health;
mod idempotency;
mod lease;
mod liveness;
mod note;
mod processes;
mod queue;
mod runbook_folder;
mod runbooks;
mod secrets;
mod segments;
mod sessions;
mod snapshots;
mod spool;
mod store;
mod time;
mod workers;
mod workspaces;

pub use archives::{ArchiveRow, ArchiveStore, EVENT_BYTES, EndedRun};
pub use artifact_index::{ArtifactCursor, ArtifactIndex, ArtifactPlace, ArtifactRow};
pub use artifacts::{ArtifactError, ArtifactReader, ArtifactWriter, Artifacts};
pub use bundles::{BundleError, Bundles};
pub use executor::{
    AttemptContext, Executor, Executors, LogChunk, LogPayload, LogSender, LogSink, LogStream, log_channel,
};
pub use feed::{Announced, Announcements, Feed, Subscription};
pub use health::{Probe, Unready};
pub use idempotency::{IdempotencyStore, IdempotentAnswer};
pub use lease::{BootTime, Gate, StoreTime};
pub use liveness::Liveness;
pub use note::Note;
pub use processes::{Exit, Process, ProcessSpec, Processes, SpawnError};
pub use queue::{Doorbell, Queue};
pub use runbook_folder::{FolderFile, FolderScan, FolderText, RunbookFolder};
pub use runbooks::{NewRunbookVersion, RunbookPut, RunbookStore, RunbookVersionRow};
pub use secrets::{Mask, MaskStream, Masks, SecretError, SecretValue, Secrets};
pub use segments::{SegmentRow, SegmentStore};
pub use sessions::{SessionChange, SessionFilter, SessionRow, SessionStore};
pub use snapshots::{SnapshotError, Snapshots};
pub use spool::Spool;
pub use store::{
    ClaimRequest, CommitAnswer, Creation, Idempotency, LabelFilter, LiveCount, NewRun, Page, RunBirth, RunCommit,
    RunFilter, RunRow, SignalKind, SignalRow, StepRow, Store, StoreError, StoredEvent, Trigger,
};
pub use time::{Clock, Ids};
pub use workers::{Beat, ExpiredWorkers, WorkerRow, WorkerState};
pub use workspaces::{ARTIFACTS, Workspaces};
