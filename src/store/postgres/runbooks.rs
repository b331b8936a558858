//! The versions of runbooks.

use async_trait::async_trait;
use sqlx::{
    FromRow, Row,
    postgres::{PgArguments, PgRow},
};

use super::{
    PgStore,
    arguments::{self, arguments},
    errors::store_error,
    link::Sent,
    records::{decode, page, scalar},
    types::{At, restored, stored},
};
use crate::{
    model::{Digest, TenantId},
    ports::{NewRunbookVersion, Page, RunbookPut, RunbookStore, RunbookVersionRow, StoreError},
    store::place::Place,
};

/// How often others may be faster. Each time one of them has made a version.
const PATIENCE: usize = 1_000;

#[async_trait]
impl RunbookStore for PgStore {
    async fn put_version(&self, tenant: TenantId, version: &NewRunbookVersion) -> Result<RunbookPut, StoreError> {
        let mut uncertain = false;
        for _ in 0..PATIENCE {
            let latest = self.latest_version(tenant, &version.name).await?;
            if let Some(latest) = &latest
                && self.is_enough(tenant, version, latest).await?
            {
                // After a lost answer the latest version may be the one that was just made.
                let mine = uncertain && latest.origin == version.origin && latest.created_at == version.created_at;
                let latest = latest.clone();
                return Ok(if mine { RunbookPut::Created(latest) } else { RunbookPut::Unchanged(latest) });
            }
            let before = latest.map_or(0, |latest| i64::from(latest.version));
            let sent = self.make_version(tenant, version, before).await?;
            uncertain |= sent.uncertain;
            let rows = sent.rows.map_err(|error| store_error(&error))?;
            if let Some(row) = rows.first() {
                return decode::<VersionRecord, _>(row).map(RunbookPut::Created);
            }
        }
        Err(StoreError::Busy(format!("others keep making versions of the runbook {}", version.name)))
    }

    async fn latest_version(&self, tenant: TenantId, name: &str) -> Result<Option<RunbookVersionRow>, StoreError> {
        self.one_version(arguments!(tenant.0, stored(name).into_owned(), None::<i64>)).await
    }

    async fn version(
        &self,
        tenant: TenantId,
        name: &str,
        version: u32,
    ) -> Result<Option<RunbookVersionRow>, StoreError> {
        self.one_version(arguments!(tenant.0, stored(name).into_owned(), i64::from(version))).await
    }

    async fn version_source(&self, tenant: TenantId, name: &str, version: u32) -> Result<Option<String>, StoreError> {
        let arguments = arguments!(tenant.0, stored(name).into_owned(), i64::from(version));
        let rows = self.rows(include_str!("queries/runbook_version_source.sql"), arguments).await?;
        Ok(scalar(&rows)?.map(restored))
    }

    async fn latest_versions(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        // No name is empty, so all are after the empty one.
        let after = stored(after.unwrap_or_default()).into_owned();
        let arguments = arguments!(tenant.0, after, arguments::one_more(limit));
        let rows = self.rows(include_str!("queries/runbooks.sql"), arguments).await?;
        page::<VersionRecord, _>(&rows, limit)
    }

    async fn versions(
        &self,
        tenant: TenantId,
        name: &str,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        let before = before.map_or(i64::MAX, i64::from);
        let arguments = arguments!(tenant.0, stored(name).into_owned(), before, arguments::one_more(limit));
        let rows = self.rows(include_str!("queries/runbook_versions.sql"), arguments).await?;
        page::<VersionRecord, _>(&rows, limit)
    }

    async fn unnamed_bundles(&self, bundles: &[Digest]) -> Result<Vec<Digest>, StoreError> {
        let names: Vec<String> = bundles.iter().map(Digest::to_string).collect();
        let rows = self.rows(include_str!("queries/unnamed_bundles.sql"), arguments!(names)).await?;
        let digest = |row: &PgRow| -> Result<Digest, StoreError> {
            let text: String = row.try_get(0).map_err(|error| store_error(&error))?;
            text.parse().map_err(|_| StoreError::Unavailable("a digest came back changed".to_owned()))
        };
        rows.iter().map(digest).collect()
    }
}

impl PgStore {
    async fn one_version(&self, arguments: PgArguments) -> Result<Option<RunbookVersionRow>, StoreError> {
        let rows = self.rows(include_str!("queries/runbook_version.sql"), arguments).await?;
        rows.first().map(decode::<VersionRecord, _>).transpose()
    }

    /// Whether no version has to be made after `latest`.
    async fn is_enough(
        &self,
        tenant: TenantId,
        version: &NewRunbookVersion,
        latest: &RunbookVersionRow,
    ) -> Result<bool, StoreError> {
        if latest.digest == version.digest {
            return Ok(true);
        }
        if !version.once {
            return Ok(false);
        }
        let name = stored(&version.name).into_owned();
        let origin = stored(&version.origin).into_owned();
        let arguments = arguments!(tenant.0, name, origin, i64::from(latest.version));
        let digest: Option<Vec<u8>> = scalar(&self.rows(include_str!("queries/origin_digest.sql"), arguments).await?)?;
        Ok(digest.is_some_and(|digest| digest == version.digest.0))
    }

    async fn make_version(
        &self,
        tenant: TenantId,
        version: &NewRunbookVersion,
        before: i64,
    ) -> Result<Sent, StoreError> {
        let arguments = arguments!(
            tenant.0,
            stored(&version.name).into_owned(),
            version.digest.0.to_vec(),
            version.plan.0.to_vec(),
            version.bundle.map(|bundle| bundle.0.to_vec()),
            stored(&version.origin).into_owned(),
            At(version.created_at),
            stored(&version.source).into_owned(),
            before,
        );
        Ok(self.link.send(include_str!("queries/put_runbook_version.sql"), arguments).await)
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
    created_at: At,
}

impl TryFrom<VersionRecord> for RunbookVersionRow {
    type Error = StoreError;

    fn try_from(record: VersionRecord) -> Result<RunbookVersionRow, StoreError> {
        let at = Place { table: "runbook_versions", row: format!("{}@{}", record.name, record.version) };
        let bundle = record.bundle_digest.map(|bytes| at.digest("bundle_digest", bytes)).transpose()?;
        Ok(RunbookVersionRow {
            version: at.number("version", record.version)?,
            digest: at.digest("digest", record.digest)?,
            plan: at.digest("plan_digest", record.plan_digest)?,
            bundle,
            origin: restored(record.origin).into(),
            created_at: record.created_at.0,
            name: restored(record.name).into(),
        })
    }
}
