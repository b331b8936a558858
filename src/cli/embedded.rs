//! The composition without servers: one SQLite file, an in-process queue and feed, a folder for the rest.
//!
//! [`Embedded`] is what commands need that only look or send a signal. [`EmbeddedWorker`] comes on top for
//! those that execute: it has an id that holds a lock, a committer, and the actions of this build.

use std::{fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    config::Config,
    fault::{Fault, io_fault},
    processes::LazyProcesses,
};
use crate::{
    actions::{self, Deps, Registry},
    control::{
        Archives, Committer, IndexedArtifacts, Limits, Owner, Plans, Reaper, Retention, Runbooks, Runs, Segments,
        Sessions, Signals, World,
    },
    feed::MemoryFeed,
    model::{TenantId, WorkerId},
    ports::{Clock, Ids, WorkerRow},
    queue::ChannelQueue,
    store::SqliteStore,
    system::{
        self, Burials, EnvSecrets, FlockLiveness, FolderArtifacts, FolderBundles, FolderSpool, FolderWorkspaces,
        RandomIds, SecretMasks, SystemClock, WorkerLock,
    },
    worker::Lanes,
};

/// An opened data folder.
#[derive(Debug)]
pub struct Embedded {
    /// Without actions: those are a worker's.
    pub world: World,
    pub runs: Runs,
    pub runbooks: Runbooks,
    pub artifacts: Arc<FolderArtifacts>,
    pub retention: Retention,
    /// The data folder.
    pub folder: PathBuf,
    store: Arc<SqliteStore>,
}

impl Embedded {
    /// Opens the data folder (mode 0700), making it and the database as needed.
    pub async fn open(config: &Config) -> Result<Embedded, Fault> {
        let folder = &config.data.folder;
        Embedded::create_folder(config)?;
        let unusable = |error| unusable(config, &error);
        let spool = FolderSpool::new(config.data.spool()).map_err(unusable)?;
        let artifacts = Arc::new(FolderArtifacts::new(config.data.artifacts()).map_err(unusable)?);
        let store = Arc::new(SqliteStore::open(&config.data.database()).await?);
        let world = World {
            store: store.clone(),
            queue: Arc::new(ChannelQueue::new()),
            feed: Arc::new(MemoryFeed::new()),
            spool: Arc::new(spool),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            secrets: Arc::new(EnvSecrets::new(config.secrets.variables.iter().cloned())),
            masks: Arc::new(SecretMasks::default()),
            executors: Arc::new(Registry::new([])),
            workspaces: Arc::new(FolderWorkspaces::new(folder)),
            bundles: Arc::new(FolderBundles::new(artifacts.clone(), folder.join("bundles"))),
            archives: Archives::new(store.clone(), artifacts.clone()),
            segments: Segments::default(),
            plans: Plans::new(store.clone()),
            signals: Signals::default(),
            limits: Limits::default(),
        };
        let runs = Runs::new(world.clone(), TenantId::DEFAULT);
        let runbooks = Runbooks::new(
            store.clone(),
            world.bundles.clone(),
            world.clock.clone(),
            world.plans.clone(),
            Arc::new(actions::catalog()),
        );
        let retention = Retention { runs: config.data.retention, ..Retention::default() };
        Ok(Embedded { world, runs, runbooks, artifacts, retention, folder: folder.clone(), store })
    }

    /// Makes the data folder (mode 0700) if it is not there.
    pub fn create_folder(config: &Config) -> Result<(), Fault> {
        let mut builder = DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(&config.data.folder);
        created.map_err(|error| unusable(config, &error))
    }

    /// The store, for ports other than [`World`]'s.
    pub fn store(&self) -> Arc<SqliteStore> {
        self.store.clone()
    }

    /// The service over sessions.
    pub fn sessions(&self) -> Sessions {
        let World { clock, ids, .. } = self.world.clone();
        Sessions::new(self.store(), self.store(), clock, ids, TenantId::DEFAULT)
    }

    /// Makes this process a worker: from here on it may own runs.
    pub async fn start_worker(&self, config: &Config) -> Result<EmbeddedWorker, Fault> {
        EmbeddedWorker::start(self, config).await
    }

    /// Those of the known workers that are dead.
    pub async fn dead_workers(&self, config: &Config) -> Result<Vec<WorkerId>, Fault> {
        use crate::ports::Liveness as _;
        let owners = self.world.store.owners().await?;
        Ok(FlockLiveness::new(config.data.workers(), []).dead(&owners))
    }

    /// Closes the database; every worker is shut down by now.
    pub async fn close(self) {
        let Embedded { world, runs, runbooks, store, .. } = self;
        drop((world, runs, runbooks));
        // Whoever still has a part in it keeps it open; the file is complete all the same.
        if let Some(store) = Arc::into_inner(store)
            && let Err(error) = store.close().await
        {
            tracing::warn!(%error, "the database could not be closed; it is complete all the same");
        }
    }
}

fn unusable(config: &Config, error: &io::Error) -> Fault {
    let place = format!("the data folder `{}`", config.data.folder.display());
    io_fault("DATA_DIR_UNUSABLE", &place, error).help("choose another one with --data-dir or OPSROOM_DATA_DIR")
}

/// The part of a process that executes runs.
pub struct EmbeddedWorker {
    pub id: WorkerId,
    pub owner: Owner,
    /// With the signals of other processes it also finds the runs of dead ones.
    pub reaper: Reaper,
    world: World,
    processes: Arc<LazyProcesses>,
    /// Owners, the committer and the loops.
    tasks: TaskTracker,
    stop: CancellationToken,
    lock: WorkerLock,
}

impl std::fmt::Debug for EmbeddedWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedWorker").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The lock that a worker's supervisor holds.
pub fn supervisor_lock(config: &Config, worker: WorkerId) -> PathBuf {
    system::supervisor_lock(&config.data.workers(), worker)
}

impl EmbeddedWorker {
    async fn start(embedded: &Embedded, config: &Config) -> Result<EmbeddedWorker, Fault> {
        let id = RandomIds.worker_id();
        let workers = config.data.workers();
        // Before anything is registered under the id: a free lock is a dead worker.
        let lock = WorkerLock::acquire(&workers, id)
            .map_err(|error| io_fault("DATA_DIR_UNUSABLE", &format!("`{}`", workers.display()), &error))?;
        let processes = Arc::new(LazyProcesses::new(id, supervisor_lock(config, id)));
        let registry = Registry::standard(&Deps {
            processes: processes.clone(),
            artifacts: Arc::new(IndexedArtifacts::new(
                TenantId::DEFAULT,
                embedded.artifacts.clone(),
                embedded.store(),
                embedded.world.clock.clone(),
            )),
            base_env: config.processes.base_env.clone(),
            http: Arc::new(config.http.to_config()),
        });
        let world = World { executors: Arc::new(registry), ..embedded.world.clone() };
        world.store.register_worker(&worker_row(id)).await?;
        if let Err(error) = FolderWorkspaces::new(&config.data.folder).tidy() {
            tracing::warn!(%error, "old working folders could not be removed");
        }
        let tasks = TaskTracker::new();
        // SQLite has one writer.
        let committer = Committer::start(&world.store, 1, &tasks);
        let liveness = Arc::new(Burials::new(workers, [id]));
        Ok(EmbeddedWorker {
            id,
            owner: Owner::new(world.clone(), committer, id),
            reaper: Reaper::new(world.clone(), liveness, id),
            world,
            processes,
            tasks,
            stop: CancellationToken::new(),
            lock,
        })
    }

    /// The lanes of this worker.
    pub fn lanes(&self) -> Lanes {
        Lanes::new(self.owner.clone(), self.id, self.tasks.clone())
    }

    /// Passes signals of other processes on to the runs of this one, until the shutdown.
    pub fn listen_for_signals(&self) {
        self.tasks.spawn(self.reaper.clone().run_signals(self.stop.clone()));
    }

    /// The same, and takes up what dead processes have left, until the shutdown.
    pub fn sweep(&self) {
        self.tasks.spawn(self.reaper.clone().run(self.stop.clone()));
    }

    /// Ends in order: loops and owners, processes, the worker's row, its lock. The owners are done by now.
    pub async fn shutdown(self) {
        let EmbeddedWorker { id, owner, reaper, world, processes, tasks, stop, lock } = self;
        stop.cancel();
        // The committer ends with its last sender.
        drop((owner, reaper));
        tasks.close();
        tasks.wait().await;
        processes.stop().await;
        // A worker that still owns a run (its store failed) stays registered: dead, as its lock says.
        if let Err(error) = world.store.forget_workers(&[id]).await {
            tracing::warn!(%error, "the worker could not be removed from the store");
        }
        drop(lock);
    }
}

fn worker_row(id: WorkerId) -> WorkerRow {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    WorkerRow {
        id,
        tenant: TenantId::DEFAULT,
        host,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: SystemClock.now(),
    }
}
