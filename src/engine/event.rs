//! Facts: what was decided about a run. Committed as durable events, in the form that clients read.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Verdict;
use crate::{
    model::{Attempt, Category, EventKind, Failure, Micros, RunStatus, Snapshot, StepIx, Success, WaitingOn},
    runbook::{Phase, Plan},
};

/// A fact with its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub at: Micros,
    pub event: Event,
}

/// One fact about a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    RunStarted,
    /// A new owner went on after a park or a hand-back.
    RunResumed,
    /// A new owner went on after the last one died.
    RunRecovered {
        recoveries: u32,
    },
    /// Nothing can be done before something happens; the run gives up its owner.
    RunParked {
        waiting_on: WaitingOn,
    },
    CancelRequested {
        by: String,
        reason: String,
        force: bool,
    },
    /// The body was not done in time.
    RunTimedOut,
    /// The workers of the run died too often.
    RunGivenUp {
        recoveries: u32,
    },
    /// Handlers begin.
    PhaseStarted {
        phase: Phase,
    },
    /// The handlers of a phase were not done in time.
    PhaseTimedOut {
        phase: Phase,
    },
    /// The durable intent: committed before the attempt begins. `again` if it repeats a lost one.
    StepStarted {
        step: StepIx,
        attempt: Attempt,
        again: bool,
    },
    StepSucceeded {
        step: StepIx,
        attempt: Attempt,
        success: Success,
    },
    /// The step has failed for good. `attempt` is 0 if it never ran.
    StepFailed {
        step: StepIx,
        attempt: Attempt,
        failure: Failure,
    },
    /// An attempt failed; the next one begins at `until` (whole milliseconds).
    StepRetrying {
        step: StepIx,
        attempt: Attempt,
        failure: Failure,
        until: Micros,
    },
    /// An attempt lets time pass until `until` (whole milliseconds), whoever owns the run then.
    StepWaiting {
        step: StepIx,
        attempt: Attempt,
        until: Micros,
    },
    /// An attempt was lost or handed back, and may begin again at once. Not a failure.
    StepInterrupted {
        step: StepIx,
        attempt: Attempt,
        lost: bool,
    },
    /// An attempt was lost and nobody knows what it did.
    StepUnknown {
        step: StepIx,
        attempt: Attempt,
    },
    /// A person said what became of an unknown step.
    StepResolved {
        step: StepIx,
        attempt: Attempt,
        verdict: Verdict,
        by: String,
        note: String,
    },
    StepSkipped {
        step: StepIx,
    },
    StepBlocked {
        step: StepIx,
    },
    StepCancelled {
        step: StepIx,
        attempt: Attempt,
    },
    /// Ended steps have left something in the run's working folder; `place` is where working folders are that this one
    /// is among.
    WorkspaceUsed {
        place: String,
    },
    /// The working folder was stored, so that it may go on anywhere; `None` if there was nothing in it.
    WorkspaceStored {
        snapshot: Option<Snapshot>,
    },
    /// The working folder could not be stored: it stays where it is.
    WorkspaceNotStored {
        failure: Failure,
    },
    RunFinished {
        status: RunStatus,
        error: Option<Failure>,
    },
}

/// A stored event that is no fact about a run of this plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {kind}: {why}")]
pub struct FactError {
    pub kind: String,
    pub why: String,
}

/// The `data` of every fact; absent fields are left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Data {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt: Option<Attempt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    again: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lost: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Micros>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outputs: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<RunStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    waiting_on: Option<WaitingOn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recoveries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    force: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
}

impl Event {
    /// The step that the fact is about.
    pub fn step(&self) -> Option<StepIx> {
        match self {
            Event::StepStarted { step, .. }
            | Event::StepSucceeded { step, .. }
            | Event::StepFailed { step, .. }
            | Event::StepRetrying { step, .. }
            | Event::StepWaiting { step, .. }
            | Event::StepInterrupted { step, .. }
            | Event::StepUnknown { step, .. }
            | Event::StepResolved { step, .. }
            | Event::StepSkipped { step }
            | Event::StepBlocked { step }
            | Event::StepCancelled { step, .. } => Some(*step),
            _ => None,
        }
    }

    const fn action(&self) -> &'static str {
        match self {
            Event::RunStarted => "run_started",
            Event::RunResumed => "run_resumed",
            Event::RunRecovered { .. } => "run_recovered",
            Event::RunParked { .. } => "run_parked",
            Event::CancelRequested { .. } => "cancel_requested",
            Event::RunTimedOut => "run_timed_out",
            Event::RunGivenUp { .. } => "run_given_up",
            Event::PhaseStarted { .. } => "phase_started",
            Event::PhaseTimedOut { .. } => "phase_timed_out",
            Event::StepStarted { .. } => "step_started",
            Event::StepSucceeded { .. } => "step_succeeded",
            Event::StepFailed { .. } => "step_failed",
            Event::StepRetrying { .. } => "step_retrying",
            Event::StepWaiting { .. } => "step_waiting",
            Event::StepInterrupted { .. } => "step_interrupted",
            Event::StepUnknown { .. } => "step_unknown",
            Event::StepResolved { .. } => "step_resolved",
            Event::StepSkipped { .. } => "step_skipped",
            Event::StepBlocked { .. } => "step_blocked",
            Event::StepCancelled { .. } => "step_cancelled",
            Event::WorkspaceUsed { .. } => "workspace_used",
            Event::WorkspaceStored { .. } => "workspace_stored",
            Event::WorkspaceNotStored { .. } => "workspace_not_stored",
            Event::RunFinished { .. } => "run_finished",
        }
    }

    /// The category, action and data that are stored and that clients read.
    pub fn into_stored(self, plan: &Plan) -> (EventKind, Value) {
        let kind = EventKind { category: Category::Lifecycle, action: self.action().to_owned() };
        let step = self.step().map(|ix| plan.step(ix).id.to_string());
        let data = Data { step, ..self.into_data() };
        // A struct of strings, numbers and JSON values always serialises.
        (kind, serde_json::to_value(data).unwrap_or_default())
    }

    fn into_data(self) -> Data {
        let empty = Data::default();
        match self {
            Event::RunStarted
            | Event::RunResumed
            | Event::RunTimedOut
            | Event::StepSkipped { .. }
            | Event::StepBlocked { .. } => empty,
            Event::RunRecovered { recoveries } | Event::RunGivenUp { recoveries } => {
                Data { recoveries: Some(recoveries), ..empty }
            }
            Event::RunParked { waiting_on } => Data { waiting_on: Some(waiting_on), ..empty },
            Event::CancelRequested { by, reason, force } => {
                Data { by: Some(by), reason: Some(reason), force: force.then_some(true), ..empty }
            }
            Event::PhaseStarted { phase } | Event::PhaseTimedOut { phase } => Data { phase: Some(phase), ..empty },
            Event::StepStarted { attempt, again, .. } => {
                Data { attempt: Some(attempt), again: again.then_some(true), ..empty }
            }
            Event::StepSucceeded { attempt, success: Success { outputs, result }, .. } => {
                Data { attempt: Some(attempt), outputs: (!outputs.is_empty()).then_some(outputs), result, ..empty }
            }
            Event::StepFailed { attempt, failure, .. } => {
                Data { attempt: Some(attempt), error: Some(failure), ..empty }
            }
            Event::StepRetrying { attempt, failure, until, .. } => {
                Data { attempt: Some(attempt), error: Some(failure), until: Some(until), ..empty }
            }
            Event::StepWaiting { attempt, until, .. } => Data { attempt: Some(attempt), until: Some(until), ..empty },
            Event::StepInterrupted { attempt, lost, .. } => Data { attempt: Some(attempt), lost: Some(lost), ..empty },
            Event::StepUnknown { attempt, .. } | Event::StepCancelled { attempt, .. } => {
                Data { attempt: Some(attempt), ..empty }
            }
            Event::StepResolved { attempt, verdict, by, note, .. } => {
                Data { attempt: Some(attempt), verdict: Some(verdict), by: Some(by), note: Some(note), ..empty }
            }
            Event::WorkspaceUsed { place } => Data { place: Some(place), ..empty },
            Event::WorkspaceStored { snapshot } => Data { snapshot, ..empty },
            Event::WorkspaceNotStored { failure } => Data { error: Some(failure), ..empty },
            Event::RunFinished { status, error } => Data { status: Some(status), error, ..empty },
        }
    }

    /// Reads a stored event back. `Ok(None)` for durable events that are not facts about the run's state.
    pub fn from_stored(plan: &Plan, kind: &EventKind, data: &Value) -> Result<Option<Event>, FactError> {
        if kind.category != Category::Lifecycle {
            return Ok(None);
        }
        let fail = |why: &str| FactError { kind: kind.to_string(), why: why.to_owned() };
        let data = Data::deserialize(data).map_err(|error| fail(&error.to_string()))?;
        let step = match &data.step {
            Some(id) => Some(plan.find(id).ok_or_else(|| fail("a step that is not in the plan"))?),
            None => None,
        };
        Self::from_data(&kind.action, step, data)
            .map(Some)
            .ok_or_else(|| fail("a field is missing or the action is unknown"))
    }

    /// `None` where the action is unknown or one of its fields is missing.
    fn from_data(action: &str, step: Option<StepIx>, data: Data) -> Option<Event> {
        if action.starts_with("step_") {
            return Self::from_step_data(action, step?, data);
        }
        Some(match action {
            "run_started" => Event::RunStarted,
            "run_resumed" => Event::RunResumed,
            "run_recovered" => Event::RunRecovered { recoveries: data.recoveries? },
            "run_parked" => Event::RunParked { waiting_on: data.waiting_on? },
            "cancel_requested" => {
                Event::CancelRequested { by: data.by?, reason: data.reason?, force: data.force.unwrap_or(false) }
            }
            "run_timed_out" => Event::RunTimedOut,
            "run_given_up" => Event::RunGivenUp { recoveries: data.recoveries? },
            "phase_started" => Event::PhaseStarted { phase: data.phase? },
            "phase_timed_out" => Event::PhaseTimedOut { phase: data.phase? },
            "workspace_used" => Event::WorkspaceUsed { place: data.place? },
            "workspace_stored" => Event::WorkspaceStored { snapshot: data.snapshot },
            "workspace_not_stored" => Event::WorkspaceNotStored { failure: data.error? },
            "run_finished" => Event::RunFinished { status: data.status?, error: data.error },
            _ => return None,
        })
    }

    fn from_step_data(action: &str, step: StepIx, data: Data) -> Option<Event> {
        match action {
            "step_skipped" => return Some(Event::StepSkipped { step }),
            "step_blocked" => return Some(Event::StepBlocked { step }),
            _ => {}
        }
        let attempt = data.attempt?;
        Some(match action {
            "step_started" => Event::StepStarted { step, attempt, again: data.again.unwrap_or(false) },
            "step_succeeded" => {
                let success = Success { outputs: data.outputs.unwrap_or_default(), result: data.result };
                Event::StepSucceeded { step, attempt, success }
            }
            "step_failed" => Event::StepFailed { step, attempt, failure: data.error? },
            "step_retrying" => Event::StepRetrying { step, attempt, failure: data.error?, until: data.until? },
            "step_waiting" => Event::StepWaiting { step, attempt, until: data.until? },
            "step_interrupted" => Event::StepInterrupted { step, attempt, lost: data.lost? },
            "step_unknown" => Event::StepUnknown { step, attempt },
            "step_resolved" => {
                Event::StepResolved { step, attempt, verdict: data.verdict?, by: data.by?, note: data.note? }
            }
            "step_cancelled" => Event::StepCancelled { step, attempt },
            _ => return None,
        })
    }
}
