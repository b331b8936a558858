//! What every store refuses before it writes, so that all of them refuse the same.

use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::{
    model::{RunId, RunStatus},
    ports::{NewRun, RunCommit, SessionRow, StepRow, StoreError, StoredEvent},
    store::text::label_text,
};

/// The deepest JSON that is stored. serde_json reads 128 levels; what nobody could read back must not
/// be written.
const MAX_DEPTH: usize = 100;

/// The longest label, in bytes: an index of every database must take it.
const MAX_LABEL_NAME: usize = 256;
const MAX_LABEL_VALUE: usize = 1_000;

/// Why this run can never be created.
pub fn new_run(run: &NewRun) -> Result<(), StoreError> {
    if run.claimed_by.is_none() && !run.opening.is_empty() {
        return Err(StoreError::Refused("only an owner decides how a run begins".to_owned()));
    }
    if run.runbook_version == Some(0) {
        return Err(StoreError::Refused("versions count from 1".to_owned()));
    }
    map_depth("labels", &run.labels)
        .and_then(|()| labels(&run.labels))
        .and_then(|()| map_depth("params", &run.params))
        .and_then(|()| events(&run.opening))
        .map_err(StoreError::Refused)
}

/// Why this session can never be created.
pub fn session(session: &SessionRow) -> Result<(), StoreError> {
    map_depth("labels", &session.labels).map_err(StoreError::Refused)
}

/// Why this commit can never be written, whatever the run's row says.
pub fn commit(commit: &RunCommit) -> Result<(), String> {
    if commit.status == RunStatus::Claimed {
        return Err("a commit cannot make a run `claimed`".to_owned());
    }
    if commit.waiting_on.is_some() != (commit.status == RunStatus::Queued) {
        return Err("a run waits on something exactly while it is queued".to_owned());
    }
    if commit.signals_applied < 0 {
        return Err("fewer than no signals taken in".to_owned());
    }
    sequence(commit.sequence_head)?;
    events(&commit.events)?;
    commit.steps.iter().try_for_each(step)
}

fn events(events: &[StoredEvent]) -> Result<(), String> {
    for event in events {
        sequence(event.sequence)?;
        sequence(event.prev)?;
        depth("event data", &event.data)?;
    }
    if events.windows(2).any(|pair| pair[0].sequence >= pair[1].sequence) {
        return Err("event sequences do not increase".to_owned());
    }
    Ok(())
}

/// Remembers the runs of a batch; a run may be in it only once.
#[derive(Debug, Default)]
pub struct Once(HashSet<RunId>);

impl Once {
    /// Whether this is the first commit for `run`.
    pub fn first(&mut self, run: RunId) -> Result<(), String> {
        if self.0.insert(run) { Ok(()) } else { Err("the batch has this run twice".to_owned()) }
    }
}

fn step(step: &StepRow) -> Result<(), String> {
    map_depth("step outputs", &step.outputs)
}

fn labels(labels: &Map<String, Value>) -> Result<(), String> {
    for (name, value) in labels {
        if name.len() > MAX_LABEL_NAME || label_text(value).len() > MAX_LABEL_VALUE {
            return Err(format!(
                "label `{name:.40}`: a name has at most {MAX_LABEL_NAME} bytes, a value {MAX_LABEL_VALUE}"
            ));
        }
    }
    Ok(())
}

/// SQL integers are signed.
fn sequence(number: u64) -> Result<(), String> {
    i64::try_from(number).map(drop).map_err(|_| format!("event sequence {number} is out of range"))
}

fn map_depth(what: &str, map: &Map<String, Value>) -> Result<(), String> {
    map.values().try_for_each(|value| depth(what, value))
}

fn depth(what: &str, value: &Value) -> Result<(), String> {
    if within(value, MAX_DEPTH) { Ok(()) } else { Err(format!("{what}: JSON deeper than {MAX_DEPTH} levels")) }
}

fn within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| within(item, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|item| within(item, levels - 1)),
        _ => true,
    }
}
