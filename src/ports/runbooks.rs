//! The versions of runbooks.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Page, StoreError};
use crate::model::{Digest, Micros, TenantId};

/// A version to be stored.
#[derive(Debug, Clone)]
pub struct NewRunbookVersion {
    pub name: Arc<str>,
    /// Of the source and of the files that belong to it.
    pub digest: Digest,
    /// A plan that [`Store::put_plan`](super::Store::put_plan) has stored.
    pub plan: Digest,
    /// The runbook's text, byte for byte.
    pub source: Arc<str>,
    /// The files that belong to it, as [`Bundles`](super::Bundles) has stored them.
    pub bundle: Option<Digest>,
    /// The file it comes from, or who put it here.
    pub origin: Arc<str>,
    /// Make no version either if the last one of this origin has the same digest: a file that has not
    /// changed since does not undo what came from elsewhere in the meantime.
    pub once: bool,
    pub created_at: Micros,
}

/// A version as it is stored, without its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunbookVersionRow {
    pub name: Arc<str>,
    /// From 1, without gaps, per tenant and name.
    pub version: u32,
    pub digest: Digest,
    pub plan: Digest,
    pub bundle: Option<Digest>,
    pub origin: Arc<str>,
    pub created_at: Micros,
}

/// What became of a [`NewRunbookVersion`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunbookPut {
    Created(RunbookVersionRow),
    /// Nothing was written; this is the latest version.
    Unchanged(RunbookVersionRow),
}

impl RunbookPut {
    /// The latest version after the put.
    pub fn row(&self) -> &RunbookVersionRow {
        match self {
            RunbookPut::Created(row) | RunbookPut::Unchanged(row) => row,
        }
    }
}

/// Keeps every version of every runbook. A version never changes and is never removed.
#[async_trait]
pub trait RunbookStore: Send + Sync {
    /// Makes the next version, unless the latest one has the same digest. Puts at the same time, of any
    /// number of processes, never make the same number twice or the same content twice in a row. A plan
    /// that is not stored is `Refused`.
    async fn put_version(&self, tenant: TenantId, version: &NewRunbookVersion) -> Result<RunbookPut, StoreError>;

    async fn latest_version(&self, tenant: TenantId, name: &str) -> Result<Option<RunbookVersionRow>, StoreError>;

    async fn version(
        &self,
        tenant: TenantId,
        name: &str,
        version: u32,
    ) -> Result<Option<RunbookVersionRow>, StoreError>;

    /// The text of a version.
    async fn version_source(&self, tenant: TenantId, name: &str, version: u32) -> Result<Option<String>, StoreError>;

    /// The latest version of each runbook, by name (in the order of bytes), only of names after `after`.
    async fn latest_versions(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError>;

    /// The versions of a runbook, newest first, only those before `before`.
    async fn versions(
        &self,
        tenant: TenantId,
        name: &str,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError>;

    /// Those of these bundles that no version of any tenant names, and no plan of a run that is kept.
    async fn unnamed_bundles(&self, bundles: &[Digest]) -> Result<Vec<Digest>, StoreError>;
}
