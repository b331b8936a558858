//! The short way: a run that is submitted in a process with a free slot is created in the hands of its
//! owner, with the first decision in the same transaction, instead of being queued, claimed and begun in three.
//!
//! Only where nothing waits in the lane, so that no run is overtaken.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Born, Owner, session::Session};
use crate::{model::Lane, ports::NewRun, runbook::Plan};

/// The lanes of this process that take runs directly. Cheap to clone.
#[derive(Clone, Default)]
pub struct Handoff {
    desks: Arc<Mutex<HashMap<Lane, Desk>>>,
}

impl std::fmt::Debug for Handoff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handoff").finish_non_exhaustive()
    }
}

struct Desk {
    owner: Owner,
    slots: Arc<Semaphore>,
    drained: Arc<AtomicBool>,
    runs: mpsc::UnboundedSender<(Born, OwnedSemaphorePermit)>,
}

/// The lane's end of the way.
#[derive(Debug)]
pub struct Arrivals {
    /// Set by the lane: its last claim found nothing more.
    drained: Arc<AtomicBool>,
    runs: mpsc::UnboundedReceiver<(Born, OwnedSemaphorePermit)>,
}

/// A run on its way: created by the caller, then handed over. Dropped, it gives its slot back.
pub(super) struct Passage {
    born: Born,
    slot: OwnedSemaphorePermit,
    runs: mpsc::UnboundedSender<(Born, OwnedSemaphorePermit)>,
}

impl Handoff {
    /// Opens the way into a lane; an earlier one of the same lane is closed.
    pub fn open(&self, lane: Lane, owner: Owner, slots: Arc<Semaphore>) -> Arrivals {
        let (sender, runs) = mpsc::unbounded_channel();
        let drained = Arc::new(AtomicBool::new(false));
        let desk = Desk { owner, slots, drained: drained.clone(), runs: sender };
        self.desks().insert(lane, desk);
        Arrivals { drained, runs }
    }

    /// Closes the way into a lane, before the lane stops.
    pub fn close(&self, lane: Lane) {
        self.desks().remove(&lane);
    }

    /// Takes a slot for a run and decides how it begins. `None`: it has to be queued.
    pub(super) fn take(&self, new: &mut NewRun, plan: &Arc<Plan>) -> Option<Passage> {
        let desks = self.desks();
        let desk = desks.get(&new.lane)?;
        if !desk.drained.load(Ordering::Acquire) || !desk.owner.may_begin() {
            return None;
        }
        let Ok(slot) = desk.slots.clone().try_acquire_owned() else {
            // This one is queued, and those after it must not overtake it.
            desk.drained.store(false, Ordering::Release);
            return None;
        };
        let session = Session::born(&desk.owner, new, plan.clone())?;
        Some(Passage { born: Born(Box::new(session)), slot, runs: desk.runs.clone() })
    }

    fn desks(&self) -> std::sync::MutexGuard<'_, HashMap<Lane, Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Passage {
    /// The run is created: the lane goes on with it. If the lane has just stopped, the run is taken up
    /// like that of a dead worker.
    pub(super) fn hand_over(self) {
        let _ = self.runs.send((self.born, self.slot));
    }
}

impl Arrivals {
    /// Whether the lane's last claim left nothing that could be claimed.
    pub fn set_drained(&self, drained: bool) {
        self.drained.store(drained, Ordering::Release);
    }

    /// The next run; `None` when the way is closed.
    pub async fn next(&mut self) -> Option<(Born, OwnedSemaphorePermit)> {
        self.runs.recv().await
    }
}
