//! The rules of the language, one by one, on plans small enough to read.

use std::sync::Arc;

use serde_json::Map;
use uuid::Uuid;

use super::super::{
    Decision, Effect, Ending, Event, Fact, Input, Interrupt, MAX_LOST, MAX_RECOVERIES, Rejection, Run, Stage, Step,
    Verdict, decide,
};
use crate::{
    model::{
        AttemptId, EffectModel, Failure, FailureReason, Micros, Millis, OnUnknown, Outcome, RunId, RunStatus, StepIx,
        Success, WaitingOn,
    },
    runbook::{Condition, Expr, Jitter, Phase, Plan, PlannedStep, RetryOn, RetryPolicy},
};

/// A plan, its run, and a clock that moves only when told to.
pub(super) struct Bench {
    pub(super) plan: Plan,
    pub(super) run: Run,
    pub(super) now: Micros,
    pub(super) facts: Vec<Fact>,
    effects: Vec<Effect>,
}

pub(super) fn step(id: &str, needs: &[u32]) -> PlannedStep {
    PlannedStep { needs: needs.iter().copied().map(StepIx).collect(), ..PlannedStep::new(id, "assert") }
}

fn handler(id: &str, phase: Phase) -> PlannedStep {
    PlannedStep { phase, ..PlannedStep::new(id, "assert") }
}

fn when(expr: &str) -> Condition {
    let expr = Expr::compile(expr).unwrap();
    let has_status_function = expr.references().status_function;
    Condition { expr, has_status_function }
}

pub(super) fn retries(max_attempts: u32, delay: u64) -> RetryPolicy {
    RetryPolicy { max_attempts, delay: Millis(delay), jitter: Jitter::None, ..RetryPolicy::never() }
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed(Failure::error("E", "it broke"))
}

pub(super) fn done() -> Outcome {
    Outcome::Succeeded(Success::default())
}

impl Bench {
    pub(super) fn start(plan: Plan) -> Bench {
        let run = Run::new(&plan, RunId(Uuid::from_u128(7)), Arc::new(Map::new()));
        let mut bench = Bench { plan, run, now: Micros(1_000_000), facts: Vec::new(), effects: Vec::new() };
        bench.feed(Input::Slots(100)).unwrap();
        bench.feed(Input::Begin).unwrap();
        bench
    }

    pub(super) fn of(steps: Vec<PlannedStep>) -> Bench {
        Bench::start(Plan::new("rules", steps))
    }

    pub(super) fn feed(&mut self, input: Input) -> Result<(), Rejection> {
        let Decision { events, effects } = decide(&self.plan, &mut self.run, input, self.now)?;
        self.facts.extend(events.into_iter().map(|event| Fact { at: self.now, event }));
        self.effects.extend(effects);
        Ok(())
    }

    pub(super) fn id(&self, step: &str) -> AttemptId {
        let ix = self.plan.find(step).unwrap();
        AttemptId { step: ix, number: self.run.step(ix).attempt }
    }

    /// The attempt under way of a step ends like this.
    pub(super) fn ends(&mut self, step: &str, outcome: Outcome) -> &mut Bench {
        let attempt = self.id(step);
        assert_eq!(self.state(step), Step::Running, "{step} is under way");
        self.feed(Input::Finished { attempt, outcome }).unwrap();
        self
    }

    pub(super) fn after(&mut self, millis: u64) -> &mut Bench {
        self.now = self.now.plus(Millis(millis));
        self.feed(Input::Tick).unwrap();
        self
    }

    pub(super) fn cancel(&mut self, force: bool) -> Result<(), Rejection> {
        self.feed(Input::Cancel { by: "ann".into(), reason: "enough".into(), force })
    }

    pub(super) fn state(&self, step: &str) -> Step {
        self.run.step(self.plan.find(step).unwrap()).state
    }

    pub(super) fn states(&self) -> String {
        let word = |(planned, record): (&PlannedStep, &super::super::StepRecord)| {
            format!("{}:{}", planned.id, record.state.status())
        };
        self.plan.steps.iter().zip(self.run.steps()).map(word).collect::<Vec<_>>().join(" ")
    }

    pub(super) fn ended(&self) -> RunStatus {
        match self.run.stage() {
            Stage::Ended(status) => status,
            other => panic!("not ended: {other:?} {}", self.states()),
        }
    }

    fn interrupted(&self, step: &str) -> Option<Interrupt> {
        let ix = self.plan.find(step).unwrap();
        self.effects.iter().find_map(|effect| match effect {
            Effect::Interrupt { attempt, why } if attempt.step == ix => Some(*why),
            _ => None,
        })
    }
}

#[test]
fn steps_without_needs_start_at_once_and_the_others_when_their_needs_are_met() {
    let mut bench = Bench::of(vec![step("a", &[]), step("b", &[]), step("c", &[0, 1])]);
    assert_eq!(bench.states(), "a:running b:running c:pending");
    bench.ends("a", done());
    assert_eq!(bench.state("c"), Step::Pending);
    bench.ends("b", done()).ends("c", done());
    assert_eq!(bench.ended(), RunStatus::Succeeded);
}

#[test]
fn a_failed_need_blocks_downstream_and_leaves_other_branches_alone() {
    let mut bench = Bench::of(vec![step("a", &[]), step("b", &[0]), step("c", &[1]), step("d", &[])]);
    bench.ends("a", failed());
    assert_eq!(bench.states(), "a:failed b:blocked c:blocked d:running");
    bench.ends("d", done());
    assert_eq!(bench.ended(), RunStatus::Failed);
    assert_eq!(bench.run.error(&bench.plan).unwrap().message, "step `a` failed: E: it broke");
}

#[test]
fn continue_on_error_counts_as_met() {
    let mut bench = Bench::of(vec![PlannedStep { continue_on_error: true, ..step("a", &[]) }, step("b", &[0])]);
    bench.ends("a", failed()).ends("b", done());
    assert_eq!(bench.ended(), RunStatus::Succeeded);
}

#[test]
fn a_step_skipped_by_its_if_counts_as_met_and_a_blocked_one_does_not() {
    let skipped = PlannedStep { condition: Some(when("false")), ..step("a", &[]) };
    let mut bench = Bench::of(vec![skipped, step("b", &[0])]);
    assert_eq!(bench.states(), "a:skipped b:running");
    bench.ends("b", done());
    assert_eq!(bench.ended(), RunStatus::Succeeded);

    // `if: success()` says what is implied anyway: false because a need failed is blocked, not skipped.
    let explicit = PlannedStep { condition: Some(when("success()")), ..step("b", &[0]) };
    let mut bench = Bench::of(vec![step("a", &[]), explicit, step("c", &[1])]);
    bench.ends("a", failed());
    assert_eq!(bench.states(), "a:failed b:blocked c:blocked");
}

#[test]
fn status_functions_decide_for_themselves() {
    for (condition, after_success, after_failure) in [
        ("always()", "running", "running"),
        ("failure()", "skipped", "running"),
        ("success()", "running", "blocked"),
        ("success() || failure()", "running", "running"),
        ("cancelled()", "skipped", "blocked"),
    ] {
        for (outcome, expected) in [(done(), after_success), (failed(), after_failure)] {
            let mut bench =
                Bench::of(vec![step("a", &[]), PlannedStep { condition: Some(when(condition)), ..step("b", &[0]) }]);
            bench.ends("a", outcome);
            assert_eq!(bench.state("b").status().as_str(), expected, "{condition}");
        }
    }
}

#[test]
fn a_condition_that_is_no_boolean_fails_its_step() {
    let mut bench = Bench::of(vec![PlannedStep { condition: Some(when("1 + 1")), ..step("a", &[]) }]);
    assert_eq!(bench.ended(), RunStatus::Failed);
    assert_eq!(bench.run.step(StepIx(0)).failure.as_ref().unwrap().code, "CONDITION_FAILED");
    assert_eq!(bench.cancel(false), Err(Rejection::Ended));
}

#[test]
fn failures_are_retried_after_their_delay_until_the_budget_is_used_up() {
    let mut bench = Bench::of(vec![PlannedStep { retry: retries(3, 100), ..step("a", &[]) }]);
    bench.ends("a", failed());
    assert!(matches!(bench.state("a"), Step::Retrying { .. }));
    bench.after(99);
    assert!(matches!(bench.state("a"), Step::Retrying { .. }), "not before its time");
    bench.after(3).ends("a", failed());
    bench.after(150);
    assert!(matches!(bench.state("a"), Step::Retrying { .. }), "the delay doubles");
    bench.after(52).ends("a", failed());
    assert_eq!(bench.ended(), RunStatus::Failed);
    assert_eq!(bench.run.step(StepIx(0)).attempt, 3);
}

#[test]
fn only_listed_failures_are_retried() {
    let policy = RetryPolicy { on: vec![RetryOn::Timeout, RetryOn::Exit(75)], ..retries(5, 1) };
    let fails = |reason| {
        let mut bench = Bench::of(vec![PlannedStep { retry: policy.clone(), ..step("a", &[]) }]);
        bench.ends("a", Outcome::Failed(Failure::error("E", "").because(reason)));
        bench.state("a")
    };
    assert!(matches!(fails(FailureReason::Timeout), Step::Retrying { .. }));
    assert!(matches!(fails(FailureReason::Exit(75)), Step::Retrying { .. }));
    assert_eq!(fails(FailureReason::Exit(1)), Step::Failed);
    assert_eq!(fails(FailureReason::Error), Step::Failed);
    let mut bench = Bench::of(vec![PlannedStep { retry: retries(5, 1), ..step("a", &[]) }]);
    bench.ends("a", Outcome::Failed(Failure::permanent("P", "for good")));
    assert_eq!(bench.state("a"), Step::Failed, "a permanent failure is not retried");
}

#[test]
fn retry_if_looks_at_the_failure() {
    let condition = Some(Expr::compile("result.exit_code == 75").unwrap());
    for (code, retried) in [(75, true), (76, false)] {
        let policy = RetryPolicy { condition: condition.clone(), ..retries(2, 1) };
        let mut bench = Bench::of(vec![PlannedStep { retry: policy, ..step("a", &[]) }]);
        bench.ends("a", Outcome::Failed(Failure::error("E", "").because(FailureReason::Exit(code))));
        assert_eq!(matches!(bench.state("a"), Step::Retrying { .. }), retried, "{code}");
    }
}

#[test]
fn the_deadline_bounds_attempts_and_the_waits_between_them() {
    let planned = PlannedStep {
        retry: retries(9, 100),
        deadline: Some(Millis(250)),
        timeout: Some(Millis(1_000)),
        ..step("a", &[])
    };
    let mut bench = Bench::of(vec![planned]);
    let deadline = |bench: &Bench| match bench.effects.last() {
        Some(Effect::Start { deadline, .. }) => deadline.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(deadline(&bench), Micros(1_000_000).plus(Millis(250)), "the deadline is nearer than the timeout");
    bench.after(60).ends("a", failed());
    bench.after(102);
    assert_eq!(deadline(&bench), Micros(1_000_000).plus(Millis(250)), "it does not move");
    bench.ends("a", failed());
    assert_eq!(bench.ended(), RunStatus::Failed, "the next attempt would begin after the deadline");
}

#[test]
fn a_cancel_stops_what_runs_and_then_runs_its_handlers() {
    let steps =
        vec![step("a", &[]), step("b", &[0]), handler("undo", Phase::OnCancel), handler("last", Phase::Finally)];
    let mut bench = Bench::of(steps);
    bench.cancel(false).unwrap();
    assert_eq!(bench.interrupted("a"), Some(Interrupt::Cancelled));
    assert_eq!(bench.states(), "a:running b:cancelled undo:pending last:pending");
    assert_eq!(bench.cancel(false), Err(Rejection::Stale), "once is enough");
    bench.ends("a", Outcome::Cancelled);
    assert_eq!(bench.states(), "a:cancelled b:cancelled undo:running last:pending");
    bench.ends("undo", done()).ends("last", done());
    assert_eq!(bench.ended(), RunStatus::Cancelled);
    assert_eq!(bench.run.error(&bench.plan).unwrap().message, "cancelled by ann: enough");
}

#[test]
fn after_a_cancel_only_steps_that_ask_for_it_run() {
    let asks = PlannedStep { condition: Some(when("cancelled()")), ..step("b", &[0]) };
    let mut bench = Bench::of(vec![step("a", &[]), asks, step("c", &[1])]);
    bench.cancel(false).unwrap();
    bench.ends("a", Outcome::Cancelled);
    assert_eq!(bench.states(), "a:cancelled b:running c:cancelled");
    bench.cancel(true).unwrap();
    assert_eq!(bench.interrupted("b"), Some(Interrupt::Cancelled), "a forced cancel ends these too");
    bench.ends("b", Outcome::Cancelled);
    assert_eq!(bench.ended(), RunStatus::Cancelled);
}

#[test]
fn a_forced_cancel_ends_handlers_and_begins_no_more() {
    let steps = vec![step("a", &[]), handler("undo", Phase::OnCancel), handler("last", Phase::Finally)];
    let mut bench = Bench::of(steps.clone());
    bench.cancel(false).unwrap();
    bench.ends("a", Outcome::Cancelled);
    bench.cancel(true).unwrap();
    assert_eq!(bench.interrupted("undo"), Some(Interrupt::Cancelled));
    bench.ends("undo", Outcome::Cancelled);
    assert_eq!(bench.ended(), RunStatus::Cancelled);
    assert_eq!(bench.states(), "a:cancelled undo:cancelled last:skipped");

    let mut bench = Bench::of(steps);
    bench.cancel(true).unwrap();
    bench.ends("a", Outcome::Cancelled);
    assert_eq!((bench.ended(), bench.state("last")), (RunStatus::Cancelled, Step::Skipped));
}

#[test]
fn a_success_that_crosses_a_cancel_stays_a_success_and_a_failure_is_not_retried() {
    let mut bench = Bench::of(vec![step("a", &[]), PlannedStep { retry: retries(9, 1), ..step("b", &[]) }]);
    bench.cancel(false).unwrap();
    bench.ends("a", done()).ends("b", failed());
    assert_eq!(bench.states(), "a:succeeded b:failed");
    assert_eq!(bench.ended(), RunStatus::Cancelled);
}

#[test]
fn a_run_cancelled_before_its_start_does_nothing() {
    let plan = Plan::new("rules", vec![step("a", &[]), handler("undo", Phase::OnCancel)]);
    let mut run = Run::new(&plan, RunId(Uuid::from_u128(7)), Arc::new(Map::new()));
    let cancel = Input::Cancel { by: "ann".into(), reason: String::new(), force: false };
    let decision = decide(&plan, &mut run, cancel, Micros(5)).unwrap();
    assert_eq!(decision.effects, []);
    assert_eq!(run.stage(), Stage::Ended(RunStatus::Cancelled));
    assert_eq!(run.step(StepIx(0)).state, Step::Cancelled);
}

#[test]
fn the_timeout_of_the_run_ends_its_body_and_calls_on_failure() {
    let always = PlannedStep { condition: Some(when("always()")), ..step("b", &[0]) };
    let mut plan = Plan::new("rules", vec![step("a", &[]), always, handler("alarm", Phase::OnFailure)]);
    plan.timeout = Some(Millis(100));
    let mut bench = Bench::start(plan);
    assert_eq!(bench.run.wake_at(), Some(Micros(1_100_000)));
    bench.after(99);
    assert_eq!(bench.run.ending(), None);
    bench.after(1);
    assert_eq!((bench.run.ending(), bench.interrupted("a")), (Some(Ending::TimedOut), Some(Interrupt::TimedOut)));
    bench.ends("a", Outcome::Cancelled);
    assert_eq!(bench.states(), "a:cancelled b:cancelled alarm:running");
    bench.ends("alarm", done());
    assert_eq!(bench.ended(), RunStatus::TimedOut);
}

#[test]
fn handlers_run_one_after_another_and_have_their_own_time() {
    let steps = vec![
        step("a", &[]),
        handler("f1", Phase::OnFailure),
        handler("f2", Phase::OnFailure),
        handler("z", Phase::Finally),
    ];
    let mut plan = Plan::new("rules", steps);
    plan.handler_timeout = Millis(50);
    let mut bench = Bench::start(plan);
    bench.ends("a", failed());
    assert_eq!(bench.states(), "a:failed f1:running f2:pending z:pending");
    bench.ends("f1", failed());
    assert_eq!(bench.state("f2"), Step::Running, "a failed handler does not stop the next");
    bench.after(50);
    assert_eq!(bench.interrupted("f2"), Some(Interrupt::TimedOut));
    bench.ends("f2", Outcome::Cancelled);
    assert_eq!(bench.state("z"), Step::Running);
    bench.ends("z", done());
    assert_eq!(bench.ended(), RunStatus::Failed);
}

#[test]
fn a_failed_finally_makes_a_succeeded_run_failed_and_a_failed_handler_does_not() {
    let mut bench = Bench::of(vec![step("a", &[]), handler("f", Phase::OnFailure), handler("z", Phase::Finally)]);
    bench.ends("a", done());
    assert_eq!(bench.states(), "a:succeeded f:pending z:running");
    bench.ends("z", failed());
    assert_eq!(bench.ended(), RunStatus::Failed);
    assert_eq!(bench.states(), "a:succeeded f:skipped z:failed", "handlers that were not called for are skipped");
}

#[test]
fn a_lost_attempt_is_handled_by_its_effect() {
    let lost = |effect, on_unknown| {
        let mut bench = Bench::of(vec![PlannedStep { effect, on_unknown, ..step("a", &[]) }]);
        bench.feed(Input::Recovered { recoveries: 1 }).unwrap();
        (bench.state("a"), bench.id("a").number)
    };
    assert_eq!(lost(EffectModel::Idempotent, OnUnknown::Hold), (Step::Running, 2), "again, at once");
    assert_eq!(lost(EffectModel::AtMostOnce, OnUnknown::Retry), (Step::Running, 2));
    assert_eq!(lost(EffectModel::AtMostOnce, OnUnknown::Fail), (Step::Failed, 1));
    assert_eq!(lost(EffectModel::AtMostOnce, OnUnknown::Hold), (Step::Unknown, 1));
}

#[test]
fn a_repetition_of_a_lost_attempt_is_no_failure_and_keeps_its_beginning() {
    let mut bench = Bench::of(vec![PlannedStep { effect: EffectModel::Idempotent, ..step("a", &[]) }]);
    bench.after(500);
    bench.feed(Input::Recovered { recoveries: 1 }).unwrap();
    let Some(Effect::Start { since, .. }) = bench.effects.last().copied() else { panic!("no start") };
    assert_eq!(since, Micros(1_000_000), "a `wait` does not begin again from zero");
    assert_eq!(bench.run.step(StepIx(0)).failures, 0);
}

#[test]
fn what_kills_its_workers_is_given_up() {
    let mut bench = Bench::of(vec![PlannedStep { effect: EffectModel::Idempotent, ..step("a", &[]) }]);
    for _ in 0..MAX_LOST {
        bench.ends("a", Outcome::Lost);
    }
    bench.ends("a", Outcome::Lost);
    assert_eq!(bench.state("a"), Step::Failed);

    let mut bench = Bench::of(vec![step("a", &[]), handler("alarm", Phase::OnFailure)]);
    bench.feed(Input::Recovered { recoveries: MAX_RECOVERIES + 1 }).unwrap();
    assert_eq!((bench.run.ending(), bench.state("alarm")), (Some(Ending::GivenUp), Step::Running));
    bench.ends("alarm", done());
    assert_eq!(bench.ended(), RunStatus::Failed);
    assert_eq!(bench.run.error(&bench.plan).unwrap().code, "WORKERS_LOST");
}

#[test]
fn a_held_step_waits_for_a_person_while_other_branches_go_on() {
    let held = || {
        let mut bench = Bench::of(vec![
            step("a", &[]),
            step("b", &[0]),
            PlannedStep { effect: EffectModel::Idempotent, ..step("c", &[]) },
        ]);
        bench.feed(Input::Recovered { recoveries: 1 }).unwrap();
        assert_eq!(bench.states(), "a:unknown b:pending c:running");
        assert_eq!(bench.feed(Input::Park), Err(Rejection::Stale), "something is under way");
        bench.ends("c", done());
        assert_eq!(bench.run.waiting_on(bench.now), Some(WaitingOn::StepOutcome));
        bench.feed(Input::Park).unwrap();
        bench
    };
    let say = |verdict| Input::Resolve { step: "a".into(), verdict, by: "ann".into(), note: "looked".into() };
    let mut bench = held();
    assert_eq!(
        bench.feed(Input::Resolve {
            step: "b".into(),
            verdict: Verdict::Retry,
            by: String::new(),
            note: String::new()
        }),
        Err(Rejection::NotHeld)
    );
    bench.feed(say(Verdict::Succeeded)).unwrap();
    assert_eq!(bench.states(), "a:succeeded b:running c:succeeded");
    let mut bench = held();
    bench.feed(say(Verdict::Retry)).unwrap();
    assert_eq!((bench.state("a"), bench.id("a").number), (Step::Running, 2));
    let mut bench = held();
    bench.feed(say(Verdict::Failed)).unwrap();
    assert_eq!(bench.ended(), RunStatus::Failed);
    let mut bench = held();
    bench.cancel(false).unwrap();
    assert_eq!(bench.ended(), RunStatus::Cancelled);
    assert_eq!(bench.run.step(StepIx(0)).failure.as_ref().unwrap().code, "OUTCOME_UNKNOWN");
}

#[test]
fn a_persons_retry_has_all_of_its_deadline() {
    let mut bench = Bench::of(vec![PlannedStep { deadline: Some(Millis(100)), ..step("a", &[]) }]);
    bench.feed(Input::Recovered { recoveries: 1 }).unwrap();
    bench.after(86_400_000);
    let retry = Input::Resolve { step: "a".into(), verdict: Verdict::Retry, by: "ann".into(), note: String::new() };
    bench.feed(retry).unwrap();
    let Some(Effect::Start { deadline, since, .. }) = bench.effects.last().copied() else { panic!("no start") };
    assert_eq!((since, deadline), (bench.now, Some(bench.now.plus(Millis(100)))));
}

#[test]
fn a_handed_back_attempt_runs_again_only_if_it_may() {
    let handed_back = |effect| {
        let mut bench = Bench::of(vec![PlannedStep { effect, ..step("a", &[]) }]);
        bench.ends("a", Outcome::Interrupted);
        (bench.state("a"), bench.run.step(StepIx(0)).lost)
    };
    assert_eq!(handed_back(EffectModel::Idempotent), (Step::Running, 0));
    assert_eq!(handed_back(EffectModel::AtMostOnce), (Step::Unknown, 1));
}

#[test]
fn an_attempt_that_was_handed_back_before_it_began_runs_again_whatever_its_effect() {
    for effect in [EffectModel::Idempotent, EffectModel::AtMostOnce] {
        let mut bench = Bench::of(vec![PlannedStep { effect, ..step("a", &[]) }]);
        bench.feed(Input::Slots(0)).unwrap();
        bench.ends("a", Outcome::NotBegun);
        assert_eq!(bench.state("a"), Step::Pending, "without slots nothing begins");
        bench.feed(Input::Slots(1)).unwrap();
        let record = bench.run.step(StepIx(0));
        assert_eq!((record.state, record.attempt, record.lost, record.failures), (Step::Running, 2, 0, 0));
    }
    let mut bench = Bench::of(vec![PlannedStep { effect: EffectModel::AtMostOnce, ..step("a", &[]) }]);
    bench.feed(Input::Cancel { by: "eve".into(), reason: String::new(), force: false }).unwrap();
    bench.ends("a", Outcome::NotBegun);
    assert_eq!(bench.state("a"), Step::Cancelled);
}

#[test]
fn no_more_attempts_are_under_way_than_there_are_slots() {
    let mut bench = Bench::of((0..5).map(|i| step(&format!("s{i}"), &[])).collect());
    assert_eq!(bench.run.running().count(), 5);
    let plan = Plan::new("rules", (0..5).map(|i| step(&format!("s{i}"), &[])).collect());
    bench = Bench { run: Run::new(&plan, RunId(Uuid::from_u128(7)), Arc::new(Map::new())), plan, ..bench };
    bench.feed(Input::Begin).unwrap();
    assert_eq!(bench.run.running().count(), 0, "no slots are known yet");
    bench.feed(Input::Slots(2)).unwrap();
    assert_eq!(bench.states(), "s0:running s1:running s2:pending s3:pending s4:pending");
    bench.ends("s1", done());
    assert_eq!(bench.states(), "s0:running s1:succeeded s2:running s3:pending s4:pending");
}

#[test]
fn a_late_or_repeated_outcome_changes_nothing() {
    let mut bench = Bench::of(vec![PlannedStep { retry: retries(3, 0), ..step("a", &[]) }, step("b", &[])]);
    let first = bench.id("a");
    bench.ends("a", failed()).after(2);
    assert_eq!(bench.feed(Input::Finished { attempt: first, outcome: done() }), Err(Rejection::Stale));
    bench.ends("a", done());
    let second = bench.id("a");
    assert_eq!(bench.feed(Input::Finished { attempt: second, outcome: failed() }), Err(Rejection::Stale));
    let nobody = AttemptId { step: StepIx(99), number: 1 };
    assert_eq!(bench.feed(Input::Finished { attempt: nobody, outcome: done() }), Err(Rejection::Stale));
}

#[test]
fn a_result_is_kept_only_where_the_plan_says_so() {
    let success = Success { outputs: Map::new(), result: Some(serde_json::json!({"exit_code": 0})) };
    let mut bench = Bench::of(vec![step("a", &[]), PlannedStep { keep_result: true, ..step("b", &[]) }]);
    bench.ends("a", Outcome::Succeeded(success.clone())).ends("b", Outcome::Succeeded(success.clone()));
    assert_eq!(bench.run.step(StepIx(0)).success.as_ref().unwrap().result, None);
    assert_eq!(bench.run.step(StepIx(1)).success.as_ref().unwrap().result, success.result);
    assert!(
        bench.facts.iter().any(|fact| matches!(fact.event, Event::RunFinished { status: RunStatus::Succeeded, .. }))
    );
}
