//! What a commit does to the ownership of its run, in all databases alike.

use crate::{
    model::{Epoch, RunId, RunStatus, WorkerId},
    ports::{CommitAnswer, RunCommit},
};

/// What the guards of commits look at.
#[derive(Debug)]
pub struct Guard {
    pub id: RunId,
    pub epoch: Epoch,
    pub version: i64,
    pub status: RunStatus,
    pub claimed_by: Option<WorkerId>,
    pub signal_seq: i64,
    pub sequence_head: u64,
}

/// What a run's row says about a commit; `None`: its guard holds.
pub fn verdict(commit: &RunCommit, row: Option<&Guard>) -> Option<CommitAnswer> {
    let Some(row) = row else { return Some(CommitAnswer::Fenced) };
    let owned = row.status.is_owned()
        && row.claimed_by == Some(commit.worker)
        && row.epoch == commit.epoch
        && row.version == commit.version;
    if owned {
        let signalled = commit.needs_all_signals && row.signal_seq != commit.signals_applied;
        return signalled.then_some(CommitAnswer::Signalled);
    }
    // The row shows exactly this commit: it was written, and the answer was lost.
    let written = row.status == commit.status
        && row.version == commit.version + 1
        && row.epoch == next_epoch(commit)
        && row.claimed_by == keeps(commit).then_some(commit.worker)
        && row.sequence_head == commit.sequence_head;
    Some(if written { CommitAnswer::Committed } else { CommitAnswer::Fenced })
}

/// Whether the commit needs the wide statement: the run leaves its owner, or steps come with it.
pub fn leaves(commit: &RunCommit) -> bool {
    commit.status != RunStatus::Running || !commit.steps.is_empty()
}

/// Whether the row goes on naming the owner: while it owns the run, and afterwards as the one who ended it.
pub fn keeps(commit: &RunCommit) -> bool {
    commit.status != RunStatus::Queued
}

/// The epoch that the commit leaves the run with.
pub fn next_epoch(commit: &RunCommit) -> Epoch {
    if keeps(commit) { commit.epoch } else { commit.epoch.next() }
}
