//! The database: the store in memory behind its own clock, and a ledger that is kept apart from it, in which everything
//! that the store says about ownership has to be right.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{host::Host, scene::Scene, work::Supervisor};
use crate::{
    model::{Lane, Micros, RunId, WorkerId},
    ports::{
        Beat, BootTime, ClaimRequest, Clock, CommitAnswer, ExpiredWorkers, RunCommit, RunRow, Store, StoreError,
        WorkerRow,
    },
    store::MemoryStore,
};

/// Simulated time with jumps.
#[derive(Debug)]
pub struct SimClock {
    start: Instant,
    offset_millis: AtomicI64,
}

impl Default for SimClock {
    fn default() -> SimClock {
        SimClock { start: Instant::now(), offset_millis: AtomicI64::new(0) }
    }
}

impl SimClock {
    pub fn jump(&self, millis: i64) {
        self.offset_millis.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Micros {
        let elapsed = i64::try_from(self.start.elapsed().as_micros()).unwrap();
        Micros(1_700_000_000_000_000 + elapsed + self.offset_millis.load(Ordering::Relaxed) * 1_000)
    }
}

/// A worker as those know it who look at the whole world at once.
pub struct Post {
    pub worker: WorkerId,
    pub host: Arc<Host>,
    pub supervisor: Arc<Supervisor>,
}

impl Post {
    /// Whether it may begin nothing by its own reckoning, or is no more.
    fn has_stopped(&self) -> bool {
        let never_began = self.supervisor.until().is_none();
        never_began || self.host.is_dead() || self.supervisor.is_over() || self.supervisor.is_closed()
    }
}

#[derive(Default)]
struct Ledger {
    posts: BTreeMap<WorkerId, Arc<Post>>,
    /// Until when each lease holds, by the clock of the database.
    leases: BTreeMap<WorkerId, Micros>,
    /// Those that were said to be dead, or forgotten, and are not registered anew since then.
    lost: BTreeSet<WorkerId>,
    /// Those that were ever said to be dead, or forgotten.
    buried: BTreeSet<WorkerId>,
    /// Another number for another server.
    server: i64,
    stepped: Option<Instant>,
}

impl Ledger {
    fn bury(&mut self, worker: WorkerId) {
        self.lost.insert(worker);
        self.buried.insert(worker);
    }
}

pub struct Truth {
    pub store: Arc<MemoryStore>,
    pub clock: Arc<SimClock>,
    pub scene: Scene,
    /// How long leases are; `None` where locks say who is dead.
    pub lease: Option<Duration>,
    ledger: Mutex<Ledger>,
}

impl Truth {
    pub fn new(scene: Scene, lease: Option<Duration>) -> Truth {
        let clock = Arc::new(SimClock::default());
        let store = Arc::new(MemoryStore::with_clock(clock.clone()));
        Truth { store, clock, scene, lease, ledger: Mutex::default() }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// Somebody is about to become this worker.
    pub fn enlist(&self, post: Arc<Post>) {
        self.ledger().posts.insert(post.worker, post);
    }

    /// The clock of the database is set; perhaps because another server took over.
    pub fn step(&self, millis: i64, failover: bool) {
        self.clock.jump(millis);
        let mut ledger = self.ledger();
        ledger.stepped = Some(Instant::now());
        ledger.server += i64::from(failover);
    }

    /// Whether leases may have been reckoned by another clock than the database's now.
    pub fn has_stepped_lately(&self) -> bool {
        let stepped = self.ledger().stepped;
        stepped.is_some_and(|at| at.elapsed() <= self.lease.unwrap_or_default() + Duration::from_secs(1))
    }

    /// Whether the store counts the worker as living.
    pub fn holds_lease(&self, worker: WorkerId) -> bool {
        let ledger = self.ledger();
        let holds = ledger.leases.get(&worker).is_some_and(|until| *until >= self.clock.now());
        holds && !ledger.lost.contains(&worker)
    }

    pub async fn register(&self, worker: &WorkerRow, lease: Option<Duration>) -> Result<Beat, StoreError> {
        let answer = self.store.register_worker(worker, lease).await?;
        if let (Beat::Held { now, .. }, Some(lease)) = (answer, lease) {
            self.scene.tell(|| format!("{} is registered", worker.id));
            let mut ledger = self.ledger();
            // One that was forgotten meanwhile is new to the store.
            ledger.lost.remove(&worker.id);
            ledger.leases.insert(worker.id, after(now, lease));
        }
        Ok(answer)
    }

    pub async fn beat(&self, worker: WorkerId, lease: Option<Duration>) -> Result<Beat, StoreError> {
        let answer = self.store.beat(worker, lease).await?;
        if let (Beat::Held { now, .. }, Some(lease)) = (answer, lease) {
            let mut ledger = self.ledger();
            let held = ledger.leases.insert(worker, after(now, lease));
            if ledger.buried.contains(&worker) || held.is_none_or(|until| until < self.clock.now()) {
                self.scene.wrong(format_args!("{worker} was dead, and its beat was taken"));
            }
        }
        Ok(answer)
    }

    pub async fn expired(&self, limit: usize) -> Result<ExpiredWorkers, StoreError> {
        let answer = self.store.expired_workers(limit).await?;
        let mut ledger = self.ledger();
        for worker in &answer.workers {
            let until = ledger.leases.get(worker).copied();
            if until.is_some_and(|until| until >= self.clock.now()) && !ledger.lost.contains(worker) {
                self.scene.wrong(format_args!("{worker} was said to be dead, and its lease holds"));
            }
            ledger.bury(*worker);
        }
        Ok(ExpiredWorkers { server: ledger.server, ..answer })
    }

    pub async fn forget(&self, workers: &[WorkerId]) -> Result<(), StoreError> {
        self.store.forget_workers(workers).await?;
        for worker in workers {
            // Whoever still owns a run stays.
            if self.store.owned(*worker).await?.is_empty() {
                let mut ledger = self.ledger();
                ledger.leases.remove(worker);
                ledger.bury(*worker);
            }
        }
        Ok(())
    }

    pub async fn requeue(
        &self,
        dead: &[WorkerId],
        now: Micros,
        limit: usize,
    ) -> Result<Vec<(RunId, Lane)>, StoreError> {
        for worker in dead.iter().filter(|_| self.lease.is_some()) {
            self.must_be_dead(*worker);
        }
        let moved = self.store.requeue(dead, now, limit).await?;
        self.scene.faults().burials += u32::from(!moved.is_empty());
        for (run, _) in &moved {
            self.scene.tell(|| format!("{run} was taken back from one of {dead:?}"));
        }
        Ok(moved)
    }

    /// Whoever lives where they died knows of it before their leases are over.
    pub async fn take_over(&self, dead: &[WorkerId], request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        for worker in dead {
            self.must_have_stopped(*worker);
        }
        let rows = self.store.take_over(dead, request).await?;
        self.scene.faults().inherited += u32::try_from(rows.len()).unwrap();
        for row in &rows {
            self.scene.tell(|| format!("{} was taken over by {} for epoch {}", row.id, request.worker, row.epoch.0));
        }
        Ok(rows)
    }

    /// Runs are taken only from those whose lease is over, in the store and by their own reckoning.
    fn must_be_dead(&self, worker: WorkerId) {
        let is_said = {
            let ledger = self.ledger();
            // An id that was forgotten is known again when the first beat of it comes late; nobody lives by it then.
            !ledger.leases.contains_key(&worker) || ledger.buried.contains(&worker)
        };
        if !is_said {
            self.scene.wrong(format_args!("the runs of {worker} were taken, and nobody had said that it was dead"));
        }
        self.must_have_stopped(worker);
    }

    fn must_have_stopped(&self, worker: WorkerId) {
        let ledger = self.ledger();
        if let Some(post) = ledger.posts.get(&worker).filter(|post| !post.has_stopped()) {
            let left = post.supervisor.until().map(|until| until.saturating_sub(post.host.since_boot()));
            self.scene.wrong(format_args!("the runs of {worker} were taken, and it goes on for {left:?}"));
        }
    }

    pub async fn claim(&self, request: &ClaimRequest) -> Result<Vec<RunRow>, StoreError> {
        let rows = self.store.claim(request).await?;
        for row in &rows {
            self.scene.tell(|| format!("{} was claimed by {} for epoch {}", row.id, request.worker, row.epoch.0));
        }
        Ok(rows)
    }

    /// One commit: who is not the owner changes nothing, and the owner is never refused.
    pub async fn commit(&self, commit: &RunCommit) -> Result<CommitAnswer, StoreError> {
        let before = self.store.run(commit.run).await?.expect("runs do not vanish");
        let answers = self.store.commit(std::slice::from_ref(commit)).await?;
        let answer = answers.into_iter().next().expect("an answer for each");
        let after = self.store.run(commit.run).await?.expect("runs do not vanish");
        let owns = before.status.is_owned()
            && before.claimed_by == Some(commit.worker)
            && before.epoch == commit.epoch
            && before.version == commit.version;
        let changed = (before.version, before.sequence_head) != (after.version, after.sequence_head);
        if changed && !owns {
            let who = (commit.worker, commit.epoch, commit.version);
            let owner = (before.claimed_by, before.epoch, before.version);
            self.scene.wrong(format_args!("{}: a commit of {who:?} was written over {owner:?}", commit.run));
        }
        match &answer {
            CommitAnswer::Fenced => {
                self.scene.faults().fenced_commits += 1;
                if owns {
                    self.scene.wrong(format_args!("{}: its owner {} was fenced", commit.run, commit.worker));
                }
            }
            CommitAnswer::Refused(why) => {
                self.scene.wrong(format_args!("{}: a commit of {} was refused: {why}", commit.run, commit.worker));
            }
            _ => {}
        }
        self.scene.tell(|| {
            let events: Vec<_> =
                commit.events.iter().map(|event| format!("{} {}", event.kind.action, event.data)).collect();
            format!("{} {answer:?} {:?} by {}: {events:?}", commit.run, commit.status, commit.worker)
        });
        Ok(answer)
    }
}

fn after(now: Micros, span: Duration) -> Micros {
    Micros(now.0 + i64::try_from(span.as_micros()).unwrap())
}
