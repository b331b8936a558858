//! Attempts that only let time pass.

use super::Draft;
use crate::{
    engine::{Event, Step},
    model::{Failure, Micros, StepIx, Success},
};

impl Draft<'_> {
    /// The attempt under way has nothing to do but to wait. From here on it needs neither a slot nor an owner.
    pub(super) fn waits(&mut self, step: StepIx, until: Micros) {
        let attempt = self.run.step(step).attempt;
        // Whole milliseconds, so that the stored fact is exact; never too early.
        let until = Micros(until.0.saturating_add(999).div_euclid(1_000).saturating_mul(1_000));
        if self.is_ending(step) {
            self.push(Event::StepCancelled { step, attempt });
        } else if until <= self.now {
            self.completed(step, Success::default());
        } else {
            self.push(Event::StepWaiting { step, attempt, until });
        }
    }

    /// Ends the waits whose time has come: well, or because the attempt was not given so much time.
    pub(super) fn end_waits(&mut self) {
        while let Some((due, step)) = self.run.index.waits.first().copied() {
            if due > self.now {
                break;
            }
            match self.run.step(step).state {
                Step::Waiting { until, .. } if until <= due => self.completed(step, Success::default()),
                _ => self.failed(step, Failure::timed_out()),
            }
        }
    }
}
