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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    control::World,
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
    pub row: RunRow,
    pub(super) slot: OwnedSemaphorePermit,
}

/// Where a backend gets its runs.
pub enum Source {
    /// Claims from a lane, for as long as the worker lives.
    Lane { lane: Lane, bell: Box<dyn Doorbell> },
    /// Runs that were born claimed by this process. `exhausted` fires when there will be no more: apalis
    /// waits for a stop also after a backend has ended.
    Given { runs: mpsc::UnboundedReceiver<RunRow>, exhausted: CancellationToken },
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Lane { lane, .. } => write!(f, "Lane({lane})"),
            Source::Given { .. } => f.write_str("Given"),
        }
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
    world: World,
    worker: WorkerId,
    source: Source,
    slots: Arc<Semaphore>,
}

impl ClaimBackend {
    /// `slots`: runs that may be under way at once.
    pub fn new(world: World, worker: WorkerId, source: Source, slots: usize) -> ClaimBackend {
        let fetcher = Fetcher { world, worker, source, slots: Arc::new(Semaphore::new(slots)) };
        ClaimBackend { ready: VecDeque::new(), fetch: None, fetcher: Some(fetcher) }
    }
}

impl Fetcher {
    /// The next runs; waits for a free slot and for a run. `None` when there will be no more.
    async fn fetch(mut self) -> (Fetcher, Option<Vec<ClaimedRun>>) {
        // The semaphore is never closed.
        let Ok(mut slot) = self.slots.clone().acquire_many_owned(1).await else { return (self, None) };
        if let Ok(more) =
            self.slots.clone().try_acquire_many_owned(u32::try_from(self.slots.available_permits()).unwrap_or(0))
        {
            slot.merge(more);
        }
        let rows = match &mut self.source {
            Source::Given { runs, exhausted } => match runs.recv().await {
                Some(row) => vec![row],
                None => {
                    exhausted.cancel();
                    return (self, None);
                }
            },
            Source::Lane { lane, bell } => claim(&self.world, self.worker, *lane, &**bell, slot.num_permits()).await,
        };
        let claimed = rows.into_iter().filter_map(|row| slot.split(1).map(|slot| ClaimedRun { row, slot })).collect();
        (self, Some(claimed))
    }
}

/// Asks until there is at least one run.
async fn claim(world: &World, worker: WorkerId, lane: Lane, bell: &dyn Doorbell, limit: usize) -> Vec<RunRow> {
    loop {
        let request = ClaimRequest { worker, lane, limit, now: world.clock.now() };
        match world.store.claim(&request).await {
            Ok(rows) if !rows.is_empty() => return rows,
            Ok(_) => drop(tokio::time::timeout(TICK, bell.heard()).await),
            Err(error) => {
                tracing::warn!(%lane, %error, "runs could not be claimed; trying again");
                tokio::time::sleep(BACK_OFF).await;
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
                let id = format!("r{}:{}", run.row.id, run.row.epoch.0);
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
