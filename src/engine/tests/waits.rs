//! Steps that let time pass, and runs that give up their owner meanwhile.

use super::{
    super::{Event, Input, LONG_WAIT, Rejection, Run, Step, Verdict, WAKE_EARLY},
    rules::{Bench, done, failed, retries, step},
};
use crate::{
    model::{EffectModel, Micros, Millis, Outcome, RunStatus, StepIx, Success, WaitingOn},
    runbook::{Plan, PlannedStep, Template},
};

const LONG: Millis = Millis(10 * LONG_WAIT.0);

/// The attempt under way of a step says that it waits so long; answers until when.
fn waits(bench: &mut Bench, step: &str, span: Millis) -> Micros {
    let until = bench.now.plus(span);
    bench.ends(step, Outcome::Waits { until });
    until
}

fn waiting(plan: Plan, span: Millis) -> (Bench, Micros) {
    let mut bench = Bench::start(plan);
    let until = waits(&mut bench, "a", span);
    (bench, until)
}

fn plan() -> Plan {
    Plan::new("waits", vec![step("a", &[]), step("b", &[0])])
}

/// The same, of which the body may take so long.
fn limited(timeout: Millis) -> Plan {
    let mut plan = plan();
    plan.timeout = Some(timeout);
    plan
}

#[test]
fn a_step_that_waits_needs_no_slot_and_ends_at_its_time() {
    let mut bench = Bench::of(vec![step("a", &[]), step("b", &[0]), step("c", &[])]);
    let until = waits(&mut bench, "a", Millis(50));
    assert_eq!(bench.states(), "a:waiting b:pending c:running");
    assert_eq!((bench.run.running().count(), bench.run.wake_at()), (1, Some(until)));
    bench.after(49);
    assert_eq!(bench.states(), "a:waiting b:pending c:running");
    bench.after(1);
    assert_eq!(bench.states(), "a:succeeded b:running c:running");
    assert_eq!((bench.run.step(StepIx(0)).attempt, bench.run.step(StepIx(0)).ended), (1, Some(until)));
    assert_eq!(bench.run.wake_at(), None);
}

#[test]
fn a_wait_until_a_time_that_has_come_is_over_at_once() {
    let mut bench = Bench::of(vec![step("a", &[])]);
    let now = bench.now;
    bench.ends("a", Outcome::Waits { until: now });
    assert_eq!(bench.ended(), RunStatus::Succeeded);
    assert!(!bench.facts.iter().any(|fact| matches!(fact.event, Event::StepWaiting { .. })));
}

#[test]
fn a_wait_never_ends_too_early_for_the_precision_of_what_is_stored() {
    let mut bench = Bench::of(vec![step("a", &[])]);
    bench.ends("a", Outcome::Waits { until: Micros(1_007_001) });
    assert_eq!(bench.state("a"), Step::Waiting { until: Micros(1_008_000), due: Micros(1_008_000) });
}

#[test]
fn what_it_leaves_behind_is_computed_when_it_ends() {
    let outputs = vec![("told".to_owned(), Template::Literal(serde_json::json!("yes")))];
    let (mut bench, _) = waiting(Plan::new("waits", vec![PlannedStep { outputs, ..step("a", &[]) }]), Millis(50));
    bench.after(50);
    assert_eq!(bench.run.step(StepIx(0)).success.as_ref().unwrap().outputs["told"], "yes");
}

#[test]
fn the_death_of_its_worker_neither_loses_nor_repeats_a_wait() {
    for effect in [EffectModel::Idempotent, EffectModel::AtMostOnce] {
        let plan = Plan::new("waits", vec![PlannedStep { effect, ..step("a", &[]) }]);
        let (mut bench, until) = waiting(plan, LONG);
        bench.now = bench.now.plus(Millis(LONG.0 / 2));
        bench.run = Run::replay(&bench.plan, bench.run.id(), std::sync::Arc::default(), &bench.facts);
        bench.feed(Input::Recovered { recoveries: 1 }).unwrap();
        bench.feed(Input::Slots(1)).unwrap();
        let record = bench.run.step(StepIx(0));
        assert_eq!((record.state, record.attempt, record.lost), (Step::Waiting { until, due: until }, 1, 0));
        bench.after(LONG.0 / 2);
        assert_eq!(bench.ended(), RunStatus::Succeeded);
    }
}

#[test]
fn a_worker_that_dies_before_the_wait_is_recorded_repeats_it_and_keeps_its_beginning() {
    let mut bench = Bench::of(vec![PlannedStep { effect: EffectModel::Idempotent, ..step("a", &[]) }]);
    let since = bench.now;
    bench.now = bench.now.plus(Millis(70));
    bench.ends("a", Outcome::Lost);
    let record = bench.run.step(StepIx(0));
    assert_eq!((record.attempt, record.since), (2, Some(since)), "what counts from its beginning does so still");
}

#[test]
fn a_timeout_that_falls_into_a_wait_ends_it() {
    let retried = |step: PlannedStep, retry| Plan::new("waits", vec![PlannedStep { retry, ..step }]);
    let timeout = PlannedStep { timeout: Some(Millis(30)), ..step("a", &[]) };
    let (mut bench, _) = waiting(retried(timeout.clone(), retries(1, 0)), Millis(50));
    assert_eq!(bench.run.wake_at(), Some(bench.now.plus(Millis(30))));
    bench.after(30);
    assert_eq!((bench.ended(), bench.state("a")), (RunStatus::Failed, Step::Failed));
    assert_eq!(bench.run.step(StepIx(0)).failure.as_ref().unwrap().code, "STEP_TIMED_OUT");
    // It is retried as any failure, from the beginning.
    let (mut bench, _) = waiting(retried(timeout, retries(2, 0)), Millis(50));
    bench.after(30).after(1);
    assert_eq!((bench.state("a"), bench.run.step(StepIx(0)).since), (Step::Running, Some(bench.now)));
    // The deadline counts from the first attempt.
    let deadline = PlannedStep { deadline: Some(Millis(30)), ..step("a", &[]) };
    let (mut bench, _) = waiting(retried(deadline, retries(9, 0)), Millis(50));
    bench.after(30);
    assert_eq!(bench.state("a"), Step::Failed);
    // A wait that ends with its timeout has ended.
    let exact = PlannedStep { timeout: Some(Millis(50)), ..step("a", &[]) };
    let (mut bench, _) = waiting(retried(exact, retries(1, 0)), Millis(50));
    bench.after(80);
    assert_eq!(bench.ended(), RunStatus::Succeeded);
}

#[test]
fn the_timeout_of_the_run_ends_its_waits() {
    let (mut bench, _) = waiting(limited(Millis(30)), Millis(50));
    bench.after(30);
    assert_eq!((bench.ended(), bench.states()), (RunStatus::TimedOut, "a:cancelled b:cancelled".to_owned()));
}

#[test]
fn a_cancel_ends_waits_at_once() {
    let (mut bench, _) = waiting(plan(), LONG);
    bench.feed(Input::Park).unwrap();
    bench.cancel(false).unwrap();
    assert_eq!((bench.ended(), bench.states()), (RunStatus::Cancelled, "a:cancelled b:cancelled".to_owned()));
    // Also one that crosses the beginning of the wait.
    let mut bench = Bench::start(plan());
    bench.cancel(false).unwrap();
    waits(&mut bench, "a", LONG);
    assert_eq!((bench.ended(), bench.state("a")), (RunStatus::Cancelled, Step::Cancelled));
}

#[test]
fn only_a_long_wait_gives_up_the_owner() {
    let (mut bench, _) = waiting(plan(), LONG_WAIT);
    assert_eq!((bench.run.waiting_on(bench.now), bench.feed(Input::Park)), (None, Err(Rejection::Stale)));
    let (mut bench, _) = waiting(plan(), Millis(LONG_WAIT.0 + 1));
    assert_eq!(bench.run.waiting_on(bench.now), Some(WaitingOn::Timer));
    bench.feed(Input::Park).unwrap();
    assert_eq!(bench.facts.last().unwrap().event, Event::RunParked { waiting_on: WaitingOn::Timer });
    // Time passes, and the owner that comes for the end keeps it.
    let soon = bench.run.wake_at().unwrap().before(WAKE_EARLY);
    assert_eq!(bench.run.waiting_on(soon), None);
    // The first of several times counts, also that of the run itself.
    let mut bench = Bench::of(vec![step("a", &[]), step("b", &[])]);
    waits(&mut bench, "a", LONG);
    assert_eq!(bench.run.waiting_on(bench.now), None, "something is under way");
    waits(&mut bench, "b", Millis(50));
    assert_eq!(bench.run.waiting_on(bench.now), None);
    let (bench, _) = waiting(limited(LONG_WAIT), LONG);
    assert_eq!(bench.run.waiting_on(bench.now), None);
}

#[test]
fn a_long_retry_gives_up_the_owner_and_a_short_one_does_not() {
    let retried = |delay| {
        let plan = Plan::new("waits", vec![PlannedStep { retry: retries(2, delay), ..step("a", &[]) }]);
        let mut bench = Bench::start(plan);
        bench.ends("a", failed());
        bench
    };
    assert_eq!(retried(LONG_WAIT.0 - 1).run.waiting_on(Micros(1_000_000)), None);
    let mut bench = retried(LONG.0);
    bench.feed(Input::Park).unwrap();
    bench.feed(Input::Begin).unwrap();
    bench.after(LONG.0 + 1);
    bench.ends("a", done());
    assert_eq!(bench.ended(), RunStatus::Succeeded);
}

#[test]
fn an_owner_that_leaves_gives_up_any_wait_and_nothing_that_is_under_way() {
    let mut bench = Bench::of(vec![step("a", &[]), step("b", &[])]);
    let until = waits(&mut bench, "a", Millis(50));
    bench.feed(Input::Leaving(true)).unwrap();
    assert_eq!((bench.run.waiting_on(bench.now), bench.feed(Input::Park)), (None, Err(Rejection::Stale)));
    waits(&mut bench, "b", Millis(90));
    assert_eq!(bench.run.waiting_on(bench.now), Some(WaitingOn::Timer));
    bench.feed(Input::Park).unwrap();
    assert_eq!(bench.run.wake_at(), Some(until));
    // The next one stays.
    bench.run = Run::replay(&bench.plan, bench.run.id(), std::sync::Arc::default(), &bench.facts);
    bench.feed(Input::Begin).unwrap();
    assert_eq!(bench.run.waiting_on(bench.now), None);
    bench.after(90);
    assert_eq!(bench.ended(), RunStatus::Succeeded);
    // A pause before the next attempt is a wait as well.
    let plan = Plan::new("waits", vec![PlannedStep { retry: retries(2, 50), ..step("a", &[]) }]);
    let mut bench = Bench::start(plan);
    bench.feed(Input::Leaving(true)).unwrap();
    bench.ends("a", failed());
    assert_eq!(bench.run.waiting_on(bench.now), Some(WaitingOn::Timer));
}

#[test]
fn where_a_person_and_a_time_are_waited_for_the_person_is_named() {
    let mut bench = Bench::of(vec![step("held", &[]), step("a", &[])]);
    waits(&mut bench, "a", LONG);
    bench.feed(Input::Recovered { recoveries: 1 }).unwrap();
    assert_eq!(bench.states(), "held:unknown a:waiting");
    assert_eq!(bench.run.waiting_on(bench.now), Some(WaitingOn::StepOutcome));
    let resolve =
        Input::Resolve { step: "held".into(), verdict: Verdict::Succeeded, by: "ann".into(), note: String::new() };
    bench.feed(resolve).unwrap();
    assert_eq!(bench.run.waiting_on(bench.now), Some(WaitingOn::Timer));
    bench.after(LONG.0);
    assert_eq!(bench.ended(), RunStatus::Succeeded);
}

#[test]
fn a_held_run_whose_time_is_nearly_up_keeps_its_owner() {
    let held = |timeout| {
        let mut bench = Bench::start(limited(timeout));
        bench.feed(Input::Recovered { recoveries: 1 }).unwrap();
        bench
    };
    assert_eq!(held(WAKE_EARLY).run.waiting_on(Micros(1_000_000)), None, "it would be woken at once");
    assert_eq!(held(LONG_WAIT).run.waiting_on(Micros(1_000_000)), Some(WaitingOn::StepOutcome));
}

#[test]
fn a_step_that_waits_is_not_under_way() {
    let (mut bench, _) = waiting(plan(), Millis(50));
    let attempt = bench.id("a");
    let late = Input::Finished { attempt, outcome: Outcome::Succeeded(Success::default()) };
    assert_eq!(bench.feed(late), Err(Rejection::Stale));
    assert_eq!(bench.state("a").status().as_str(), "waiting");
}
