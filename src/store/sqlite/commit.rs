//! The hot verb: many owners' decisions in one durable transaction.
//!
//! A batch is one script in one call, all or nothing: if the guard of one commit does not hold, nothing is
//! written, the rows say why, and the others are sent again; if SQLite refuses a value, the batch is halved
//! until the culprit stands alone. Both are rare, so the usual batch pays nothing for them.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::{
    arguments::{self, Hex, arguments},
    errors::{is_unmatched, store_error},
    inserts::event_inserts,
    rows::{GuardRecord, decode_all},
    writer::Writer,
};
use crate::{
    model::{RunId, RunStatus, WaitingOn},
    ports::{CommitAnswer, RunCommit, StoreError},
    store::{
        check::{self, Once},
        guard::{Guard, keeps, leaves, next_epoch, verdict},
    },
};

/// Every commit of the batch lets its owner keep the run: the usual case.
const RUNNING: &str = concat!(
    include_str!("queries/commit_begin.sql"),
    include_str!("queries/commit_running.sql"),
    include_str!("queries/commit_end.sql")
);
/// Some commits park or end their run.
const MIXED: &str = concat!(
    include_str!("queries/commit_begin.sql"),
    include_str!("queries/commit_running.sql"),
    include_str!("queries/commit_leaving.sql"),
    include_str!("queries/commit_end.sql")
);

/// How often in a row a script may not hold although every row looks as its commit says.
const PATIENCE: usize = 3;

/// What became of one script.
enum Written {
    All,
    /// Nothing: at least one run is not as its commit says.
    Unmatched,
    /// Nothing: SQLite does not take a value.
    Refused(String),
}

/// Writes a batch; answers in its order.
pub(super) async fn commit(writer: &Writer, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError> {
    let mut once = Once::default();
    let mut answers: Vec<Option<CommitAnswer>> = batch
        .iter()
        .map(|commit| once.first(commit.run).and_then(|()| check::commit(commit)).err().map(CommitAnswer::Refused))
        .collect();
    let open: Vec<usize> = (0..batch.len()).filter(|&index| answers[index].is_none()).collect();
    // Parts still to be written; a stack, so that halves need no recursion.
    let mut parts = vec![open];
    let mut patience = PATIENCE;
    while let Some(part) = parts.pop() {
        match write(writer, batch, &part).await? {
            Written::All => part.iter().for_each(|&index| answers[index] = Some(CommitAnswer::Committed)),
            Written::Unmatched => {
                let rest = sort_out(writer, batch, &part, &mut answers).await?;
                // A run may change between the script and the look at its row, but not for ever.
                patience = if rest.len() < part.len() { PATIENCE } else { patience - 1 };
                if patience == 0 {
                    return Err(StoreError::Busy("runs of the batch do not come to rest".to_owned()));
                }
                parts.push(rest);
            }
            Written::Refused(why) => match part.as_slice() {
                [] => return Err(StoreError::Refused(why)),
                [culprit] => answers[*culprit] = Some(CommitAnswer::Refused(why)),
                many => {
                    let (left, right) = many.split_at(many.len() / 2);
                    parts.extend([right.to_vec(), left.to_vec()]);
                }
            },
        }
    }
    // Every index was in a part, and every part was answered.
    Ok(answers.into_iter().flatten().collect())
}

/// Sends one script for these commits of the batch.
async fn write(writer: &Writer, batch: &[RunCommit], part: &[usize]) -> Result<Written, StoreError> {
    if part.is_empty() {
        return Ok(Written::All);
    }
    let commits = || part.iter().map(|&index| &batch[index]);
    let running: Vec<_> = commits().filter(|commit| !leaves(commit)).map(Running::from).collect();
    let leaving: Vec<_> = commits().filter(|commit| leaves(commit)).map(Leaving::from).collect();
    let events: Vec<_> = commits().flat_map(|commit| event_inserts(commit.run, &commit.events)).collect();
    let steps: Vec<_> = commits().flat_map(steps).collect();
    let arguments = arguments!(
        arguments::json(&running),
        arguments::json(&events),
        arguments::json(&leaving),
        arguments::json(&steps),
        count(&running),
        count(&events),
        count(&leaving),
        count(&steps),
    );
    let sql = if leaving.is_empty() { RUNNING } else { MIXED };
    match writer.script(sql, arguments).await {
        Ok(_) => Ok(Written::All),
        Err(error) if is_unmatched(&error) => Ok(Written::Unmatched),
        Err(error) => match store_error(&error) {
            StoreError::Refused(why) => Ok(Written::Refused(why)),
            other => Err(other),
        },
    }
}

fn count<T>(rows: &[T]) -> i64 {
    arguments::limit(rows.len())
}

/// Answers the commits whose guard does not hold; returns the others, to be sent again.
async fn sort_out(
    writer: &Writer,
    batch: &[RunCommit],
    part: &[usize],
    answers: &mut [Option<CommitAnswer>],
) -> Result<Vec<usize>, StoreError> {
    let ids = arguments::hex_list(part.iter().map(|&index| batch[index].run.0));
    let rows = writer
        .script(include_str!("queries/commit_state.sql"), arguments!(ids))
        .await
        .map_err(|error| store_error(&error))?;
    let guards: HashMap<RunId, Guard> =
        decode_all::<GuardRecord, Guard>(&rows)?.into_iter().map(|guard| (guard.id, guard)).collect();
    let mut rest = Vec::new();
    for &index in part {
        match verdict(&batch[index], guards.get(&batch[index].run)) {
            Some(answer) => answers[index] = Some(answer),
            None => rest.push(index),
        }
    }
    Ok(rest)
}

/// One row of `commit_running.sql`; the order is that of the statement.
#[derive(Serialize)]
struct Running(Hex, i64, Hex, i64, &'static str, i64, Option<i64>, i64, u32, u64, i64, bool);

impl From<&RunCommit> for Running {
    fn from(commit: &RunCommit) -> Running {
        Running(
            Hex(commit.run.0),
            commit.epoch.0,
            Hex(commit.worker.0),
            commit.version,
            commit.status.as_str(),
            commit.at.0,
            commit.started_at.map(|at| at.0),
            commit.signals_applied,
            commit.recoveries_applied,
            commit.sequence_head,
            commit.stamp_head.0,
            commit.needs_all_signals,
        )
    }
}

/// One row of `commit_leaving.sql`; the order is that of the statement.
#[derive(Serialize)]
struct Leaving(
    Hex,
    i64,
    Hex,
    i64,
    &'static str,
    Option<i64>,
    i64,
    u32,
    u64,
    i64,
    bool,
    i64,
    Option<&'static str>,
    bool,
    Option<i64>,
    bool,
    Option<i64>,
    Option<String>,
    Option<i64>,
);

impl From<&RunCommit> for Leaving {
    fn from(commit: &RunCommit) -> Leaving {
        let claimable = commit.waiting_on == Some(WaitingOn::Capacity);
        let parked = commit.status == RunStatus::Queued && !claimable;
        let ended = commit.status.is_ended();
        Leaving(
            Hex(commit.run.0),
            commit.epoch.0,
            Hex(commit.worker.0),
            commit.version,
            commit.status.as_str(),
            commit.started_at.map(|at| at.0),
            commit.signals_applied,
            commit.recoveries_applied,
            commit.sequence_head,
            commit.stamp_head.0,
            commit.needs_all_signals,
            next_epoch(commit).0,
            commit.waiting_on.map(WaitingOn::as_str),
            claimable,
            commit.wake_at.filter(|_| parked).map(|at| at.0),
            keeps(commit),
            ended.then_some(commit.at.0),
            commit.error.as_ref().filter(|_| ended).map(arguments::json),
            commit.status.is_owned().then_some(commit.at.0),
        )
    }
}

/// One row of `run_steps`. The error is JSON within a string, so that none is NULL and not `null`.
#[derive(Serialize)]
struct StepInsert<'a>(
    Hex,
    u32,
    &'a str,
    &'a str,
    &'static str,
    u32,
    Option<i64>,
    Option<i64>,
    &'a serde_json::Map<String, Value>,
    Option<String>,
);

fn steps(commit: &RunCommit) -> impl Iterator<Item = StepInsert<'_>> {
    commit.steps.iter().map(|step| {
        StepInsert(
            Hex(commit.run.0),
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
    })
}
