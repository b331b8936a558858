//! The files that belong to runbooks (`files:`).

use std::path::PathBuf;

use async_trait::async_trait;

use super::ArtifactError;
use crate::{model::Digest, runbook::Bundle};

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the files {0} of the runbook are not stored")]
    Missing(Digest),
    #[error("the stored files {0} of the runbook are not what their digest says")]
    Damaged(Digest),
    #[error("the files of the runbook: {0}")]
    Artifacts(#[from] ArtifactError),
    #[error("the folder of the runbook's files: {0}")]
    Io(#[from] std::io::Error),
}

/// Keeps bundles by their digest, and lays them into folders.
#[async_trait]
pub trait Bundles: Send + Sync {
    /// Stores a bundle; one that is known is left alone.
    async fn put(&self, bundle: &Bundle) -> Result<(), BundleError>;

    /// A folder with exactly these files, which nobody may write to. All runs of a digest share it.
    async fn lay(&self, digest: Digest) -> Result<PathBuf, BundleError>;

    /// The digests of what is stored.
    async fn stored(&self) -> Result<Vec<Digest>, BundleError>;

    /// Deletes a bundle that nobody needs. A folder that it was laid into stays where it is.
    async fn remove(&self, digest: Digest) -> Result<(), BundleError>;
}
