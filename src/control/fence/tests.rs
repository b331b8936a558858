use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64},
    },
};

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::*;
use crate::{
    model::{Lane, Micros, TenantId},
    ports::{Process, ProcessSpec, SpawnError},
};

const ONE: WorkerId = WorkerId(Uuid::from_u128(1));

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Tokio's paused time, and what a stop of the process adds to it.
struct Boot {
    start: Instant,
    stopped: AtomicI64,
}

impl BootTime for Boot {
    fn since_boot(&self) -> Duration {
        seconds(1_000) + self.start.elapsed() + seconds(self.stopped.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// What the database has of the worker: whether it is known, until when its lease holds, whether it is to drain.
#[derive(Default)]
struct Kept {
    until: Option<Duration>,
    draining: bool,
}

/// A store on the other end of a line that may be cut; and what the fence tells others.
struct Line {
    boot: Arc<Boot>,
    kept: Mutex<Kept>,
    cut: AtomicBool,
    deadlines: Mutex<Vec<Duration>>,
    times: Mutex<Vec<Micros>>,
}

impl StoreTime for Line {
    fn told(&self, now: Micros, sent: Duration, heard: Duration) {
        assert!(sent <= heard);
        self.times.lock().unwrap().push(now);
    }
}

#[async_trait]
impl Processes for Line {
    async fn spawn(&self, _: ProcessSpec) -> Result<Box<dyn Process>, SpawnError> {
        Err(SpawnError::SupervisorLost)
    }

    fn extend(&self, until: Duration) {
        self.deadlines.lock().unwrap().push(until);
    }
}

/// The worker's end of the line.
struct End(Arc<Line>);

impl End {
    async fn prolong(&self, lease: Duration, is_new: bool) -> Beat {
        if self.0.cut.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        let (now, mut kept) = (self.0.boot.since_boot(), self.0.kept.lock().unwrap());
        if !is_new && kept.until.is_none_or(|until| until < now) {
            return Beat::Lost;
        }
        kept.until = Some(now + lease);
        Beat::Held { now: Micros(i64::try_from(now.as_micros()).unwrap()), draining: kept.draining }
    }
}

#[async_trait]
impl Beats for End {
    async fn register(&self, _: &WorkerRow, lease: Duration) -> Result<Beat, StoreError> {
        Ok(self.prolong(lease, true).await)
    }

    async fn beat(&self, _: WorkerId, lease: Duration) -> Result<Beat, StoreError> {
        Ok(self.prolong(lease, false).await)
    }
}

struct World {
    line: Arc<Line>,
    boot: Arc<Boot>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl World {
    fn new() -> World {
        let boot = Arc::new(Boot { start: Instant::now(), stopped: AtomicI64::new(0) });
        let line = Arc::new(Line {
            boot: boot.clone(),
            kept: Mutex::default(),
            cut: AtomicBool::new(false),
            deadlines: Mutex::default(),
            times: Mutex::default(),
        });
        World { line, boot, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    async fn fence(&self) -> Fence {
        Fence::start(self.heart(LeaseConfig::default()), &self.tasks, &self.stop).await.unwrap()
    }

    fn heart(&self, config: LeaseConfig) -> Heart<End> {
        Heart {
            store: End(self.line.clone()),
            worker: row(),
            config,
            boot: self.boot.clone(),
            time: self.line.clone(),
            processes: self.line.clone(),
        }
    }

    fn is_dead(&self) -> bool {
        self.line.kept.lock().unwrap().until.is_none_or(|until| until < self.boot.since_boot())
    }
}

fn row() -> WorkerRow {
    WorkerRow {
        id: ONE,
        tenant: TenantId::DEFAULT,
        host: "here".into(),
        pid: 1,
        version: "1".into(),
        lanes: vec![Lane::A],
        slots: 1,
        labels: BTreeMap::new(),
        started_at: Micros(0),
        draining: false,
    }
}

#[test]
fn spans_have_to_fit_into_the_lease() {
    let usual = LeaseConfig::default();
    assert_eq!(usual.checked(), Ok(usual));
    assert_eq!(
        (usual.lease, usual.interval, usual.timeout, usual.budget),
        (seconds(10), seconds(3), seconds(2), seconds(1))
    );
    assert_eq!(usual.retry, Duration::from_millis(500));
    assert!(LeaseConfig { timeout: seconds(3), ..usual }.checked().is_err());
    assert!(LeaseConfig { budget: seconds(2), ..usual }.checked().is_err());
    assert!(LeaseConfig::of(Duration::from_millis(700)).checked().is_ok());
}

#[tokio::test(start_paused = true)]
async fn beats_keep_the_lease_and_tell_the_deadline_and_the_time() {
    let world = World::new();
    let fence = world.fence().await;
    tokio::time::sleep(seconds(61)).await;
    assert_eq!(fence.check(), Ok(()));
    assert!(!world.is_dead());
    let deadlines = world.line.deadlines.lock().unwrap().clone();
    assert_eq!(deadlines.len(), 21);
    // From the send of each, less the budget.
    assert!(deadlines[0].abs_diff(seconds(1_009)) < Duration::from_millis(10), "{deadlines:?}");
    assert!(deadlines[20].abs_diff(seconds(1_069)) < Duration::from_millis(50), "{deadlines:?}");
    assert_eq!(world.line.times.lock().unwrap().len(), 21);
    world.stop.cancel();
    world.tasks.close();
    world.tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn an_id_that_may_be_dead_and_forgotten_is_not_registered_again() {
    let world = World::new();
    world.line.cut.store(true, Ordering::SeqCst);
    let (line, boot) = (world.line.clone(), world.boot.clone());
    let heals = async move {
        tokio::time::sleep(seconds(2)).await;
        // Between two tries the process stands still for a lease.
        boot.stopped.store(10, Ordering::SeqCst);
        line.cut.store(false, Ordering::SeqCst);
    };
    let start = Fence::start(world.heart(LeaseConfig::default()), &world.tasks, &world.stop);
    let (started, ()) = futures::future::join(start, heals).await;
    assert!(matches!(started, Err(FenceError::TimedOut(_))), "{started:?}");
    assert!(world.line.kept.lock().unwrap().until.is_none(), "it was not asked for");
}

#[tokio::test(start_paused = true)]
async fn a_cut_line_is_lost_before_the_store_says_so() {
    let world = World::new();
    let fence = world.fence().await;
    world.line.cut.store(true, Ordering::SeqCst);
    let start = Instant::now();
    fence.lost().await;
    assert!(start.elapsed() > Duration::from_millis(8_900) && start.elapsed() < Duration::from_millis(9_100));
    assert!(!world.is_dead(), "the kill budget is left");
    assert!(fence.gate().check().is_err());
    world.line.cut.store(false, Ordering::SeqCst);
    tokio::time::sleep(seconds(2)).await;
    assert!(world.is_dead());
    assert_eq!(fence.check(), Err(Lost));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_back_in_time_is_no_loss() {
    let world = World::new();
    let fence = world.fence().await;
    for _ in 0..5 {
        world.line.cut.store(true, Ordering::SeqCst);
        tokio::time::sleep(seconds(5)).await;
        world.line.cut.store(false, Ordering::SeqCst);
        tokio::time::sleep(seconds(4)).await;
        assert_eq!(fence.check(), Ok(()));
    }
    assert!(!world.is_dead());
}

/// SIGSTOP for longer than the lease, then SIGCONT: the very first question is answered with no, whether or not any
/// task of the fence has run since.
#[tokio::test(start_paused = true)]
async fn whoever_was_stopped_begins_nothing() {
    let world = World::new();
    let fence = world.fence().await;
    tokio::time::sleep(seconds(1)).await;
    world.boot.stopped.store(20, Ordering::SeqCst);
    assert!(fence.gate().check().is_err());
    assert_eq!(fence.check(), Err(Lost));
    fence.lost().await;
    // Also where the store would still take a beat, because its own clock was stopped too.
    world.boot.stopped.store(0, Ordering::SeqCst);
    tokio::time::sleep(seconds(4)).await;
    assert_eq!(fence.check(), Err(Lost));
}

/// The answer of a beat was on its way while the process was stopped.
#[tokio::test(start_paused = true)]
async fn an_answer_after_the_deadline_does_not_count() {
    let world = World::new();
    let fence = world.fence().await;
    let heart = world.heart(LeaseConfig::default());
    let shared = fence.shared.clone().unwrap();
    let sent = world.boot.since_boot();
    tokio::time::sleep(seconds(1)).await;
    world.boot.stopped.store(9, Ordering::SeqCst);
    assert!(!shared.prolong(heart.deadline(sent)));
    assert!(!shared.prolong(world.boot.since_boot() + seconds(9)), "once lost, always lost");
    assert_eq!(fence.check(), Err(Lost));
}

#[tokio::test(start_paused = true)]
async fn work_under_way_is_not_gone_on_with_behind_a_closed_gate() {
    let world = World::new();
    let fence = world.fence().await;
    let began = Arc::new(AtomicBool::new(false));
    let begins = began.clone();
    let gate = fence.gate();
    let work = gate.through(async move {
        tokio::time::sleep(seconds(2)).await;
        begins.store(true, Ordering::SeqCst);
        Ok(())
    });
    let stopped = async {
        tokio::time::sleep(seconds(1)).await;
        world.boot.stopped.store(20, Ordering::SeqCst);
    };
    let (ended, ()) = tokio::join!(work, stopped);
    assert_eq!(ended.unwrap_err().code, "LEASE_LOST");
    assert!(!began.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_worker_learns_that_it_is_to_drain() {
    let world = World::new();
    let fence = world.fence().await;
    let start = Instant::now();
    world.line.kept.lock().unwrap().draining = true;
    fence.draining().await;
    assert!(start.elapsed() <= seconds(4));
    assert_eq!(fence.check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn whoever_was_declared_dead_is_lost_with_the_next_beat() {
    let world = World::new();
    let fence = world.fence().await;
    world.line.kept.lock().unwrap().until = None;
    let start = Instant::now();
    fence.lost().await;
    assert!(start.elapsed() <= seconds(4));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_lease_there_is_no_fence() {
    let fence = Fence::default();
    assert_eq!(fence.check(), Ok(()));
    assert!(fence.gate().check().is_ok());
    tokio::time::timeout(seconds(3_600), fence.lost()).await.unwrap_err();
}
