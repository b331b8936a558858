//! What a session decides about the working folder of its run: when it counts, when it is stored, and that a run is given
//! up only with its folder where it may be needed.

use std::{future::Future, pin::Pin};

use super::Session;
use crate::{
    control::{Owned, run_folder},
    engine::{Input, WorkspaceState},
    model::{Failure, RunStatus, Snapshot},
};

/// The working folder is being stored: after how many starts, and what it comes to.
pub(super) struct Storing {
    starts: u64,
    stored: Pin<Box<dyn Future<Output = Result<Option<Snapshot>, Failure>> + Send>>,
}

impl Session {
    pub(super) fn consider_parking(&mut self, storing: &mut Option<Storing>) {
        if self.parking.is_some() || storing.is_some() {
            return;
        }
        let mut waiting_on = self.run.waiting_on(self.now());
        // Where nobody wakes it, its owner waits with it, or hands it back.
        if waiting_on.is_some() && !self.owner.world.limits.is_woken && self.run.timer().is_some() {
            waiting_on = None;
            if self.is_leaving && self.handed.is_none() {
                self.stop_attempts();
            }
        }
        if (waiting_on.is_some() || self.is_handed_back()) && self.must_store() {
            let stored = Box::pin(run_folder::store(self.owner.world.clone(), self.row.id));
            *storing = Some(Storing { starts: self.starts, stored });
        } else if let Some(waiting_on) = waiting_on {
            self.feed(Input::Park);
            self.parking = Some(waiting_on);
        }
    }

    /// Whether what ended steps have left is here and nowhere else.
    pub(super) fn must_store(&self) -> bool {
        let snapshots = self.owner.world.snapshots.as_ref().filter(|_| !self.cannot_store);
        snapshots.is_some_and(|snapshots| match self.run.workspace() {
            WorkspaceState::At(place) => place == snapshots.place(),
            WorkspaceState::Unused | WorkspaceState::Stored(_) => false,
        })
    }

    pub(super) fn stored(&mut self, starts: u64, stored: Result<Option<Snapshot>, Failure>) {
        if starts != self.starts {
            // Something has begun since then, and may have changed the folder.
            return;
        }
        if let Err(failure) = &stored {
            tracing::error!(run = %self.row.id, %failure, "the working folder of a run that waits was not stored");
            self.cannot_store = true;
        }
        self.feed(Input::WorkspaceStored(stored));
        if self.cannot_store && self.is_leaving {
            // Its folder is here alone: what this worker still has time for is done here.
            self.feed(Input::Leaving(false));
        }
    }

    /// What ended steps leave in the folder counts from here on, and is here. Steps that leave nothing there bind a run
    /// to no machine.
    pub(super) fn note_use_of_folder(&mut self) {
        let world = &self.owner.world;
        let Some(snapshots) = world.snapshots.clone().filter(|_| self.folder.is_used()) else { return };
        if matches!(self.run.workspace(), WorkspaceState::Unused) && world.workspaces.is_empty(self.row.id) {
            return;
        }
        let is_known = matches!(self.run.workspace(), WorkspaceState::At(place) if place == snapshots.place());
        if !is_known {
            self.feed(Input::WorkspaceUsed { place: snapshots.place().to_owned() });
        }
    }

    /// Ownership has ended: the folder goes, or is kept, or has been left to whoever owns the run now.
    pub(super) async fn close_folder(&self, owned: Option<&Owned>) {
        let (world, run) = (&self.owner.world, self.row.id);
        match owned {
            Some(Owned::Ended(status)) => {
                world.workspaces.close(run, *status != RunStatus::Succeeded);
                if self.run.was_stored() {
                    run_folder::forget(world, run, None).await;
                }
            }
            Some(Owned::Parked(_) | Owned::HandedBack) => run_folder::parked(world, run, self.run.workspace()).await,
            Some(Owned::Fenced) | None => {}
        }
    }
}

pub(super) async fn stored_of(storing: &mut Option<Storing>) -> (u64, Result<Option<Snapshot>, Failure>) {
    match storing {
        Some(storing) => (storing.starts, storing.stored.as_mut().await),
        None => std::future::pending().await,
    }
}
