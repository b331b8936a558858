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
    /// Passing: no connection, no answer in time, an answer that says "later".
    #[error("the artifact store cannot be reached: {0}")]
    Unavailable(String),
    /// For good: it does not know these credentials, or they may not do this.
    #[error("the artifact store refuses access: {0}")]
    Denied(String),
    /// Its key was given to another one while it was read.
    #[error("the artifact `{0}` was replaced while it was read")]
    Replaced(String),
}

impl ArtifactError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            ArtifactError::NotFound(_) => "ARTIFACT_NOT_FOUND",
            ArtifactError::BadName(_) => "BAD_ARTIFACT_NAME",
            ArtifactError::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => "DISK_FULL",
            ArtifactError::Io(_) => "ARTIFACTS_FAILED",
            ArtifactError::Unavailable(_) => "ARTIFACTS_UNAVAILABLE",
            ArtifactError::Denied(_) => "ARTIFACTS_DENIED",
            ArtifactError::Replaced(_) => "ARTIFACT_REPLACED",
        }
    }

    /// Whether the same call may succeed later.
    pub const fn is_passing(&self) -> bool {
        matches!(self, ArtifactError::Unavailable(_) | ArtifactError::Replaced(_))
    }
}

/// Stores artifacts under keys: `<run>/<step>/report.md` for what steps leave behind, `uploads/…` and `archives/…`
/// for the rest.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Copies a file in and answers its digest and size. An existing key is replaced atomically.
    async fn put_file(&self, key: &str, file: &Path) -> Result<(Digest, u64), ArtifactError>;

    /// Begins one that comes in pieces.
    async fn begin(&self, key: &str) -> Result<Box<dyn ArtifactWriter>, ArtifactError>;

    async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactError>;

    /// Opens one to read parts of it. If its key is given to another one, or deleted, what is read is still the first
    /// one or an error, never a mixture.
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
    async fn finish(self: Box<Self>) -> Result<(Digest, u64), ArtifactError>;
}

/// An open artifact.
#[async_trait]
pub trait ArtifactReader: Send + Sync {
    /// In bytes.
    fn size(&self) -> u64;

    /// At most `length` bytes from `offset` on; fewer only at the end.
    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, ArtifactError>;
}
