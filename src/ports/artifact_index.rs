//! What runs have left behind: the index of artifacts, beside their content.

use async_trait::async_trait;
use uuid::Uuid;

use super::{Page, StoreError};
use crate::model::{ArtifactKind, Digest, Micros, RunId, TenantId};

/// An artifact as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    pub id: Uuid,
    pub run: RunId,
    pub tenant: TenantId,
    /// `None` for what a person or a program has added to the run.
    pub step: Option<String>,
    pub name: String,
    pub kind: ArtifactKind,
    pub media_type: String,
    /// In bytes; of a link, the length of its URL.
    pub size: u64,
    pub digest: Digest,
    pub place: ArtifactPlace,
    pub created_at: Micros,
    pub created_by: String,
}

/// Where the content of an artifact is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactPlace {
    /// Under this key in the artifact store.
    Stored(String),
    /// At this URL.
    Link(String),
}

/// Where a page of a run's artifacts begins: after this name and step.
pub type ArtifactCursor = (String, String);

/// The index of artifacts.
#[async_trait]
pub trait ArtifactIndex: Send + Sync {
    /// Adds an artifact, or replaces the one of the same run, step and name, and answers that one. `Refused` if
    /// there is no such run.
    async fn put_artifact(&self, artifact: &ArtifactRow) -> Result<Option<ArtifactRow>, StoreError>;

    async fn artifact(&self, tenant: TenantId, id: Uuid) -> Result<Option<ArtifactRow>, StoreError>;

    /// By name, then step; after `after`.
    async fn artifacts(
        &self,
        run: RunId,
        after: Option<&ArtifactCursor>,
        limit: usize,
    ) -> Result<Page<ArtifactRow>, StoreError>;
}
