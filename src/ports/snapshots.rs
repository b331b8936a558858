//! Working folders of runs that go from machine to machine.

use std::path::PathBuf;

use async_trait::async_trait;

use super::ArtifactError;
use crate::model::{RunId, Snapshot};

/// Why a working folder could not be stored or restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("the working folder has more than {0} MiB; see OPSROOM_WORKSPACE_LIMIT_MIB, or `workspace: none`")]
    TooLarge(u64),
    /// It is not there, or not what was stored.
    #[error("the stored working folder is lost: {0}")]
    Lost(String),
    #[error(transparent)]
    Artifacts(ArtifactError),
    #[error("the working folder: {0}")]
    Io(#[from] std::io::Error),
}

impl SnapshotError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            SnapshotError::TooLarge(_) => "WORKSPACE_TOO_LARGE",
            SnapshotError::Lost(_) => "WORKSPACE_LOST",
            SnapshotError::Artifacts(error) => error.code(),
            SnapshotError::Io(_) => "WORKSPACE_FAILED",
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_passing(&self) -> bool {
        match self {
            SnapshotError::Artifacts(error) => error.is_passing(),
            SnapshotError::Io(_) => true,
            SnapshotError::TooLarge(_) | SnapshotError::Lost(_) => false,
        }
    }
}

/// Stores and restores the working folders of runs.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Where the working folders of this process are: a name that no other place has.
    fn place(&self) -> &str;

    /// Whether the run's folder is here.
    async fn is_here(&self, run: RunId) -> bool;

    /// Stores the run's folder, which nobody writes to meanwhile: files, folders and symbolic links with their modes.
    /// `None` if there is nothing in it.
    async fn store(&self, run: RunId) -> Result<Option<Snapshot>, SnapshotError>;

    /// Puts what was stored in the place of whatever the run's folder is now.
    async fn restore(&self, run: RunId, snapshot: &Snapshot) -> Result<(), SnapshotError>;

    /// Removes the run's folder from here, where it is stored.
    async fn leave(&self, run: RunId);

    /// Takes the run's folder out of its place, for [`Snapshots::discard`] or [`Snapshots::put_back`]; `None` if there is
    /// none.
    async fn set_aside(&self, run: RunId) -> Option<PathBuf>;

    /// Removes a folder that was set aside.
    async fn discard(&self, aside: PathBuf);

    /// Puts a folder that was set aside back where it was, unless the run has another one there by now.
    async fn put_back(&self, run: RunId, aside: PathBuf);

    /// Deletes what was stored of the run, but for one.
    async fn forget(&self, run: RunId, but: Option<&Snapshot>) -> Result<(), SnapshotError>;
}
