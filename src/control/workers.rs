//! Workers: who is there, and asking one to go.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    model::{Lane, TenantId, WorkerId},
    ports::{Page, Store, StoreError, WorkerState},
};

/// A worker without a lease beats every 3 s; silent for longer, it is gone.
const SILENT: Duration = Duration::from_secs(10);

/// Workers read at once.
const PAGE: usize = 500;

/// How a worker is, for whoever looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerHealth {
    Living,
    /// It claims nothing more, and ends when its runs have ended or gone back.
    Draining,
    /// It has not been heard of for too long; its runs are taken back.
    Expired,
}

/// A worker with what its beats say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerView {
    pub state: WorkerState,
    pub health: WorkerHealth,
}

impl From<WorkerState> for WorkerView {
    fn from(state: WorkerState) -> WorkerView {
        let health = if state.is_expired || (!state.has_lease() && state.beat_age > SILENT) {
            WorkerHealth::Expired
        } else if state.row.draining {
            WorkerHealth::Draining
        } else {
            WorkerHealth::Living
        };
        WorkerView { state, health }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum WorkersError {
    #[error("no worker {0}")]
    NotFound(WorkerId),
    #[error("worker {0} has no lease: it belongs to `opsroom up` or to a command; end its process")]
    NoLease(WorkerId),
    #[error("the lease of worker {0} has run out: it is gone, and its runs are taken back")]
    Gone(WorkerId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The service over the workers of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Workers {
    store: Arc<dyn Store>,
    tenant: TenantId,
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Workers {
    pub fn new(store: Arc<dyn Store>, tenant: TenantId) -> Workers {
        Workers { store, tenant }
    }

    /// The workers after one, oldest first.
    pub async fn list(&self, after: Option<WorkerId>, limit: usize) -> Result<Page<WorkerView>, WorkersError> {
        let Page { items, more } = self.store.workers(self.tenant, after, limit).await?;
        Ok(Page { items: items.into_iter().map(WorkerView::from).collect(), more })
    }

    /// One worker.
    pub async fn get(&self, worker: WorkerId) -> Result<WorkerView, WorkersError> {
        // Ids are ordered: the first one after the number before it.
        let before = worker.0.as_u128().checked_sub(1).map(|before| WorkerId(uuid::Uuid::from_u128(before)));
        let found = self.list(before, 1).await?.items.into_iter().next();
        found.filter(|view| view.state.row.id == worker).ok_or(WorkersError::NotFound(worker))
    }

    /// Asks a worker to drain: it claims nothing more, gives its runs the time that it was started with, hands the
    /// rest back, and ends. It learns of it with its next beat, in seconds.
    pub async fn drain(&self, worker: WorkerId) -> Result<WorkerView, WorkersError> {
        let view = self.get(worker).await?;
        if view.health == WorkerHealth::Expired {
            return Err(WorkersError::Gone(worker));
        }
        if !view.state.has_lease() {
            return Err(WorkersError::NoLease(worker));
        }
        if !self.store.drain_worker(self.tenant, worker).await? {
            return Err(WorkersError::NotFound(worker));
        }
        self.get(worker).await
    }

    /// Runs that the workers that take runs execute at once, by lane.
    pub(super) async fn slots(&self) -> Result<BTreeMap<Lane, usize>, StoreError> {
        let (mut slots, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self.store.workers(self.tenant, after, PAGE).await?;
            after = page.items.last().map(|state| state.row.id);
            for WorkerView { state, health } in page.items.into_iter().map(WorkerView::from) {
                let serves = if health == WorkerHealth::Living { state.row.lanes.as_slice() } else { &[] };
                for lane in serves {
                    *slots.entry(*lane).or_default() += usize::try_from(state.row.slots).unwrap_or(usize::MAX);
                }
            }
            if !page.more {
                return Ok(slots);
            }
        }
    }
}
