//! Sessions.

use async_trait::async_trait;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    PgStore,
    arguments::{self, arguments},
    create,
    rows::{Place, decode, decode_all},
    types::{At, restored, stored},
};
use crate::{
    model::{Micros, SessionId, TenantId},
    ports::{Creation, Idempotency, Page, SessionChange, SessionFilter, SessionRow, SessionStore, StoreError},
    store::check,
};

#[async_trait]
impl SessionStore for PgStore {
    async fn create_session(
        &self,
        session: &SessionRow,
        idempotency: Option<&Idempotency>,
    ) -> Result<Creation, StoreError> {
        check::session(session)?;
        create::session(self, session, idempotency).await
    }

    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionRow>, StoreError> {
        let rows = self.rows(include_str!("queries/session.sql"), arguments!(tenant.0, session.0)).await?;
        rows.first().map(decode::<SessionRecord, _>).transpose()
    }

    async fn sessions(&self, tenant: TenantId, filter: &SessionFilter) -> Result<Page<SessionRow>, StoreError> {
        let last = match filter.before {
            None => Some(Uuid::max()),
            Some(before) => before.0.as_u128().checked_sub(1).map(Uuid::from_u128),
        };
        let Some(last) = last else { return Ok(Page { items: Vec::new(), more: false }) };
        let sql = if filter.archived {
            include_str!("queries/sessions.sql")
        } else {
            include_str!("queries/sessions_open.sql")
        };
        let rows = self.rows(sql, arguments!(tenant.0, last, arguments::one_more(filter.limit))).await?;
        Ok(arguments::page(decode_all::<SessionRecord, _>(&rows)?, filter.limit))
    }

    async fn update_session(
        &self,
        tenant: TenantId,
        session: SessionId,
        change: &SessionChange,
        now: Micros,
    ) -> Result<Option<SessionRow>, StoreError> {
        let name = change.name.as_deref().map(|name| stored(name).into_owned());
        let arguments = arguments!(tenant.0, session.0, name, change.archived, At(now));
        let rows = self.rows(include_str!("queries/update_session.sql"), arguments).await?;
        rows.first().map(decode::<SessionRecord, _>).transpose()
    }
}

#[derive(Debug, FromRow)]
pub(super) struct SessionRecord {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    labels: String,
    created_at: At,
    created_by: String,
    archived_at: Option<At>,
}

impl TryFrom<SessionRecord> for SessionRow {
    type Error = StoreError;

    fn try_from(record: SessionRecord) -> Result<SessionRow, StoreError> {
        let at = Place { table: "sessions", row: record.id.to_string() };
        Ok(SessionRow {
            id: SessionId(record.id),
            tenant: TenantId(record.tenant_id),
            name: restored(record.name),
            labels: at.json("labels", record.labels)?,
            created_at: record.created_at.0,
            created_by: restored(record.created_by),
            archived_at: record.archived_at.map(|at| at.0),
        })
    }
}
