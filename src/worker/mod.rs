//! Floor 5: lanes as apalis workers.
//!
//! Every lane is an apalis worker whose backend, [`ClaimBackend`], yields runs that this process has
//! claimed. apalis gives concurrency, tracing and the shape of a worker; what it would do about retries,
//! timeouts and delays is not used, because it knows nothing of epochs.

mod backend;
mod lanes;
#[cfg(test)]
mod simulation;

pub use backend::{ClaimBackend, ClaimedRun, LaneSource, Source};
pub use lanes::{Ended, LaneConfig, Lanes};
