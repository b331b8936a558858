//! The working folders of runs.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::model::RunId;

/// The folder that an attempt may leave empty in its scratch folder without making it unfit for the next.
pub const ARTIFACTS: &str = "artifacts";

/// Makes and removes the folders in which steps work.
pub trait Workspaces: Send + Sync {
    /// The run's folder, created if need be; the steps of a run share it.
    fn open(&self, run: RunId) -> io::Result<PathBuf>;

    /// Whether there is nothing in the run's folder, or no such folder.
    fn is_empty(&self, run: RunId) -> bool;

    /// A folder for one attempt of the run, that nobody else has. It is empty, or holds [`ARTIFACTS`], empty.
    fn scratch(&self, run: RunId) -> io::Result<PathBuf>;

    /// Whether an attempt whose processes have all ended has left its folder as it might have got it. Whoever asks
    /// writes nothing to the folder afterwards: [`Workspaces::hand_on_scratch`] need not look again.
    fn is_untouched(&self, folder: &Path) -> bool;

    /// Removes an attempt's folder.
    fn discard_scratch(&self, run: RunId, folder: &Path);

    /// Nobody will write to an attempt's folder any more: the next one of the run may have it if nothing is in
    /// it, else it is removed.
    fn hand_on_scratch(&self, run: RunId, folder: PathBuf);

    /// The runs that have a folder here, for themselves or for attempts, and were not closed.
    fn runs(&self) -> io::Result<Vec<RunId>> {
        Ok(Vec::new())
    }

    /// The run has ended: removes its folder, or keeps it for people to look at (24 h).
    fn close(&self, run: RunId, keep: bool);
}
