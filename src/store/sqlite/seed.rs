//! Many ended runs at once, for measurements on a store that is full.

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    SqliteStore,
    arguments::{self, Hex, arguments},
    errors::store_error,
    inserts, rows,
};
use crate::{
    model::{Digest, Failure, Micros, RunStatus, WorkerId},
    ports::{NewRun, StepRow, StoreError, StoredEvent},
    store::check,
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

/// Writes ended runs in one transaction, as their owners would have left them. Only for this: nobody else may
/// write runs meanwhile.
pub(super) async fn seed(store: &SqliteStore, runs: &[EndedRun]) -> Result<(), StoreError> {
    runs.iter().try_for_each(|run| check::new_run(&run.run))?;
    store.writer.hurry().await.map_err(|error| store_error(&error))?;
    let first: Option<i64> = rows::scalar(&store.read(include_str!("queries/seed_key.sql"), arguments!()).await?)?;
    let keyed = || (first.unwrap_or(1)..).zip(runs);
    let inserts: Vec<RunInsert> = keyed().map(|(key, run)| RunInsert::new(key, run)).collect();
    let events: Vec<EventInsert> =
        keyed().flat_map(|(key, run)| run.events.iter().map(move |event| EventInsert::new(key, event))).collect();
    let steps: Vec<StepInsert> =
        keyed().flat_map(|(key, run)| run.steps.iter().map(move |step| StepInsert::new(key, step))).collect();
    let arguments = arguments!(
        arguments::json(&inserts),
        inserts::labels_json(runs.iter().map(|run| &run.run)),
        arguments::json(&events),
        arguments::json(&steps),
    );
    store.write(include_str!("queries/seed.sql"), arguments).await.map(drop)
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
            ended.error.as_ref().map(arguments::json),
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
            step.error.as_ref().map(arguments::json),
        )
    }
}
