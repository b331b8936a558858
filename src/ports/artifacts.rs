//! Files that outlive a run: artifacts, step summaries, archives.

use std::path::Path;

use async_trait::async_trait;

use crate::model::Digest;

#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error("no artifact `{0}`")]
    NotFound(String),
    /// A name that would leave the run's folder.
    #[error("`{0}` is not a name for an artifact: use letters, digits, `.`, `_`, `-` and `/` between them")]
    BadName(String),
    #[error("artifact store: {0}")]
    Io(#[from] std::io::Error),
}

/// Stores artifacts under keys like `<run>/<step>/report.md`.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Copies a file in and answers its digest and size. An existing key is replaced atomically.
    async fn put_file(&self, key: &str, file: &Path) -> Result<(Digest, u64), ArtifactError>;

    async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactError>;

    /// The keys below a prefix, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactError>;
}
