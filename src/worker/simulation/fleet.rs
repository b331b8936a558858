//! Every process of one simulated world, and what is done to them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    host::Line,
    ports::{SimFeed, SimIds, SimQueue, SimRest},
    process::Process,
    scene::Scene,
    truth::Truth,
    work::Works,
};
use crate::{
    control::{Archives, LeaseConfig, Limits, Plans, Runs, Segments, Signals, Submission, World},
    engine::testing::Rng,
    model::{RunId, RunStatus, TenantId, WorkerId},
    ports::{Clock, RunFilter, Store},
};

/// Processes that live at once.
const PROCESSES: usize = 4;

/// What processes have in common. Cheap to clone.
#[derive(Clone)]
pub struct Shared {
    pub scene: Scene,
    pub truth: Arc<Truth>,
    pub works: Arc<Works>,
    pub feed: Arc<SimFeed>,
    pub ids: Arc<SimIds>,
    queue: Arc<SimQueue>,
    /// How leases are kept; `None` where locks say who is dead.
    pub lease: Option<LeaseConfig>,
    /// Whose lock is free, and in which data folder.
    pub dead: Arc<Mutex<BTreeMap<WorkerId, usize>>>,
    hosts: Arc<AtomicUsize>,
}

impl Shared {
    pub fn next_host(&self) -> usize {
        self.hosts.fetch_add(1, Ordering::Relaxed)
    }

    /// The lock of its worker is free.
    fn bury(&self, process: &Process) {
        let dead = process.worker().map(|worker| (worker, process.host.place));
        self.dead.lock().unwrap().extend(dead);
    }

    pub fn world(&self, store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> World {
        World {
            archives: Archives::default(),
            segments: Segments::default(),
            plans: Plans::new(store.clone()),
            store,
            queue: self.queue.clone(),
            feed: self.feed.clone(),
            spool: Arc::new(SimRest),
            clock,
            ids: self.ids.clone(),
            secrets: Arc::new(SimRest),
            masks: Arc::new(SimRest),
            executors: Arc::new(SimRest),
            workspaces: Arc::new(SimRest),
            snapshots: None,
            bundles: Arc::new(SimRest),
            signals: Signals::default(),
            limits: Limits { slots: 3, grace: Duration::from_millis(20), patient: true, ..Limits::default() },
        }
    }
}

pub struct Fleet {
    pub shared: Shared,
    processes: Vec<Process>,
    /// Those that everybody thinks dead, and that go on.
    zombies: Vec<Process>,
    /// After a step of the database's clock: sweeps that have not seen it before cannot know of it.
    no_start_before: Option<Instant>,
    /// Fires when nothing is broken any more.
    calm: CancellationToken,
}

impl Fleet {
    pub fn new(scene: Scene, lease: Option<LeaseConfig>) -> Fleet {
        let truth = Arc::new(Truth::new(scene.clone(), lease.map(|config| config.lease)));
        let budget = lease.map(|config| config.budget).unwrap_or_default();
        let shared = Shared {
            works: Arc::new(Works::new(truth.clone(), budget)),
            truth,
            feed: Arc::default(),
            ids: Arc::default(),
            queue: Arc::new(SimQueue::new(scene.clone())),
            scene,
            lease,
            dead: Arc::default(),
            hosts: Arc::default(),
        };
        Fleet {
            shared,
            processes: Vec::new(),
            zombies: Vec::new(),
            no_start_before: None,
            calm: CancellationToken::new(),
        }
    }

    pub fn truth(&self) -> &dyn Store {
        &*self.shared.truth.store
    }

    /// The service as a client sees it: its store does not fail.
    pub fn service(&self) -> Runs {
        Runs::new(
            self.shared.world(self.shared.truth.store.clone(), self.shared.truth.clock.clone()),
            TenantId::DEFAULT,
        )
    }

    /// Asks the newest process for a run, which may go the short way; if there is one.
    pub fn submit(&mut self, submission: Submission) -> Option<oneshot::Receiver<bool>> {
        self.processes.last_mut().map(|process| process.submit(submission))
    }

    pub fn start_process(&mut self) {
        let may = self.no_start_before.is_none_or(|at| at <= Instant::now());
        if may && self.processes.len() < PROCESSES {
            // The last one to sweep must not be missed for long.
            let sweeps = self.shared.scene.one_in(2) || !self.processes.iter().any(|process| process.sweeps);
            self.processes.push(Process::start(&self.shared, sweeps));
        }
    }

    /// Somebody always starts a process again.
    pub fn keep_alive(&mut self) {
        self.processes.retain(|process| !process.host.is_dead());
        self.zombies.retain(|process| !process.host.is_dead());
        if !self.processes.iter().any(|process| process.sweeps) {
            self.start_process();
        }
    }

    fn pick(&self, rng: &mut Rng) -> Option<usize> {
        (!self.processes.is_empty()).then(|| rng.below(self.processes.len()))
    }

    /// SIGKILL: what it has sent may still be written.
    pub fn kill_one(&mut self, rng: &mut Rng) {
        let Some(at) = self.pick(rng) else { return };
        let process = self.processes.swap_remove(at);
        self.shared.scene.faults().kills += 1;
        self.shared.scene.tell(|| format!("host {} is killed", process.host.name));
        self.shared.bury(&process);
    }

    /// Everyone thinks it dead, and it goes on. A lock does not do that; what comes after is fenced all the same.
    fn mistake_for_dead(&mut self, at: usize) {
        let process = self.processes.swap_remove(at);
        self.shared.scene.faults().mistaken_deaths += 1;
        self.shared.bury(&process);
        self.zombies.push(process);
    }

    /// SIGSTOP, and SIGCONT before or after its lease is over.
    pub fn stop_one(&mut self, rng: &mut Rng) {
        let Some(at) = self.pick(rng) else { return };
        let Some(LeaseConfig { lease, .. }) = self.shared.lease else { return self.mistake_for_dead(at) };
        let (host, scene) = (self.processes[at].host.clone(), &self.shared.scene);
        if host.is_stopped() {
            return;
        }
        let span = if rng.one_in(2) {
            scene.faults().short_stops += 1;
            scene.span(lease)
        } else {
            scene.faults().long_stops += 1;
            lease + scene.span(lease * 2)
        };
        scene.tell(|| format!("host {} is stopped for {span:?}", host.name));
        host.stop();
        let teller = scene.clone();
        scene.outside.spawn(async move {
            tokio::time::sleep(span).await;
            teller.tell(|| format!("host {} goes on", host.name));
            host.go_on();
        });
    }

    /// The line to the store is cut or holds everything back, for less or more than a lease.
    pub fn break_line(&mut self, rng: &mut Rng) {
        let (Some(at), Some(LeaseConfig { lease, .. })) = (self.pick(rng), self.shared.lease) else { return };
        let (host, scene) = (self.processes[at].host.clone(), &self.shared.scene);
        if host.line() != Line::Open {
            return;
        }
        let line = rng.pick(&[Line::Cut, Line::Stalled]);
        match line {
            Line::Cut => scene.faults().cuts += 1,
            _ => scene.faults().stalls += 1,
        }
        let span = scene.span(lease * 2);
        scene.tell(|| format!("the line of host {} is {line:?} for {span:?}", host.name));
        host.set_line(line);
        let teller = scene.clone();
        scene.outside.spawn(async move {
            tokio::time::sleep(span).await;
            teller.faults().heals += 1;
            teller.tell(|| format!("the line of host {} is open", host.name));
            host.set_line(Line::Open);
        });
    }

    /// Answers to a process are held back. It is stopped, and they come meanwhile; or they come, and then the line is cut.
    pub fn hold_answers(&mut self, rng: &mut Rng) {
        let (Some(at), Some(LeaseConfig { lease, .. })) = (self.pick(rng), self.shared.lease) else { return };
        let (host, scene) = (self.processes[at].host.clone(), self.shared.scene.clone());
        if host.line() != Line::Open || host.is_stopped() {
            return;
        }
        let (stops, calm) = (rng.one_in(2), self.calm.clone());
        scene.faults().held_answers += 1;
        host.set_line(Line::Deaf);
        self.shared.scene.outside.spawn(async move {
            scene.tell(|| format!("answers to host {} are held back; it will be stopped: {stops}", host.name));
            let trouble = async {
                tokio::time::sleep(scene.span(lease)).await;
                if stops {
                    host.stop();
                    tokio::time::sleep(scene.span(lease / 4)).await;
                    host.set_line(Line::Open);
                    tokio::time::sleep(scene.span(lease)).await;
                } else {
                    host.set_line(Line::Open);
                    tokio::time::sleep(Duration::from_millis(1) + scene.span(lease / 100)).await;
                    host.set_line(Line::Cut);
                    tokio::time::sleep(lease + scene.span(lease)).await;
                }
            };
            calm.run_until_cancelled(trouble).await;
            scene.tell(|| format!("host {} goes on, with an open line", host.name));
            host.go_on();
            host.set_line(Line::Open);
        });
    }

    pub fn drain_one(&mut self, rng: &mut Rng) {
        let Some(at) = self.pick(rng) else { return };
        self.shared.scene.faults().drains += 1;
        self.shared.scene.tell(|| format!("host {} is drained", self.processes[at].host.name));
        self.processes[at].drain();
    }

    /// Sets the clock: the one that all have, or that of the database.
    pub fn jump_clock(&mut self, rng: &mut Rng) {
        let Some(LeaseConfig { lease, .. }) = self.shared.lease else {
            self.shared.scene.faults().clock_jumps += 1;
            return self.shared.truth.clock.jump(i64::try_from(rng.below(6_000)).unwrap() - 2_000);
        };
        let knows = |process: &Process| !process.sweeps || process.host.has_looked();
        let is_stepping = self.no_start_before.is_some_and(|at| at > Instant::now());
        if is_stepping || !self.processes.iter().all(knows) {
            return;
        }
        let failover = rng.one_in(2);
        if failover && rng.one_in(2) {
            return self.fail_over_slowly(rng, lease);
        }
        let millis = i64::try_from(rng.below(40_000)).unwrap() - 20_000;
        let mut faults = self.shared.scene.faults();
        if failover {
            faults.failovers += 1;
        } else {
            faults.database_clock_steps += 1;
        }
        drop(faults);
        self.shared.scene.tell(|| format!("the clock of the database jumps by {millis} ms, failover: {failover}"));
        self.shared.truth.step(millis, failover);
        self.no_start_before = Some(Instant::now() + lease + Duration::from_secs(1));
    }

    /// The last that a server does is to answer the sweeps, which have waited for it. The clock of the next one is ahead
    /// by less than they have waited, so that the time alone does not tell it from the last one.
    fn fail_over_slowly(&mut self, rng: &mut Rng, lease: Duration) {
        let (held, ahead) = (2_000 + rng.below(3_000), rng.below(1_000));
        let ahead = i64::try_from(held - ahead).unwrap();
        let held = Duration::from_millis(held as u64);
        let soon = Duration::from_millis(1 + rng.below(4) as u64);
        let (scene, truth) = (self.shared.scene.clone(), self.shared.truth.clone());
        let waits = |process: &&Process| process.sweeps && process.host.line() == Line::Open;
        let hosts: Vec<_> = self.processes.iter().filter(waits).map(|process| process.host.clone()).collect();
        scene.faults().slow_failovers += 1;
        scene.tell(|| format!("the database holds the sweeps back for {held:?}, then another is ahead by {ahead} ms"));
        for host in &hosts {
            host.set_line(Line::Stalled);
        }
        self.shared.scene.outside.spawn(async move {
            tokio::time::sleep(held).await;
            for host in &hosts {
                host.set_line(Line::Open);
            }
            tokio::time::sleep(soon).await;
            scene.tell(|| "the other database takes over");
            truth.step(ahead, true);
        });
        self.no_start_before = Some(Instant::now() + held + soon + lease + Duration::from_secs(1));
    }

    /// Everything is repaired: those that were stopped go on and try their late writes, and whoever lives is a worker
    /// again.
    pub async fn settle(&mut self) {
        self.repair();
        let lease = self.shared.lease.map_or(Duration::from_secs(10), |config| config.lease);
        tokio::time::sleep(lease * 2 + Duration::from_secs(10)).await;
        self.processes.retain(|process| !process.host.is_dead());
        for process in self.processes.iter().filter(|_| self.shared.lease.is_some()) {
            match process.worker() {
                Some(worker) if self.shared.truth.holds_lease(worker) => {}
                worker => self
                    .shared
                    .scene
                    .wrong(format_args!("host {} is not a worker again: {worker:?}", process.host.name)),
            }
        }
    }

    /// Everything is killed.
    pub fn end(&mut self) {
        self.zombies.clear();
        self.processes.clear();
    }

    /// Nothing is stopped or cut any more.
    pub fn repair(&mut self) {
        self.calm.cancel();
        for process in &self.processes {
            process.host.go_on();
            process.host.set_line(Line::Open);
        }
    }
}

/// The runs that have not ended.
pub async fn open_runs(truth: &dyn Store) -> Vec<RunId> {
    runs_of(truth, &[RunStatus::Queued, RunStatus::Claimed, RunStatus::Running]).await
}

/// The runs of these statuses; of all, if there are none.
pub async fn runs_of(truth: &dyn Store, status: &[RunStatus]) -> Vec<RunId> {
    let filter = RunFilter { status: status.to_vec(), limit: 100, ..RunFilter::default() };
    let page = truth.runs(TenantId::DEFAULT, &filter).await.unwrap();
    page.items.into_iter().map(|row| row.id).collect()
}
