//! The lanes of one process: apalis workers under one monitor.

use std::sync::{Arc, Mutex, PoisonError};

use apalis::prelude::{BoxDynError, Data, Monitor, WorkerBuilder, WorkerBuilderExt};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{ClaimBackend, ClaimedRun, LaneSource, Source};
use crate::{
    control::{Handoff, Heritage, OwnError, Owned, Owner},
    model::{Lane, RunId, WorkerId},
    ports::{Liveness, RunRow},
};

/// Which lanes a process serves; by default none.
#[derive(Debug, Clone, Default)]
pub struct LaneConfig {
    pub lanes: Vec<Lane>,
    /// Runs under way at once, per lane.
    pub slots: usize,
}

/// How the ownership of a run ended; for whoever waits for it in this process.
pub type Ended = (RunId, Result<Owned, OwnError>);

/// What a handler needs.
#[derive(Clone, Debug)]
struct Handler {
    owner: Owner,
    tasks: TaskTracker,
    stop: CancellationToken,
    halt: CancellationToken,
    ended: Option<mpsc::UnboundedSender<Arc<Ended>>>,
}

/// Runs lanes until `stop` fires and every run under way has ended or parked.
pub struct Lanes {
    owner: Owner,
    worker: WorkerId,
    tasks: TaskTracker,
    ended: Option<mpsc::UnboundedSender<Arc<Ended>>>,
    handoff: Handoff,
    halt: CancellationToken,
    neighbours: Option<Arc<dyn Liveness>>,
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lanes").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl Lanes {
    /// Owners run on `tasks`, so that the end of an apalis worker does not end a run.
    pub fn new(owner: Owner, worker: WorkerId, tasks: TaskTracker) -> Lanes {
        Lanes {
            owner,
            worker,
            tasks,
            ended: None,
            handoff: Handoff::default(),
            halt: CancellationToken::new(),
            neighbours: None,
        }
    }

    /// Takes runs the short way from services of this process.
    #[must_use]
    pub fn accept(mut self, handoff: Handoff) -> Lanes {
        self.handoff = handoff;
        self
    }

    /// When `halt` fires, whatever is under way is given up at once: attempts are ended by force, and their runs
    /// stay with this worker until another one finds it dead.
    #[must_use]
    pub fn halt_on(mut self, halt: CancellationToken) -> Lanes {
        self.halt = halt;
        self
    }

    /// When `token` fires, whatever is under way goes back to its lane: attempts are stopped and count as interrupted.
    #[must_use]
    pub fn hand_back_on(mut self, token: CancellationToken) -> Lanes {
        self.owner = self.owner.hand_back_on(token);
        self
    }

    /// Goes on with the runs of workers that have died where this one lives, before anybody else may.
    #[must_use]
    pub fn inherit_from(mut self, neighbours: Arc<dyn Liveness>) -> Lanes {
        self.neighbours = Some(neighbours);
        self
    }

    /// Tells how each run's ownership ended.
    #[must_use]
    pub fn report_to(mut self, ended: mpsc::UnboundedSender<Arc<Ended>>) -> Lanes {
        self.ended = Some(ended);
        self
    }

    /// Claims from lanes until `stop` fires. Then nothing more is claimed or taken over; what was claimed and not
    /// begun is given back, and whatever else is this worker's by then, also what is still on its way to its owner, is
    /// carried to its end or park; what only waits for a time parks at once. Returns after that.
    pub async fn serve(mut self, config: &LaneConfig, stop: CancellationToken) -> std::io::Result<()> {
        self.owner = self.owner.leave_on(stop.clone());
        let mut monitor = Monitor::new();
        let sources = TaskTracker::new();
        let mut drains = Vec::new();
        for lane in config.lanes.clone() {
            let (owner, handoff, slots) =
                (self.owner.clone(), self.handoff.clone(), Arc::new(Semaphore::new(config.slots)));
            drains.push(slots.clone());
            let (free, sources) = (slots.clone(), sources.clone());
            let (stop, stopping) = (stop.clone(), stop.clone());
            let source = move |_restarts: usize| {
                let arrivals = handoff.open(lane, owner.clone(), free.clone());
                if stopping.is_cancelled() {
                    // A worker that is started again while the lanes stop.
                    handoff.close(lane);
                }
                let bell = owner.world().queue.listen(lane);
                Source::Lane(LaneSource::new(lane, bell, arrivals, stopping.clone(), sources.token()))
            };
            let service = Service { name: format!("{lane}-{}", self.worker), concurrency: config.slots, slots, stop };
            monitor = self.register(monitor, service, source);
        }
        let (handoff, slots) = (self.handoff.clone(), config.slots);
        let stopped = async move {
            stop.cancelled().await;
            config.lanes.iter().for_each(|lane| handoff.close(*lane));
            // What an apalis worker was given and has not begun may go with it: it stops when every run that the
            // sources gave has left its slot.
            sources.close();
            sources.wait().await;
            for lane in drains {
                let _ = lane.acquire_many(u32::try_from(slots).unwrap_or(u32::MAX)).await;
            }
            Ok(())
        };
        monitor.run_with_signal(stopped).await.map_err(std::io::Error::other)
    }

    /// Executes runs that were born claimed by this process, and returns when they are done.
    pub async fn execute(self, rows: Vec<RunRow>, slots: usize) -> std::io::Result<()> {
        let (sender, receiver) = mpsc::unbounded_channel();
        for row in rows {
            let _ = sender.send(row);
        }
        drop(sender);
        let receiver = Mutex::new(Some(receiver));
        let exhausted = CancellationToken::new();
        let stop = exhausted.clone();
        let source = move |_| {
            // Given once: a restarted worker finds nothing more to do.
            let given = receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
            Source::Given { runs: given.unwrap_or_else(|| mpsc::unbounded_channel().1), exhausted: exhausted.clone() }
        };
        let service = Service {
            name: format!("own-{}", self.worker),
            concurrency: slots,
            slots: Arc::new(Semaphore::new(slots)),
            stop: CancellationToken::new(),
        };
        let monitor = self.register(Monitor::new(), service, source);
        let stopped = async move {
            stop.cancelled().await;
            Ok(())
        };
        monitor.run_with_signal(stopped).await.map_err(std::io::Error::other)
    }

    fn register(
        &self,
        monitor: Monitor,
        service: Service,
        source: impl Fn(usize) -> Source + Send + Sync + 'static,
    ) -> Monitor {
        let handler = Handler {
            owner: self.owner.clone(),
            tasks: self.tasks.clone(),
            stop: service.stop,
            halt: self.halt.clone(),
            ended: self.ended.clone(),
        };
        let Service { name, concurrency, slots, .. } = service;
        let (worker, neighbours) = (self.worker, self.neighbours.clone());
        monitor.register(move |restarts| {
            let heritage = neighbours.clone().map(Heritage::new);
            let backend = ClaimBackend::new(&handler.owner, worker, source(restarts), slots.clone()).inherit(heritage);
            WorkerBuilder::new(format!("{name}-{restarts}"))
                .backend(backend)
                .enable_tracing()
                .concurrency(concurrency)
                .data(handler.clone())
                .catch_panic()
                .build(own)
        })
    }
}

/// How an apalis worker serves a source.
struct Service {
    name: String,
    concurrency: usize,
    slots: Arc<Semaphore>,
    /// Fires: what has not begun is given back.
    stop: CancellationToken,
}

/// The handler of every lane: owns the run to its end. It always succeeds for apalis; what became of the
/// run is in the store.
async fn own(claimed: ClaimedRun, handler: Data<Handler>) -> Result<(), BoxDynError> {
    let Handler { owner, tasks, stop, halt, ended } = (*handler).clone();
    let run = claimed.claim.run();
    let task = tasks.spawn(async move {
        let ClaimedRun { mut claim, slot } = claimed;
        if stop.is_cancelled() {
            match owner.decline(claim).await {
                Some(kept) => claim = kept,
                None => return None,
            }
        }
        let owning = Box::pin(owner.own(claim));
        let owned = halt.run_until_cancelled(owning).await.unwrap_or(Err(OwnError::Halted));
        match &owned {
            Ok(_) => {}
            Err(error @ (OwnError::Halted | OwnError::LeaseLost(_))) => {
                tracing::warn!(%run, %error, "the run is left to the next start");
            }
            Err(error) => tracing::error!(%run, %error, "the run could not be carried on"),
        }
        drop(slot);
        Some(owned)
    });
    let owned = task.await.unwrap_or_else(|error| {
        tracing::error!(%run, %error, "the owner of a run ended unexpectedly");
        Some(Err(OwnError::Panicked))
    });
    if let (Some(ended), Some(owned)) = (ended, owned) {
        let _ = ended.send(Arc::new((run, owned)));
    }
    Ok(())
}
