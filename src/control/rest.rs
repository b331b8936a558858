//! The steps of a run at rest, for queries that do not want to fold events.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    engine::{Run, Step, StepRecord},
    model::{Attempt, Failure, Micros, StepIx, StepStatus},
    ports::StepRow,
    runbook::{Phase, Plan, PlannedStep},
};

/// A step of a run, with what its plan says about it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepView {
    /// Its place in the plan, from 0.
    pub index: StepIx,
    pub id: Arc<str>,
    pub phase: Phase,
    /// The action's name.
    pub uses: Arc<str>,
    /// The ids of the steps that it waits for.
    pub needs: Vec<Arc<str>>,
    pub status: StepStatus,
    /// The number of the last attempt; 0 if it never ran.
    pub attempts: Attempt,
    /// When its first attempt started.
    pub started_at: Option<Micros>,
    pub ended_at: Option<Micros>,
    pub outputs: Map<String, Value>,
    /// Why it failed, or why its last attempt did while it is retried.
    pub error: Option<Failure>,
}

/// The rows of every step of the plan, in its order, as views.
pub(super) fn step_views(plan: &Plan, rows: Vec<StepRow>) -> Vec<StepView> {
    let view = |(planned, row): (&PlannedStep, StepRow)| StepView {
        index: row.step,
        id: planned.id.clone(),
        phase: planned.phase,
        uses: planned.uses.clone(),
        needs: planned.needs.iter().map(|need| plan.step(*need).id.clone()).collect(),
        status: row.status,
        attempts: row.attempts,
        started_at: row.started_at,
        ended_at: row.ended_at,
        outputs: row.outputs,
        error: row.error,
    };
    plan.steps.iter().zip(rows).map(view).collect()
}

/// Every step of the run as it stands.
pub(super) fn step_rows(plan: &Plan, run: &Run) -> Vec<StepRow> {
    let steps = plan.steps.iter().zip(run.steps());
    (0..).map(StepIx).zip(steps).map(|(ix, (planned, record))| step_row(ix, planned, record)).collect()
}

fn step_row(ix: StepIx, planned: &PlannedStep, record: &StepRecord) -> StepRow {
    let failed = matches!(record.state, Step::Failed | Step::Retrying { .. });
    StepRow {
        step: ix,
        id: planned.id.clone(),
        uses: planned.uses.clone(),
        status: record.state.status(),
        attempts: record.attempt,
        started_at: record.first_started,
        ended_at: record.ended,
        outputs: record.success.as_ref().map(|success| success.outputs.clone()).unwrap_or_default(),
        error: record.failure.as_deref().filter(|_| failed).cloned(),
    }
}
