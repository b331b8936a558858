//! New runs, in the form their statements take.

use serde::Serialize;
use serde_json::{Map, Value};

use super::arguments::{self, Hex};
use crate::{
    model::{Digest, RunId, WaitingOn},
    ports::{NewRun, RunBirth, StoreError, StoredEvent},
    store::{check, text::label_text},
};

/// The argument of `create_runs.sql`.
pub(super) fn runs_json(runs: &[NewRun]) -> Result<String, StoreError> {
    runs.iter().try_for_each(check::new_run)?;
    Ok(arguments::json(&runs.iter().map(RunInsert::from).collect::<Vec<_>>()))
}

/// The second argument of `create_runs.sql`.
pub(super) fn openings_json(runs: &[NewRun]) -> String {
    arguments::json(&runs.iter().flat_map(|run| event_inserts(run.id, &run.opening)).collect::<Vec<_>>())
}

/// The third argument of `create_runs.sql`.
pub(super) fn labels_json<'a>(runs: impl IntoIterator<Item = &'a NewRun>) -> String {
    let row = |run: &NewRun, name: &'a str, value| (Hex(run.tenant.0), name, label_text(value), Hex(run.id.0));
    let rows = runs.into_iter().flat_map(|run| run.labels.iter().map(move |(name, value)| row(run, name, value)));
    arguments::json(&rows.collect::<Vec<_>>())
}

/// One row of `run_events`.
#[derive(Serialize)]
pub(super) struct EventInsert<'a>(Hex, u64, u64, i64, &'static str, &'a str, &'a Value);

pub(super) fn event_inserts(run: RunId, events: &[StoredEvent]) -> impl Iterator<Item = EventInsert<'_>> {
    events.iter().map(move |event| {
        let category = event.kind.category.as_str();
        EventInsert(Hex(run.0), event.sequence, event.prev, event.at.0, category, &event.kind.action, &event.data)
    })
}

/// One row of `create_runs.sql`; the order is that of the statement.
#[derive(Serialize)]
struct RunInsert<'a>(
    Hex,
    Hex,
    &'a str,
    i32,
    &'a str,
    Option<&'a str>,
    bool,
    i64,
    Option<Hex>,
    Option<i64>,
    i64,
    &'a str,
    Digest,
    u32,
    &'a str,
    &'a str,
    &'a Map<String, Value>,
    &'a Map<String, Value>,
    u64,
    i64,
    Option<i64>,
    Option<Hex>,
    Option<u32>,
);

impl<'a> From<&'a NewRun> for RunInsert<'a> {
    fn from(run: &'a NewRun) -> RunInsert<'a> {
        let RunBirth { status, waiting_on, claimable, epoch, sequence_head, stamp_head, started_at } = run.birth();
        RunInsert(
            Hex(run.id.0),
            Hex(run.tenant.0),
            run.lane.as_str(),
            run.priority,
            status.as_str(),
            waiting_on.map(WaitingOn::as_str),
            claimable,
            epoch.0,
            run.claimed_by.map(|worker| Hex(worker.0)),
            run.claimed_by.map(|_| run.created_at.0),
            run.created_at.0,
            &run.runbook,
            run.plan,
            run.steps_total,
            &run.trigger.kind,
            &run.trigger.actor,
            &run.labels,
            &run.params,
            sequence_head,
            stamp_head.0,
            started_at.map(|at| at.0),
            run.session.map(|session| Hex(session.0)),
            run.runbook_version,
        )
    }
}
