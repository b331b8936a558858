//! The hot verb: many owners' decisions in one statement.
//!
//! The statement locks the rows of the runs whose guard holds, in the order of their ids, and everything else
//! joins what it has locked; so of a batch exactly the runs that hold are written. Those that do not are looked
//! at afterwards to say why. If PostgreSQL refuses a value, the batch is halved until the culprit stands alone.
//! Both are rare, so the usual batch pays nothing for them.

use std::collections::{HashMap, HashSet};

use sqlx::postgres::PgArguments;

use super::{
    PgStore,
    arguments::{self, arguments},
    inserts::{Events, Steps, column, number},
    records::decode_all,
    rows::{GuardRecord, id_of},
    types::At,
};
use crate::{
    model::{RunId, RunStatus, WaitingOn},
    ports::{CommitAnswer, RunCommit, StoreError},
    store::{
        check::{self, Once},
        guard::{Guard, keeps, leaves, next_epoch, verdict},
    },
};

/// How often in a row a statement may write nothing although every row looks as its commit says.
const PATIENCE: usize = 3;

/// Writes a batch; answers in its order.
pub(super) async fn commit(store: &PgStore, batch: &[RunCommit]) -> Result<Vec<CommitAnswer>, StoreError> {
    let mut once = Once::default();
    let mut answers: Vec<Option<CommitAnswer>> = batch
        .iter()
        .map(|commit| once.first(commit.run).and_then(|()| check::commit(commit)).err().map(CommitAnswer::Refused))
        .collect();
    // Parts still to be written; a stack, so that halves need no recursion.
    let mut parts: Vec<Vec<usize>> = vec![(0..batch.len()).filter(|&index| answers[index].is_none()).collect()];
    let mut patience = PATIENCE;
    while let Some(part) = parts.pop() {
        if part.is_empty() {
            continue;
        }
        let mut commits: Vec<&RunCommit> = part.iter().map(|&index| &batch[index]).collect();
        // The order in which the statement locks.
        commits.sort_unstable_by_key(|commit| commit.run.0);
        match write(store, &commits).await {
            Ok(written) => {
                let (held, rest): (Vec<_>, Vec<_>) =
                    part.iter().partition(|&&index| written.contains(&batch[index].run));
                for &index in &held {
                    answers[index] = Some(CommitAnswer::Committed);
                }
                // A run may change between the statement and the look at its row, but not for ever.
                patience = if held.is_empty() { patience - 1 } else { PATIENCE };
                let rest = sort_out(store, batch, rest, &mut answers).await?;
                if patience == 0 && !rest.is_empty() {
                    return Err(StoreError::Busy("runs of the batch do not come to rest".to_owned()));
                }
                parts.push(rest);
            }
            Err(StoreError::Refused(why)) => match part.as_slice() {
                [culprit] => answers[*culprit] = Some(CommitAnswer::Refused(why)),
                many => {
                    let (left, right) = many.split_at(many.len() / 2);
                    parts.extend([right.to_vec(), left.to_vec()]);
                }
            },
            Err(error) => return Err(error),
        }
    }
    // Every index was in a part, and every part was answered.
    Ok(answers.into_iter().flatten().collect())
}

/// Sends one statement for these commits; answers the runs that it wrote.
async fn write(store: &PgStore, commits: &[&RunCommit]) -> Result<HashSet<RunId>, StoreError> {
    let rows = match commits {
        many if many.iter().any(|commit| leaves(commit)) => {
            store.rows(include_str!("queries/commit_leaving.sql"), leaving(many)?).await?
        }
        [one] => store.rows(include_str!("queries/commit_alone.sql"), alone(one)?).await?,
        many => store.rows(include_str!("queries/commit_running.sql"), running(many)?).await?,
    };
    rows.iter().map(|row| id_of(row).map(RunId)).collect()
}

/// Answers the commits whose guard does not hold; returns the others, to be sent again.
async fn sort_out(
    store: &PgStore,
    batch: &[RunCommit],
    part: Vec<usize>,
    answers: &mut [Option<CommitAnswer>],
) -> Result<Vec<usize>, StoreError> {
    if part.is_empty() {
        return Ok(part);
    }
    let ids = column(&part, |&index| batch[index].run.0);
    let rows = store.rows(include_str!("queries/commit_state.sql"), arguments!(ids)).await?;
    let guards: HashMap<RunId, Guard> =
        decode_all::<GuardRecord, Guard>(&rows)?.into_iter().map(|guard| (guard.id, guard)).collect();
    let mut rest = Vec::new();
    for index in part {
        match verdict(&batch[index], guards.get(&batch[index].run)) {
            Some(answer) => answers[index] = Some(answer),
            None => rest.push(index),
        }
    }
    Ok(rest)
}

/// The arguments of `commit_running.sql`, in its order.
fn running(commits: &[&RunCommit]) -> Result<PgArguments, StoreError> {
    let events = Events::of(commits.iter().map(|commit| (commit.run, &*commit.events)));
    Ok(arguments!(
        column(commits, |commit| commit.run.0),
        column(commits, |commit| commit.epoch.0),
        column(commits, |commit| commit.worker.0),
        column(commits, |commit| commit.version),
        column(commits, |commit| commit.status.as_str()),
        // When the run was heard of; an end is no sign of life.
        column(commits, |commit| commit.status.is_owned().then_some(At(commit.at))),
        column(commits, |commit| commit.started_at.map(At)),
        column(commits, |commit| commit.signals_applied),
        column(commits, |commit| i64::from(commit.recoveries_applied)),
        column(commits, |commit| number(commit.sequence_head)),
        column(commits, |commit| At(commit.stamp_head)),
        column(commits, |commit| commit.needs_all_signals),
        events.numbers,
        events.sequences,
        events.prevs,
        events.ats,
        events.categories,
        events.actions,
        events.data,
    ))
}

/// The arguments of `commit_alone.sql`, in its order.
fn alone(commit: &RunCommit) -> Result<PgArguments, StoreError> {
    let events = Events::of([(commit.run, &*commit.events)].into_iter());
    Ok(arguments!(
        commit.run.0,
        commit.epoch.0,
        commit.worker.0,
        commit.version,
        commit.status.as_str(),
        At(commit.at),
        commit.started_at.map(At),
        commit.signals_applied,
        i64::from(commit.recoveries_applied),
        number(commit.sequence_head),
        At(commit.stamp_head),
        commit.needs_all_signals,
        events.sequences,
        events.prevs,
        events.ats,
        events.categories,
        events.actions,
        events.data,
    ))
}

/// The arguments of `commit_leaving.sql`: those of `commit_running.sql`, and what it adds to them.
fn leaving(commits: &[&RunCommit]) -> Result<PgArguments, StoreError> {
    let mut arguments = running(commits)?;
    let steps = Steps::of(commits.iter().map(|commit| &*commit.steps));
    let claimable = |commit: &RunCommit| commit.waiting_on == Some(WaitingOn::Capacity);
    let parked = |commit: &RunCommit| commit.status == RunStatus::Queued && !claimable(commit);
    arguments::extend!(
        arguments,
        column(commits, |commit| next_epoch(commit).0),
        column(commits, |commit| commit.waiting_on.map(WaitingOn::as_str)),
        column(commits, |commit| claimable(commit)),
        column(commits, |commit| commit.wake_at.filter(|_| parked(commit)).map(At)),
        column(commits, |commit| keeps(commit)),
        column(commits, |commit| commit.status.is_ended().then_some(At(commit.at))),
        column(commits, |commit| { commit.error.as_ref().filter(|_| commit.status.is_ended()).map(arguments::json) }),
        steps.numbers,
        steps.indexes,
        steps.ids,
        steps.uses,
        steps.statuses,
        steps.attempts,
        steps.started_ats,
        steps.ended_ats,
        steps.outputs,
        steps.errors,
    );
    Ok(arguments)
}
