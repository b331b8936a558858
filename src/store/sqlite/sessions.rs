//! Sessions.

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    create, rows,
};
use crate::{
    model::{Micros, SessionId, TenantId},
    ports::{Creation, Idempotency, Page, SessionChange, SessionFilter, SessionRow, SessionStore, StoreError},
    store::check,
};

#[async_trait]
impl SessionStore for SqliteStore {
    async fn create_session(
        &self,
        session: &SessionRow,
        idempotency: Option<&Idempotency>,
    ) -> Result<Creation, StoreError> {
        check::session(session)?;
        create::session(self, session, idempotency).await
    }

    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionRow>, StoreError> {
        let rows = self.read(include_str!("queries/session.sql"), arguments!(id(tenant.0), id(session.0))).await?;
        rows.first().map(rows::session).transpose()
    }

    async fn sessions(&self, tenant: TenantId, filter: &SessionFilter) -> Result<Page<SessionRow>, StoreError> {
        let last = match filter.before {
            None => Some(Uuid::max()),
            Some(before) => before.0.as_u128().checked_sub(1).map(Uuid::from_u128),
        };
        let Some(last) = last else { return Ok(Page { items: Vec::new(), more: false }) };
        let limit = arguments::limit(filter.limit).saturating_add(1);
        let sql = if filter.archived {
            include_str!("queries/sessions.sql")
        } else {
            include_str!("queries/sessions_open.sql")
        };
        let rows = self.read(sql, arguments!(id(tenant.0), id(last), limit)).await?;
        let mut items = rows.iter().map(rows::session).collect::<Result<Vec<_>, _>>()?;
        let more = items.len() > filter.limit;
        items.truncate(filter.limit);
        Ok(Page { items, more })
    }

    async fn update_session(
        &self,
        tenant: TenantId,
        session: SessionId,
        change: &SessionChange,
        now: Micros,
    ) -> Result<Option<SessionRow>, StoreError> {
        let arguments = arguments!(id(tenant.0), id(session.0), change.name.clone(), change.archived, now.0);
        let rows = self.write(include_str!("queries/update_session.sql"), arguments).await?;
        rows.first().map(rows::session).transpose()
    }
}
