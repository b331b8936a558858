//! Floor 0: the vocabulary. Ids, time, status words, outcomes and the V2 event.
//!
//! Everything here is plain data that is serialised directly; there are no rules about runs
//! (those are in [`crate::engine`]) and nothing reads a clock or draws randomness.

mod digest;
mod event;
mod ids;
mod outcome;
mod snapshot;
mod status;
mod time;

pub use digest::Digest;
pub use event::{Category, Event, EventKind, ParseEventId, Source, StreamId};
pub use ids::{Attempt, AttemptId, Epoch, RunId, SessionId, StepIx, TenantId, WorkerId};
pub use outcome::{Failure, FailureReason, Outcome, Success};
pub use snapshot::Snapshot;
pub use status::{ArtifactKind, EffectModel, Lane, OnUnknown, RunStatus, StepStatus, UnknownWord, WaitingOn};
pub use time::{Micros, Millis, ParseDuration};
