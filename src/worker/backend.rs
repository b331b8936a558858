//! An apalis backend that yields claimed runs.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use apalis::prelude::TaskBuilder;
use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    layers::Identity,
    task::{
        Task,
        task_id::{RandomId, TaskId},
    },
    worker::context::WorkerContext,
};
use futures::future::BoxFuture;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use crate::{
    control::{Arrivals, Claim, Fence, Heritage, Owner, World},
    model::{Lane, WorkerId},
    ports::{ClaimRequest, Doorbell, RunRow},
};

/// Asked this often even if no doorbell rings: a lost ring costs a second, never a run.
const TICK: Duration = Duration::from_secs(1);

/// After a store error; the backend never gives an error to apalis, which would end the worker and drop
/// what it runs.
const BACK_OFF: Duration = Duration::from_millis(500);

/// A run that this process owns, with the slot it occupies.
#[derive(Debug)]
pub struct ClaimedRun {
    pub claim: Claim,
    pub(super) slot: OwnedSemaphorePermit,
}

/// Where a backend gets its runs.
#[derive(Debug)]
pub enum Source {
    /// Claims from a lane, for as long as the worker lives.
    Lane(LaneSource),
    /// Runs that were born claimed by this process. `exhausted` fires when there will be no more: apalis
    /// waits for a stop also after a backend has ended.
    Given { runs: mpsc::UnboundedReceiver<RunRow>, exhausted: CancellationToken },
}

/// A lane as a source of runs.
pub struct LaneSource {
    pub lane: Lane,
    pub bell: Box<dyn Doorbell>,
    /// Runs that come the short way.
    pub arrivals: Arrivals,
    /// When the lane is asked again though nobody rang.
    next_look: Instant,
    /// From then on nothing is claimed; what is ours already still comes.
    stop: CancellationToken,
    /// Given back when nothing will come any more.
    _open: TaskTrackerToken,
}

impl LaneSource {
    /// A lane that claims until `stop` fires. Then the way to `arrivals` has to be closed, and the source ends when
    /// everything in it has come; it gives `open` back when it has ended.
    pub fn new(
        lane: Lane,
        bell: Box<dyn Doorbell>,
        arrivals: Arrivals,
        stop: CancellationToken,
        open: TaskTrackerToken,
    ) -> LaneSource {
        LaneSource { lane, bell, arrivals, next_look: Instant::now(), stop, _open: open }
    }
}

impl std::fmt::Debug for LaneSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LaneSource({})", self.lane)
    }
}

/// Yields claimed runs up to its free slots: until the lane is empty, on each freed slot, on each
/// doorbell, and every second.
pub struct ClaimBackend {
    ready: VecDeque<ClaimedRun>,
    /// The fetch under way; it takes the fetcher with it.
    fetch: Option<BoxFuture<'static, (Fetcher, Option<Vec<ClaimedRun>>)>>,
    fetcher: Option<Fetcher>,
}

impl std::fmt::Debug for ClaimBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClaimBackend").field("ready", &self.ready.len()).finish_non_exhaustive()
    }
}

struct Fetcher {
    claims: Claims,
    source: Source,
    slots: Arc<Semaphore>,
    /// There may be something to claim.
    due: bool,
}

impl ClaimBackend {
    /// `slots`: runs that may be under way at once.
    pub fn new(owner: &Owner, worker: WorkerId, source: Source, slots: Arc<Semaphore>) -> ClaimBackend {
        let fetcher = Fetcher { claims: Claims::new(owner, worker, None), source, slots, due: true };
        ClaimBackend { ready: VecDeque::new(), fetch: None, fetcher: Some(fetcher) }
    }

    /// Takes what dead neighbours have left before anything else.
    #[must_use]
    pub fn inherit(mut self, heritage: Option<Heritage>) -> ClaimBackend {
        if let Some(fetcher) = &mut self.fetcher {
            fetcher.claims.heritage = heritage;
        }
        self
    }
}

impl Fetcher {
    /// The next runs; waits for a free slot and for a run. `None` when there will be no more.
    async fn fetch(mut self) -> (Fetcher, Option<Vec<ClaimedRun>>) {
        let runs = match &mut self.source {
            Source::Given { runs, exhausted } => {
                let given = given(runs, &self.slots).await;
                if given.is_none() {
                    exhausted.cancel();
                }
                given
            }
            Source::Lane(lane) => next_of(lane, &mut self.claims, &self.slots, &mut self.due).await,
        };
        (self, runs)
    }
}

async fn given(rows: &mut mpsc::UnboundedReceiver<RunRow>, slots: &Arc<Semaphore>) -> Option<Vec<ClaimedRun>> {
    let row = rows.recv().await?;
    let slot = slots.clone().acquire_owned().await.ok()?;
    Some(vec![ClaimedRun { claim: row.into(), slot }])
}

/// Waits until the lane has at least one run for a free slot. `None` when it was told to stop and nothing that
/// is ours is on its way any more.
pub(super) async fn next_of(
    source: &mut LaneSource,
    claims: &mut Claims,
    slots: &Arc<Semaphore>,
    due: &mut bool,
) -> Option<Vec<ClaimedRun>> {
    loop {
        if source.stop.is_cancelled() {
            let (born, slot) = source.arrivals.next().await?;
            return Some(vec![ClaimedRun { claim: Claim::Born(born), slot }]);
        }
        *due |= Instant::now() >= source.next_look;
        if *due && let Some(free) = all_free(slots) {
            let limit = free.num_permits();
            let claimed = claims.claim(source.lane, limit).await;
            source.next_look = Instant::now() + TICK;
            *due = claimed.as_ref().is_none_or(|rows| rows.len() == limit);
            source.arrivals.set_drained(!*due);
            let rows = claimed.unwrap_or_default();
            if !rows.is_empty() {
                return Some(with_slots(rows, free));
            }
        }
        let full = *due;
        tokio::select! {
            biased;
            Some((born, slot)) = source.arrivals.next() => {
                return Some(vec![ClaimedRun { claim: Claim::Born(born), slot }]);
            }
            () = source.stop.cancelled() => {}
            // A slot is free again, and there may be more to claim. (The semaphore is never closed.)
            _ = slots.acquire(), if full => {}
            _ = tokio::time::timeout_at(source.next_look, source.bell.heard()), if !full => {
                source.arrivals.set_drained(false);
                *due = true;
            }
        }
    }
}

fn all_free(slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    let free = u32::try_from(slots.available_permits()).unwrap_or(u32::MAX);
    if free == 0 { None } else { slots.clone().try_acquire_many_owned(free).ok() }
}

fn with_slots(rows: Vec<RunRow>, mut free: OwnedSemaphorePermit) -> Vec<ClaimedRun> {
    // As many rows as permits were asked for, or fewer.
    rows.into_iter().filter_map(|row| Some(ClaimedRun { claim: row.into(), slot: free.split(1)? })).collect()
}

/// Who claims.
pub(super) struct Claims {
    world: World,
    worker: WorkerId,
    fence: Fence,
    heritage: Option<Heritage>,
}

impl Claims {
    pub(super) fn new(owner: &Owner, worker: WorkerId, heritage: Option<Heritage>) -> Claims {
        Claims { world: owner.world().clone(), worker, fence: owner.fence().clone(), heritage }
    }

    /// `None` where the store could not say, or the worker may own nothing more.
    async fn claim(&mut self, lane: Lane, limit: usize) -> Option<Vec<RunRow>> {
        let Claims { world, worker, fence, heritage } = self;
        if fence.check().is_err() {
            // Whoever watches the fence is about to stop this lane.
            tokio::time::sleep(BACK_OFF).await;
            return None;
        }
        let mut request = ClaimRequest { worker: *worker, lane, limit, now: world.clock.now() };
        let mut inherited = Vec::new();
        if let Some(heritage) = heritage {
            match heritage.claim(world, &request).await {
                Ok(rows) => inherited = rows,
                // Whoever claims when their lease is over gets them.
                Err(error) => tracing::warn!(%lane, %error, "what dead neighbours left could not be taken over"),
            }
        }
        request.limit -= inherited.len().min(limit);
        if request.limit == 0 {
            return Some(inherited);
        }
        match world.store.claim(&request).await {
            Ok(rows) => {
                inherited.extend(rows);
                Some(inherited)
            }
            Err(error) if !inherited.is_empty() => {
                tracing::warn!(%lane, %error, "no more runs could be claimed");
                Some(inherited)
            }
            Err(error) => {
                tracing::warn!(%lane, %error, "runs could not be claimed; trying again");
                tokio::time::sleep(BACK_OFF).await;
                None
            }
        }
    }
}

impl Backend for ClaimBackend {
    type Task = Task<ClaimedRun>;
    type Error = Infallible;

    fn poll_ready(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Option<Result<Task<ClaimedRun>, Infallible>>> {
        loop {
            if let Some(run) = self.ready.pop_front() {
                // A run may come by again after a park: the epoch makes the id its own.
                let id = format!("r{}:{}", run.claim.run(), run.claim.epoch().0);
                return Poll::Ready(Some(Ok(TaskBuilder::new(run).task_id(TaskId::from_string(id)).build())));
            }
            let fetch = match (&mut self.fetch, self.fetcher.take()) {
                (Some(fetch), _) => fetch,
                (fetch, Some(fetcher)) => fetch.insert(Box::pin(fetcher.fetch())),
                (None, None) => return Poll::Ready(None),
            };
            let (fetcher, runs) = std::task::ready!(fetch.as_mut().poll(cx));
            self.fetch = None;
            match runs {
                Some(runs) => {
                    self.fetcher = Some(fetcher);
                    self.ready.extend(runs);
                }
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: &WorkerContext) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for ClaimBackend {
    type Args = ClaimedRun;
    type Id = RandomId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = Identity;

    fn config(&self) -> &() {
        &()
    }

    fn middleware(&mut self, _: &mut WorkerContext) -> Identity {
        Identity::new()
    }
}
