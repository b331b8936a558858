//! Files that outlive a run: artifacts, step summaries, archives.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;

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

/// Stores artifacts under keys: `<run>/<step>/report.md` for what steps leave behind, `uploads/…` and `archives/…`
/// for the rest.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Copies a file in and answers its digest and size. An existing key is replaced atomically.
    async fn put_file(&self, key: &str, file: &Path) -> Result<(Digest, u64), ArtifactError>;

    /// Begins one that comes in pieces.
    async fn begin(&self) -> Result<Box<dyn ArtifactWriter>, ArtifactError>;

    async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactError>;

    /// Opens one to read parts of it. It stays what it is, even if its key is given to another one.
    async fn open(&self, key: &str) -> Result<Box<dyn ArtifactReader>, ArtifactError>;

    /// The keys below a prefix, sorted.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactError>;

    /// Deletes one; one that is not there is fine.
    async fn delete(&self, key: &str) -> Result<(), ArtifactError>;

    /// Deletes everything below a prefix that is a whole segment.
    async fn delete_below(&self, prefix: &str) -> Result<(), ArtifactError>;
}

/// An artifact that is being written. Nobody sees it before it is finished; dropped, it is gone.
#[async_trait]
pub trait ArtifactWriter: Send {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ArtifactError>;

    /// Gives it its key, durably. An existing key is replaced atomically.
    async fn finish(self: Box<Self>, key: &str) -> Result<(Digest, u64), ArtifactError>;
}

/// An open artifact.
#[async_trait]
pub trait ArtifactReader: Send + Sync {
    /// In bytes.
    fn size(&self) -> u64;

    /// At most `length` bytes from `offset` on; fewer only at the end.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, ArtifactError>;
}
