//! The index of artifacts.

use async_trait::async_trait;
use sqlx::{FromRow, postgres::PgArguments};
use uuid::Uuid;

use super::{
    PgStore,
    arguments::{self, arguments},
    records::{decode, page, scalar},
    types::{At, restored, stored},
};
use crate::{
    model::{RunId, TenantId},
    ports::{ArtifactCursor, ArtifactIndex, ArtifactPlace, ArtifactRow, Page, StoreError},
    store::place::Place,
};

/// How often an artifact may be gone between the look at it and its replacement.
const PATIENCE: usize = 5;

#[async_trait]
impl ArtifactIndex for PgStore {
    async fn put_artifact(&self, artifact: &ArtifactRow) -> Result<Option<ArtifactRow>, StoreError> {
        for _ in 0..PATIENCE {
            let put = self.rows(include_str!("queries/put_artifact.sql"), columns(artifact)?).await?;
            match scalar(&put)? {
                None => return Err(StoreError::Refused(format!("there is no run {}", artifact.run))),
                Some(true) => return Ok(None),
                Some(false) => {}
            }
            let rows = self.rows(include_str!("queries/replace_artifact.sql"), columns(artifact)?).await?;
            let Some(row) = rows.first() else { continue };
            return decode::<ArtifactRecord, _>(row).map(Some);
        }
        Err(StoreError::Busy(format!("the artifact `{}` comes and goes", artifact.name)))
    }

    async fn artifact(&self, tenant: TenantId, artifact: Uuid) -> Result<Option<ArtifactRow>, StoreError> {
        let rows = self.rows(include_str!("queries/artifact.sql"), arguments!(tenant.0, artifact)).await?;
        rows.first().map(decode::<ArtifactRecord, _>).transpose()
    }

    async fn artifacts(
        &self,
        run: RunId,
        after: Option<&ArtifactCursor>,
        limit: usize,
    ) -> Result<Page<ArtifactRow>, StoreError> {
        let (name, step) = after.map(|(name, step)| (&**name, &**step)).unwrap_or_default();
        let (name, step) = (stored(name).into_owned(), stored(step).into_owned());
        let arguments = arguments!(run.0, name, step, arguments::one_more(limit));
        let rows = self.rows(include_str!("queries/artifacts.sql"), arguments).await?;
        page::<ArtifactRecord, _>(&rows, limit)
    }
}

/// In the order of `queries/put_artifact.sql`.
fn columns(artifact: &ArtifactRow) -> Result<PgArguments, StoreError> {
    let text = |text: &str| stored(text).into_owned();
    let (key, url) = match &artifact.place {
        ArtifactPlace::Stored(key) => (Some(text(key)), None),
        ArtifactPlace::Link(url) => (None, Some(text(url))),
    };
    Ok(arguments!(
        artifact.id,
        artifact.run.0,
        artifact.tenant.0,
        text(artifact.step.as_deref().unwrap_or_default()),
        text(&artifact.name),
        artifact.kind.as_str(),
        text(&artifact.media_type),
        i64::try_from(artifact.size).unwrap_or(i64::MAX),
        artifact.digest.0.to_vec(),
        key,
        url,
        At(artifact.created_at),
        text(&artifact.created_by),
    ))
}

#[derive(FromRow)]
struct ArtifactRecord {
    id: Uuid,
    run_id: Uuid,
    tenant_id: Uuid,
    step: String,
    name: String,
    kind: String,
    media_type: String,
    size: i64,
    digest: Vec<u8>,
    artifact: Option<String>,
    url: Option<String>,
    created_at: At,
    created_by: String,
}

impl TryFrom<ArtifactRecord> for ArtifactRow {
    type Error = StoreError;

    fn try_from(record: ArtifactRecord) -> Result<ArtifactRow, StoreError> {
        let place = Place { table: "artifacts", row: format!("{} {}", record.id, record.name) };
        let content = match (record.artifact, record.url) {
            (Some(key), None) => ArtifactPlace::Stored(restored(key)),
            (None, Some(url)) => ArtifactPlace::Link(restored(url)),
            _ => return Err(place.corrupt("artifact", "neither stored nor a link")),
        };
        Ok(ArtifactRow {
            id: record.id,
            run: RunId(record.run_id),
            tenant: TenantId(record.tenant_id),
            kind: place.word("kind", &record.kind)?,
            size: place.number("size", record.size)?,
            digest: place.digest("digest", record.digest)?,
            step: Some(restored(record.step)).filter(|step| !step.is_empty()),
            name: restored(record.name),
            media_type: restored(record.media_type),
            place: content,
            created_at: record.created_at.0,
            created_by: restored(record.created_by),
        })
    }
}
