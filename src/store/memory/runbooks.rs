//! The versions of runbooks.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    model::{Digest, TenantId},
    ports::{NewRunbookVersion, Page, RunbookPut, RunbookStore, RunbookVersionRow, StoreError},
};

#[derive(Debug)]
struct Version {
    row: RunbookVersionRow,
    source: Arc<str>,
}

/// The versions of each runbook, in order; none is empty.
#[derive(Debug, Default)]
pub(super) struct Runbooks(BTreeMap<(TenantId, Arc<str>), Vec<Version>>);

impl Runbooks {
    fn put(&mut self, tenant: TenantId, new: &NewRunbookVersion) -> Result<RunbookPut, StoreError> {
        let versions = self.0.entry((tenant, new.name.clone())).or_default();
        let of_origin = || versions.iter().rfind(|version| version.row.origin == new.origin);
        let same = versions.last().filter(|latest| {
            latest.row.digest == new.digest
                || (new.once && of_origin().is_some_and(|version| version.row.digest == new.digest))
        });
        if let Some(latest) = same {
            return Ok(RunbookPut::Unchanged(latest.row.clone()));
        }
        let number = u32::try_from(versions.len()).ok().and_then(|count| count.checked_add(1));
        let row = RunbookVersionRow {
            name: new.name.clone(),
            version: number.ok_or_else(|| StoreError::Refused("too many versions".to_owned()))?,
            digest: new.digest,
            plan: new.plan,
            bundle: new.bundle,
            origin: new.origin.clone(),
            created_at: new.created_at,
        };
        versions.push(Version { row: row.clone(), source: new.source.clone() });
        Ok(RunbookPut::Created(row))
    }

    fn versions(&self, tenant: TenantId, name: &str) -> &[Version] {
        self.0.get(&(tenant, name.into())).map(Vec::as_slice).unwrap_or_default()
    }

    fn find(&self, tenant: TenantId, name: &str, version: u32) -> Option<&Version> {
        self.versions(tenant, name).iter().find(|known| known.row.version == version)
    }
}

fn page<'a>(mut rows: impl Iterator<Item = &'a Version>, limit: usize) -> Page<RunbookVersionRow> {
    let items = rows.by_ref().take(limit).map(|version| version.row.clone()).collect();
    Page { items, more: rows.next().is_some() }
}

#[async_trait]
impl RunbookStore for MemoryStore {
    async fn put_version(&self, tenant: TenantId, version: &NewRunbookVersion) -> Result<RunbookPut, StoreError> {
        let mut state = self.state();
        if state.plan(tenant, version.plan).is_none() {
            return Err(StoreError::Refused(format!("plan {} is not stored", version.plan)));
        }
        state.runbooks.put(tenant, version)
    }

    async fn latest_version(&self, tenant: TenantId, name: &str) -> Result<Option<RunbookVersionRow>, StoreError> {
        Ok(self.state().runbooks.versions(tenant, name).last().map(|version| version.row.clone()))
    }

    async fn version(
        &self,
        tenant: TenantId,
        name: &str,
        version: u32,
    ) -> Result<Option<RunbookVersionRow>, StoreError> {
        Ok(self.state().runbooks.find(tenant, name, version).map(|version| version.row.clone()))
    }

    async fn version_source(&self, tenant: TenantId, name: &str, version: u32) -> Result<Option<String>, StoreError> {
        Ok(self.state().runbooks.find(tenant, name, version).map(|version| version.source.to_string()))
    }

    async fn latest_versions(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        let state = self.state();
        let first = (tenant, after.unwrap_or_default().into());
        let range = state.runbooks.0.range((Bound::Excluded(first), Bound::Unbounded));
        let latest = range.take_while(|((owner, _), _)| *owner == tenant).filter_map(|(_, versions)| versions.last());
        Ok(page(latest, limit))
    }

    async fn versions(
        &self,
        tenant: TenantId,
        name: &str,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        let state = self.state();
        let versions = state.runbooks.versions(tenant, name).iter().rev();
        Ok(page(versions.filter(|version| before.is_none_or(|before| version.row.version < before)), limit))
    }

    async fn unnamed_bundles(&self, bundles: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let state = self.state();
        let is_named = |bundle: &Digest| {
            let mut versions = state.runbooks.0.values().flatten();
            versions.any(|version| version.row.bundle == Some(*bundle)) || state.runs_with_files(*bundle)
        };
        Ok(bundles.iter().copied().filter(|bundle| !is_named(bundle)).collect())
    }
}
