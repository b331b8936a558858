//! Runs that wait for long leave their worker, and any worker goes on with them when their time has come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use opsroom::{
    control::{BlockerKind, Limits, Reaper},
    model::{Micros, Millis, RunId, RunStatus, StepStatus, WaitingOn, WorkerId},
    ports::{Clock, Ids as _, Liveness, RunRow, StepRow, StoreError},
    runbook::{Jitter, Plan, RetryPolicy},
    system::{RandomIds, SystemClock},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::world::{Place, Process, chain};

const HOUR: Millis = Millis::seconds(3_600);

/// The system's clock, that a test sets forward.
#[derive(Default)]
struct Ahead(AtomicI64);

impl Ahead {
    fn by(&self, span: Millis) {
        self.0.fetch_add(i64::try_from(span.0).unwrap() * 1_000, Ordering::Relaxed);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Micros {
        Micros(SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

/// Whom a test says to be dead.
struct Dead(Vec<WorkerId>);

#[async_trait]
impl Liveness for Dead {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        Ok(self.0.clone())
    }
}

/// Does not say who is dead before this fires.
struct Silent(CancellationToken);

#[async_trait]
impl Liveness for Silent {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        self.0.cancelled().await;
        Ok(Vec::new())
    }
}

/// A place with a clock, where processes come and go.
struct Scene {
    place: Place,
    clock: Arc<Ahead>,
}

impl Scene {
    async fn new() -> Scene {
        Scene { place: Place::sqlite().await, clock: Arc::default() }
    }

    async fn process(&self, limits: Limits) -> Process {
        let made = Process::with(&self.place, self.place.store.clone(), [], limits).await;
        let mut world = made.world.clone();
        made.stop().await;
        world.clock = self.clock.clone();
        Process::of(RandomIds.worker_id(), world).await
    }

    async fn serving(&self) -> Process {
        let process = self.process(Limits::default()).await;
        process.serve(1);
        process
    }

    /// How many runs a scheduler moves, which finds these dead.
    async fn sweep(&self, process: &Process, dead: &[WorkerId]) -> usize {
        Reaper::new(process.world.clone(), Arc::new(Dead(dead.to_vec()))).sweep().await.unwrap()
    }

    async fn step(&self, run: RunId, index: usize) -> StepRow {
        self.place.store.steps(run).await.unwrap().remove(index)
    }

    async fn kinds(&self, run: RunId) -> Vec<String> {
        let events = self.place.store.events(run, 0, 1_000).await.unwrap();
        events.into_iter().map(|event| event.kind.action).collect()
    }
}

async fn asleep(process: &Process, run: RunId) -> RunRow {
    let row = process.until(run, |row| row.waiting_on == Some(WaitingOn::Timer)).await;
    assert_eq!((row.status, row.claimable, row.claimed_by), (RunStatus::Queued, false, None));
    row
}

fn wait(span: &str) -> Arc<Plan> {
    chain([("wait", json!({"for": span})), ("assert", json!({"that": true}))])
}

/// How long a step took that has ended, in milliseconds.
fn took(step: &StepRow) -> i64 {
    (step.ended_at.unwrap().0 - step.started_at.unwrap().0) / 1_000
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_leaves_its_worker_and_another_one_goes_on() {
    let scene = Scene::new().await;
    let first = scene.serving().await;
    let run = first.submit(&wait("1h")).await;
    let row = asleep(&first, run).await;
    let step = scene.step(run, 0).await;
    assert_eq!((step.status, step.attempts, step.ended_at), (StepStatus::Waiting, 1, None));
    let over = step.started_at.unwrap().plus(HOUR);
    assert!((row.wake_at.unwrap().0 - over.0).abs() <= 1_000, "{row:?}");
    let (_, why) = first.runs.why(run).await.unwrap();
    assert_eq!(why.wake_at, row.wake_at);
    let [blocker] = why.blockers.as_slice() else { panic!("{why:?}") };
    assert_eq!((blocker.kind, blocker.step.as_deref()), (BlockerKind::Timer, Some("s0")));
    assert!(why.summary.contains(&row.wake_at.unwrap().to_string()), "{why:?}");
    // Its only slot is free, and it owns nothing.
    assert!(first.world.store.owned(first.worker).await.unwrap().is_empty());
    let other = first.submit(&chain([("assert", json!({"that": true}))])).await;
    assert_eq!(first.ends(other).await, RunStatus::Succeeded);
    assert_eq!(scene.sweep(&first, &[]).await, 0, "its time has not come");
    first.stop().await;
    scene.clock.by(HOUR);
    let second = scene.serving().await;
    assert_eq!(scene.sweep(&second, &[]).await, 1);
    assert_eq!(second.ends(run).await, RunStatus::Succeeded);
    let step = scene.step(run, 0).await;
    assert!(step.attempts == 1 && took(&step) >= 3_600_000, "{step:?}");
    let kinds = scene.kinds(run).await;
    let expected = [
        "run_started",
        "step_started",
        "step_waiting",
        "run_parked",
        "run_resumed",
        "step_succeeded",
        "step_started",
        "step_succeeded",
        "run_finished",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(second.row(run).await.recoveries, 0);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_next_owner_is_there_when_the_time_comes() {
    let scene = Scene::new().await;
    let process = scene.serving().await;
    let run = process.submit(&wait("1h")).await;
    asleep(&process, run).await;
    // Half a second is left, less what the test takes itself.
    scene.clock.by(Millis(HOUR.0 - 600));
    process.until(run, |row| row.waiting_on == Some(WaitingOn::Timer)).await;
    while scene.sweep(&process, &[]).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    process.until(run, |row| row.status == RunStatus::Running).await;
    assert_eq!(process.ends(run).await, RunStatus::Succeeded);
    let taken = took(&scene.step(run, 0).await);
    assert!((3_600_000..3_600_000 + 200).contains(&taken), "{taken} ms");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_for_the_dead_that_takes_long_holds_up_no_wake() {
    let scene = Scene::new().await;
    let process = scene.serving().await;
    let run = process.submit(&wait("1h")).await;
    asleep(&process, run).await;
    let silent = Arc::new(Silent(process.stop.clone()));
    process.tasks.spawn(Reaper::new(process.world.clone(), silent).run(process.stop.clone()));
    scene.clock.by(HOUR);
    assert_eq!(process.ends(run).await, RunStatus::Succeeded);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_pause_before_the_next_attempt_leaves_the_worker() {
    let scene = Scene::new().await;
    let process = scene.serving().await;
    let plan = chain([("assert", json!({"that": false}))]);
    let mut plan = Plan::from_json(&plan.to_json()).unwrap();
    plan.steps[0].retry =
        RetryPolicy { max_attempts: 2, delay: HOUR, max_delay: HOUR, jitter: Jitter::None, ..RetryPolicy::never() };
    let run = process.submit(&Arc::new(plan.link())).await;
    let row = process.until(run, |row| row.waiting_on == Some(WaitingOn::Timer) || row.status.is_ended()).await;
    assert_eq!(row.waiting_on, Some(WaitingOn::Timer), "{row:?}");
    let step = scene.step(run, 0).await;
    assert_eq!((step.status, step.attempts), (StepStatus::Retrying, 1));
    scene.clock.by(HOUR);
    assert_eq!(scene.sweep(&process, &[]).await, 1);
    assert_eq!(process.ends(run).await, RunStatus::Failed);
    assert_eq!(scene.step(run, 0).await.attempts, 2);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_wakes_a_run_that_waits() {
    let scene = Scene::new().await;
    let process = scene.serving().await;
    let run = process.submit(&wait("1h")).await;
    asleep(&process, run).await;
    let asked = tokio::time::Instant::now();
    process.runs.cancel(run, "ada", "enough", false).await.unwrap();
    assert_eq!(process.ends(run).await, RunStatus::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(scene.step(run, 0).await.status, StepStatus::Cancelled);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timeouts_of_step_and_run_that_fall_into_the_wait_wake_it() {
    let scene = Scene::new().await;
    let process = scene.serving().await;
    let plan = |change: fn(&mut Plan)| {
        let mut plan = Plan::from_json(&wait("1d").to_json()).unwrap();
        change(&mut plan);
        Arc::new(plan.link())
    };
    let of_step = process.submit(&plan(|plan| plan.steps[0].timeout = Some(HOUR))).await;
    let of_run = process.submit(&plan(|plan| plan.timeout = Some(HOUR))).await;
    for run in [of_step, of_run] {
        let row = asleep(&process, run).await;
        let wake_in = row.wake_at.unwrap().0 - row.started_at.unwrap().0;
        assert!((3_600_000_000..3_601_000_000).contains(&wake_in), "{row:?}");
    }
    let (_, why) = process.runs.why(of_step).await.unwrap();
    assert!(why.blockers[0].detail.contains("times out at"), "{why:?}");
    scene.clock.by(HOUR);
    assert_eq!(scene.sweep(&process, &[]).await, 2);
    assert_eq!(process.ends(of_step).await, RunStatus::Failed);
    assert_eq!(scene.step(of_step, 0).await.error.unwrap().code, "STEP_TIMED_OUT");
    assert_eq!(process.ends(of_run).await, RunStatus::TimedOut);
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_death_of_the_worker_neither_loses_nor_repeats_a_wait() {
    let scene = Scene::new().await;
    let first = scene.serving().await;
    let run = first.submit(&wait("20s")).await;
    let mut events = Vec::new();
    while !events.contains(&"step_waiting".to_owned()) {
        events = scene.kinds(run).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let row = first.row(run).await;
    assert_eq!((row.status, row.claimed_by), (RunStatus::Running, Some(first.worker)), "a short wait stays");
    let (_, why) = first.runs.why(run).await.unwrap();
    assert_eq!((why.summary.as_str(), why.blockers[0].kind), ("1 step waits for a time.", BlockerKind::Timer));
    let dead = first.worker;
    first.halt.cancel();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Only now: one that stops in order would give the run up.
    first.stop.cancel();
    scene.clock.by(Millis(19_000));
    let second = scene.serving().await;
    assert_eq!(scene.sweep(&second, &[dead]).await, 1);
    assert_eq!(second.ends(run).await, RunStatus::Succeeded);
    let step = scene.step(run, 0).await;
    assert!(step.attempts == 1 && (20_000..21_500).contains(&took(&step)), "{step:?}");
    assert_eq!(second.row(run).await.recoveries, 1);
    assert!(!scene.kinds(run).await.contains(&"step_interrupted".to_owned()));
    first.stop().await;
    second.stop().await;
}

/// A run that waits for less than a worker keeps it for, in the hands of that worker.
async fn begun(scene: &Scene, process: &Process) -> RunId {
    process.serve(1);
    let run = process.submit(&wait("20s")).await;
    while !scene.kinds(run).await.contains(&"step_waiting".to_owned()) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_wait_leaves_a_worker_that_stops() {
    let scene = Scene::new().await;
    let first = scene.process(Limits::default()).await;
    let run = begun(&scene, &first).await;
    first.stop().await;
    let row = scene.place.store.run(run).await.unwrap().unwrap();
    assert_eq!((row.status, row.waiting_on, row.claimable), (RunStatus::Queued, Some(WaitingOn::Timer), false));
    let over = scene.step(run, 0).await.started_at.unwrap().plus(Millis(20_000));
    assert!((row.wake_at.unwrap().0 - over.0).abs() <= 1_000, "{row:?}");
    scene.clock.by(Millis(20_000));
    let second = scene.serving().await;
    assert_eq!(scene.sweep(&second, &[]).await, 1);
    assert_eq!(second.ends(run).await, RunStatus::Succeeded);
    let step = scene.step(run, 0).await;
    assert_eq!((step.attempts, second.row(run).await.recoveries), (1, 0), "nothing was interrupted");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_pause_before_the_next_attempt_leaves_a_worker_that_stops() {
    let scene = Scene::new().await;
    let process = scene.serving().await;
    let plan = chain([("assert", json!({"that": false}))]);
    let mut plan = Plan::from_json(&plan.to_json()).unwrap();
    plan.steps[0].retry =
        RetryPolicy { max_attempts: 2, delay: Millis(20_000), jitter: Jitter::None, ..RetryPolicy::never() };
    let run = process.submit(&Arc::new(plan.link())).await;
    while !scene.kinds(run).await.contains(&"step_retrying".to_owned()) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    process.stop().await;
    let row = scene.place.store.run(run).await.unwrap().unwrap();
    assert_eq!((row.status, row.waiting_on), (RunStatus::Queued, Some(WaitingOn::Timer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_where_nobody_wakes_runs_hands_a_wait_back() {
    let scene = Scene::new().await;
    let first = scene.process(Limits { is_woken: false, ..Limits::default() }).await;
    let run = begun(&scene, &first).await;
    first.stop().await;
    let row = scene.place.store.run(run).await.unwrap().unwrap();
    assert_eq!((row.status, row.waiting_on, row.claimable), (RunStatus::Queued, Some(WaitingOn::Capacity), true));
    scene.clock.by(Millis(20_000));
    let second = scene.serving().await;
    assert_eq!(second.ends(run).await, RunStatus::Succeeded);
    let step = scene.step(run, 0).await;
    assert_eq!((step.attempts, second.row(run).await.recoveries), (1, 0), "nothing was interrupted");
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_wakes_it_its_owner_waits_with_it() {
    let scene = Scene::new().await;
    let process = scene.process(Limits { is_woken: false, ..Limits::default() }).await;
    process.serve(1);
    let run = process.submit(&wait("1h")).await;
    while !scene.kinds(run).await.contains(&"step_waiting".to_owned()) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let row = process.row(run).await;
    assert_eq!((row.status, row.claimed_by), (RunStatus::Running, Some(process.worker)));
    process.runs.cancel(run, "ada", "enough", false).await.unwrap();
    assert_eq!(process.ends(run).await, RunStatus::Cancelled);
    process.stop().await;
}
