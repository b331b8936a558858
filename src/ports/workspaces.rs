//! The working folders of runs.

use std::{io, path::PathBuf};

use crate::model::{Attempt, RunId};

/// Makes and removes the folders in which steps work.
pub trait Workspaces: Send + Sync {
    /// The run's folder, created if need be; the steps of a run share it.
    fn open(&self, run: RunId) -> io::Result<PathBuf>;

    /// Where an attempt's own folder would be; not created.
    fn scratch(&self, run: RunId, step: &str, attempt: Attempt) -> PathBuf;

    /// Removes an attempt's folder, if there is one.
    fn discard_scratch(&self, run: RunId, step: &str, attempt: Attempt);

    /// The run has ended: removes its folder, or keeps it for people to look at (24 h).
    fn close(&self, run: RunId, keep: bool);
}
