//! Many ended runs at once, for measurements on a store that is full.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::{check, text::label_text};
use crate::{
    model::{Digest, Failure, Micros, RunStatus, WorkerId},
    ports::{NewRun, StepRow, StoreError, StoredEvent},
};

/// A run that has ended.
#[derive(Debug, Clone)]
pub struct EndedRun {
    pub run: NewRun,
    pub status: RunStatus,
    pub worker: WorkerId,
    pub ended_at: Micros,
    pub error: Option<Failure>,
    pub events: Vec<StoredEvent>,
    pub steps: Vec<StepRow>,
}

/// What `queries/seed.sql` is given: JSON arrays, each row an array in the order of the statement. Runs have numbers
/// from `first` on, which events and steps name them by; a store may make them their keys.
#[derive(Debug)]
pub struct SeedRows {
    pub runs: String,
    pub labels: String,
    pub events: String,
    pub steps: String,
}

impl SeedRows {
    pub fn new(first: i64, runs: &[EndedRun]) -> Result<SeedRows, StoreError> {
        runs.iter().try_for_each(|run| check::new_run(&run.run))?;
        let numbered = || (first..).zip(runs);
        let inserts: Vec<RunInsert> = numbered().map(|(number, run)| RunInsert::new(number, run)).collect();
        let labels: Vec<(Hex, &str, String, Hex)> = runs.iter().flat_map(|ended| labels(&ended.run)).collect();
        let events: Vec<EventInsert> = numbered()
            .flat_map(|(number, run)| run.events.iter().map(move |event| EventInsert::new(number, event)))
            .collect();
        let steps: Vec<StepInsert> = numbered()
            .flat_map(|(number, run)| run.steps.iter().map(move |step| StepInsert::new(number, step)))
            .collect();
        Ok(SeedRows { runs: json(&inserts)?, labels: json(&labels)?, events: json(&events)?, steps: json(&steps)? })
    }
}

fn labels(run: &NewRun) -> impl Iterator<Item = (Hex, &str, String, Hex)> {
    run.labels.iter().map(|(name, value)| (Hex(run.tenant.0), name.as_str(), label_text(value), Hex(run.id.0)))
}

fn json(rows: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(rows).map_err(|why| StoreError::Refused(why.to_string()))
}

/// An id as 32 digits.
struct Hex(Uuid);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.simple().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// Failures are text in both.
fn failure(failure: &Failure) -> Option<String> {
    serde_json::to_string(failure).ok()
}

/// One row of `runs` and `run_inputs`; the order is that of the statement.
#[derive(Serialize)]
struct RunInsert<'a>(
    i64,
    Hex,
    Hex,
    &'a str,
    i32,
    &'a str,
    Hex,
    u64,
    i64,
    i64,
    Option<String>,
    Option<Hex>,
    &'a str,
    Digest,
    u32,
    &'a str,
    &'a str,
    &'a Map<String, Value>,
    &'a Map<String, Value>,
    Option<u32>,
);

impl<'a> RunInsert<'a> {
    fn new(key: i64, ended: &'a EndedRun) -> RunInsert<'a> {
        let run = &ended.run;
        RunInsert(
            key,
            Hex(run.id.0),
            Hex(run.tenant.0),
            run.lane.as_str(),
            run.priority,
            ended.status.as_str(),
            Hex(ended.worker.0),
            ended.events.last().map_or(0, |event| event.sequence),
            run.created_at.0,
            ended.ended_at.0,
            ended.error.as_ref().and_then(failure),
            run.session.map(|session| Hex(session.0)),
            &run.runbook,
            run.plan,
            run.steps_total,
            &run.trigger.kind,
            &run.trigger.actor,
            &run.labels,
            &run.params,
            run.runbook_version,
        )
    }
}

#[derive(Serialize)]
struct EventInsert<'a>(i64, u64, u64, i64, &'static str, &'a str, &'a Value);

impl<'a> EventInsert<'a> {
    fn new(key: i64, event: &'a StoredEvent) -> EventInsert<'a> {
        let category = event.kind.category.as_str();
        EventInsert(key, event.sequence, event.prev, event.at.0, category, &event.kind.action, &event.data)
    }
}

#[derive(Serialize)]
struct StepInsert<'a>(
    i64,
    u32,
    &'a str,
    &'a str,
    &'static str,
    u32,
    Option<i64>,
    Option<i64>,
    &'a Map<String, Value>,
    Option<String>,
);

impl<'a> StepInsert<'a> {
    fn new(key: i64, step: &'a StepRow) -> StepInsert<'a> {
        StepInsert(
            key,
            step.step.0,
            &step.id,
            &step.uses,
            step.status.as_str(),
            step.attempts,
            step.started_at.map(|at| at.0),
            step.ended_at.map(|at| at.0),
            &step.outputs,
            step.error.as_ref().and_then(failure),
        )
    }
}
