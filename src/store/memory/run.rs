//! One run with its events, signals and steps at rest, and the writes to it.

use std::collections::BTreeMap;

use crate::{
    model::{Category, Micros, RunStatus, StepIx, WaitingOn, WorkerId},
    ports::{CommitAnswer, NewRun, RunCommit, RunRow, SignalKind, SignalRow, StepRow, StoredEvent},
};

#[derive(Debug)]
pub(super) struct Run {
    pub(super) row: RunRow,
    events: BTreeMap<u64, StoredEvent>,
    signals: Vec<SignalRow>,
    pub(super) steps: BTreeMap<StepIx, StepRow>,
}

impl Run {
    pub(super) fn new(new: &NewRun) -> Run {
        let events = new.opening.iter().map(|event| (event.sequence, event.clone())).collect();
        Run { row: new.row(), events, signals: Vec::new(), steps: BTreeMap::new() }
    }

    /// Who owns it now; an ended run only remembers its last owner.
    pub(super) fn owner(&self) -> Option<WorkerId> {
        self.row.claimed_by.filter(|_| self.row.status.is_owned())
    }

    pub(super) fn claim(&mut self, worker: WorkerId, now: Micros) -> RunRow {
        let row = &mut self.row;
        row.status = RunStatus::Claimed;
        row.waiting_on = None;
        row.claimable = false;
        row.wake_at = None;
        row.claimed_by = Some(worker);
        row.claimed_at = Some(now);
        row.heartbeat_at = Some(now);
        row.epoch = row.epoch.next();
        row.version += 1;
        row.clone()
    }

    pub(super) fn commit(&mut self, commit: &RunCommit) -> CommitAnswer {
        if !self.is_owned_as(commit) {
            return if self.has_written(commit) { CommitAnswer::Committed } else { CommitAnswer::Fenced };
        }
        if commit.needs_all_signals && self.row.signal_seq != commit.signals_applied {
            return CommitAnswer::Signalled;
        }
        if let Some(event) = commit.events.iter().find(|event| self.events.contains_key(&event.sequence)) {
            return CommitAnswer::Refused(format!("event {} exists already", event.sequence));
        }
        if commit.signals_applied > self.row.signal_seq || commit.recoveries_applied > self.row.recoveries {
            return CommitAnswer::Refused("more signals or recoveries taken in than there are".to_owned());
        }
        self.write(commit);
        CommitAnswer::Committed
    }

    pub(super) fn signal(&mut self, kind: &SignalKind, at: Micros) -> Result<SignalRow, RunStatus> {
        if self.row.status.is_ended() {
            return Err(self.row.status);
        }
        self.row.signal_seq += 1;
        let signal = SignalRow { run: self.row.id, seq: self.row.signal_seq, at, kind: kind.clone() };
        self.signals.push(signal.clone());
        if self.row.status == RunStatus::Queued {
            self.wake();
        }
        Ok(signal)
    }

    pub(super) fn signals_after(&self, after: i64) -> Vec<SignalRow> {
        self.signals.iter().filter(|signal| signal.seq > after).cloned().collect()
    }

    pub(super) fn events_after(&self, after: u64, limit: usize) -> Vec<StoredEvent> {
        self.events.range(after.saturating_add(1)..).map(|(_, event)| event).take(limit).cloned().collect()
    }

    pub(super) fn facts_after(&self, after: u64, limit: usize) -> Vec<StoredEvent> {
        let facts = self.events.range(after.saturating_add(1)..).map(|(_, event)| event);
        facts.filter(|event| event.kind.category == Category::Lifecycle).take(limit).cloned().collect()
    }

    /// Removes the first events, at most `limit`; answers how many.
    pub(super) fn trim_events(&mut self, limit: usize) -> usize {
        let before = self.events.len();
        let first: Vec<u64> = self.events.keys().copied().take(limit).collect();
        self.events.retain(|sequence, _| !first.contains(sequence));
        before - self.events.len()
    }

    /// Takes an owned run from its dead owner.
    pub(super) fn requeue(&mut self) {
        self.row.status = RunStatus::Queued;
        self.disown();
        self.row.recoveries += 1;
        self.wake();
    }

    /// Takes an owned run from its dead owner, for another one.
    pub(super) fn take_over(&mut self, worker: WorkerId, now: Micros) -> RunRow {
        self.row.recoveries += 1;
        self.claim(worker, now)
    }

    /// Takes an owned run from an owner that drives it no more. Attempts may have been under way if it was running.
    pub(super) fn give_back(&mut self) {
        let recoveries = self.row.recoveries + u32::from(self.row.status == RunStatus::Running);
        self.requeue();
        self.row.recoveries = recoveries;
    }

    /// Makes a queued run claimable. The epoch is raised, so that a park whose reply was lost cannot be
    /// mistaken for the state after it.
    pub(super) fn wake(&mut self) {
        self.row.waiting_on = Some(WaitingOn::Capacity);
        self.row.claimable = true;
        self.row.wake_at = None;
        self.row.epoch = self.row.epoch.next();
        self.row.version += 1;
    }

    fn is_owned_as(&self, commit: &RunCommit) -> bool {
        self.owner() == Some(commit.worker) && self.row.epoch == commit.epoch && self.row.version == commit.version
    }

    /// Whether the row shows exactly this commit.
    fn has_written(&self, commit: &RunCommit) -> bool {
        let row = &self.row;
        let parked = commit.status == RunStatus::Queued;
        row.status == commit.status
            && row.version == commit.version + 1
            && row.epoch == if parked { commit.epoch.next() } else { commit.epoch }
            && row.claimed_by == (!parked).then_some(commit.worker)
            && row.sequence_head == commit.sequence_head
    }

    fn write(&mut self, commit: &RunCommit) {
        self.events.extend(commit.events.iter().map(|event| (event.sequence, event.clone())));
        self.steps.extend(commit.steps.iter().map(|step| (step.step, step.clone())));
        let row = &mut self.row;
        row.status = commit.status;
        row.waiting_on = commit.waiting_on;
        row.claimable = commit.waiting_on == Some(WaitingOn::Capacity);
        row.wake_at = commit.wake_at.filter(|_| commit.status == RunStatus::Queued && !row.claimable);
        row.version += 1;
        row.signals_applied = commit.signals_applied;
        row.recoveries_applied = commit.recoveries_applied;
        row.sequence_head = commit.sequence_head;
        row.stamp_head = commit.stamp_head;
        row.started_at = row.started_at.or(commit.started_at);
        match commit.status {
            RunStatus::Queued => {
                row.epoch = row.epoch.next();
                self.disown();
            }
            status if status.is_ended() => {
                row.ended_at = Some(commit.at);
                row.error.clone_from(&commit.error);
            }
            _ => row.heartbeat_at = Some(commit.at),
        }
    }

    fn disown(&mut self) {
        self.row.claimed_by = None;
        self.row.claimed_at = None;
        self.row.heartbeat_at = None;
    }
}
