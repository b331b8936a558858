//! Which workers live, told by file locks.
//!
//! Every worker process holds a lock on `<id>.lock` for its whole life; the kernel frees it whatever the
//! way it dies. The file is locked before it gets its name, so a lock file that is free was never held
//! by a worker that is still being born. A lock belongs to the open file, not to the process: a process
//! that tests its own lock finds it held.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

use crate::model::WorkerId;

/// The sign of life of this process. Dropping it, or dying, is death.
#[derive(Debug)]
pub struct WorkerLock {
    path: PathBuf,
    /// Closes with the process; never inherited by a program that it starts.
    _file: File,
}

impl WorkerLock {
    /// Takes the lock of a new worker. Call it before anything is registered or claimed under the id.
    pub fn acquire(folder: &Path, worker: WorkerId) -> io::Result<WorkerLock> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let unborn = folder.join(format!(".{worker}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unborn)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        writeln!(file, "{}", std::process::id())?;
        let path = lock_path(folder, worker);
        std::fs::rename(&unborn, &path)?;
        Ok(WorkerLock { path, _file: file })
    }
}

impl Drop for WorkerLock {
    fn drop(&mut self) {
        // A file that stays behind is free and says the same: dead.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Tells dead workers from live ones by their locks. Embedded: all workers share the folder.
#[derive(Debug, Clone)]
pub struct FlockLiveness {
    folder: PathBuf,
    own: Vec<WorkerId>,
}

impl FlockLiveness {
    /// `own` are the ids of this process, never dead whatever happened to their files.
    pub fn new(folder: impl Into<PathBuf>, own: impl IntoIterator<Item = WorkerId>) -> FlockLiveness {
        FlockLiveness { folder: folder.into(), own: own.into_iter().collect() }
    }

    /// Those of `workers` whose locks are free.
    pub fn dead(&self, workers: &[WorkerId]) -> Vec<WorkerId> {
        workers.iter().copied().filter(|worker| self.is_dead(*worker)).collect()
    }

    /// Every worker that has left a file of its own or of its supervisor in the folder, living or dead.
    pub fn known(&self) -> io::Result<Vec<WorkerId>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let id =
            |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.split('.').next()?.parse().ok();
        let mut workers: Vec<WorkerId> = entries.filter_map(id).collect();
        workers.sort_unstable();
        workers.dedup();
        Ok(workers)
    }

    /// Removes the lock file of a dead worker that owns nothing any more. A live one's is left alone.
    ///
    /// Nobody makes a file of this name again, since an id is one process's; so whoever has it open meanwhile, and finds
    /// it free, is told nothing but what its absence says: dead.
    pub fn forget(&self, worker: WorkerId) -> io::Result<()> {
        match self.death(worker) {
            // Held until the name is gone.
            Some(Death::LeftBehind(_file)) => remove_if_there(&lock_path(&self.folder, worker)),
            Some(Death::Forgotten) | None => Ok(()),
        }
    }

    fn is_dead(&self, worker: WorkerId) -> bool {
        self.death(worker).is_some()
    }

    fn death(&self, worker: WorkerId) -> Option<Death> {
        if self.own.contains(&worker) {
            return None;
        }
        match File::open(lock_path(&self.folder, worker)) {
            // Shared, so that two processes that look at the same time do not take each other for the worker.
            Ok(file) => flock(&file, FlockOperation::NonBlockingLockShared).is_ok().then_some(Death::LeftBehind(file)),
            // The folder itself gone (not mounted) says nothing about anybody.
            Err(error) => (error.kind() == io::ErrorKind::NotFound && self.folder.is_dir()).then_some(Death::Forgotten),
        }
    }
}

/// What shows that a worker is dead.
enum Death {
    /// Its lock file is free; now it is held here, together with others who look.
    LeftBehind(File),
    /// There is no lock file.
    Forgotten,
}

fn lock_path(folder: &Path, worker: WorkerId) -> PathBuf {
    folder.join(format!("{worker}.lock"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ONE: WorkerId = WorkerId(Uuid::from_u128(1));
    const TWO: WorkerId = WorkerId(Uuid::from_u128(2));

    #[test]
    fn a_held_lock_is_life_and_a_free_one_is_death() {
        let folder = tempfile::tempdir().unwrap();
        let liveness = FlockLiveness::new(folder.path(), []);
        let lock = WorkerLock::acquire(folder.path(), ONE).unwrap();
        assert_eq!(liveness.dead(&[ONE, TWO]), [TWO]);
        let pid = std::fs::read_to_string(lock_path(folder.path(), ONE)).unwrap();
        assert_eq!(pid.trim(), std::process::id().to_string());
        drop(lock);
        assert_eq!(liveness.dead(&[ONE, TWO]), [ONE, TWO]);
    }

    #[test]
    fn a_file_that_its_worker_left_behind_is_death() {
        let folder = tempfile::tempdir().unwrap();
        let liveness = FlockLiveness::new(folder.path(), []);
        std::fs::write(lock_path(folder.path(), ONE), "4711").unwrap();
        assert_eq!(liveness.dead(&[ONE]), [ONE]);
        liveness.forget(ONE).unwrap();
        liveness.forget(ONE).unwrap();
        assert!(!lock_path(folder.path(), ONE).exists());
    }

    #[test]
    fn two_who_look_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(lock_path(folder.path(), ONE), "4711").unwrap();
        let other = File::open(lock_path(folder.path(), ONE)).unwrap();
        flock(&other, FlockOperation::NonBlockingLockShared).unwrap();
        assert_eq!(FlockLiveness::new(folder.path(), []).dead(&[ONE]), [ONE]);
    }

    #[test]
    fn own_ids_and_a_lost_folder_are_no_deaths() {
        let folder = tempfile::tempdir().unwrap();
        assert!(FlockLiveness::new(folder.path(), [ONE]).dead(&[ONE]).is_empty());
        assert!(FlockLiveness::new(folder.path().join("gone"), []).dead(&[ONE]).is_empty());
    }

    #[test]
    fn whoever_left_a_file_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let liveness = FlockLiveness::new(folder.path(), []);
        assert!(FlockLiveness::new(folder.path().join("gone"), []).known().unwrap().is_empty());
        std::fs::write(folder.path().join(format!("{TWO}.supervisor.lock")), "").unwrap();
        std::fs::write(folder.path().join("notes.txt"), "").unwrap();
        let _lock = WorkerLock::acquire(folder.path(), ONE).unwrap();
        assert_eq!(liveness.known().unwrap(), [ONE, TWO]);
    }

    #[test]
    fn a_live_worker_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let _lock = WorkerLock::acquire(folder.path(), ONE).unwrap();
        FlockLiveness::new(folder.path(), []).forget(ONE).unwrap();
        assert!(lock_path(folder.path(), ONE).exists());
    }
}
