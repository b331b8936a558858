//! The composition of the adapters: what commands work on, in one struct of ports.
//!
//! [`Instance`] is what commands need that only look or send a signal. [`InstanceWorker`] comes on top for
//! those that execute: it has an id that it lives under, a committer, and the actions of this build.

mod database;
mod files;
mod ledger;
mod spools;
mod worker;

use std::{
    collections::BTreeMap, fs::DirBuilder, io, os::unix::fs::DirBuilderExt, path::PathBuf, sync::Arc, time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::database::Fleet;
pub use self::{
    files::Files,
    ledger::{Ledger, Rows},
    worker::InstanceWorker,
};
use super::{
    config::Config,
    fault::{Fault, io_fault},
};
use crate::{
    actions::{self, Registry},
    control::{
        Archives, Leases, Limits, Plans, Reaper, Retention, Runbooks, Runs, Segments, Sessions, Signals, Workers, World,
    },
    feed::MemoryFeed,
    model::{TenantId, WorkerId},
    ports::{Artifacts, Clock, Feed, Liveness, Queue, Snapshots, Spool},
    queue::ChannelQueue,
    store::{PgStore, SqliteStore},
    system::{
        BootClock, Burials, EnvSecrets, FlockLiveness, FolderBundles, FolderSpool, FolderWorkspaces, LockLiveness,
        RandomIds, SecretMasks, SpoolsBelow, StoredSnapshots, SystemClock,
    },
    worker::LaneConfig,
};

/// How long what goes on beside may take to end.
const END: Duration = Duration::from_secs(3);

/// An opened place where runs are kept.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Without actions: those are a worker's.
    pub world: World,
    pub runs: Runs,
    pub runbooks: Runbooks,
    pub files: Files,
    pub retention: Retention,
    /// The data folder: everything, or what a process needs besides the database.
    pub folder: PathBuf,
    pub ledger: Ledger,
    /// What workers of a database have besides.
    fleet: Option<Fleet>,
    background: Background,
}

/// What goes on beside whoever uses the instance, until it is closed.
#[derive(Debug, Clone, Default)]
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!("what went on beside did not end in time");
        }
    }
}

/// The adapters that differ between a data folder and a database.
struct Ports {
    ledger: Ledger,
    queue: Arc<dyn Queue>,
    feed: Arc<dyn Feed>,
    clock: Arc<dyn Clock>,
    segments: Segments,
    fleet: Option<Fleet>,
    background: Background,
}

impl Instance {
    /// Opens the database that is named, whose schema is this build's, or else the data folder (mode 0700), making
    /// it and its database as needed.
    pub async fn open(config: &Config) -> Result<Instance, Fault> {
        match &config.database {
            Some(database) => {
                Instance::of_database(config, PgStore::open_migrated(&database.postgres).await?, false).await
            }
            None => Instance::of_folder(config).await,
        }
    }

    async fn of_folder(config: &Config) -> Result<Instance, Fault> {
        Instance::create_folder(config)?;
        let files = Files::open(config)?;
        let ports = Ports {
            ledger: Ledger::Folder(Arc::new(SqliteStore::open(&config.data.database()).await?)),
            queue: Arc::new(ChannelQueue::new()),
            feed: Arc::new(MemoryFeed::new()),
            clock: Arc::new(SystemClock),
            segments: Segments::default(),
            fleet: None,
            background: Background::default(),
        };
        Instance::compose(config, files, ports)
    }

    fn compose(config: &Config, files: Files, ports: Ports) -> Result<Instance, Fault> {
        let Ports { ledger, queue, feed, clock, segments, fleet, background } = ports;
        let folder = &config.data.folder;
        let spool: Arc<dyn Spool> = match &fleet {
            // Each worker has one of its own.
            Some(_) => Arc::new(SpoolsBelow::new(config.data.spool())),
            None => Arc::new(FolderSpool::new(config.data.spool()).map_err(|error| unusable(config, &error))?),
        };
        let snapshots = fleet.as_ref().map(|_| snapshots(config, &files)).transpose()?;
        let (rows, artifacts) = (ledger.rows(), files.artifacts.clone());
        let world = World {
            store: rows.clone(),
            queue,
            feed,
            spool,
            clock,
            ids: Arc::new(RandomIds),
            secrets: Arc::new(EnvSecrets::new(config.secrets.variables.iter().cloned())),
            masks: Arc::new(SecretMasks::default()),
            executors: Arc::new(Registry::new([])),
            workspaces: Arc::new(FolderWorkspaces::new(folder)),
            snapshots,
            bundles: Arc::new(FolderBundles::new(artifacts.clone(), folder.join("bundles"))),
            archives: Archives::new(rows.clone(), artifacts),
            segments,
            plans: Plans::new(rows.clone()),
            signals: Signals::default(),
            // A command has nobody to wake its runs.
            limits: Limits { is_woken: false, ..Limits::default() },
        };
        let runs = Runs::new(world.clone(), TenantId::DEFAULT);
        let runbooks = Runbooks::new(
            rows,
            world.bundles.clone(),
            world.clock.clone(),
            world.plans.clone(),
            Arc::new(actions::catalog()),
        );
        let retention = Retention { runs: config.data.retention, ..Retention::default() };
        Ok(Instance { world, runs, runbooks, files, retention, folder: folder.clone(), ledger, fleet, background })
    }

    /// Makes the data folder (mode 0700) if it is not there.
    pub fn create_folder(config: &Config) -> Result<(), Fault> {
        let mut builder = DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(&config.data.folder);
        created.map_err(|error| unusable(config, &error))
    }

    /// The rows, for ports other than [`World`]'s.
    pub fn rows(&self) -> Arc<dyn Rows> {
        self.ledger.rows()
    }

    /// The contents of artifacts.
    pub fn artifacts(&self) -> Arc<dyn Artifacts> {
        self.files.artifacts.clone()
    }

    /// The service over sessions.
    pub fn sessions(&self) -> Sessions {
        let World { clock, ids, .. } = self.world.clone();
        Sessions::new(self.rows(), self.rows(), clock, ids, TenantId::DEFAULT)
    }

    /// The service over workers.
    pub fn workers(&self) -> Workers {
        Workers::new(self.world.store.clone(), TenantId::DEFAULT)
    }

    /// Makes this process a worker: from here on it may own runs.
    /// `serving`: what it will claim from; nothing if it executes its own runs only.
    pub async fn start_worker(
        &self,
        config: &Config,
        serving: &LaneConfig,
        labels: BTreeMap<String, String>,
    ) -> Result<InstanceWorker, Fault> {
        InstanceWorker::start(self, config, serving, labels).await
    }

    /// What finds the runs of dead workers. `own` is never dead.
    pub fn reaper(&self, config: &Config, own: Option<WorkerId>) -> Reaper {
        let store = self.world.store.clone();
        let liveness: Arc<dyn Liveness> = match &self.fleet {
            Some(fleet) => Arc::new(Leases::new(store, Arc::new(BootClock), fleet.lease.lease)),
            None => Arc::new(LockLiveness::new(store, Burials::new(config.data.workers(), own))),
        };
        Reaper::new(self.world.clone(), liveness)
    }

    /// Whether others take back what a dead worker has left.
    pub fn is_fleet(&self) -> bool {
        self.fleet.is_some()
    }

    /// Those of the known workers of a data folder that are dead.
    pub async fn dead_workers(&self, config: &Config) -> Result<Vec<WorkerId>, Fault> {
        let owners = self.world.store.owners().await?;
        Ok(FlockLiveness::new(config.data.workers(), []).dead(&owners))
    }

    /// Closes the database; every worker is shut down by now.
    pub async fn close(self) {
        let Instance { world, runs, runbooks, files, ledger, background, .. } = self;
        background.end().await;
        drop((world, runs, runbooks));
        files.close().await;
        ledger.close().await;
    }
}

/// What takes working folders to other machines.
fn snapshots(config: &Config, files: &Files) -> Result<Arc<dyn Snapshots>, Fault> {
    let (artifacts, limit) = (files.artifacts.clone(), config.artifacts.workspace_limit);
    let snapshots = StoredSnapshots::new(artifacts, &config.data.folder, limit);
    Ok(Arc::new(snapshots.map_err(|error| unusable(config, &error))?))
}

fn unusable(config: &Config, error: &io::Error) -> Fault {
    let place = format!("the data folder `{}`", config.data.folder.display());
    io_fault("DATA_DIR_UNUSABLE", &place, error).help("choose another one with --data-dir or OPSROOM_DATA_DIR")
}
