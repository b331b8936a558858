//! The part of a process that executes runs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Instance, spools, unusable};
use crate::{
    actions::{Deps, Registry},
    cli::{
        config::Config,
        fault::{Fault, io_fault},
        processes::LazyProcesses,
    },
    control::{Attendant, Committer, Departures, Fence, Heart, IndexedArtifacts, Owner, Segments, Uploads, World},
    model::{TenantId, WorkerId},
    ports::{Clock, Ids, Store, WorkerRow},
    store::PgStore,
    system::{
        self, BootClock, Burials, FlockLiveness, FolderSpool, FolderWorkspaces, RandomIds, SystemClock, WorkerLock,
    },
    worker::{LaneConfig, Lanes},
};

/// How long what a dead worker left may keep a new one from starting; what still lives then is left to its supervisor.
const BURIAL: Duration = Duration::from_secs(1);

/// A worker of an instance.
pub struct InstanceWorker {
    pub id: WorkerId,
    pub owner: Owner,
    world: World,
    processes: Arc<LazyProcesses>,
    has_lease: bool,
    /// Who has died in this data folder; where leases tell it too, but later.
    neighbours: Option<Burials>,
    /// Owners, the committer and the loops.
    tasks: TaskTracker,
    stop: CancellationToken,
    lock: WorkerLock,
}

impl std::fmt::Debug for InstanceWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceWorker").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The lock that a worker's supervisor holds.
fn supervisor_lock(config: &Config, worker: WorkerId) -> PathBuf {
    system::supervisor_lock(&config.data.workers(), worker)
}

impl InstanceWorker {
    pub(super) async fn start(
        instance: &Instance,
        config: &Config,
        serving: &LaneConfig,
        labels: BTreeMap<String, String>,
    ) -> Result<InstanceWorker, Fault> {
        let id = RandomIds.worker_id();
        let workers = config.data.workers();
        // Before anything is registered under the id: a free lock is a dead worker.
        let lock = WorkerLock::acquire(&workers, id)
            .map_err(|error| io_fault("DATA_DIR_UNUSABLE", &format!("`{}`", workers.display()), &error))?;
        let processes = Arc::new(LazyProcesses::new(id, supervisor_lock(config, id), config.processes.at_once));
        let registry = registry(instance, config, processes.clone());
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let mut world = World { executors: Arc::new(registry), ..instance.world.clone() };
        let row = worker_row(id, serving, labels);
        let fence = match &instance.fleet {
            None => {
                world.store.register_worker(&row, None).await?;
                Fence::default()
            }
            Some(fleet) => {
                spool_alone(&mut world, instance, config, id, (&tasks, &stop))?;
                let beats: Arc<dyn Store> = Arc::new(PgStore::open_migrated(&fleet.beats).await?);
                let heart = Heart {
                    store: beats,
                    worker: row,
                    config: fleet.lease,
                    boot: Arc::new(BootClock),
                    time: fleet.time.clone(),
                    processes: processes.clone(),
                };
                Fence::start(heart, &tasks, &stop).await?
            }
        };
        if let Err(error) = FolderWorkspaces::new(&config.data.folder).tidy() {
            tracing::warn!(%error, "old working folders could not be removed");
        }
        let neighbours = if instance.fleet.is_some() { Some(bury_neighbours(&workers, id).await) } else { None };
        let committer = Committer::start(&world.store, instance.ledger.writers(), &tasks);
        Ok(InstanceWorker {
            id,
            owner: Owner::new(world.clone(), committer, id).fenced(fence),
            world,
            processes,
            has_lease: instance.fleet.is_some(),
            neighbours,
            tasks,
            stop,
            lock,
        })
    }

    /// The lanes of this worker.
    pub fn lanes(&self) -> Lanes {
        let lanes = Lanes::new(self.owner.clone(), self.id, self.tasks.clone());
        match &self.neighbours {
            Some(neighbours) => lanes.inherit_from(Arc::new(neighbours.clone())),
            None => lanes,
        }
    }

    /// Passes signals of other processes on to the runs of this one, until the shutdown.
    pub fn listen_for_signals(&self) {
        self.tasks.spawn(self.attendant().run(self.stop.clone()));
    }

    /// The same, and gives back what nobody drives, until the shutdown.
    pub fn attend(&self) {
        self.tasks.spawn(self.attendant().giving_back().run(self.stop.clone()));
        if let Some(neighbours) = &self.neighbours {
            let departures = Departures::new(self.world.clone(), Arc::new(neighbours.clone()));
            self.tasks.spawn(departures.run(self.stop.clone()));
        }
    }

    fn attendant(&self) -> Attendant {
        let attendant = Attendant::new(self.world.clone(), self.id);
        if self.has_lease { attendant.with_lease() } else { attendant }
    }

    /// Waits until this worker may execute nothing any more; for ever where no lease says so.
    pub async fn lost(&self) {
        self.owner.fence().lost().await;
    }

    /// Waits until somebody asks this worker to end.
    pub async fn draining(&self) {
        self.owner.fence().draining().await;
    }

    /// Ends in order what is left of a worker that is dead for everybody else.
    pub async fn abandon(self) {
        self.end().await;
    }

    /// Ends in order: loops and owners, processes, the worker's row, its lock. The owners are done by now.
    pub async fn shutdown(self) {
        let (id, store) = (self.id, self.world.store.clone());
        let lock = self.end().await;
        // A worker that still owns a run (its store failed) stays registered: dead, as its lock says.
        if let Err(error) = store.forget_workers(&[id]).await {
            tracing::warn!(%error, "the worker could not be removed from the store");
        }
        drop(lock);
    }

    async fn end(self) -> WorkerLock {
        let InstanceWorker { owner, processes, tasks, stop, lock, .. } = self;
        stop.cancel();
        // The committer ends with its last sender.
        drop(owner);
        tasks.close();
        tasks.wait().await;
        processes.stop().await;
        lock
    }
}

/// The actions of this build.
fn registry(instance: &Instance, config: &Config, processes: Arc<LazyProcesses>) -> Registry {
    let clock = instance.world.clock.clone();
    let artifacts = IndexedArtifacts::new(TenantId::DEFAULT, instance.artifacts(), instance.rows(), clock);
    Registry::standard(&Deps {
        processes,
        artifacts: Arc::new(artifacts),
        workspaces: instance.world.workspaces.clone(),
        base_env: config.processes.base_env.clone(),
        http: Arc::new(config.http.to_config()),
    })
}

/// Makes sure that nothing lives on of what died in this folder before: its runs are about to be gone on with.
async fn bury_neighbours(workers: &Path, own: WorkerId) -> Burials {
    let burials = Burials::new(workers, [own]);
    if let Err(error) = burials.clear(BURIAL).await {
        tracing::warn!(%error, "it cannot be seen who has died in this data folder");
    }
    burials
}

/// Gives the worker a spool that is its own, from which its chunks go to the artifact store, and begins with what dead
/// workers of this machine have left in theirs.
fn spool_alone(
    world: &mut World,
    instance: &Instance,
    config: &Config,
    id: WorkerId,
    (tasks, stop): (&TaskTracker, &CancellationToken),
) -> Result<(), Fault> {
    let spools = config.data.spool();
    let spool = Arc::new(FolderSpool::new(spools::of(&spools, id)).map_err(|error| unusable(config, &error))?);
    world.spool = spool.clone();
    let uploads = Uploads::new(id, instance.rows(), instance.artifacts(), spool, world.clock.clone());
    world.segments = Segments::new(instance.rows(), instance.artifacts()).with_uploads(uploads.clone());
    let locks = FlockLiveness::new(config.data.workers(), [id]);
    let (taking_over, stopped) = (spools::take_over(spools, locks, uploads.clone()), stop.clone());
    tasks.spawn(async move { stopped.run_until_cancelled(taking_over).await });
    tasks.spawn(uploads.run(stop.clone()));
    Ok(())
}

fn worker_row(id: WorkerId, serving: &LaneConfig, labels: BTreeMap<String, String>) -> WorkerRow {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    WorkerRow {
        id,
        tenant: TenantId::DEFAULT,
        host,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        lanes: serving.lanes.clone(),
        slots: u32::try_from(serving.slots).unwrap_or(u32::MAX),
        labels,
        started_at: SystemClock.now(),
        draining: false,
    }
}
