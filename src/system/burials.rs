//! Which workers are dead and buried: nothing of their steps lives on.
//!
//! A worker whose lock is free is dead; its supervisor may still be ending its trees, and what lost its supervisor too
//! must be killed before somebody else goes on with the runs. That takes a moment, on a thread of its own: until then
//! such a worker counts as living. A supervisor that does not end is told of, and killed after a while.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use futures::FutureExt;
use tokio::task::JoinHandle;

use super::{
    FlockLiveness, kill_leftovers,
    processes::{is_gone, kill_supervisor},
};
use crate::{
    model::WorkerId,
    ports::{Liveness, Store, StoreError},
};

/// The lock that a worker's supervisor holds, in the folder of the workers' locks.
pub fn supervisor_lock(folder: &Path, worker: WorkerId) -> PathBuf {
    folder.join(format!("{worker}.supervisor.lock"))
}

/// How long the supervisor of a dead worker may take to end its trees.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Then it is told that it does not end.
    told: Duration,
    /// Then it is killed, again and again until it is gone.
    killed: Duration,
}

const PATIENCE: Patience = Patience { told: Duration::from_secs(10), killed: Duration::from_mins(1) };

/// Deaths by locks, with burial. Cheap to clone; must be asked inside a runtime.
#[derive(Debug, Clone)]
pub struct Burials {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    locks: FlockLiveness,
    folder: PathBuf,
    patience: Patience,
    state: Mutex<State>,
    killed: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    buried: HashSet<WorkerId>,
    /// The dead whose supervisors still hold their locks.
    supervised: HashMap<WorkerId, Supervised>,
    /// The burial under way; it answers whom it buried.
    digging: Option<JoinHandle<Vec<WorkerId>>>,
}

#[derive(Debug)]
struct Supervised {
    since: Instant,
    /// How often something was said or done about it.
    steps: u32,
}

impl Burials {
    /// `own` are the ids of this process, never dead whatever happened to their files.
    pub fn new(folder: impl Into<PathBuf>, own: impl IntoIterator<Item = WorkerId>) -> Burials {
        Burials::with_patience(folder.into(), own, PATIENCE)
    }

    fn with_patience(folder: PathBuf, own: impl IntoIterator<Item = WorkerId>, patience: Patience) -> Burials {
        let locks = FlockLiveness::new(folder.clone(), own);
        let (state, killed) = (Mutex::default(), AtomicUsize::new(0));
        Burials { shared: Arc::new(Shared { locks, folder, patience, state, killed }) }
    }

    /// How many processes were killed that had outlived their worker and its supervisor.
    pub fn killed(&self) -> usize {
        self.shared.killed.load(Ordering::Relaxed)
    }

    /// Those of `workers` that are dead and buried. Never waits: who is dead and not buried yet is so the next time,
    /// or the one after that.
    pub fn dead(&self, workers: &[WorkerId]) -> Vec<WorkerId> {
        let mut dead = self.shared.locks.dead(workers);
        let mut state = self.shared.state();
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

    /// Buries everybody who has died in this folder, and answers when that is done or `patience` is over: before a
    /// worker starts where others died, whose runs somebody else may have taken up by now.
    pub async fn clear(&self, patience: Duration) -> std::io::Result<()> {
        let begun = Instant::now();
        let dead = self.shared.locks.dead(&self.shared.locks.known()?);
        while self.dead(&dead).len() < dead.len() && begun.elapsed() < patience {
            tokio::time::sleep(GLANCE).await;
        }
        Ok(())
    }

    /// Removes what the folder keeps about these dead.
    pub fn forget(&self, dead: &[WorkerId]) {
        for worker in dead {
            if let Err(error) = self.shared.locks.forget(*worker) {
                // A file that stays says the same.
                tracing::warn!(%worker, %error, "the lock file of a dead worker could not be removed");
            }
        }
    }
}

/// Between two looks whether somebody is buried.
const GLANCE: Duration = Duration::from_millis(5);

impl Shared {
    /// Kills what is left of those whose supervisors are gone; answers whose.
    fn bury(&self, lying: &[WorkerId]) -> Vec<WorkerId> {
        let is_ready = |worker: &WorkerId| {
            let gone = is_gone(&supervisor_lock(&self.folder, *worker)).unwrap_or_else(|error| {
                tracing::warn!(%worker, %error, "the supervisor's lock of a dead worker cannot be tried");
                false
            });
            if gone {
                self.state().supervised.remove(worker);
            } else {
                self.press(*worker);
            }
            gone
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

    /// The supervisor of a dead worker is still there.
    fn press(&self, worker: WorkerId) {
        let Patience { told, killed } = self.patience;
        let (waited, step) = {
            let mut state = self.state();
            let supervised =
                state.supervised.entry(worker).or_insert_with(|| Supervised { since: Instant::now(), steps: 0 });
            let waited = supervised.since.elapsed();
            // Told once, then killed once in every `killed`.
            let due = if supervised.steps == 0 { told } else { killed * supervised.steps };
            let step = (waited >= due).then_some(supervised.steps);
            supervised.steps += u32::from(step.is_some());
            (waited.as_secs(), step)
        };
        match step {
            None => {}
            Some(0) => tracing::warn!(
                code = "SUPERVISOR_STUCK", %worker, waited,
                "the process supervisor of a dead worker does not end; its runs wait for it"
            ),
            Some(_) => {
                let found = kill_supervisor(worker);
                tracing::error!(
                    code = "SUPERVISOR_KILLED", %worker, waited, found,
                    "the process supervisor of a dead worker was killed; if its lock stays held, restart the machine"
                );
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Liveness in a data folder: workers and owners as the store knows them, deaths by locks, with burial.
pub struct LockLiveness {
    store: Arc<dyn Store>,
    burials: Burials,
}

impl LockLiveness {
    pub fn new(store: Arc<dyn Store>, burials: Burials) -> LockLiveness {
        LockLiveness { store, burials }
    }
}

impl std::fmt::Debug for LockLiveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockLiveness").field("burials", &self.burials).finish_non_exhaustive()
    }
}

/// Liveness among those who have lived in one folder, as far as it still knows of them.
#[async_trait]
impl Liveness for Burials {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        let known = self.shared.locks.known();
        let known = known.map_err(|error| StoreError::Unavailable(format!("the folder of the workers: {error}")))?;
        Ok(Burials::dead(self, &known))
    }

    fn knows(&self, worker: WorkerId) -> bool {
        // Where that cannot be seen, everybody may be here.
        self.shared.locks.known().map_or(true, |known| known.contains(&worker))
    }

    fn forget(&self, dead: &[WorkerId]) {
        Burials::forget(self, dead);
    }
}

#[async_trait]
impl Liveness for LockLiveness {
    async fn dead(&self) -> Result<Vec<WorkerId>, StoreError> {
        Ok(self.burials.dead(&self.store.owners().await?))
    }

    fn forget(&self, dead: &[WorkerId]) {
        self.burials.forget(dead);
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

    /// A process that looks like a supervisor, holds its lock and does not end.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_supervisor_that_does_not_end_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let lock = File::create(supervisor_lock(folder.path(), ONE)).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
        // Its command line is `sh __supervise <worker>`.
        std::fs::write(folder.path().join("__supervise"), "while :; do sleep 0.02 > /dev/null; done").unwrap();
        let mut stuck = std::process::Command::new("/bin/sh")
            .args(["__supervise", &ONE.to_string()])
            .current_dir(folder.path())
            .stdout(lock)
            .spawn()
            .unwrap();
        let patience = Patience { told: Duration::from_millis(20), killed: Duration::from_millis(60) };
        let burials = Burials::with_patience(folder.path().to_owned(), [], patience);
        until_dead(&burials, &[ONE, TWO]).await;
        assert!(!stuck.wait().unwrap().success());
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
