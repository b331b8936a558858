//! A process on a store: lanes, a committer, services, and actions that a test holds in its hand.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use opsroom::{
    actions::{Deps, HttpConfig, Registry},
    control::{Archives, Committer, Handoff, Limits, Owner, Plans, Runs, Segments, Signals, Submission, World},
    feed::MemoryFeed,
    model::{Failure, Lane, RunId, RunStatus, StepIx, Success, TenantId, WorkerId},
    ports::{
        AttemptContext, Executor, Executors, Ids, Process as Child, ProcessSpec, Processes, RunRow, SpawnError, Store,
        Trigger, WorkerRow,
    },
    queue::ChannelQueue,
    runbook::{Plan, PlannedStep, Template},
    store::{MemoryStore, SqliteStore},
    system::{
        EnvSecrets, FolderArtifacts, FolderBundles, FolderSpool, FolderWorkspaces, RandomIds, SecretMasks, SystemClock,
    },
    worker::{LaneConfig, Lanes},
};
use serde_json::{Map, Value};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_mins(1);

pub type Act = Arc<dyn Executor>;

/// A store and the folder that it is in.
pub struct Place {
    pub store: Arc<dyn Store>,
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn memory() -> Place {
        Place { store: Arc::new(MemoryStore::new()), folder: tempfile::tempdir().unwrap() }
    }

    pub async fn sqlite() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("opsroom.db")).await.unwrap());
        Place { store, folder }
    }
}

/// What a process is made of. Nothing runs yet.
pub struct Process {
    pub world: World,
    pub worker: WorkerId,
    pub owner: Owner,
    pub runs: Runs,
    pub handoff: Handoff,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub halt: CancellationToken,
}

impl Process {
    pub async fn new(place: &Place) -> Process {
        Process::with(place, place.store.clone(), [], Limits::default()).await
    }

    pub async fn with(
        place: &Place,
        store: Arc<dyn Store>,
        actions: impl IntoIterator<Item = (&'static str, Act)>,
        limits: Limits,
    ) -> Process {
        let folder = place.folder.path();
        let world = World {
            archives: Archives::default(),
            segments: Segments::default(),
            plans: Plans::new(store.clone()),
            store,
            queue: Arc::new(ChannelQueue::new()),
            feed: Arc::new(MemoryFeed::new()),
            spool: Arc::new(FolderSpool::new(folder.join("spool")).unwrap()),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            secrets: Arc::new(EnvSecrets::new([])),
            masks: Arc::new(SecretMasks::default()),
            executors: Arc::new(Actions::new(folder, actions)),
            workspaces: Arc::new(FolderWorkspaces::new(folder)),
            snapshots: None,
            bundles: Arc::new(FolderBundles::new(
                Arc::new(FolderArtifacts::new(folder.join("artifacts")).unwrap()),
                folder.join("bundles"),
            )),
            signals: Signals::default(),
            limits,
        };
        Process::of(RandomIds.worker_id(), world).await
    }

    /// A worker in this world.
    pub async fn of(worker: WorkerId, world: World) -> Process {
        let row = WorkerRow {
            id: worker,
            tenant: TenantId::DEFAULT,
            host: "here".into(),
            pid: std::process::id(),
            version: "1".into(),
            lanes: vec![Lane::A],
            slots: 4,
            labels: BTreeMap::new(),
            started_at: world.clock.now(),
            draining: false,
        };
        world.store.register_worker(&row, None).await.unwrap();
        let tasks = TaskTracker::new();
        let committer = Committer::start(&world.store, 1, &tasks);
        let owner = Owner::new(world.clone(), committer, worker);
        let handoff = Handoff::default();
        let runs = Runs::new(world.clone(), TenantId::DEFAULT).hand_to(handoff.clone());
        Process {
            world,
            worker,
            owner,
            runs,
            handoff,
            tasks,
            stop: CancellationToken::new(),
            halt: CancellationToken::new(),
        }
    }

    /// Serves lane A.
    pub fn serve(&self, slots: usize) {
        let lanes = Lanes::new(self.owner.clone(), self.worker, self.tasks.clone())
            .accept(self.handoff.clone())
            .halt_on(self.halt.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            lanes.serve(&LaneConfig { lanes: vec![Lane::A], slots }, stop).await.unwrap();
        });
    }

    pub async fn submit(&self, plan: &Arc<Plan>) -> RunId {
        self.runs.submit(&[submission(plan)], None).await.unwrap().remove(0)
    }

    /// Stops the lanes and waits for everything.
    pub async fn stop(self) {
        self.stop.cancel();
        let Process { tasks, world, worker, .. } = self;
        drop((self.owner, self.runs, self.handoff));
        tasks.close();
        tokio::time::timeout(PATIENCE, tasks.wait()).await.expect("the process stops");
        // A store that is full keeps the row; nobody minds.
        let _ = world.store.forget_workers(&[worker]).await;
    }

    pub async fn row(&self, run: RunId) -> RunRow {
        self.world.store.run(run).await.unwrap().unwrap()
    }

    /// Waits until the run is as said.
    pub async fn until(&self, run: RunId, is: impl Fn(&RunRow) -> bool) -> RunRow {
        let wait = async {
            loop {
                let row = self.row(run).await;
                if is(&row) {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if let Ok(row) = tokio::time::timeout(PATIENCE, wait).await {
            return row;
        }
        panic!("the run stays {:?}", self.row(run).await)
    }

    pub async fn ends(&self, run: RunId) -> RunStatus {
        self.until(run, |row| row.status.is_ended()).await.status
    }
}

pub fn submission(plan: &Arc<Plan>) -> Submission {
    let trigger = Trigger { kind: "manual".to_owned(), actor: "ada".to_owned() };
    Submission {
        plan: plan.clone(),
        source: "".into(),
        params: Map::new(),
        trigger,
        wishes: opsroom::control::Wishes::default(),
    }
}

/// Steps one after the other, of these actions with these parameters.
pub fn chain(steps: impl IntoIterator<Item = (&'static str, Value)>) -> Arc<Plan> {
    let planned = |(number, (uses, with)): (u32, (&str, Value))| PlannedStep {
        needs: number.checked_sub(1).map(StepIx).into_iter().collect(),
        with: Template::Literal(with),
        ..PlannedStep::new(&format!("s{number}"), uses)
    };
    Arc::new(Plan::new("chain", (0..).zip(steps).map(planned).collect()))
}

/// The shipped actions, and those of a test.
pub struct Actions {
    shipped: Registry,
    own: BTreeMap<&'static str, Act>,
}

impl Actions {
    pub fn new(folder: &Path, own: impl IntoIterator<Item = (&'static str, Act)>) -> Actions {
        let shipped = Registry::standard(&Deps {
            processes: Arc::new(NoProcesses),
            artifacts: Arc::new(FolderArtifacts::new(folder.join("artifacts")).unwrap()),
            workspaces: Arc::new(FolderWorkspaces::new(folder)),
            base_env: BTreeMap::new(),
            http: Arc::new(HttpConfig::new(opsroom::system::tls::client_config)),
        });
        Actions { shipped, own: own.into_iter().collect() }
    }
}

impl Executors for Actions {
    fn get(&self, uses: &str) -> Option<Act> {
        self.own.get(uses).cloned().or_else(|| self.shipped.get(uses))
    }

    fn check(&self, uses: &str, with: &Value) -> Result<(), Failure> {
        if self.own.contains_key(uses) { Ok(()) } else { self.shipped.check(uses, with) }
    }
}

struct NoProcesses;

#[async_trait]
impl Processes for NoProcesses {
    async fn spawn(&self, _: ProcessSpec) -> Result<Box<dyn Child>, SpawnError> {
        Err(SpawnError::SupervisorLost)
    }
}

/// An action that counts how often it is begun, and waits for a permit before it ends.
#[derive(Clone, Default)]
pub struct Gate {
    pub begun: Arc<Mutex<u32>>,
    pub open: CancellationToken,
}

#[async_trait]
impl Executor for Gate {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        *self.begun.lock().unwrap() += 1;
        tokio::select! {
            () = self.open.cancelled() => Ok(Success::default()),
            () = context.cancel.cancelled() => Err(Failure::error("STOPPED", "as asked")),
        }
    }

    fn needs_workspace(&self) -> bool {
        false
    }
}
