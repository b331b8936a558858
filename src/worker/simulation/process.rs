//! A process: a worker that comes back under a new id whenever its lease is lost, and perhaps the sweeps.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, oneshot},
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    fleet::Shared,
    host::{Boot, Host},
    line::LineStore,
    ports::{Neighbours, SimLiveness},
    truth::{Post, Truth},
    work::{SimExecutors, Supervisor},
};
use crate::{
    control::{Attendant, Committer, Fence, Handoff, Heart, Heritage, Leases, Owner, Reaper, Runs, Submission, World},
    model::{Lane, Micros, TenantId, WorkerId},
    ports::{BootTime, Clock, Ids, Liveness, Store, StoreTime, WorkerRow},
    system::OffsetClock,
    worker::backend::{ClaimedRun, Claims, LaneSource, next_of},
};

/// Runs under way at once.
const SLOTS: usize = 2;

/// The pauses between two tries to become a worker again.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// One process. Dropped, nothing of it goes on but what it has sent.
pub struct Process {
    pub host: Arc<Host>,
    pub handoff: Handoff,
    /// Whether it takes back what dead workers left.
    pub sweeps: bool,
    /// Who it is now; nobody before its first beat was answered.
    worker: Arc<Mutex<Option<WorkerId>>>,
    drain: CancellationToken,
    world: World,
    learner: Learner,
    tasks: JoinSet<()>,
}

impl Process {
    pub fn start(shared: &Shared, sweeps: bool) -> Process {
        let host = Arc::new(Host::new(shared.next_host(), |n| shared.scene.below(n)));
        shared.scene.tell(|| format!("host {} starts{}", host.name, if sweeps { ", with sweeps" } else { "" }));
        let store: Arc<dyn Store> = Arc::new(LineStore::new(host.clone(), shared.truth.clone()));
        let time = shared.lease.map(|_| Arc::new(OffsetClock::over(Boot(host.clone()), host.wall)));
        let clock: Arc<dyn Clock> = match &time {
            Some(time) => time.clone(),
            None => shared.truth.clock.clone(),
        };
        let world = shared.world(store, clock);
        let learner =
            Learner { store: world.store.clone(), host: host.clone(), truth: shared.truth.clone(), time: time.clone() };
        let mut process = Process {
            host: host.clone(),
            handoff: Handoff::default(),
            sweeps,
            worker: Arc::default(),
            drain: CancellationToken::new(),
            world: world.clone(),
            learner: learner.clone(),
            tasks: JoinSet::new(),
        };
        let keeper = Keeper {
            shared: shared.clone(),
            host: host.clone(),
            world: world.clone(),
            time,
            handoff: process.handoff.clone(),
            told: process.worker.clone(),
            drain: process.drain.clone(),
        };
        process.tasks.spawn(host.run(keeper.keep()));
        if sweeps {
            let liveness: Arc<dyn Liveness> = match shared.lease {
                Some(config) => Arc::new(Leases::new(world.store.clone(), host.clone(), config.lease)),
                None => Arc::new(SimLiveness {
                    store: world.store.clone(),
                    dead: shared.dead.clone(),
                    own: process.worker.clone(),
                }),
            };
            process.tasks.spawn(host.run(async move {
                while !learner.learn().await {
                    tokio::time::sleep(SHORTEST).await;
                }
                Reaper::new(world, liveness).run(CancellationToken::new()).await;
            }));
        }
        process
    }

    pub fn worker(&self) -> Option<WorkerId> {
        *self.worker.lock().unwrap()
    }

    /// A client asks for a run; the answer is whether there is one. Without an answer there may be one.
    pub fn submit(&mut self, submission: Submission) -> oneshot::Receiver<bool> {
        let (answer, answered) = oneshot::channel();
        let runs = Runs::new(self.world.clone(), TenantId::DEFAULT).hand_to(self.handoff.clone());
        let learner = self.learner.clone();
        self.tasks.spawn(self.host.run(async move {
            let created = learner.learn().await && runs.submit(&[submission], None).await.is_ok();
            let _ = answer.send(created);
        }));
        answered
    }

    /// Hands back what is under way and ends.
    pub fn drain(&self) {
        self.handoff.close(Lane::A);
        self.drain.cancel();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.host.die();
    }
}

/// How a process learns what time it is in the database, before it dates anything.
#[derive(Clone)]
struct Learner {
    store: Arc<dyn Store>,
    host: Arc<Host>,
    truth: Arc<Truth>,
    /// Where locks say who is dead everybody has one clock.
    time: Option<Arc<OffsetClock<Boot>>>,
}

impl Learner {
    /// Whether there was an answer.
    async fn learn(&self) -> bool {
        let Some(time) = &self.time else { return true };
        let sent = self.host.since_boot();
        if self.store.change_mark().await.is_err() {
            return false;
        }
        time.told(self.truth.clock.now(), sent, self.host.since_boot());
        true
    }
}

/// Keeps a process a worker, as the keeper of the real lanes does.
struct Keeper {
    shared: Shared,
    host: Arc<Host>,
    world: World,
    time: Option<Arc<OffsetClock<Boot>>>,
    handoff: Handoff,
    told: Arc<Mutex<Option<WorkerId>>>,
    drain: CancellationToken,
}

impl Keeper {
    async fn keep(self) {
        let (mut pause, mut is_first) = (SHORTEST, true);
        while !self.drain.is_cancelled() {
            let Some(worker) = self.become_worker().await else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
                continue;
            };
            self.shared.scene.faults().comebacks += u32::from(!is_first);
            (is_first, pause) = (false, SHORTEST);
            let (id, place) = (worker.post.worker, self.host.place);
            let budget = self.shared.lease.map(|config| config.budget).unwrap_or_default();
            let drained = worker.serve(self.handoff.clone(), self.drain.clone(), self.heritage(), budget).await;
            // Its lock is free.
            self.shared.dead.lock().unwrap().insert(id, place);
            if drained {
                break;
            }
            self.shared.scene.faults().leases_lost += 1;
        }
        self.host.die();
    }

    /// What lives by leases goes on with the runs of those who died in its data folder.
    fn heritage(&self) -> Option<Heritage> {
        let neighbours = Neighbours { dead: self.shared.dead.clone(), place: self.host.place };
        self.shared.lease.map(|_| Heritage::new(Arc::new(neighbours)))
    }

    /// A worker under a new id, once the store has answered.
    async fn become_worker(&self) -> Option<Worker> {
        let Keeper { shared, host, world, .. } = self;
        let id = shared.ids.worker_id();
        let supervisor = Arc::new(Supervisor::new(host.clone()));
        let post = Arc::new(Post { worker: id, host: host.clone(), supervisor: supervisor.clone() });
        shared.truth.enlist(post.clone());
        let mut tasks = JoinSet::new();
        let fence = match (shared.lease, &self.time) {
            (Some(config), Some(time)) => {
                let time: Arc<dyn StoreTime> = time.clone();
                let heart = Heart {
                    store: world.store.clone(),
                    worker: row(id),
                    config,
                    boot: host.clone(),
                    time,
                    processes: supervisor,
                };
                let (fence, pulse) = Fence::open(heart).await.ok()?;
                tasks.spawn(host.run(pulse.watch()));
                tasks.spawn(host.run(pulse.beat()));
                fence
            }
            _ => Fence::default(),
        };
        let executors = Arc::new(SimExecutors { works: shared.works.clone(), post: post.clone() });
        let world = World { executors, ..world.clone() };
        let (committer, writers) = Committer::open(&world.store, 2);
        for writer in writers {
            tasks.spawn(host.run(writer));
        }
        let owner = Owner::new(world.clone(), committer, id).fenced(fence);
        let owner = owner.leave_on(self.drain.clone()).hand_back_on(self.drain.clone());
        let attendant = Attendant::new(world, id).giving_back();
        let attendant = if shared.lease.is_some() { attendant.with_lease() } else { attendant };
        tasks.spawn(host.run(attendant.run(CancellationToken::new())));
        *self.told.lock().unwrap() = Some(id);
        shared.scene.tell(|| format!("host {} is {id}", host.name));
        Some(Worker { post, owner, tasks })
    }
}

/// A worker of the process.
struct Worker {
    post: Arc<Post>,
    owner: Owner,
    tasks: JoinSet<()>,
}

impl Worker {
    /// Serves its lane until it was drained, or the lease is lost: then it answers false.
    async fn serve(
        mut self,
        handoff: Handoff,
        drain: CancellationToken,
        heritage: Option<Heritage>,
        budget: Duration,
    ) -> bool {
        let fence = self.owner.fence().clone();
        let Post { worker, host, .. } = &*self.post;
        let claims = Claims::new(&self.owner, *worker, heritage);
        let served = lane(self.owner.clone(), self.post.clone(), claims, handoff, drain);
        let ended = CancellationToken::new();
        let end = ended.clone();
        self.tasks.spawn(host.run(async move {
            served.await;
            end.cancel();
        }));
        let lost = tokio::select! {
            biased;
            () = fence.lost() => true,
            () = ended.cancelled() => false,
        };
        let store = self.owner.world().store.clone();
        self.tasks.shutdown().await;
        if lost {
            // Within this time the supervisor has ended everything.
            tokio::time::sleep(budget).await;
        }
        self.post.supervisor.close();
        if !lost {
            // If it stays registered, its lease runs out.
            let _ = store.forget_workers(&[*worker]).await;
        }
        !lost
    }
}

/// A lane: claims, and owns each run in a task of its own.
async fn lane(owner: Owner, post: Arc<Post>, mut claims: Claims, handoff: Handoff, stop: CancellationToken) {
    let (slots, open) = (Arc::new(Semaphore::new(SLOTS)), TaskTracker::new());
    let arrivals = handoff.open(Lane::A, owner.clone(), slots.clone());
    if stop.is_cancelled() {
        handoff.close(Lane::A);
    }
    let bell = owner.world().queue.listen(Lane::A);
    let mut source = LaneSource::new(Lane::A, bell, arrivals, stop, open.token());
    let (mut owned, mut due) = (JoinSet::new(), true);
    while let Some(runs) = next_of(&mut source, &mut claims, &slots, &mut due).await {
        for ClaimedRun { claim, slot } in runs {
            let owner = owner.clone();
            owned.spawn(post.host.run(async move {
                // Whoever gives up leaves the run to those who look for strays.
                let _ = owner.own(claim).await;
                drop(slot);
            }));
        }
        while owned.try_join_next().is_some() {}
    }
    while owned.join_next().await.is_some() {}
}

fn row(id: WorkerId) -> WorkerRow {
    WorkerRow {
        id,
        tenant: TenantId::DEFAULT,
        host: String::new(),
        pid: 0,
        version: String::new(),
        lanes: vec![Lane::A],
        slots: 2,
        labels: std::collections::BTreeMap::new(),
        started_at: Micros(0),
        draining: false,
    }
}
