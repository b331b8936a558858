//! The versions of runbooks.

use async_trait::async_trait;
use sqlx::{
    FromRow, Row,
    sqlite::{SqliteArguments, SqliteRow},
};

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    errors::store_error,
    rows::{decode, decode_all, scalar},
};
use crate::{
    model::{Digest, Micros, TenantId},
    ports::{NewRunbookVersion, Page, RunbookPut, RunbookStore, RunbookVersionRow, StoreError},
    store::place::Place,
};

#[async_trait]
impl RunbookStore for SqliteStore {
    async fn put_version(&self, tenant: TenantId, version: &NewRunbookVersion) -> Result<RunbookPut, StoreError> {
        let arguments = arguments!(
            id(tenant.0),
            version.name.to_string(),
            version.digest.0.to_vec(),
            version.plan.0.to_vec(),
            version.bundle.map(|bundle| bundle.0.to_vec()),
            version.origin.to_string(),
            version.created_at.0,
            version.source.to_string(),
            version.once
        );
        let rows = self.write(include_str!("queries/put_runbook_version.sql"), arguments).await?;
        let row = rows.first().ok_or_else(|| StoreError::Unavailable("a put answered nothing".to_owned()))?;
        let latest = decode::<VersionRecord, _>(row)?;
        let created: bool = row.try_get("created").map_err(|error| store_error(&error))?;
        Ok(if created { RunbookPut::Created(latest) } else { RunbookPut::Unchanged(latest) })
    }

    async fn latest_version(&self, tenant: TenantId, name: &str) -> Result<Option<RunbookVersionRow>, StoreError> {
        self.one_version(arguments!(id(tenant.0), name.to_owned(), None::<i64>)).await
    }

    async fn version(
        &self,
        tenant: TenantId,
        name: &str,
        version: u32,
    ) -> Result<Option<RunbookVersionRow>, StoreError> {
        self.one_version(arguments!(id(tenant.0), name.to_owned(), i64::from(version))).await
    }

    async fn version_source(&self, tenant: TenantId, name: &str, version: u32) -> Result<Option<String>, StoreError> {
        let arguments = arguments!(id(tenant.0), name.to_owned(), i64::from(version));
        scalar(&self.read(include_str!("queries/runbook_version_source.sql"), arguments).await?)
    }

    async fn latest_versions(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        // No name is empty, so all are after the empty one.
        let arguments = arguments!(id(tenant.0), after.unwrap_or_default().to_owned(), one_more(limit));
        self.version_page(include_str!("queries/runbooks.sql"), arguments, limit).await
    }

    async fn versions(
        &self,
        tenant: TenantId,
        name: &str,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        let before = before.map_or(i64::MAX, i64::from);
        let arguments = arguments!(id(tenant.0), name.to_owned(), before, one_more(limit));
        self.version_page(include_str!("queries/runbook_versions.sql"), arguments, limit).await
    }

    async fn unnamed_bundles(&self, bundles: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let rows =
            self.read(include_str!("queries/unnamed_bundles.sql"), arguments!(arguments::json(&bundles))).await?;
        let digest = |row: &SqliteRow| -> Result<Digest, StoreError> {
            let text: String = row.try_get(0).map_err(|error| store_error(&error))?;
            text.parse().map_err(|_| StoreError::Unavailable("a digest came back changed".to_owned()))
        };
        rows.iter().map(digest).collect()
    }
}

/// One more than asked for tells whether there are more.
fn one_more(limit: usize) -> i64 {
    arguments::limit(limit).saturating_add(1)
}

impl SqliteStore {
    async fn one_version(&self, arguments: SqliteArguments) -> Result<Option<RunbookVersionRow>, StoreError> {
        let rows = self.read(include_str!("queries/runbook_version.sql"), arguments).await?;
        rows.first().map(decode::<VersionRecord, _>).transpose()
    }

    async fn version_page(
        &self,
        sql: &'static str,
        arguments: SqliteArguments,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        let mut items = decode_all::<VersionRecord, RunbookVersionRow>(&self.read(sql, arguments).await?)?;
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(Page { items, more })
    }
}

/// `runbook_versions` with the name.
#[derive(Debug, FromRow)]
struct VersionRecord {
    name: String,
    version: i64,
    digest: Vec<u8>,
    plan_digest: Vec<u8>,
    bundle_digest: Option<Vec<u8>>,
    origin: String,
    created_at: i64,
}

impl TryFrom<VersionRecord> for RunbookVersionRow {
    type Error = StoreError;

    fn try_from(record: VersionRecord) -> Result<RunbookVersionRow, StoreError> {
        let at = Place { table: "runbook_versions", row: format!("{}@{}", record.name, record.version) };
        let digest =
            |column, bytes: Vec<u8>| bytes.try_into().map(Digest).map_err(|_| at.corrupt(column, "not 32 bytes"));
        Ok(RunbookVersionRow {
            version: at.number("version", record.version)?,
            digest: digest("digest", record.digest)?,
            plan: digest("plan_digest", record.plan_digest)?,
            bundle: record.bundle_digest.map(|bytes| digest("bundle_digest", bytes)).transpose()?,
            origin: record.origin.into(),
            created_at: Micros(record.created_at),
            name: record.name.into(),
        })
    }
}
