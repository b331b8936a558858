//! The attempts of a session: begun when their facts are committed, stopped, and what they came to.

use std::collections::BTreeSet;

use tokio::task::{Id, JoinError};
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::{
    control::attempt::{self, Prepared},
    engine::{Effect, Input},
    model::{AttemptId, Failure, Micros, Outcome, StepIx},
};

impl Session {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            // Recorded before the drain, and not begun since.
            Effect::Start { attempt, .. } if self.handed.is_some() => {
                self.feed(Input::Finished { attempt, outcome: Outcome::NotBegun });
            }
            Effect::Start { attempt, since, deadline } => self.start(attempt, since, deadline),
            Effect::Interrupt { attempt, .. } => {
                if let Some(cancel) = self.running.get(&attempt) {
                    cancel.cancel();
                }
            }
        }
    }

    pub(super) fn start(&mut self, attempt: AttemptId, since: Micros, deadline: Option<Micros>) {
        let (cancel, now) = (CancellationToken::new(), self.now());
        let prepared = Prepared {
            run: self.row.id,
            tenant: self.row.tenant,
            attempt,
            since,
            now,
            limit: deadline.map(|deadline| deadline.since(now)),
            plan: self.plan.clone(),
            inputs: attempt::render(&self.plan, &self.run, attempt.step),
            cancel: cancel.clone(),
            sender: self.chunk_sender.clone(),
            folder: self.folder.clone(),
            gate: self.owner.fence.gate(),
        };
        self.starts += 1;
        let task = self.attempts.spawn(attempt::execute(self.owner.world.clone(), prepared));
        self.tasks.insert(task.id(), attempt);
        self.running.insert(attempt, cancel);
    }

    /// An attempt has ended, and perhaps others with it: all of them go into one decision.
    pub(super) fn reported(&mut self, first: Result<(Id, Outcome), JoinError>) {
        let mut next = Some(first);
        while let Some(report) = next {
            self.drain_chunks();
            self.finished(report);
            next = self.attempts.try_join_next_with_id();
        }
    }

    pub(super) fn finished(&mut self, report: Result<(Id, Outcome), JoinError>) {
        let (task, outcome) = match report {
            Ok(report) => report,
            Err(error) => {
                let failure = Failure::permanent("INTERNAL", "the action panicked; this is a fault of opsroom");
                (error.id(), Outcome::Failed(failure))
            }
        };
        let Some(attempt) = self.tasks.remove(&task) else { return };
        self.running.remove(&attempt);
        self.note_use_of_folder();
        let handed = self.handed.as_ref().is_some_and(|handed| handed.contains(&attempt));
        let outcome = if handed && outcome == Outcome::Cancelled { Outcome::Interrupted } else { outcome };
        self.feed(Input::Finished { attempt, outcome });
    }

    /// The worker takes nothing more and is about to end.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        self.feed(Input::Leaving(!self.cannot_store));
    }

    /// The worker is being drained: nothing begins any more, and what is under way is stopped.
    pub(super) fn stop_attempts(&mut self) {
        self.feed(Input::Slots(0));
        let is_open =
            |(attempt, cancel): (&AttemptId, &CancellationToken)| (!cancel.is_cancelled()).then_some(*attempt);
        let open: BTreeSet<AttemptId> = self.running.iter().filter_map(is_open).collect();
        open.iter().filter_map(|attempt| self.running.get(attempt)).for_each(CancellationToken::cancel);
        self.handed = Some(open);
    }

    /// Whether nothing is under way any more and the run goes back to its lane. An attempt that is decided and not
    /// recorded yet is under way as well: handed back with it, the run would wait for an attempt that nobody makes.
    pub(super) fn is_handed_back(&self) -> bool {
        self.handed.is_some() && self.attempts.is_empty() && self.run.running().next().is_none()
    }

    pub(super) fn fail_running(&mut self) {
        let running: Vec<StepIx> = self.run.running().collect();
        for step in running {
            let attempt = AttemptId { step, number: self.run.step(step).attempt };
            let failure = Failure::permanent("STORE_REFUSED", "the store refused what the step led to");
            self.feed(Input::Finished { attempt, outcome: Outcome::Failed(failure) });
        }
    }
}
