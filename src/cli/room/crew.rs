//! The worker of a process: its lanes, from the start to the drain, and again under a new id whenever its lease is
//! lost.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    options::WorkerOptions,
    probes::{Living, WorkerAlive},
};
use crate::{
    cli::{
        config::Config,
        fault::Fault,
        instance::{Instance, InstanceWorker},
    },
    control::Handoff,
    model::{Lane, RunStatus, TenantId, WorkerId},
    ports::{RunFilter, StoreError},
    worker::{Ended, LaneConfig},
};

/// How often it is looked whether anything is left to do.
const LOOK: Duration = Duration::from_millis(250);

/// The pauses between two tries to become a worker again.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// How long what is left of a worker that lost its lease may keep the next one from starting.
const LAST: Duration = Duration::from_secs(3);

/// Runs read at once.
const PAGE: usize = 500;

/// When its parts end.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    /// Fires: somebody asked this worker to end.
    pub asked: CancellationToken,
    /// Fires: nothing more is claimed.
    pub lanes: CancellationToken,
    /// Fires: what is under way goes back to its lane, interrupted.
    pub hand_back: CancellationToken,
    /// Fires: what is under way is given up.
    pub halt: CancellationToken,
}

impl Stops {
    fn child(&self) -> Stops {
        Stops {
            asked: self.asked.child_token(),
            lanes: self.lanes.child_token(),
            hand_back: self.hand_back.child_token(),
            halt: self.halt.child_token(),
        }
    }
}

/// What a worker is started with.
pub struct Post {
    pub options: WorkerOptions,
    /// The short way from the server of this process.
    pub handoff: Handoff,
    pub ended: mpsc::UnboundedSender<Arc<Ended>>,
    pub alive: WorkerAlive,
}

/// The worker of this process.
#[derive(Debug)]
pub struct Crew {
    pub stops: Stops,
    /// Who it is now.
    id: watch::Receiver<WorkerId>,
    task: JoinHandle<Result<(), Fault>>,
}

impl Crew {
    /// Becomes a worker and opens its lanes, on `tasks`.
    pub async fn start(instance: &Instance, config: &Config, post: Post, tasks: &TaskTracker) -> Result<Crew, Fault> {
        let serving = post.options.lanes();
        let worker = instance.start_worker(config, &serving, post.options.labels()).await?;
        let (told, id) = watch::channel(worker.id);
        let stops = Stops::default();
        let living = post.alive.living();
        let keeper =
            Keeper { instance: instance.clone(), config: config.clone(), serving, post, stops: stops.clone(), told };
        let task = tasks.spawn(keeper.keep(worker, living));
        Ok(Crew { stops, id, task })
    }

    /// Who it is now; another one after its lease was lost.
    pub fn id(&self) -> WorkerId {
        *self.id.borrow()
    }

    /// Waits until every run under way has ended, parked or was handed back; only once.
    pub async fn ended(&mut self) -> Result<(), Fault> {
        let why = match (&mut self.task).await {
            Ok(Ok(())) if self.stops.lanes.is_cancelled() => return Ok(()),
            Ok(Ok(())) => "they ended by themselves".to_owned(),
            Ok(Err(fault)) => return Err(fault),
            Err(error) => error.to_string(),
        };
        Err(lanes_fault(&why))
    }

    /// Stops the lanes as soon as nothing is left in them that could be claimed, and nothing is under way.
    pub async fn stop_when_idle(lanes: CancellationToken, id: watch::Receiver<WorkerId>, rest: (Instance, Vec<Lane>)) {
        let (instance, served) = rest;
        let mut look = tokio::time::interval(LOOK);
        while lanes.run_until_cancelled(look.tick()).await.is_some() {
            let worker = *id.borrow();
            match is_idle(&instance, worker, &served).await {
                Ok(true) => return lanes.cancel(),
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "it cannot be seen whether anything is left to do; looking again"),
            }
        }
    }

    pub fn watch_id(&self) -> watch::Receiver<WorkerId> {
        self.id.clone()
    }
}

fn lanes_fault(why: &str) -> Fault {
    Fault::internal("INTERNAL", format!("the lanes: {why}")).help("this is a fault of opsroom; please report it")
}

/// First what could be claimed, then what is ours: a run on its way from one to the other is seen in the second.
async fn is_idle(instance: &Instance, worker: WorkerId, lanes: &[Lane]) -> Result<bool, StoreError> {
    let store = &instance.world.store;
    for lane in lanes {
        let mut filter =
            RunFilter { status: vec![RunStatus::Queued], lane: Some(*lane), limit: PAGE, ..RunFilter::default() };
        loop {
            let page = store.runs(TenantId::DEFAULT, &filter).await?;
            if page.items.iter().any(|row| row.claimable) {
                return Ok(false);
            }
            match page.items.last() {
                Some(last) if page.more => filter.before = Some(last.id),
                _ => break,
            }
        }
    }
    Ok(store.owned(worker).await?.is_empty())
}

/// Keeps the lanes of a process served.
struct Keeper {
    instance: Instance,
    config: Config,
    serving: LaneConfig,
    post: Post,
    stops: Stops,
    told: watch::Sender<WorkerId>,
}

impl Keeper {
    async fn keep(self, first: InstanceWorker, mut living: Living) -> Result<(), Fault> {
        let mut worker = first;
        while self.serve(worker).await? {
            drop(living);
            let Some(next) = self.again().await else { return Ok(()) };
            living = self.post.alive.living();
            self.told.send_replace(next.id);
            worker = next;
        }
        drop(living);
        Ok(())
    }

    /// Serves until the lanes have stopped, or the lease is lost: then it answers true.
    async fn serve(&self, worker: InstanceWorker) -> Result<bool, Fault> {
        let stops = self.stops.child();
        let lanes = worker
            .lanes()
            .accept(self.post.handoff.clone())
            .halt_on(stops.halt.clone())
            .hand_back_on(stops.hand_back.clone())
            .report_to(self.post.ended.clone());
        worker.attend();
        let mut serving = std::pin::pin!(lanes.serve(&self.serving, stops.lanes.clone()));
        let served = loop {
            tokio::select! {
                served = &mut serving => break served.map(|()| false),
                () = worker.lost() => {
                    tracing::error!(worker = %worker.id, "the lease of this worker is lost: what it had under way was ended");
                    stops.halt.cancel();
                    stops.lanes.cancel();
                    break serving.await.map(|()| true);
                }
                () = worker.draining(), if !stops.lanes.is_cancelled() => {
                    tracing::info!(worker = %worker.id, "somebody asked this worker to end");
                    self.stops.asked.cancel();
                    self.stops.lanes.cancel();
                }
            }
        };
        match served {
            Ok(true) => drop(tokio::time::timeout(LAST, worker.abandon()).await),
            _ => worker.shutdown().await,
        }
        served.map_err(|error| lanes_fault(&error.to_string()))
    }

    /// A worker under a new id; `None` when it was told to stop meanwhile.
    async fn again(&self) -> Option<InstanceWorker> {
        let mut pause = SHORTEST;
        let since = Instant::now();
        loop {
            let started = self.instance.start_worker(&self.config, &self.serving, self.post.options.labels());
            match self.stops.lanes.run_until_cancelled(started).await? {
                Ok(worker) => {
                    tracing::warn!(worker = %worker.id, after = ?since.elapsed(), "a worker again, under a new id");
                    return Some(worker);
                }
                Err(fault) => tracing::warn!(error = %fault, "it cannot become a worker again yet; trying again"),
            }
            self.stops.lanes.run_until_cancelled(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(LONGEST);
        }
    }
}
