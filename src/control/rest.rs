//! The steps of a run at rest, for queries that do not want to fold events.

use crate::{
    engine::{Run, Step, StepRecord},
    model::StepIx,
    ports::StepRow,
    runbook::{Plan, PlannedStep},
};

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
