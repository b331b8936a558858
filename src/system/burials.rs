//! Which workers are dead and buried: nothing of their steps lives on.
//!
//! A worker whose lock is free is dead; its supervisor may still be ending its trees, and what lost its supervisor too
//! must be killed before somebody else goes on with the runs. That takes a moment, on a thread of its own: until then
//! such a worker counts as living.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::FutureExt;
use tokio::task::JoinHandle;

use super::{FlockLiveness, kill_leftovers, processes::is_gone};
use crate::{model::WorkerId, ports::Liveness};

/// The lock that a worker's supervisor holds, in the folder of the workers' locks.
pub fn supervisor_lock(folder: &Path, worker: WorkerId) -> PathBuf {
    folder.join(format!("{worker}.supervisor.lock"))
}

/// Liveness by locks, with burial. Cheap to clone; must be asked inside a runtime.
#[derive(Debug, Clone)]
pub struct Burials {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    locks: FlockLiveness,
    folder: PathBuf,
    state: Mutex<State>,
    killed: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    buried: HashSet<WorkerId>,
    /// The burial under way; it answers whom it buried.
    digging: Option<JoinHandle<Vec<WorkerId>>>,
}

impl Burials {
    /// `own` are the ids of this process, never dead whatever happened to their files.
    pub fn new(folder: impl Into<PathBuf>, own: impl IntoIterator<Item = WorkerId>) -> Burials {
        let folder = folder.into();
        let locks = FlockLiveness::new(folder.clone(), own);
        let (state, killed) = (Mutex::default(), AtomicUsize::new(0));
        Burials { shared: Arc::new(Shared { locks, folder, state, killed }) }
    }

    /// How many processes were killed that had outlived their worker and its supervisor.
    pub fn killed(&self) -> usize {
        self.shared.killed.load(Ordering::Relaxed)
    }
}

impl Liveness for Burials {
    fn dead(&self, owners: &[WorkerId]) -> Vec<WorkerId> {
        let mut dead = self.shared.locks.dead(owners);
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = state.digging.as_mut().and_then(FutureExt::now_or_never) {
            state.digging = None;
            state.buried.extend(done.unwrap_or_default());
        }
        state.buried.retain(|worker| dead.contains(worker));
        let lying: Vec<WorkerId> = dead.iter().copied().filter(|worker| !state.buried.contains(worker)).collect();
        if state.digging.is_none() && !lying.is_empty() {
            let shared = self.shared.clone();
            state.digging = Some(tokio::task::spawn_blocking(move || shared.bury(&lying)));
        }
        dead.retain(|worker| state.buried.contains(worker));
        dead
    }

    fn forget(&self, dead: &[WorkerId]) {
        for worker in dead {
            if let Err(error) = self.shared.locks.forget(*worker) {
                // A file that stays says the same.
                tracing::warn!(%worker, %error, "the lock file of a dead worker could not be removed");
            }
        }
    }
}

impl Shared {
    /// Kills what is left of those whose supervisors are gone; answers whose.
    fn bury(&self, lying: &[WorkerId]) -> Vec<WorkerId> {
        let is_ready = |worker: &WorkerId| {
            is_gone(&supervisor_lock(&self.folder, *worker)).unwrap_or_else(|error| {
                tracing::warn!(%worker, %error, "the supervisor's lock of a dead worker cannot be tried");
                false
            })
        };
        let ready: Vec<WorkerId> = lying.iter().copied().filter(is_ready).collect();
        if !ready.is_empty() {
            let killed = kill_leftovers(&ready);
            self.killed.fetch_add(killed, Ordering::Relaxed);
            if killed > 0 {
                tracing::warn!(killed, "processes of dead workers were killed");
            }
        }
        ready
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, time::Duration};

    use rustix::fs::{FlockOperation, flock};
    use uuid::Uuid;

    use super::*;

    const ONE: WorkerId = WorkerId(Uuid::from_u128(1));
    const TWO: WorkerId = WorkerId(Uuid::from_u128(2));

    async fn until_dead(burials: &Burials, expected: &[WorkerId]) {
        for _ in 0..2_000 {
            if burials.dead(&[ONE, TWO]) == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{burials:?}");
    }

    #[tokio::test]
    async fn a_worker_is_dead_when_its_supervisor_is_gone_too() {
        let folder = tempfile::tempdir().unwrap();
        let burials = Burials::new(folder.path(), []);
        let lock = supervisor_lock(folder.path(), ONE);
        let supervisor = File::create(&lock).unwrap();
        flock(&supervisor, FlockOperation::NonBlockingLockExclusive).unwrap();
        // The other one never had a supervisor; it does not wait for the first.
        until_dead(&burials, &[TWO]).await;
        for _ in 0..20 {
            assert_eq!(burials.dead(&[ONE, TWO]), [TWO]);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(supervisor);
        until_dead(&burials, &[ONE, TWO]).await;
        assert!(!lock.exists());
        burials.forget(&[ONE, TWO]);
        assert_eq!(burials.killed(), 0);
    }

    #[tokio::test]
    async fn whoever_lives_is_not_buried() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = crate::system::WorkerLock::acquire(folder.path(), ONE).unwrap();
        let burials = Burials::new(folder.path(), [TWO]);
        for _ in 0..10 {
            assert!(burials.dead(&[ONE, TWO]).is_empty());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
