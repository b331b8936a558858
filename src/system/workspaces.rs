//! Working folders below the data folder.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    model::{Attempt, RunId},
    ports::Workspaces,
};

/// How long the folder of a run that did not succeed is kept.
const KEPT: Duration = Duration::from_hours(24);

/// `workspaces/<run>` for the run, `scratch/<run>/<step>-<attempt>` for its attempts.
#[derive(Debug, Clone)]
pub struct FolderWorkspaces {
    runs: PathBuf,
    scratch: PathBuf,
}

impl FolderWorkspaces {
    pub fn new(data: &Path) -> FolderWorkspaces {
        FolderWorkspaces { runs: data.join("workspaces"), scratch: data.join("scratch") }
    }

    /// Removes kept folders older than a day; called at start-up. Answers how many.
    #[expect(clippy::disallowed_methods, reason = "compares with the times of files, which are the system clock's")]
    pub fn tidy(&self) -> io::Result<usize> {
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

/// Tells since when an ended run's folder is kept.
fn kept_marker(folder: &Path) -> PathBuf {
    folder.join(".opsroom-kept")
}

impl Workspaces for FolderWorkspaces {
    fn open(&self, run: RunId) -> io::Result<PathBuf> {
        let folder = self.runs.join(run.to_string());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(folder)
    }

    fn scratch(&self, run: RunId, step: &str, attempt: Attempt) -> PathBuf {
        self.scratch.join(run.to_string()).join(format!("{step}-{attempt}"))
    }

    fn discard_scratch(&self, run: RunId, step: &str, attempt: Attempt) {
        let folder = self.scratch(run, step, attempt);
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%run, step, attempt, %error, "a scratch folder could not be removed");
        }
    }

    fn close(&self, run: RunId, keep: bool) {
        let _ = fs::remove_dir_all(self.scratch.join(run.to_string()));
        let folder = self.runs.join(run.to_string());
        let done =
            if keep && folder.is_dir() { fs::write(kept_marker(&folder), "") } else { fs::remove_dir_all(&folder) };
        if let Err(error) = done
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%run, %error, "the run's working folder could not be put away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_failed_keeps_its_folder_and_one_that_succeeded_does_not() {
        let data = tempfile::tempdir().unwrap();
        let workspaces = FolderWorkspaces::new(data.path());
        let run = |n| RunId(uuid::Uuid::from_u128(n));
        for n in [1, 2] {
            let folder = workspaces.open(run(n)).unwrap();
            fs::write(folder.join("file"), "text").unwrap();
            fs::create_dir_all(workspaces.scratch(run(n), "step", 1)).unwrap();
            workspaces.close(run(n), n == 1);
        }
        assert_eq!(
            fs::read_to_string(data.path().join("workspaces").join(run(1).to_string()).join("file")).unwrap(),
            "text"
        );
        assert!(!data.path().join("workspaces").join(run(2).to_string()).exists());
        assert_eq!(fs::read_dir(data.path().join("scratch")).unwrap().count(), 0);
        assert_eq!(workspaces.tidy().unwrap(), 0, "nothing is a day old");
        workspaces.close(run(3), true);
    }
}
