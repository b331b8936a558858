//! What a session has decided on its way to the store, and what the store's answer means for it.

use std::{future::Future, pin::Pin};

use super::Session;
use crate::{
    control::{
        OwnError, Owned,
        committer::{CommitError, Terms},
        patience::patiently,
        rest::step_rows,
    },
    engine::{Effect, Stage},
    model::{RunStatus, WaitingOn},
    ports::{CommitAnswer, RunCommit, StoredEvent},
};

/// Notes that one commit takes, in number and in bytes: a step that has much to tell must keep neither a fact
/// nor a cancel waiting for long.
const NOTES: usize = 1_024;
const NOTE_BYTES: usize = 1 << 20;

/// Facts and notes, and the effects that wait for the facts to be durable.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) events: Vec<StoredEvent>,
    pub(super) effects: Vec<Effect>,
    /// How many of the events are notes, and how large those are.
    pub(super) notes: usize,
    pub(super) note_bytes: usize,
}

impl Draft {
    pub(super) fn has_room(&self) -> bool {
        self.notes < NOTES && self.note_bytes < NOTE_BYTES
    }
}

/// A commit under way.
pub(super) struct InFlight {
    answer: Pin<Box<dyn Future<Output = Result<CommitAnswer, CommitError>> + Send>>,
    head: u64,
    effects: Vec<Effect>,
    /// For a park or an end: what ownership ends with, and its facts, to be sent again after a signal.
    pub(super) rest: Option<(Owned, Vec<StoredEvent>)>,
}

impl Session {
    pub(super) fn must_commit(&self) -> bool {
        self.is_handed_back()
            || !self.draft.events.is_empty()
            || self.signals_seen > self.signals_committed
            || self.parking.is_some()
            || self.events.needs_commit()
    }

    pub(super) fn commit(&mut self) -> InFlight {
        let Draft { events, effects, note_bytes, .. } = std::mem::take(&mut self.draft);
        let (status, rest, waiting_on) = match (self.run.stage(), self.parking) {
            (Stage::Ended(status), _) => (status, Some(Owned::Ended(status)), None),
            (_, Some(waiting_on)) => (RunStatus::Queued, Some(Owned::Parked(waiting_on)), Some(waiting_on)),
            (_, None) if self.is_handed_back() => {
                (RunStatus::Queued, Some(Owned::HandedBack), Some(WaitingOn::Capacity))
            }
            (_, None) => (RunStatus::Running, None, None),
        };
        let head = self.events.head();
        self.signals_committed = self.signals_seen;
        let rest = rest.map(|owned| (owned, events.clone()));
        let commit = RunCommit {
            run: self.row.id,
            epoch: self.row.epoch,
            worker: self.owner.worker,
            version: self.version,
            at: self.now(),
            events,
            status,
            waiting_on,
            // What may be claimed at once needs no time to wake.
            wake_at: self.run.wake_at().filter(|_| waiting_on.is_some_and(|on| on != WaitingOn::Capacity)),
            signals_applied: self.signals_seen,
            needs_all_signals: rest.is_some(),
            recoveries_applied: self.recoveries_applied,
            sequence_head: head,
            stamp_head: self.events.stamp(),
            error: self.run.error(&self.plan).filter(|_| status.is_ended()),
            started_at: self.run.started_at(),
            steps: if rest.is_some() { step_rows(&self.plan, &self.run) } else { Vec::new() },
        };
        let committer = self.owner.committer.clone();
        let terms = Terms { bytes: note_bytes, patient: self.owner.world.limits.patient };
        InFlight { answer: Box::pin(async move { committer.commit(commit, terms).await }), head, effects, rest }
    }

    /// A commit has its answer; `Some` when ownership has ended.
    pub(super) async fn answered(&mut self, answer: CommitAnswer, commit: InFlight) -> Result<Option<Owned>, OwnError> {
        match answer {
            CommitAnswer::Committed => {
                self.version += 1;
                self.events.committed(commit.head);
                if let Some((owned, _)) = commit.rest {
                    if owned == Owned::HandedBack {
                        self.owner.world.queue.ring(self.row.lane);
                    }
                    return Ok(Some(owned));
                }
                commit.effects.into_iter().for_each(|effect| self.carry_out(effect));
                Ok(None)
            }
            CommitAnswer::Fenced => Ok(Some(Owned::Fenced)),
            CommitAnswer::Signalled => {
                // Nothing was written: the same facts go into the next commit, and what the signal leads
                // to after them.
                let facts = commit.rest.map(|(_, facts)| facts).unwrap_or_default();
                self.draft.events.splice(0..0, facts);
                self.draft.effects.splice(0..0, commit.effects);
                let (world, seen) = (&self.owner.world, self.signals_seen);
                let signals = patiently(world, || world.store.signals(self.row.id, seen)).await?;
                self.heard(signals);
                Ok(None)
            }
            CommitAnswer::Refused(why) => Err(OwnError::Refused(why)),
        }
    }
}

pub(super) async fn answer_of(in_flight: &mut Option<InFlight>) -> Result<CommitAnswer, CommitError> {
    match in_flight {
        Some(commit) => commit.answer.as_mut().await,
        None => std::future::pending().await,
    }
}
