//! Floor 4: services and loops over the ports.
//!
//! `owner` drives one run: input, decision, commit, effects. `committer` groups the commits of many
//! owners into one transaction. `runs` creates, signals and shows runs. `reaper` takes back what dead
//! workers left, `attendant` looks after those of one worker. No rule about what may happen to a run is here: those are in [`crate::engine`].

mod archive;
mod artifacts;
mod attempt;
mod attendant;
mod committer;
mod events;
mod fence;
mod handoff;
mod heritage;
mod history;
mod leases;
mod owner;
mod patience;
mod plans;
mod problems;
mod reaper;
mod rest;
mod retention;
mod run_folder;
mod runbook_sync;
mod runbooks;
mod runs;
mod said;
mod segments;
mod session;
mod sessions;
mod signals;
mod step_log;
mod strays;
mod stream;
mod submit;
mod taking_up;
mod views;
mod why;
mod workers;

use std::{sync::Arc, time::Duration};

use crate::{
    model::TenantId,
    ports::{Bundles, Clock, Executors, Feed, Ids, Masks, Queue, Secrets, Snapshots, Spool, Store, Workspaces},
};

pub use archive::{ArchiveError, Archiver, Archives, Damage};
pub use artifacts::{ArtifactsError, IndexedArtifacts, NewArtifact, RunArtifacts, Upload};
pub use attempt::render;
pub use attendant::Attendant;
pub use committer::{CommitError, Committer, Terms};
pub use fence::{Beats, Fence, FenceError, Heart, LeaseConfig, LeaseTooShort, Lost};
pub use handoff::{Arrivals, Handoff};
pub use heritage::Heritage;
pub use history::{EventPage, EventRange, History, HistoryError, HistoryReader, KEPT, RangeError, parse_cursor};
pub use leases::Leases;
pub use owner::{Born, Claim, OwnError, Owned, Owner};
pub use plans::{PlanError, Plans};
pub use problems::Problem;
pub use reaper::Reaper;
pub use rest::StepView;
pub use retention::{Retention, RetentionError, Sweeper};
pub use runbook_sync::{RunbookSync, put_shipped};
pub use runbooks::{Checked, Draft, Origin, Put, RunbookVersion, RunbookView, Runbooks, RunbooksError};
pub use runs::{RunView, Runs, RunsError};
pub use segments::{OpenRun, SegmentError, Segments, Uploads};
pub use sessions::{AnswerWithSession, LaneCount, NewSession, Opened, SessionView, Sessions, SessionsError};
pub use signals::Signals;
pub use step_log::{LogFilter, chunk_bytes};
pub use stream::{Change, Changes, EventStream, Item, Shown, Streams};
pub use submit::{Answer, Once, StoredVersion, Submission, SubmitError, Submitted, Wishes};
pub use why::{Blocker, BlockerKind, Why};
pub use workers::{WorkerHealth, WorkerView, Workers, WorkersError};

/// Everything outside that owners need. Cheap to clone.
#[derive(Clone)]
pub struct World {
    pub store: Arc<dyn Store>,
    pub queue: Arc<dyn Queue>,
    pub feed: Arc<dyn Feed>,
    pub spool: Arc<dyn Spool>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub secrets: Arc<dyn Secrets>,
    pub masks: Arc<dyn Masks>,
    pub executors: Arc<dyn Executors>,
    pub workspaces: Arc<dyn Workspaces>,
    /// Takes working folders to other machines; absent where one machine is all there is.
    pub snapshots: Option<Arc<dyn Snapshots>>,
    /// The files that belong to runbooks.
    pub bundles: Arc<dyn Bundles>,
    pub archives: Archives,
    /// Chunks that go to other machines, and come from there.
    pub segments: Segments,
    pub plans: Plans,
    pub signals: Signals,
    pub limits: Limits,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl World {
    /// Reads the events of a tenant's runs.
    pub fn history(&self, tenant: TenantId) -> History {
        History::new(tenant, self.store.clone(), self.spool.clone(), self.clock.clone())
            .with_archives(self.archives.clone())
            .with_segments(self.segments.clone())
    }
}

/// What an owner allows a run.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Attempts under way at once in one run.
    pub slots: u32,
    /// From TERM to KILL.
    pub grace: Duration,
    /// While the store is full or cannot be reached: whether owners keep their runs and try again until they are
    /// dropped, with what their attempts came to in memory. If not, they give up, and the run is taken up again by
    /// whoever finds their process dead.
    pub patient: bool,
    /// Whether somebody wakes parked runs when their time has come. If not, owners keep runs that wait for a time, however
    /// long it is.
    pub is_woken: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { slots: 64, grace: Duration::from_secs(5), patient: false, is_woken: true }
    }
}
