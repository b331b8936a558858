//! The index of artifacts.

use async_trait::async_trait;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    errors::{is_unmatched, store_error},
    rows::{decode, decode_all},
};
use crate::{
    model::{Micros, RunId, TenantId},
    ports::{ArtifactCursor, ArtifactIndex, ArtifactPlace, ArtifactRow, Page, StoreError},
    store::place::Place,
};

#[async_trait]
impl ArtifactIndex for SqliteStore {
    async fn put_artifact(&self, artifact: &ArtifactRow) -> Result<Option<ArtifactRow>, StoreError> {
        let (stored, url) = match &artifact.place {
            ArtifactPlace::Stored(key) => (Some(key.clone()), None),
            ArtifactPlace::Link(url) => (None, Some(url.clone())),
        };
        let arguments = arguments!(
            id(artifact.id),
            id(artifact.run.0),
            id(artifact.tenant.0),
            artifact.step.clone().unwrap_or_default(),
            artifact.name.clone(),
            artifact.kind.as_str(),
            artifact.media_type.clone(),
            i64::try_from(artifact.size).unwrap_or(i64::MAX),
            artifact.digest.0.to_vec(),
            stored,
            url,
            artifact.created_at.0,
            artifact.created_by.clone(),
        );
        let rows = match self.writer.script(include_str!("queries/put_artifact.sql"), arguments).await {
            Err(error) if is_unmatched(&error) => {
                return Err(StoreError::Refused(format!("there is no run {}", artifact.run)));
            }
            rows => rows.map_err(|error| store_error(&error))?,
        };
        rows.first().map(decode::<ArtifactRecord, _>).transpose()
    }

    async fn artifact(&self, tenant: TenantId, artifact: Uuid) -> Result<Option<ArtifactRow>, StoreError> {
        let arguments = arguments!(id(tenant.0), id(artifact));
        let rows = self.read(include_str!("queries/artifact.sql"), arguments).await?;
        rows.first().map(decode::<ArtifactRecord, _>).transpose()
    }

    async fn artifacts(
        &self,
        run: RunId,
        after: Option<&ArtifactCursor>,
        limit: usize,
    ) -> Result<Page<ArtifactRow>, StoreError> {
        let (name, step) = after.cloned().unwrap_or_default();
        // One more than asked for tells whether there are more.
        let arguments = arguments!(id(run.0), name, step, arguments::limit(limit).saturating_add(1));
        let rows = self.read(include_str!("queries/artifacts.sql"), arguments).await?;
        let mut items: Vec<ArtifactRow> = decode_all::<ArtifactRecord, _>(&rows)?;
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(Page { items, more })
    }
}

#[derive(FromRow)]
struct ArtifactRecord {
    id: Vec<u8>,
    run_id: Vec<u8>,
    tenant_id: Vec<u8>,
    step: String,
    name: String,
    kind: String,
    media_type: String,
    size: i64,
    digest: Vec<u8>,
    artifact: Option<String>,
    url: Option<String>,
    created_at: i64,
    created_by: String,
}

impl TryFrom<ArtifactRecord> for ArtifactRow {
    type Error = StoreError;

    fn try_from(record: ArtifactRecord) -> Result<ArtifactRow, StoreError> {
        let place = Place { table: "artifacts", row: format!("{:02x?} {}", record.id, record.name) };
        let content = match (record.artifact, record.url) {
            (Some(key), None) => ArtifactPlace::Stored(key),
            (None, Some(url)) => ArtifactPlace::Link(url),
            _ => return Err(place.corrupt("artifact", "neither stored nor a link")),
        };
        Ok(ArtifactRow {
            id: place.id("id", &record.id)?,
            run: RunId(place.id("run_id", &record.run_id)?),
            tenant: TenantId(place.id("tenant_id", &record.tenant_id)?),
            kind: place.word("kind", &record.kind)?,
            size: place.number("size", record.size)?,
            digest: place.digest("digest", record.digest)?,
            step: Some(record.step).filter(|step| !step.is_empty()),
            name: record.name,
            media_type: record.media_type,
            place: content,
            created_at: Micros(record.created_at),
            created_by: record.created_by,
        })
    }
}
