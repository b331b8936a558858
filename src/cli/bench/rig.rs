//! The system under test: server and worker in one process, with a probe around its actions.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{BenchError, ground::Rows};
use crate::{
    actions::{Deps, Registry},
    cli::config::RedisConfig,
    control::{
        Archives, Committer, Handoff, Limits, Owned, Owner, Plans, Runs, Segments, Signals, Submission, Wishes, World,
    },
    feed::{MemoryFeed, RedisFeed, RedisFeedConfig},
    model::{Failure, Lane, RunId, RunStatus, Success, TenantId},
    ports::{AttemptContext, Executor, Executors, Feed, Ids, Queue, Trigger},
    queue::{ChannelQueue, RedisQueue, RedisQueueConfig},
    runbook::Plan,
    system::{EnvSecrets, FolderArtifacts, FolderBundles, FolderSpool, RandomIds, SecretMasks, SystemClock},
    worker::{Ended, LaneConfig, Lanes},
};

/// When the body of a step began.
type Bodies = Arc<Mutex<Option<mpsc::UnboundedSender<Instant>>>>;

pub(super) struct Rig {
    runs: Runs,
    ended: mpsc::UnboundedReceiver<Arc<Ended>>,
    bodies: Bodies,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Rig {
    /// A system on `rows` with one lane of `slots` runs; files are in `dir`, actions are made from `deps`. With a Redis
    /// the two sides are connected through it alone, as two processes are.
    pub fn start(
        dir: &Path,
        rows: &Rows,
        deps: &Deps,
        slots: usize,
        redis: Option<&RedisConfig>,
    ) -> Result<Rig, BenchError> {
        let store = rows.store();
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let (queue, feed) = match redis {
            Some(redis) => through(redis, &[Lane::A], &tasks, &stop),
            None => (Arc::new(ChannelQueue::new()) as Arc<dyn Queue>, Arc::new(MemoryFeed::new()) as Arc<dyn Feed>),
        };
        let bodies = Bodies::default();
        let world = World {
            archives: Archives::default(),
            segments: Segments::default(),
            plans: Plans::new(store.clone()),
            store,
            queue,
            feed,
            spool: Arc::new(FolderSpool::new(dir.join("spool"))?),
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            secrets: Arc::new(EnvSecrets::new([])),
            masks: Arc::new(SecretMasks::default()),
            executors: Arc::new(Probed { registry: Registry::standard(deps), bodies: bodies.clone() }),
            workspaces: deps.workspaces.clone(),
            snapshots: None,
            bundles: Arc::new(FolderBundles::new(
                Arc::new(FolderArtifacts::new(dir.join("artifacts"))?),
                dir.join("bundles"),
            )),
            signals: Signals::default(),
            limits: Limits::default(),
        };
        let committer = Committer::start(&world.store, rows.writers(), &tasks);
        let worker = RandomIds.worker_id();
        let owner = Owner::new(world.clone(), committer, worker);
        let (sender, ended) = mpsc::unbounded_channel();
        let handoff = Handoff::default();
        let lanes = Lanes::new(owner, worker, tasks.clone()).report_to(sender).accept(handoff.clone());
        let stopped = stop.clone();
        tasks.spawn(async move { lanes.serve(&LaneConfig { lanes: vec![Lane::A], slots }, stopped).await });
        let runs = match redis {
            Some(redis) => {
                let (queue, feed) = through(redis, &[], &tasks, &stop);
                Runs::new(World { queue, feed, ..world }, TenantId::DEFAULT)
            }
            None => Runs::new(world, TenantId::DEFAULT).hand_to(handoff),
        };
        Ok(Rig { runs, ended, bodies, stop, tasks })
    }

    /// Runs one plan and answers how long it took from the submit call to its recorded end.
    pub async fn once(&mut self, plan: &Arc<Plan>) -> Result<Duration, BenchError> {
        let started = Instant::now();
        self.submit(plan, 1).await?;
        self.wait(1).await?;
        Ok(started.elapsed())
    }

    /// Runs one plan on the idle system and answers how long its first body took to begin.
    pub async fn pick_up(&mut self, plan: &Arc<Plan>) -> Result<Duration, BenchError> {
        let (sender, mut began) = mpsc::unbounded_channel();
        *self.bodies.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        let started = Instant::now();
        self.submit(plan, 1).await?;
        let body = began.recv().await.unwrap_or(started);
        self.wait(1).await?;
        Ok(body.duration_since(started))
    }

    pub async fn submit(&self, plan: &Arc<Plan>, count: usize) -> Result<Vec<RunId>, BenchError> {
        let trigger = Trigger { kind: "manual".to_owned(), actor: "bench".to_owned() };
        let one = Submission {
            plan: plan.clone(),
            source: "".into(),
            params: Map::new(),
            trigger,
            wishes: Wishes::default(),
        };
        Ok(self.runs.submit(&vec![one; count], None).await?)
    }

    /// Waits for this many runs to end; all must succeed.
    pub async fn wait(&mut self, count: usize) -> Result<(), BenchError> {
        for _ in 0..count {
            let Some(ended) = self.ended.recv().await else {
                return Err(BenchError::NotSucceeded("lost".to_owned()));
            };
            match &ended.1 {
                Ok(Owned::Ended(RunStatus::Succeeded)) => {}
                other => return Err(BenchError::NotSucceeded(format!("{other:?}"))),
            }
        }
        Ok(())
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// One process's ends of the ways through Redis.
fn through(
    RedisConfig { server, prefix }: &RedisConfig,
    lanes: &[Lane],
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> (Arc<dyn Queue>, Arc<dyn Feed>) {
    let (name, lanes) = (RandomIds.worker_id().to_string(), lanes.to_vec());
    let feed = RedisFeedConfig { server: server.clone(), prefix: prefix.clone(), name: name.clone() };
    let queue = RedisQueueConfig { server: server.clone(), prefix: prefix.clone(), lanes, name };
    (Arc::new(RedisQueue::start(queue, tasks, stop)), Arc::new(RedisFeed::start(feed, tasks, stop)))
}

/// Tells when the body of a step begins, while somebody wants to know.
struct Probed {
    registry: Registry,
    bodies: Bodies,
}

impl Executors for Probed {
    fn get(&self, uses: &str) -> Option<Arc<dyn Executor>> {
        let inner = self.registry.get(uses)?;
        if self.bodies.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Some(inner);
        }
        Some(Arc::new(ProbedExecutor { inner, bodies: self.bodies.clone() }))
    }

    fn check(&self, uses: &str, with: &Value) -> Result<(), Failure> {
        self.registry.check(uses, with)
    }
}

struct ProbedExecutor {
    inner: Arc<dyn Executor>,
    bodies: Bodies,
}

#[async_trait]
impl Executor for ProbedExecutor {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        if let Some(bodies) = self.bodies.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = bodies.send(Instant::now());
        }
        self.inner.execute(context).await
    }

    fn needs_workspace(&self) -> bool {
        self.inner.needs_workspace()
    }
}
