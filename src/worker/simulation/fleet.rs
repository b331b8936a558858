//! Processes that claim runs, die, freeze and come back.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::ports::{Faults, FaultyStore, SimClock, SimExecutors, SimFeed, SimIds, SimLiveness, SimQueue, SimRest};
use crate::{
    control::{
        Archives, Arrivals, Attendant, Claim, Committer, Handoff, Limits, Owner, Plans, Reaper, Runs, Segments,
        Signals, World,
    },
    engine::testing::Rng,
    model::{Lane, TenantId, WorkerId},
    ports::{ClaimRequest, Ids, Store},
    store::MemoryStore,
};

/// Every process of one simulated world, dead ones included.
pub struct Fleet {
    truth: Arc<MemoryStore>,
    pub feed: Arc<SimFeed>,
    pub executors: Arc<SimExecutors>,
    clock: Arc<SimClock>,
    ids: Arc<SimIds>,
    queue: Arc<SimQueue>,
    dead: Arc<Mutex<BTreeSet<WorkerId>>>,
    rng: Arc<Mutex<Rng>>,
    faults: Arc<Mutex<Faults>>,
    processes: Vec<Process>,
    /// Frozen ones go on and find themselves fenced.
    zombies: Vec<Process>,
}

struct Process {
    worker: WorkerId,
    handoff: Handoff,
    tasks: JoinSet<()>,
}

impl Fleet {
    pub fn new(seed: u64) -> Fleet {
        let rng = Arc::new(Mutex::new(Rng(!seed)));
        let faults = Arc::new(Mutex::new(Faults::default()));
        let truth = Arc::new(MemoryStore::new());
        Fleet {
            feed: Arc::default(),
            executors: Arc::new(SimExecutors::new(truth.clone(), rng.clone())),
            clock: Arc::default(),
            ids: Arc::default(),
            queue: Arc::new(SimQueue::new(rng.clone(), faults.clone())),
            dead: Arc::default(),
            truth,
            rng,
            faults,
            processes: Vec::new(),
            zombies: Vec::new(),
        }
    }

    pub fn truth(&self) -> &dyn Store {
        &*self.truth
    }

    pub fn faults(&self) -> Faults {
        self.faults.lock().unwrap().clone()
    }

    /// The service as a client sees it: its store does not fail.
    pub fn service(&self) -> Runs {
        Runs::new(self.world(self.truth.clone()), TenantId::DEFAULT)
    }

    /// The service inside the newest process: its runs may go the short way.
    pub fn inside(&self) -> Runs {
        let handoff = self.processes.last().map(|process| process.handoff.clone()).unwrap_or_default();
        self.service().hand_to(handoff)
    }

    fn world(&self, store: Arc<dyn Store>) -> World {
        World {
            archives: Archives::default(),
            segments: Segments::default(),
            plans: Plans::new(store.clone()),
            store,
            queue: self.queue.clone(),
            feed: self.feed.clone(),
            spool: Arc::new(SimRest),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            secrets: Arc::new(SimRest),
            masks: Arc::new(SimRest),
            executors: self.executors.clone(),
            workspaces: Arc::new(SimRest),
            snapshots: None,
            bundles: Arc::new(SimRest),
            signals: Signals::default(),
            limits: Limits { slots: 3, grace: Duration::from_millis(20), patient: true, ..Limits::default() },
        }
    }

    pub fn start_process(&mut self) {
        let worker = self.ids.worker_id();
        let store = Arc::new(FaultyStore::new(self.truth.clone(), self.rng.clone(), self.faults.clone()));
        let world = self.world(store);
        let tracker = TaskTracker::new();
        let committer = Committer::start(&world.store, 2, &tracker);
        let owner = Owner::new(world.clone(), committer, worker);
        let liveness = Arc::new(SimLiveness { store: world.store.clone(), dead: self.dead.clone(), own: worker });
        let mut tasks = JoinSet::new();
        tasks.spawn(Reaper::new(world.clone(), liveness).run(CancellationToken::new()));
        tasks.spawn(Attendant::new(world.clone(), worker).giving_back().run(CancellationToken::new()));
        let handoff = Handoff::default();
        let slots = Arc::new(Semaphore::new(2));
        let arrivals = handoff.open(Lane::A, owner.clone(), slots.clone());
        tasks.spawn(lane(world, owner, worker, arrivals, slots));
        self.processes.push(Process { worker, handoff, tasks });
    }

    pub fn keep_alive(&mut self) {
        if self.processes.is_empty() {
            self.start_process();
        }
    }

    /// SIGKILL: its tasks are gone, what its committer had queued may still be written.
    pub fn kill_one(&mut self, rng: &mut Rng) {
        if let Some(process) = self.take(rng) {
            self.faults.lock().unwrap().kills += 1;
            drop(process.tasks);
        }
    }

    /// SIGSTOP for longer than the lease, then SIGCONT: everyone thinks it dead, and it goes on.
    pub fn freeze_one(&mut self, rng: &mut Rng) {
        if let Some(process) = self.take(rng) {
            self.faults.lock().unwrap().freezes += 1;
            self.zombies.push(process);
        }
    }

    fn take(&mut self, rng: &mut Rng) -> Option<Process> {
        if self.processes.is_empty() {
            return None;
        }
        let process = self.processes.swap_remove(rng.below(self.processes.len()));
        self.dead.lock().unwrap().insert(process.worker);
        Some(process)
    }

    pub fn jump_clock(&mut self, rng: &mut Rng) {
        self.faults.lock().unwrap().clock_jumps += 1;
        self.clock.jump(i64::try_from(rng.below(6_000)).unwrap() - 2_000);
    }

    /// Lets zombies try their late writes.
    pub async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_secs(30)).await;
        self.zombies.clear();
        self.processes.clear();
    }
}

/// A lane: claims, and owns each run in a task of its own. Ends with the process.
async fn lane(world: World, owner: Owner, worker: WorkerId, mut arrivals: Arrivals, slots: Arc<Semaphore>) {
    let mut owned = JoinSet::new();
    let bell = world.queue.listen(Lane::A);
    loop {
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            let request = ClaimRequest { worker, lane: Lane::A, limit: 1, now: world.clock.now() };
            let rows = world.store.claim(&request).await.unwrap_or_default();
            arrivals.set_drained(rows.is_empty());
            if let Some(row) = rows.into_iter().next() {
                let owner = owner.clone();
                owned.spawn(async move { (owner.own(row).await, slot) });
                continue;
            }
        }
        while owned.try_join_next().is_some() {}
        tokio::select! {
            biased;
            Some((born, slot)) = arrivals.next() => {
                let owner = owner.clone();
                owned.spawn(async move { (owner.own(Claim::Born(born)).await, slot) });
            }
            _ = tokio::time::timeout(Duration::from_secs(1), bell.heard()) => {}
        }
    }
}
