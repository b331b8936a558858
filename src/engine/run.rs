//! The state of a run: the fold of its facts.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Map, Value};

use super::{Event, Fact, LONG_WAIT, Step, StepRecord, Verdict, WAKE_EARLY};
use crate::{
    model::{Failure, Micros, Millis, RunId, RunStatus, Snapshot, StepIx, WaitingOn},
    runbook::{Phase, Plan},
};

/// A run. Reads are free; changes only by [`Run::apply`].
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    id: RunId,
    params: Arc<Map<String, Value>>,
    stage: Stage,
    ending: Option<Ending>,
    steps: Vec<StepRecord>,
    /// A body step failed without `continue_on_error`: the first one and its failure.
    first_failure: Option<(StepIx, Failure)>,
    /// A `finally` step failed: the first one and its failure.
    finally_failure: Option<(StepIx, Failure)>,
    started_at: Option<Micros>,
    ended_at: Option<Micros>,
    recoveries: u32,
    workspace: WorkspaceState,
    /// Whether the working folder was ever stored.
    was_stored: bool,
    cancel: Option<(String, String)>,
    /// A cancel was forced: no more handlers.
    forced: bool,
    pub(super) index: Index,
}

/// What `decide` needs to be O(affected steps): kept by `apply`, derivable from the rest.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Index {
    /// Steps of the current phase that have not settled.
    pub open: u32,
    /// Per step: needs that have not settled.
    pub unmet: Vec<u32>,
    /// Pending steps whose needs have all settled, to be judged (their `if`, blocked or not).
    pub judge: VecDeque<StepIx>,
    /// Judged steps that wait for a slot, in the order of the plan.
    pub ready: BTreeSet<StepIx>,
    /// Steps with an attempt under way.
    pub running: BTreeSet<StepIx>,
    /// Steps that wait for a person.
    pub held: BTreeSet<StepIx>,
    /// Next attempts, by time.
    pub retries: BTreeSet<(Micros, StepIx)>,
    /// Attempts that let time pass, by when something becomes of them.
    pub waits: BTreeSet<(Micros, StepIx)>,
    /// The end of the current phase.
    pub phase_deadline: Option<Micros>,
    /// Attempts that the owner can have under way; none until it says so.
    pub slots: u32,
    /// The owner is about to end.
    pub is_leaving: bool,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Entered at creation; left by `RunStarted` or by a cancel before it.
    Created,
    /// The body, then the handlers that its end calls for.
    Running(Phase),
    /// Entered by `RunFinished`; never left.
    Ended(RunStatus),
}

/// Why a run is ending before its body was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Cancelled,
    TimedOut,
    /// Its workers died too often.
    GivenUp,
}

/// Where the working folder of a run is, as far as what ended steps left in it counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum WorkspaceState {
    /// Nothing is in it. Entered at creation, and when there was nothing to store.
    #[default]
    Unused,
    /// Entered by `WorkspaceUsed`; left by `WorkspaceStored`.
    At(String),
    /// Entered by `WorkspaceStored`; left by `WorkspaceUsed`.
    Stored(Snapshot),
}

impl Run {
    /// A run of which nothing has been decided yet. `params` are bound and checked.
    pub fn new(plan: &Plan, id: RunId, params: Arc<Map<String, Value>>) -> Run {
        let index = Index {
            open: plan.phase(Phase::Body).count().try_into().unwrap_or(u32::MAX),
            unmet: plan.steps.iter().map(|step| u32::try_from(step.needs.len()).unwrap_or(u32::MAX)).collect(),
            ..Index::default()
        };
        Run {
            id,
            params,
            stage: Stage::Created,
            ending: None,
            steps: vec![StepRecord::NEW; plan.steps.len()],
            first_failure: None,
            finally_failure: None,
            started_at: None,
            ended_at: None,
            recoveries: 0,
            workspace: WorkspaceState::Unused,
            was_stored: false,
            cancel: None,
            forced: false,
            index,
        }
    }

    /// The run that a log of facts describes.
    pub fn replay<'f>(
        plan: &Plan,
        id: RunId,
        params: Arc<Map<String, Value>>,
        facts: impl IntoIterator<Item = &'f Fact>,
    ) -> Run {
        let mut run = Run::new(plan, id, params);
        for fact in facts {
            run.apply(plan, fact);
        }
        run
    }

    pub fn id(&self) -> RunId {
        self.id
    }

    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// The seed of everything that only looks random, derived from the id.
    pub fn seed(&self) -> u64 {
        let (high, low) = self.id.0.as_u64_pair();
        high ^ low
    }

    pub fn stage(&self) -> Stage {
        self.stage
    }

    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    pub fn step(&self, ix: StepIx) -> &StepRecord {
        &self.steps[ix.get()]
    }

    pub fn steps(&self) -> &[StepRecord] {
        &self.steps
    }

    pub fn started_at(&self) -> Option<Micros> {
        self.started_at
    }

    pub fn ended_at(&self) -> Option<Micros> {
        self.ended_at
    }

    pub fn recoveries(&self) -> u32 {
        self.recoveries
    }

    pub fn workspace(&self) -> &WorkspaceState {
        &self.workspace
    }

    /// Whether something of the working folder was stored at any time.
    pub fn was_stored(&self) -> bool {
        self.was_stored
    }

    /// Steps with an attempt under way.
    pub fn running(&self) -> impl Iterator<Item = StepIx> + '_ {
        self.index.running.iter().copied()
    }

    /// Steps that wait for a person.
    pub fn held(&self) -> impl Iterator<Item = StepIx> + '_ {
        self.index.held.iter().copied()
    }

    /// Whether a body step failed without `continue_on_error`, or a `finally` step failed.
    pub fn has_failed(&self) -> bool {
        self.first_failure.is_some() || self.finally_failure.is_some()
    }

    /// Whether a step counts as met for those that need it: it succeeded, failed with
    /// `continue_on_error`, or was skipped by its own `if`.
    pub fn is_met(&self, plan: &Plan, need: StepIx) -> bool {
        match self.steps[need.get()].state {
            Step::Succeeded | Step::Skipped => true,
            Step::Failed => plan.step(need).continue_on_error,
            _ => false,
        }
    }

    /// Whether somebody wants the run to end without handlers.
    pub fn is_forced(&self) -> bool {
        self.forced
    }

    /// How the run ends, or would end if nothing else happened.
    pub fn verdict(&self) -> RunStatus {
        match (self.stage, self.ending) {
            (Stage::Ended(status), _) => status,
            (_, Some(Ending::Cancelled)) => RunStatus::Cancelled,
            (_, Some(Ending::TimedOut)) => RunStatus::TimedOut,
            (_, Some(Ending::GivenUp)) => RunStatus::Failed,
            (_, None) if self.has_failed() => RunStatus::Failed,
            (_, None) => RunStatus::Succeeded,
        }
    }

    /// Why the run does not end well, for its `error`.
    pub fn error(&self, plan: &Plan) -> Option<Failure> {
        let of_step = |(ix, failure): &(StepIx, Failure)| {
            let message = format!("step `{}` failed: {}: {}", plan.step(*ix).id, failure.code, failure.message);
            Failure { code: "STEP_FAILED".to_owned(), message, ..failure.clone() }
        };
        match self.ending {
            Some(Ending::Cancelled) => {
                let (by, reason) = self.cancel.clone().unwrap_or_default();
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                Some(Failure::permanent("CANCELLED", format!("cancelled by {by}{reason}")))
            }
            Some(Ending::TimedOut) => {
                let limit = plan.timeout.map(|t| format!(" of {t}")).unwrap_or_default();
                Some(Failure::permanent("RUN_TIMED_OUT", format!("the run was not done within its timeout{limit}")))
            }
            Some(Ending::GivenUp) => {
                Some(Failure::permanent("WORKERS_LOST", format!("its workers died {} times", self.recoveries)))
            }
            None => self.first_failure.as_ref().or(self.finally_failure.as_ref()).map(of_step),
        }
    }

    /// When the owner must send the next `Tick`.
    pub fn wake_at(&self) -> Option<Micros> {
        [self.timer(), self.index.phase_deadline].into_iter().flatten().min()
    }

    /// When the next step goes on by itself.
    pub fn timer(&self) -> Option<Micros> {
        let first = |timers: &BTreeSet<(Micros, StepIx)>| timers.first().map(|(at, _)| *at);
        [first(&self.index.retries), first(&self.index.waits)].into_iter().flatten().min()
    }

    /// What the run waits for without needing an owner: set while nothing is under way and, unless somebody says
    /// something, nothing will be for long, or for as long as this owner stays. Where a person and a time are waited
    /// for, it is the person who can do something about it.
    pub fn waiting_on(&self, now: Micros) -> Option<WaitingOn> {
        let idle = self.index.running.is_empty() && self.index.ready.is_empty();
        let (waiting_on, brief) = match (self.index.held.is_empty(), self.timer()) {
            (true, None) => return None,
            (true, Some(_)) => (WaitingOn::Timer, LONG_WAIT),
            (false, Some(_)) => (WaitingOn::StepOutcome, LONG_WAIT),
            (false, None) => (WaitingOn::StepOutcome, Millis(2 * WAKE_EARLY.0)),
        };
        let is_far = self.wake_at().is_none_or(|at| at > now.plus(brief));
        (idle && (is_far || self.index.is_leaving)).then_some(waiting_on)
    }

    /// When the last attempt of a step has timed out.
    pub(super) fn attempt_deadline(&self, plan: &Plan, ix: StepIx) -> Option<Micros> {
        let (planned, record) = (plan.step(ix), self.step(ix));
        let timeout = planned.timeout.zip(record.started);
        let deadline = planned.deadline.zip(record.first_started);
        [timeout, deadline].into_iter().flatten().map(|(limit, since)| since.plus(limit)).min()
    }

    /// The single place where state changes. Total: replaying facts of the same plan never fails.
    pub fn apply(&mut self, plan: &Plan, fact: &Fact) {
        let at = fact.at;
        match &fact.event {
            Event::RunStarted => {
                self.started_at = Some(at);
                self.enter(plan, Phase::Body, at);
            }
            Event::RunResumed | Event::RunParked { .. } | Event::WorkspaceNotStored { .. } => {}
            Event::RunRecovered { recoveries } => self.recoveries = *recoveries,
            Event::WorkspaceUsed { place } => self.workspace = WorkspaceState::At(place.clone()),
            Event::WorkspaceStored { snapshot } => {
                self.was_stored |= snapshot.is_some();
                self.workspace = snapshot.clone().map_or(WorkspaceState::Unused, WorkspaceState::Stored);
            }
            Event::CancelRequested { by, reason, force } => {
                self.forced |= force;
                if matches!(self.stage, Stage::Created | Stage::Running(Phase::Body)) {
                    self.ending.get_or_insert(Ending::Cancelled);
                    self.cancel.get_or_insert_with(|| (by.clone(), reason.clone()));
                } else {
                    self.index.phase_deadline = None;
                }
            }
            Event::RunTimedOut => {
                self.ending.get_or_insert(Ending::TimedOut);
                self.index.phase_deadline = None;
            }
            Event::RunGivenUp { .. } => {
                self.ending.get_or_insert(Ending::GivenUp);
                self.index.phase_deadline = None;
            }
            Event::PhaseStarted { phase } => self.enter(plan, *phase, at),
            Event::PhaseTimedOut { .. } => self.index.phase_deadline = None,
            Event::RunFinished { status, .. } => self.finish(*status, at),
            event => {
                if let Some(step) = event.step() {
                    self.apply_to_step(plan, step, event, at);
                }
            }
        }
    }

    fn enter(&mut self, plan: &Plan, phase: Phase, at: Micros) {
        self.stage = Stage::Running(phase);
        let limit = if phase == Phase::Body { plan.timeout } else { Some(plan.handler_timeout) };
        self.index.phase_deadline = limit.map(|limit| at.plus(limit));
        let pending: Vec<StepIx> = plan.phase(phase).collect();
        self.index.open = u32::try_from(pending.len()).unwrap_or(u32::MAX);
        if phase == Phase::Body {
            self.index.judge = pending.into_iter().filter(|ix| self.index.unmet[ix.get()] == 0).collect();
        } else {
            // One after another: the next is judged when the one before it has settled.
            self.index.judge = pending.into_iter().take(1).collect();
        }
    }

    fn finish(&mut self, status: RunStatus, at: Micros) {
        self.stage = Stage::Ended(status);
        self.ended_at = Some(at);
        // Handlers that the end did not call for, and the body of a run that never started.
        let unused =
            if status == RunStatus::Cancelled && self.started_at.is_none() { Step::Cancelled } else { Step::Skipped };
        for step in self.steps.iter_mut().filter(|step| !step.state.is_settled()) {
            step.state = unused;
        }
        let Index { slots, is_leaving, .. } = self.index;
        self.index = Index { unmet: std::mem::take(&mut self.index.unmet), slots, is_leaving, ..Index::default() };
    }

    fn apply_to_step(&mut self, plan: &Plan, ix: StepIx, event: &Event, at: Micros) {
        self.leave(ix);
        let deadline = self.attempt_deadline(plan, ix);
        let step = &mut self.steps[ix.get()];
        match event {
            Event::StepStarted { attempt, again, .. } => {
                step.start(*attempt, *again, at);
                self.index.running.insert(ix);
            }
            Event::StepSucceeded { success, .. } => {
                step.success = Some(Arc::new(success.clone()));
                self.settle(plan, ix, Step::Succeeded, at);
            }
            Event::StepFailed { attempt, failure, .. } => {
                step.failures += u32::from(*attempt > 0);
                step.failure = Some(Arc::new(failure.clone()));
                self.settle(plan, ix, Step::Failed, at);
            }
            Event::StepRetrying { failure, until, .. } => {
                step.failures += 1;
                step.failure = Some(Arc::new(failure.clone()));
                step.state = Step::Retrying { until: *until };
                self.index.retries.insert((*until, ix));
            }
            Event::StepWaiting { until, .. } => {
                let due = deadline.map_or(*until, |deadline| deadline.min(*until));
                step.state = Step::Waiting { until: *until, due };
                self.index.waits.insert((due, ix));
            }
            Event::StepInterrupted { lost, .. } => {
                step.lost += u32::from(*lost);
                step.again = true;
                step.state = Step::Pending;
                self.index.judge.push_back(ix);
            }
            Event::StepUnknown { .. } => {
                step.lost += 1;
                step.state = Step::Unknown;
                self.index.held.insert(ix);
            }
            Event::StepResolved { verdict: Verdict::Retry, .. } => {
                // A person's retry is a new try, with all of its deadline.
                step.first_started = None;
                step.state = Step::Pending;
                self.index.judge.push_back(ix);
            }
            Event::StepSkipped { .. } => self.settle(plan, ix, Step::Skipped, at),
            Event::StepBlocked { .. } => self.settle(plan, ix, Step::Blocked, at),
            Event::StepCancelled { .. } => self.settle(plan, ix, Step::Cancelled, at),
            _ => {}
        }
    }

    /// Takes a step out of every index of its old state.
    fn leave(&mut self, ix: StepIx) {
        match self.steps[ix.get()].state {
            Step::Pending => {
                self.index.ready.remove(&ix);
            }
            Step::Running => {
                self.index.running.remove(&ix);
            }
            Step::Retrying { until } => {
                self.index.retries.remove(&(until, ix));
                self.index.ready.remove(&ix);
            }
            Step::Waiting { due, .. } => {
                self.index.waits.remove(&(due, ix));
            }
            Step::Unknown => {
                self.index.held.remove(&ix);
            }
            _ => {}
        }
    }

    fn settle(&mut self, plan: &Plan, ix: StepIx, state: Step, at: Micros) {
        let planned = plan.step(ix);
        let step = &mut self.steps[ix.get()];
        step.state = state;
        step.ended = Some(at);
        if state == Step::Failed && !planned.continue_on_error {
            let failure =
                step.failure.as_deref().cloned().unwrap_or_else(|| Failure::error("UNKNOWN", "no reason was recorded"));
            match planned.phase {
                Phase::Body => self.first_failure.get_or_insert((ix, failure)),
                Phase::Finally => self.finally_failure.get_or_insert((ix, failure)),
                // A failed handler is shown, and changes nothing.
                Phase::OnFailure | Phase::OnCancel => &mut (ix, failure),
            };
        }
        self.index.open = self.index.open.saturating_sub(1);
        if planned.phase == Phase::Body {
            for dependent in plan.dependents(ix) {
                let unmet = &mut self.index.unmet[dependent.get()];
                *unmet = unmet.saturating_sub(1);
                if *unmet == 0 && self.steps[dependent.get()].state == Step::Pending {
                    self.index.judge.push_back(*dependent);
                }
            }
        } else if plan.steps.get(ix.get() + 1).is_some_and(|next| next.phase == planned.phase) {
            self.index.judge.push_back(StepIx(ix.0 + 1));
        }
    }
}
