//! The index of artifacts.

use std::collections::BTreeMap;

use async_trait::async_trait;
use uuid::Uuid;

use super::MemoryStore;
use crate::{
    model::{RunId, TenantId},
    ports::{ArtifactCursor, ArtifactIndex, ArtifactRow, Page, StoreError},
};

/// By run, name and step.
#[derive(Debug, Default)]
pub(super) struct Artifacts(BTreeMap<(RunId, String, String), ArtifactRow>);

impl Artifacts {
    pub(super) fn remove(&mut self, run: RunId) {
        self.0.retain(|(of, ..), _| *of != run);
    }
}

#[async_trait]
impl ArtifactIndex for MemoryStore {
    async fn put_artifact(&self, artifact: &ArtifactRow) -> Result<Option<ArtifactRow>, StoreError> {
        let mut state = self.state();
        if state.run(artifact.run).is_none_or(|run| run.row.tenant != artifact.tenant) {
            return Err(StoreError::Refused(format!("there is no run {}", artifact.run)));
        }
        let key = (artifact.run, artifact.name.clone(), artifact.step.clone().unwrap_or_default());
        let replaced = state.artifacts.0.get(&key).cloned();
        let id = replaced.as_ref().map_or(artifact.id, |known| known.id);
        state.artifacts.0.insert(key, ArtifactRow { id, ..artifact.clone() });
        Ok(replaced)
    }

    async fn artifact(&self, tenant: TenantId, id: Uuid) -> Result<Option<ArtifactRow>, StoreError> {
        let state = self.state();
        Ok(state.artifacts.0.values().find(|artifact| artifact.id == id && artifact.tenant == tenant).cloned())
    }

    async fn artifacts(
        &self,
        run: RunId,
        after: Option<&ArtifactCursor>,
        limit: usize,
    ) -> Result<Page<ArtifactRow>, StoreError> {
        let (name, step) = after.cloned().unwrap_or_default();
        let state = self.state();
        let beyond = |key: &&(RunId, String, String)| key.0 == run && (&key.1, &key.2) > (&name, &step);
        let mut found = state.artifacts.0.iter().filter(|(key, _)| beyond(key)).map(|(_, artifact)| artifact.clone());
        let items = found.by_ref().take(limit).collect();
        Ok(Page { items, more: found.next().is_some() })
    }
}
