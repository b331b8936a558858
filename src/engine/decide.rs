//! One decision: an input, the facts it leads to, and what the world must do about them.

mod waits;

use super::{
    Decision, Effect, Event, Fact, Input, Interrupt, MAX_LOST, MAX_RECOVERIES, Rejection, Run, RunScope, Stage, Step,
    Verdict, outputs, retry, scope::failure_as_result,
};
use crate::{
    model::{AttemptId, EffectModel, Failure, FailureReason, Micros, OnUnknown, Outcome, RunStatus, StepIx, Success},
    runbook::{ExprError, Phase, Plan, PlannedStep, RetryOn, Scope, StatusFunction},
};

/// Decides about one input and advances `run` by the facts it answers; a rejected input changes nothing.
///
/// O(affected steps): nothing is cloned and nothing is scanned, except on a cancel or the run's timeout,
/// which affect every open step.
pub fn decide(plan: &Plan, run: &mut Run, input: Input, now: Micros) -> Result<Decision, Rejection> {
    let mut draft = Draft { plan, run, now, decision: Decision::default() };
    match (draft.run.stage(), input) {
        (Stage::Ended(_), _) => return Err(Rejection::Ended),
        (Stage::Created, Input::Begin) => draft.push(Event::RunStarted),
        (Stage::Created, Input::Cancel { by, reason, force }) => draft.cancel_before_start(by, reason, force),
        (stage, Input::Recovered { recoveries }) => draft.recovered(stage, recoveries),
        (_, Input::Slots(slots)) => draft.run.index.slots = slots,
        (_, Input::Leaving(leaving)) => draft.run.index.is_leaving = leaving,
        (Stage::Created, _) => return Err(Rejection::Stale),
        (Stage::Running(_), Input::Begin) => draft.push(Event::RunResumed),
        (Stage::Running(_), Input::Finished { attempt, outcome }) => draft.finished(attempt, outcome)?,
        (Stage::Running(phase), Input::Cancel { by, reason, force }) => draft.cancel(phase, by, reason, force)?,
        (Stage::Running(_), Input::Resolve { step, verdict, by, note }) => draft.resolve(&step, verdict, by, note)?,
        (Stage::Running(phase), Input::Tick) => draft.tick(phase),
        (Stage::Running(_), Input::Park) => draft.park()?,
        (Stage::Running(_), Input::WorkspaceUsed { place }) => draft.push(Event::WorkspaceUsed { place }),
        (Stage::Running(_), Input::WorkspaceStored(Ok(snapshot))) => draft.push(Event::WorkspaceStored { snapshot }),
        (Stage::Running(_), Input::WorkspaceStored(Err(failure))) => draft.push(Event::WorkspaceNotStored { failure }),
    }
    draft.go_on();
    Ok(draft.decision)
}

/// The facts so far, and the state they imply.
struct Draft<'a> {
    plan: &'a Plan,
    run: &'a mut Run,
    now: Micros,
    decision: Decision,
}

impl Draft<'_> {
    fn push(&mut self, event: Event) {
        let fact = Fact { at: self.now, event };
        self.run.apply(self.plan, &fact);
        self.decision.events.push(fact.event);
    }

    fn interrupt(&mut self, step: StepIx, why: Interrupt) {
        let attempt = AttemptId { step, number: self.run.step(step).attempt };
        self.decision.effects.push(Effect::Interrupt { attempt, why });
    }

    // ---- inputs --------------------------------------------------------------------------------

    /// Nothing was done, so there is nothing to undo: no handlers.
    fn cancel_before_start(&mut self, by: String, reason: String, force: bool) {
        self.push(Event::CancelRequested { by, reason, force });
        self.end();
    }

    /// A new owner after a death. Every attempt that was under way is lost.
    fn recovered(&mut self, stage: Stage, recoveries: u32) {
        if stage == Stage::Created {
            self.push(Event::RunStarted);
        }
        self.push(Event::RunRecovered { recoveries });
        let lost: Vec<StepIx> = self.run.running().collect();
        for step in lost {
            self.lost(step);
        }
        if recoveries > MAX_RECOVERIES {
            self.give_up_run(recoveries);
        }
    }

    /// Something in this run kills its workers: it ends through its handlers, or without them if they
    /// do it too.
    fn give_up_run(&mut self, recoveries: u32) {
        match self.run.stage() {
            Stage::Running(Phase::Body) if self.run.ending().is_none() => {
                self.push(Event::RunGivenUp { recoveries });
                self.stop_body(Interrupt::Cancelled, true);
            }
            Stage::Running(_) if recoveries > 2 * MAX_RECOVERIES => self.end(),
            _ => {}
        }
    }

    fn finished(&mut self, attempt: AttemptId, outcome: Outcome) -> Result<(), Rejection> {
        let step = attempt.step;
        let known = self.run.steps().get(step.get()).ok_or(Rejection::Stale)?;
        if known.state != Step::Running || known.attempt != attempt.number {
            return Err(Rejection::Stale);
        }
        match outcome {
            Outcome::Succeeded(success) => self.completed(step, success),
            Outcome::Waits { until } => self.waits(step, until),
            Outcome::Failed(failure) => self.failed(step, failure),
            Outcome::Cancelled if self.is_ending(step) => {
                self.push(Event::StepCancelled { step, attempt: attempt.number });
            }
            // Stopped although nobody asked: a fault of the owner, and as good as lost.
            Outcome::Cancelled | Outcome::Lost => self.lost(step),
            Outcome::Interrupted => self.interrupted(step, false),
            Outcome::NotBegun => self.not_begun(step),
        }
        Ok(())
    }

    /// An attempt has done its work; what it leaves behind may still make it a failure.
    fn completed(&mut self, step: StepIx, success: Success) {
        match outputs::complete(self.plan, self.run, step, success) {
            Ok(success) => self.succeeded(step, success),
            Err(failure) => self.failed(step, failure),
        }
    }

    fn succeeded(&mut self, step: StepIx, mut success: Success) {
        if !self.plan.step(step).keep_result {
            success.result = None;
        }
        self.push(Event::StepSucceeded { step, attempt: self.run.step(step).attempt, success });
    }

    /// The step failed, or runs again if its policy says so.
    fn failed(&mut self, step: StepIx, failure: Failure) {
        let attempt = self.run.step(step).attempt;
        match self.next_try(step, &failure) {
            Some(until) => self.push(Event::StepRetrying { step, attempt, failure, until }),
            None => self.push(Event::StepFailed { step, attempt, failure }),
        }
    }

    /// When a failed step runs again; whole milliseconds, so that the stored fact is exact.
    fn next_try(&self, step: StepIx, failure: &Failure) -> Option<Micros> {
        let planned = self.plan.step(step);
        let (policy, record) = (&planned.retry, self.run.step(step));
        let failures = record.failures + 1;
        let listed = policy.on.iter().any(|on| on.matches(failure.reason));
        if !failure.retryable || !listed || failures >= policy.max_attempts || self.is_ending(step) {
            return None;
        }
        if let Some(condition) = &policy.condition {
            let result = failure_as_result(failure);
            let scope = RunScope { result: Some(&result), ..RunScope::new(self.plan, self.run, step) };
            if condition.eval(&scope).ok()?.as_bool() != Some(true) {
                return None;
            }
        }
        let attempt = AttemptId { step, number: record.attempt };
        let wait = retry::delay(policy, self.run.seed(), attempt, failures);
        let until = Micros((self.now.millis() + 1) * 1_000).plus(wait);
        let deadline = planned.deadline.zip(record.first_started).map(|(limit, first)| first.plus(limit));
        (deadline.is_none_or(|deadline| until < deadline)).then_some(until)
    }

    /// Nobody knows how far the attempt came: the effect model says what that means.
    fn lost(&mut self, step: StepIx) {
        let planned = self.plan.step(step);
        let attempt = self.run.step(step).attempt;
        let again = match (planned.effect, planned.on_unknown) {
            (EffectModel::Idempotent, _) => planned.retry.on.contains(&RetryOn::WorkerLost),
            (EffectModel::AtMostOnce, OnUnknown::Retry) => true,
            (EffectModel::AtMostOnce, OnUnknown::Hold) => return self.hold(step),
            (EffectModel::AtMostOnce, OnUnknown::Fail) => false,
        };
        let worn_out = self.run.step(step).lost >= MAX_LOST || self.run.recoveries() > MAX_RECOVERIES;
        if again && !worn_out {
            return self.interrupted(step, true);
        }
        let message = if again {
            format!("its worker was lost {} times while it ran", self.run.step(step).lost + 1)
        } else {
            "its worker was lost while it ran; nobody knows how far it came".to_owned()
        };
        let failure = Failure::permanent("WORKER_LOST", message).because(FailureReason::WorkerLost);
        self.push(Event::StepFailed { step, attempt, failure });
    }

    fn hold(&mut self, step: StepIx) {
        let attempt = self.run.step(step).attempt;
        if self.is_ending(step) {
            return self.give_up(step);
        }
        self.push(Event::StepUnknown { step, attempt });
    }

    /// The run ends before anyone said what became of the step. It may have done something: it failed.
    fn give_up(&mut self, step: StepIx) {
        let failure = Failure::permanent(
            "OUTCOME_UNKNOWN",
            "its worker was lost while it ran, and the run ended before anyone said what it had done",
        )
        .because(FailureReason::WorkerLost);
        self.push(Event::StepFailed { step, attempt: self.run.step(step).attempt, failure });
    }

    fn interrupted(&mut self, step: StepIx, lost: bool) {
        let attempt = self.run.step(step).attempt;
        let effect = self.plan.step(step).effect;
        if self.is_ending(step) && (lost || effect == EffectModel::Idempotent) {
            return self.push(Event::StepCancelled { step, attempt });
        }
        if !lost && effect == EffectModel::AtMostOnce {
            return self.lost(step);
        }
        self.push(Event::StepInterrupted { step, attempt, lost });
    }

    /// The attempt was recorded and did nothing: nobody has to say what became of it.
    fn not_begun(&mut self, step: StepIx) {
        let attempt = self.run.step(step).attempt;
        if self.is_ending(step) {
            return self.push(Event::StepCancelled { step, attempt });
        }
        self.push(Event::StepInterrupted { step, attempt, lost: false });
    }

    fn cancel(&mut self, phase: Phase, by: String, reason: String, force: bool) -> Result<(), Rejection> {
        // The first cancel ends the body; only a forced one ends what runs after it.
        let first = phase == Phase::Body && self.run.ending().is_none();
        if !first && !force {
            return Err(Rejection::Stale);
        }
        self.push(Event::CancelRequested { by, reason, force });
        if phase == Phase::Body {
            self.stop_body(Interrupt::Cancelled, force);
        } else {
            self.stop_phase(phase, Interrupt::Cancelled);
        }
        Ok(())
    }

    /// Ends every open step of the body, except those that ask to run after a cancel.
    fn stop_body(&mut self, why: Interrupt, all: bool) {
        let plan = self.plan;
        for step in plan.phase(Phase::Body) {
            let stays = !all && plan.step(step).condition.as_ref().is_some_and(|c| c.has_status_function);
            let (state, attempt) = (self.run.step(step).state, self.run.step(step).attempt);
            match state {
                Step::Running => self.interrupt(step, why),
                Step::Unknown => self.give_up(step),
                Step::Retrying { .. } | Step::Waiting { .. } => self.push(Event::StepCancelled { step, attempt }),
                Step::Pending if !stays => self.push(Event::StepCancelled { step, attempt }),
                // What was judged before is judged again: `success()` and `cancelled()` have changed.
                Step::Pending if self.run.index.ready.remove(&step) => self.run.index.judge.push_back(step),
                _ => {}
            }
        }
    }

    fn resolve(&mut self, id: &str, verdict: Verdict, by: String, note: String) -> Result<(), Rejection> {
        let step = self.plan.find(id).ok_or(Rejection::NotHeld)?;
        let record = self.run.step(step);
        if record.state != Step::Unknown {
            return Err(Rejection::NotHeld);
        }
        let attempt = record.attempt;
        let message = if note.is_empty() {
            format!("{by} said that it failed")
        } else {
            format!("{by} said that it failed: {note}")
        };
        self.push(Event::StepResolved { step, attempt, verdict, by, note });
        match verdict {
            Verdict::Retry => {}
            Verdict::Succeeded => self.succeeded(step, Success::default()),
            Verdict::Failed => {
                let failure = Failure::permanent("RESOLVED_FAILED", message);
                self.push(Event::StepFailed { step, attempt, failure });
            }
        }
        Ok(())
    }

    fn park(&mut self) -> Result<(), Rejection> {
        let waiting_on = self.run.waiting_on(self.now).ok_or(Rejection::Stale)?;
        self.push(Event::RunParked { waiting_on });
        Ok(())
    }

    fn tick(&mut self, phase: Phase) {
        if self.run.index.phase_deadline.is_some_and(|deadline| deadline <= self.now) {
            if phase == Phase::Body {
                self.push(Event::RunTimedOut);
                self.stop_body(Interrupt::TimedOut, true);
            } else {
                self.push(Event::PhaseTimedOut { phase });
                self.stop_phase(phase, Interrupt::TimedOut);
            }
        }
        while let Some((until, step)) = self.run.index.retries.first().copied() {
            if until > self.now {
                break;
            }
            self.run.index.retries.remove(&(until, step));
            self.run.index.ready.insert(step);
        }
        self.end_waits();
    }

    /// Ends the current phase of handlers: the one under way is stopped, the others do not begin.
    fn stop_phase(&mut self, phase: Phase, why: Interrupt) {
        for step in self.plan.phase(phase) {
            match self.run.step(step).state {
                Step::Running => self.interrupt(step, why),
                Step::Unknown => self.give_up(step),
                Step::Pending | Step::Retrying { .. } | Step::Waiting { .. } => {
                    self.push(Event::StepCancelled { step, attempt: self.run.step(step).attempt });
                }
                _ => {}
            }
        }
    }

    // ---- consequences --------------------------------------------------------------------------

    /// Judges what became decidable, starts what has a slot, and moves on when a phase is done.
    fn go_on(&mut self) {
        loop {
            self.judge_all();
            self.start_ready();
            let Stage::Running(phase) = self.run.stage() else { return };
            if self.run.index.open > 0 {
                break;
            }
            match self.next_phase(phase) {
                Some(next) => self.push(Event::PhaseStarted { phase: next }),
                None => return self.end(),
            }
        }
    }

    fn judge_all(&mut self) {
        while let Some(step) = self.run.index.judge.pop_front() {
            if self.run.step(step).state == Step::Pending {
                self.judge(step);
            }
        }
    }

    /// Decides whether a pending step whose needs have settled runs, is skipped, blocked or cancelled.
    /// (In a body that is being ended only steps that ask for it are still pending.)
    fn judge(&mut self, step: StepIx) {
        let planned = self.plan.step(step);
        let scope = RunScope::new(self.plan, self.run, step);
        let body = planned.phase == Phase::Body;
        let met = !body || planned.needs.iter().all(|need| self.run.is_met(self.plan, *need));
        let asks = planned.condition.as_ref().is_some_and(|c| c.has_status_function);
        if !met && !asks {
            return self.push(Event::StepBlocked { step });
        }
        match condition_holds(planned, &scope) {
            Ok(true) => {
                self.run.index.ready.insert(step);
            }
            Ok(false) if body && scope.holds(StatusFunction::Cancelled) => {
                self.push(Event::StepCancelled { step, attempt: self.run.step(step).attempt });
            }
            Ok(false) if met => self.push(Event::StepSkipped { step }),
            Ok(false) => self.push(Event::StepBlocked { step }),
            Err(error) => {
                let failure = Failure::permanent("CONDITION_FAILED", format!("its `if` failed: {error}"));
                self.push(Event::StepFailed { step, attempt: 0, failure });
            }
        }
    }

    fn start_ready(&mut self) {
        while self.run.index.running.len() < self.run.index.slots as usize {
            let Some(step) = self.run.index.ready.first().copied() else { return };
            let again = self.run.step(step).again;
            let attempt = self.run.step(step).attempt + 1;
            self.push(Event::StepStarted { step, attempt, again });
            self.decision.effects.push(Effect::Start {
                attempt: AttemptId { step, number: attempt },
                since: self.run.step(step).since.unwrap_or(self.now),
                deadline: self.run.attempt_deadline(self.plan, step),
            });
        }
    }

    /// The phase after `phase` that has steps and that the verdict calls for; none after a forced cancel.
    fn next_phase(&self, phase: Phase) -> Option<Phase> {
        if self.run.is_forced() {
            return None;
        }
        let after_body = match self.run.verdict() {
            RunStatus::Failed | RunStatus::TimedOut => Some(Phase::OnFailure),
            RunStatus::Cancelled => Some(Phase::OnCancel),
            _ => None,
        };
        let candidates = match phase {
            Phase::Body => [after_body, Some(Phase::Finally)],
            Phase::OnFailure | Phase::OnCancel => [Some(Phase::Finally), None],
            Phase::Finally => [None, None],
        };
        candidates.into_iter().flatten().find(|next| self.plan.phase(*next).next().is_some())
    }

    fn end(&mut self) {
        let status = self.run.verdict();
        let error = self.run.error(self.plan);
        self.push(Event::RunFinished { status, error });
    }

    /// Whether the phase of this step is being ended from outside, so that nothing in it runs again.
    fn is_ending(&self, step: StepIx) -> bool {
        if self.plan.step(step).phase == Phase::Body {
            self.run.ending().is_some()
        } else {
            self.run.index.phase_deadline.is_none()
        }
    }
}

/// The step's `if`; true without one. Anything but a boolean is an error.
fn condition_holds(planned: &PlannedStep, scope: &RunScope<'_>) -> Result<bool, ExprError> {
    let Some(condition) = &planned.condition else { return Ok(true) };
    let value = condition.expr.eval(scope)?;
    value.as_bool().ok_or_else(|| ExprError { message: format!("it is {value}, not true or false"), offset: None })
}
