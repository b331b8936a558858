//! Working folders below the data folder.

mod spares;

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::DirBuilderExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::{
    fs::{Dir, DirEntry, Mode, OFlags},
    io::Errno,
};

use self::spares::Spares;
use crate::{
    model::RunId,
    ports::{ARTIFACTS, Workspaces},
};

/// How long the folder of a run that did not succeed is kept.
const KEPT: Duration = Duration::from_hours(24);

/// So many unused scratch folders are kept at most, of all runs together.
const FREE: usize = 64;

/// Folders of so many ended runs are kept for others at most.
const SPARES: usize = 64;

/// The folders are for their owner only.
const MODE: u32 = 0o700;

/// How a folder is looked at; a link to one is none.
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// `workspaces/<run>` for the run, `scratch/<run>/<number>` for its attempts.
///
/// An attempt that succeeds and leaves nothing behind, as most do, hands its scratch folder on to the run's next one:
/// making and removing two folders takes some 0.2 ms, and the journal has to carry them. Whoever was told that it left
/// nothing has had the folder looked at; that is remembered until the folder is handed on or removed. Clones share it.
/// Of a run that leaves nothing behind, a process that stays keeps the folders for the next run ([`spares`]).
#[derive(Debug, Clone)]
pub struct FolderWorkspaces {
    runs: PathBuf,
    scratch: PathBuf,
    free: Arc<Mutex<Vec<(RunId, PathBuf)>>>,
    untouched: Arc<Mutex<HashSet<PathBuf>>>,
    made: Arc<AtomicU64>,
    spares: Option<Arc<Kept>>,
}

/// Folders of runs that have ended.
#[derive(Debug)]
struct Kept {
    runs: Spares<()>,
    /// Each with the one folder in it.
    scratch: Spares<OsString>,
}

impl FolderWorkspaces {
    pub fn new(data: &Path) -> FolderWorkspaces {
        FolderWorkspaces {
            runs: data.join("workspaces"),
            scratch: data.join("scratch"),
            free: Arc::default(),
            untouched: Arc::default(),
            made: Arc::default(),
            spares: None,
        }
    }

    /// Keeps folders of runs that have ended for runs to come, as a process does that many runs come to.
    pub fn with_spares(data: &Path) -> FolderWorkspaces {
        let workspaces = FolderWorkspaces::new(data);
        let runs = Spares::new(workspaces.runs.clone(), SPARES);
        let scratch = Spares::new(workspaces.scratch.clone(), SPARES);
        FolderWorkspaces { spares: Some(Arc::new(Kept { runs, scratch })), ..workspaces }
    }

    fn free(&self) -> MutexGuard<'_, Vec<(RunId, PathBuf)>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untouched(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.untouched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_free(&self, run: RunId) -> Option<PathBuf> {
        let mut free = self.free();
        let last = free.iter().rposition(|(owner, _)| *owner == run)?;
        Some(free.remove(last).1)
    }

    /// The folder of a run that was not there, made from that of another run.
    fn take_spare(&self, folder: &Path) -> bool {
        self.spares.as_ref().is_some_and(|spares| spares.runs.take(folder).is_some())
    }

    /// Whether the scratch folders of a run that has ended were kept, the first of `free` with its parent.
    fn keep_scratch(&self, parent: &Path, free: &[PathBuf]) -> bool {
        let (Some(spares), [first, others @ ..]) = (&self.spares, free) else { return false };
        for other in others {
            let _ = fs::remove_dir_all(other);
        }
        let Some(name) = first.file_name() else { return false };
        holds_only(parent, name).unwrap_or(false) && spares.scratch.keep(parent, name.to_owned())
    }

    /// Whether the folder of a run that has ended was kept.
    fn keep_run(&self, folder: &Path) -> bool {
        let Some(spares) = &self.spares else { return false };
        let is_empty =
            || Dir::new(rustix::fs::open(folder, FOLDER, Mode::empty())?).and_then(|it| is_empty(it, is_bare));
        is_empty().unwrap_or(false) && spares.runs.keep(folder, ())
    }

    /// Removes kept folders older than a day; called at start-up. Answers how many.
    #[expect(clippy::disallowed_methods, reason = "compares with the times of files, which are the system clock's")]
    pub fn tidy(&self) -> io::Result<usize> {
        spares::tidy(&self.runs, KEPT)?;
        spares::tidy(&self.scratch, KEPT)?;
        let Ok(entries) = fs::read_dir(&self.runs) else { return Ok(0) };
        let now = SystemTime::now();
        let mut removed = 0;
        for entry in entries {
            let entry = entry?;
            let Ok(marker) = fs::metadata(kept_marker(&entry.path())) else { continue };
            let age = marker.modified().ok().and_then(|at| now.duration_since(at).ok()).unwrap_or_default();
            if age > KEPT && fs::remove_dir_all(entry.path()).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// Whether an attempt has left the folder as it might have got it. Asked after every attempt, hence by descriptors: each
/// path is walked once.
fn is_unused(folder: &Path) -> rustix::io::Result<bool> {
    has_no_more_than_artifacts(Dir::new(rustix::fs::open(folder, FOLDER, Mode::empty())?)?, is_ours)
}

/// Whether an attempt's folder `name`, unused, is all that is in the folder, and all are bare.
fn holds_only(folder: &Path, name: &OsStr) -> rustix::io::Result<bool> {
    let mut folder = Dir::new(rustix::fs::open(folder, FOLDER, Mode::empty())?)?;
    let attempt = Dir::new(rustix::fs::openat(folder.fd()?, name, FOLDER, Mode::empty())?)?;
    if !is_bare(&folder)? || !has_no_more_than_artifacts(attempt, is_bare)? {
        return Ok(false);
    }
    while let Some(entry) = next_in(&mut folder)? {
        if entry.file_name().to_bytes() != name.as_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_no_more_than_artifacts(mut folder: Dir, is_as_made: Look) -> rustix::io::Result<bool> {
    if !is_as_made(&folder)? {
        return Ok(false);
    }
    while let Some(entry) = next_in(&mut folder)? {
        if entry.file_name().to_bytes() != ARTIFACTS.as_bytes() {
            return Ok(false);
        }
        let artifacts = rustix::fs::openat(folder.fd()?, entry.file_name(), FOLDER, Mode::empty())?;
        if !is_empty(Dir::new(artifacts)?, is_as_made)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_empty(mut folder: Dir, is_as_made: Look) -> rustix::io::Result<bool> {
    Ok(is_as_made(&folder)? && next_in(&mut folder)?.is_none())
}

/// Whether a folder is what it was when it was made, apart from what is in it.
type Look = fn(&Dir) -> rustix::io::Result<bool>;

/// For the same run.
fn is_ours(folder: &Dir) -> rustix::io::Result<bool> {
    Ok(Mode::from_raw_mode(folder.stat()?.st_mode) == Mode::RWXU)
}

/// For another run, which may be somebody else's: it has no attributes either, as a default ACL, which what is made in
/// the folder would inherit. The system's own labels do not count.
fn is_bare(folder: &Dir) -> rustix::io::Result<bool> {
    let mut names = [0; 1024];
    let length = match rustix::fs::flistxattr(folder.fd()?, &mut names) {
        Err(Errno::NOTSUP) => 0,
        length => length?,
    };
    let mut names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Ok(is_ours(folder)? && names.all(|name| name.starts_with(b"security.")))
}

fn next_in(folder: &mut Dir) -> rustix::io::Result<Option<DirEntry>> {
    folder.find(|entry| !matches!(entry, Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b".."))).transpose()
}

/// Tells since when an ended run's folder is kept.
fn kept_marker(folder: &Path) -> PathBuf {
    folder.join(".opsroom-kept")
}

impl Workspaces for FolderWorkspaces {
    fn open(&self, run: RunId) -> io::Result<PathBuf> {
        let folder = self.runs.join(run.to_string());
        if folder.is_dir() || self.take_spare(&folder) {
            return Ok(folder);
        }
        let mut builder = fs::DirBuilder::new();
        match builder.mode(MODE).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            // The run is the first of this data folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => builder.recursive(true).create(&folder)?,
            made => made?,
        }
        Ok(folder)
    }

    fn scratch(&self, run: RunId) -> io::Result<PathBuf> {
        if let Some(folder) = self.take_free(run) {
            return Ok(folder);
        }
        let parent = self.scratch.join(run.to_string());
        if let Some(spares) = self.spares.as_ref().filter(|_| !parent.exists())
            && let Some(name) = spares.scratch.take(&parent)
        {
            return Ok(parent.join(name));
        }
        let mut builder = fs::DirBuilder::new();
        builder.mode(MODE).recursive(true).create(&parent)?;
        builder.recursive(false);
        loop {
            let folder = parent.join(self.made.fetch_add(1, Ordering::Relaxed).to_string());
            match builder.create(&folder) {
                Ok(()) => return Ok(folder),
                // Left behind by an attempt whose worker died.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn is_empty(&self, run: RunId) -> bool {
        let entries = fs::read_dir(self.runs.join(run.to_string()));
        entries.map_or(true, |mut entries| entries.next().is_none())
    }

    fn is_untouched(&self, folder: &Path) -> bool {
        let verdict = is_unused(folder).unwrap_or(false);
        let mut untouched = self.untouched();
        if verdict {
            untouched.insert(folder.to_owned());
        } else {
            untouched.remove(folder);
        }
        verdict
    }

    fn discard_scratch(&self, run: RunId, folder: &Path) {
        self.untouched().remove(folder);
        if let Err(error) = fs::remove_dir_all(folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%run, folder = %folder.display(), %error, "a scratch folder could not be removed");
        }
    }

    fn hand_on_scratch(&self, run: RunId, folder: PathBuf) {
        let is_known = self.untouched().remove(&folder);
        if is_known || is_unused(&folder).unwrap_or(false) {
            let mut free = self.free();
            if free.len() < FREE {
                return free.push((run, folder));
            }
        }
        self.discard_scratch(run, &folder);
    }

    fn runs(&self) -> io::Result<Vec<RunId>> {
        let mut runs = std::collections::BTreeSet::new();
        for folder in [&self.runs, &self.scratch] {
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let run: Option<RunId> = entry.file_name().to_str().and_then(|name| name.parse().ok());
                runs.extend(run.filter(|_| !kept_marker(&entry.path()).exists()));
            }
        }
        Ok(runs.into_iter().collect())
    }

    fn close(&self, run: RunId, keep: bool) {
        let free: Vec<PathBuf> = self.free().extract_if(.., |(owner, _)| *owner == run).map(|(_, path)| path).collect();
        let scratch = self.scratch.join(run.to_string());
        self.untouched().retain(|folder| !folder.starts_with(&scratch));
        if !self.keep_scratch(&scratch, &free) {
            let _ = fs::remove_dir_all(scratch);
        }
        let folder = self.runs.join(run.to_string());
        let done = if keep && folder.is_dir() {
            fs::write(kept_marker(&folder), "")
        } else if self.keep_run(&folder) {
            Ok(())
        } else {
            fs::remove_dir_all(&folder)
        };
        if let Err(error) = done
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%run, %error, "the run's working folder could not be put away");
        }
    }
}

#[cfg(test)]
mod tests;
