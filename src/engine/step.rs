//! A step of a run: its state, and what decisions and views need of its history.

use std::sync::Arc;

use crate::model::{Attempt, Failure, Micros, StepStatus, Success};

/// The state of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Waits for needs or for a slot. Entered at creation, and again when an attempt was interrupted or
    /// a person said "retry"; left by a start, a skip, a block or a cancel.
    Pending,
    /// An attempt is under way. Entered by `StepStarted`; left by its outcome.
    Running,
    /// Entered by `StepRetrying`; left by the next start, or a cancel.
    Retrying {
        until: Micros,
    },
    /// The attempt lets time pass, and nobody executes it. Entered by `StepWaiting`; left when `until` or the attempt's
    /// timeout has come, whichever is first (`due`), or by a cancel.
    Waiting {
        until: Micros,
        due: Micros,
    },
    /// Entered by `StepUnknown`; left by a person, or the end of the run.
    Unknown,
    Succeeded,
    Failed,
    Skipped,
    Blocked,
    Cancelled,
}

impl Step {
    pub const fn status(self) -> StepStatus {
        match self {
            Step::Pending => StepStatus::Pending,
            Step::Running => StepStatus::Running,
            Step::Retrying { .. } => StepStatus::Retrying,
            Step::Waiting { .. } => StepStatus::Waiting,
            Step::Unknown => StepStatus::Unknown,
            Step::Succeeded => StepStatus::Succeeded,
            Step::Failed => StepStatus::Failed,
            Step::Skipped => StepStatus::Skipped,
            Step::Blocked => StepStatus::Blocked,
            Step::Cancelled => StepStatus::Cancelled,
        }
    }

    pub const fn is_settled(self) -> bool {
        self.status().is_settled()
    }
}

/// A step and its history, as far as decisions and views need it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    pub state: Step,
    /// The number of the last attempt; 0 before the first.
    pub attempt: Attempt,
    /// Attempts that failed.
    pub failures: u32,
    /// Attempts that were lost.
    pub lost: u32,
    /// When the first attempt started: the base of `deadline`.
    pub first_started: Option<Micros>,
    /// When the current try started: a repetition of a lost attempt keeps it.
    pub since: Option<Micros>,
    /// When the last attempt started.
    pub started: Option<Micros>,
    /// When the step settled.
    pub ended: Option<Micros>,
    /// The next attempt repeats a lost or handed-back one.
    pub again: bool,
    /// The last failure.
    pub failure: Option<Arc<Failure>>,
    pub success: Option<Arc<Success>>,
}

impl StepRecord {
    /// A step that nothing has happened to.
    pub(super) const NEW: StepRecord = StepRecord {
        state: Step::Pending,
        attempt: 0,
        failures: 0,
        lost: 0,
        first_started: None,
        since: None,
        started: None,
        ended: None,
        again: false,
        failure: None,
        success: None,
    };
}
