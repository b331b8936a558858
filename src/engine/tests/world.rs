//! A hostile world: duplicate, late and reordered outcomes, cancels, resolves, deaths of the owner with
//! replay from the log, clock jumps.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde_json::Map;
use uuid::Uuid;

use super::{
    super::{
        Decision, Effect, Ending, Event, Fact, Input, LONG_WAIT, Rejection, Run, Stage, Step, Verdict, decide,
        testing::{Rng, generated_plan},
    },
    assert_same,
};
use crate::{
    model::{
        AttemptId, EffectModel, Failure, FailureReason, Micros, Millis, OnUnknown, Outcome, RunId, RunStatus, StepIx,
        Success,
    },
    runbook::{Phase, Plan},
};

/// One run, everything that happened to it, and what the world knows of it.
pub struct World {
    seed: u64,
    rng: Rng,
    pub plan: Plan,
    pub run: Run,
    pub log: Vec<Fact>,
    now: Micros,
    slots: u32,
    deaths: u32,
    /// Every attempt ever started, for duplicate and late deliveries.
    started: Vec<AttemptId>,
    /// Attempts of the current owner that have not reported.
    under_way: BTreeSet<AttemptId>,
    interrupted: BTreeSet<AttemptId>,
    /// Steps whose last attempt was lost and that only a person or `on_unknown: retry` may repeat.
    poisoned: BTreeSet<StepIx>,
    failures: BTreeMap<StepIx, u32>,
}

impl World {
    /// Plays a run to its end and checks every invariant on the way.
    pub fn play(seed: u64) -> World {
        let mut rng = Rng(seed);
        let mut plan = generated_plan(&mut rng);
        for step in &mut plan.steps {
            if rng.one_in(10) {
                // So long that the run is given up meanwhile.
                step.retry.delay = Millis(10 * LONG_WAIT.0);
            }
        }
        let id = RunId(Uuid::from_u64_pair(seed, !seed));
        let run = Run::new(&plan, id, Arc::new(Map::new()));
        let slots = 1 + u32::try_from(rng.below(4)).unwrap();
        let mut world = World {
            seed,
            rng,
            plan,
            run,
            log: Vec::new(),
            now: Micros(1_000_000),
            slots,
            deaths: 0,
            started: Vec::new(),
            under_way: BTreeSet::new(),
            interrupted: BTreeSet::new(),
            poisoned: BTreeSet::new(),
            failures: BTreeMap::new(),
        };
        world.feed(Input::Slots(slots));
        if world.rng.one_in(50) {
            world.feed(Input::Cancel { by: "eve".into(), reason: String::new(), force: false });
        }
        world.feed(Input::Begin);
        for _ in 0..20_000 {
            if matches!(world.run.stage(), Stage::Ended(_)) {
                break;
            }
            world.check_alive();
            let input = world.next_input();
            world.feed(input);
        }
        world.check_ended();
        world
    }

    fn next_input(&mut self) -> Input {
        self.now = Micros(self.now.0 + i64::try_from(self.rng.below(4_000)).unwrap());
        if self.under_way.is_empty() && self.rng.one_in(4) {
            // Nothing happens until the time has come that it waits for.
            self.now = self.now.max(self.run.wake_at().unwrap_or(self.now));
        }
        let late =
            (!self.started.is_empty() && self.rng.one_in(8)).then(|| self.started[self.rng.below(self.started.len())]);
        let due: Vec<AttemptId> = self.under_way.iter().copied().collect();
        let held: Vec<StepIx> = self.run.held().collect();
        match self.rng.below(40) {
            0 => Input::Cancel { by: "eve".into(), reason: "why not".into(), force: self.rng.one_in(3) },
            1 if self.deaths < 40 => self.die(),
            2 | 3 if !held.is_empty() => {
                let step = self.plan.step(held[self.rng.below(held.len())]).id.to_string();
                let verdict = self.rng.pick(&[Verdict::Retry, Verdict::Succeeded, Verdict::Failed]);
                Input::Resolve { step, verdict, by: "ann".into(), note: String::new() }
            }
            4 => Input::Resolve { step: "s0".into(), verdict: Verdict::Retry, by: "bob".into(), note: "n".into() },
            5 => Input::Begin,
            6 => Input::Park,
            7 if self.rng.one_in(8) => Input::Leaving(!self.rng.one_in(3)),
            7 => {
                self.now = Micros(self.now.0 + 200_000);
                Input::Tick
            }
            8..=12 => Input::Tick,
            _ => match late.or_else(|| (!due.is_empty()).then(|| due[self.rng.below(due.len())])) {
                Some(attempt) => Input::Finished { attempt, outcome: self.outcome(attempt) },
                None => Input::Tick,
            },
        }
    }

    fn outcome(&mut self, attempt: AttemptId) -> Outcome {
        if self.interrupted.contains(&attempt) && !self.rng.one_in(3) {
            return Outcome::Cancelled;
        }
        match self.rng.below(15) {
            0..=5 => Outcome::Succeeded(Success::default()),
            6 => Outcome::Failed(Failure::error("E", "it broke")),
            7 => Outcome::Failed(Failure::error("T", "too slow").because(FailureReason::Timeout)),
            8 => Outcome::Failed(Failure::error("X", "exit").because(FailureReason::Exit(75))),
            9 => Outcome::Failed(Failure::permanent("P", "for good")),
            10 => Outcome::Lost,
            11 => Outcome::Interrupted,
            12 => Outcome::Waits { until: Micros(self.now.0 + i64::try_from(self.rng.below(20_000)).unwrap() - 1_000) },
            13 => Outcome::Waits { until: self.now.plus(Millis(LONG_WAIT.0 * self.rng.below(3) as u64)) },
            _ => Outcome::NotBegun,
        }
    }

    /// The owner dies: what it had in memory is gone, the next one replays the log.
    fn die(&mut self) -> Input {
        self.deaths += 1;
        let replayed = Run::replay(&self.plan, self.run.id(), Arc::new(Map::new()), &self.log);
        assert_same(&self.run, &replayed, self.seed);
        self.run = replayed;
        self.under_way.clear();
        self.interrupted.clear();
        self.feed(Input::Recovered { recoveries: self.deaths });
        Input::Slots(self.slots)
    }

    fn feed(&mut self, input: Input) {
        let before = self.run.clone();
        let copy = input.clone();
        match decide(&self.plan, &mut self.run, input, self.now) {
            Err(rejection) => {
                assert_eq!(before, self.run, "seed {}: a rejected input changes nothing: {copy:?}", self.seed);
                assert_eq!(rejection == Rejection::Ended, matches!(before.stage(), Stage::Ended(_)));
            }
            Ok(decision) => {
                self.check_input(&before, &copy);
                self.check_events(&before, &decision.events);
                self.carry_out(&before, &decision);
                self.log.extend(decision.events.into_iter().map(|event| Fact { at: self.now, event }));
            }
        }
    }

    fn check_input(&mut self, before: &Run, input: &Input) {
        if let Input::Finished { attempt, .. } = input {
            let record = before.step(attempt.step);
            assert!(
                record.state == Step::Running && record.attempt == attempt.number,
                "seed {}: only the current attempt may finish",
                self.seed
            );
            self.under_way.remove(attempt);
            self.interrupted.remove(attempt);
        }
        if let Input::Resolve { step, verdict: Verdict::Retry, .. } = input {
            self.poisoned.remove(&self.plan.find(step).unwrap());
        }
    }

    fn check_events(&mut self, before: &Run, events: &[Event]) {
        let seed = self.seed;
        let mut seen = before.clone();
        for event in events {
            match event {
                Event::StepStarted { step, attempt, .. } => self.check_start(&seen, *step, *attempt),
                Event::StepFailed { step, attempt, .. } if *attempt > 0 => self.check_failure(*step),
                Event::StepRetrying { step, until, .. } => {
                    self.check_failure(*step);
                    assert!(*until > self.now, "seed {seed}: a retry lies ahead");
                    let body = self.plan.step(*step).phase == Phase::Body;
                    assert!(
                        !body || seen.ending().is_none(),
                        "seed {seed}: no retry of the body once the run is ending"
                    );
                }
                Event::StepSkipped { step } => {
                    let planned = self.plan.step(*step);
                    assert!(planned.condition.is_some(), "seed {seed}: only an `if` skips");
                    assert!(
                        planned.needs.iter().all(|n| seen.is_met(&self.plan, *n)),
                        "seed {seed}: an unmet need blocks, it does not skip"
                    );
                }
                Event::StepBlocked { step } => {
                    let planned = self.plan.step(*step);
                    assert!(
                        planned.needs.iter().any(|n| !seen.is_met(&self.plan, *n)),
                        "seed {seed}: blocked by something"
                    );
                    assert!(
                        planned.needs.iter().all(|n| seen.step(*n).state.is_settled()),
                        "seed {seed}: judged when the needs have settled"
                    );
                }
                Event::StepUnknown { step, .. } | Event::StepInterrupted { step, lost: true, .. } => {
                    let planned = self.plan.step(*step);
                    if planned.effect == EffectModel::AtMostOnce && planned.on_unknown != OnUnknown::Retry {
                        self.poisoned.insert(*step);
                    }
                }
                Event::PhaseStarted { phase } => self.check_phase(&seen, *phase),
                _ => {}
            }
            self.check_wait(&seen, event);
            seen.apply(&self.plan, &Fact { at: self.now, event: event.clone() });
        }
    }

    /// A wait ends when it has to, and in no other way.
    fn check_wait(&self, seen: &Run, event: &Event) {
        let Some(Step::Waiting { until, due }) = event.step().map(|step| seen.step(step).state) else {
            if let Event::RunParked { .. } = event {
                assert!(seen.running().next().is_none(), "seed {}: what is under way needs an owner", self.seed);
                let timer = seen.timer();
                assert!(
                    seen.index.is_leaving || timer.is_none_or(|at| at > self.now.plus(LONG_WAIT)),
                    "seed {}: a short wait keeps an owner that stays",
                    self.seed
                );
            }
            return;
        };
        let (now, seed) = (self.now, self.seed);
        match event {
            Event::StepSucceeded { .. } => assert!(until <= now && until == due, "seed {seed}: a wait lasts its time"),
            Event::StepFailed { .. } | Event::StepRetrying { .. } => {
                assert!(due <= now && due < until, "seed {seed}: only a timeout ends a wait before its time");
            }
            Event::StepCancelled { .. } => {}
            other => panic!("seed {seed}: {other:?} of a step that waits"),
        }
    }

    fn check_start(&mut self, seen: &Run, step: StepIx, attempt: u32) {
        let seed = self.seed;
        let planned = self.plan.step(step);
        assert_eq!(attempt, seen.step(step).attempt + 1, "seed {seed}: attempts are numbered without gaps");
        assert!(!self.poisoned.contains(&step), "seed {seed}: an attempt of unknown outcome is not repeated");
        assert!(planned.needs.iter().all(|n| seen.step(*n).state.is_settled()), "seed {seed}: needs have settled");
        let asks = planned.condition.as_ref().is_some_and(|c| c.has_status_function);
        assert!(asks || planned.needs.iter().all(|n| seen.is_met(&self.plan, *n)), "seed {seed}: needs are met");
        if planned.phase == Phase::Body {
            assert!(
                seen.ending().is_none() || (asks && seen.ending() == Some(Ending::Cancelled)),
                "seed {seed}: nothing starts in an ending body"
            );
        } else {
            let earlier = (0..step.0).map(StepIx).filter(|ix| self.plan.step(*ix).phase == planned.phase);
            assert!(earlier.clone().all(|ix| seen.step(ix).state.is_settled()), "seed {seed}: handlers in order");
        }
        assert_eq!(seen.stage(), Stage::Running(planned.phase), "seed {seed}: steps run in their phase");
        if let Step::Retrying { until } = seen.step(step).state {
            assert!(until <= self.now, "seed {seed}: a retry waits for its time");
        }
        assert!(seen.running().count() < self.slots as usize, "seed {seed}: no more attempts than slots");
    }

    fn check_failure(&mut self, step: StepIx) {
        let count = self.failures.entry(step).or_default();
        *count += 1;
        // A loss that ends the step counts beside the failures that its policy allows.
        assert!(
            *count <= self.plan.step(step).retry.max_attempts + 1,
            "seed {}: the budget of failures holds",
            self.seed
        );
    }

    fn check_phase(&self, seen: &Run, phase: Phase) {
        assert!(!seen.is_forced(), "seed {}: no handlers after a forced cancel", self.seed);
        assert!(
            self.plan.phase(Phase::Body).all(|ix| seen.step(ix).state.is_settled()),
            "seed {}: the body settles first",
            self.seed
        );
        match phase {
            Phase::OnFailure => assert!(matches!(seen.verdict(), RunStatus::Failed | RunStatus::TimedOut)),
            Phase::OnCancel => assert_eq!(seen.verdict(), RunStatus::Cancelled),
            Phase::Finally => {
                assert!(self.plan.phase(Phase::OnFailure).all(|ix| !matches!(seen.step(ix).state, Step::Running)));
            }
            Phase::Body => unreachable!("the body is entered by RunStarted"),
        }
    }

    fn carry_out(&mut self, before: &Run, decision: &Decision) {
        let seed = self.seed;
        let starts = decision.events.iter().filter(|e| matches!(e, Event::StepStarted { .. })).count();
        assert_eq!(
            starts,
            decision.effects.iter().filter(|e| matches!(e, Effect::Start { .. })).count(),
            "seed {seed}: a start is a fact and an effect"
        );
        for effect in &decision.effects {
            match *effect {
                Effect::Start { attempt, since, deadline } => {
                    assert!(!self.started.contains(&attempt), "seed {seed}: an attempt starts once");
                    assert!(since <= self.now);
                    assert!(deadline.is_none_or(|d| d > self.now) || self.plan.step(attempt.step).deadline.is_some());
                    self.started.push(attempt);
                    self.under_way.insert(attempt);
                }
                Effect::Interrupt { attempt, .. } => {
                    assert_eq!(
                        before.step(attempt.step).state,
                        Step::Running,
                        "seed {seed}: only what runs is interrupted"
                    );
                    self.interrupted.insert(attempt);
                }
            }
        }
        let running: BTreeSet<AttemptId> =
            self.run.running().map(|step| AttemptId { step, number: self.run.step(step).attempt }).collect();
        assert!(running.len() <= self.slots as usize, "seed {seed}: slots");
        if !matches!(self.run.stage(), Stage::Ended(_)) {
            assert_eq!(running, self.under_way, "seed {seed}: what runs is what was started and has not reported");
        }
    }

    fn check_alive(&self) {
        let waits = !self.under_way.is_empty() || self.run.wake_at().is_some() || self.run.held().next().is_some();
        assert!(waits, "seed {}: a live run has something to wait for: {:?}", self.seed, self.run);
    }

    fn check_ended(&mut self) {
        let seed = self.seed;
        let Stage::Ended(status) = self.run.stage() else { panic!("seed {seed} never ended: {:?}", self.run) };
        assert!(self.run.steps().iter().all(|s| s.state.is_settled()), "seed {seed}: every step has settled");
        assert_eq!(
            self.log.iter().filter(|f| matches!(f.event, Event::RunFinished { .. })).count(),
            1,
            "seed {seed}: one end"
        );
        let failed = |phase| {
            self.plan
                .phase(phase)
                .any(|ix| self.run.step(ix).state == Step::Failed && !self.plan.step(ix).continue_on_error)
        };
        match status {
            RunStatus::Succeeded => {
                assert!(!failed(Phase::Body) && !failed(Phase::Finally), "seed {seed}: success without failures");
            }
            RunStatus::Failed => assert!(
                failed(Phase::Body) || failed(Phase::Finally) || self.run.ending() == Some(Ending::GivenUp),
                "seed {seed}: failure has a cause"
            ),
            RunStatus::Cancelled => assert!(
                self.log.iter().any(|f| matches!(f.event, Event::CancelRequested { .. })),
                "seed {seed}: somebody cancelled"
            ),
            RunStatus::TimedOut => assert!(self.plan.timeout.is_some(), "seed {seed}: there was a timeout"),
            other => panic!("seed {seed}: {other} is no end"),
        }
        let replayed = Run::replay(&self.plan, self.run.id(), Arc::new(Map::new()), &self.log);
        assert_same(&self.run, &replayed, seed);
        let late = self.started.first().map(|a| Input::Finished { attempt: *a, outcome: Outcome::Lost });
        let cancel = Input::Cancel { by: String::new(), reason: String::new(), force: true };
        for input in [Input::Begin, Input::Tick, Input::Park, Input::Leaving(true), cancel].into_iter().chain(late) {
            let before = self.run.clone();
            assert_eq!(decide(&self.plan, &mut self.run, input, self.now), Err(Rejection::Ended));
            assert_eq!(before, self.run, "seed {seed}: an ended run is sealed");
        }
    }
}
