//! Sessions.

use async_trait::async_trait;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    PgStore,
    arguments::{self, arguments},
    errors::store_error,
    records::{decode, page, scalar},
    types::{At, restored, restored_json, stored},
};
use crate::{
    model::{Micros, SessionId, TenantId},
    ports::{
        Creation, Idempotency, IdempotencyStore, Page, SessionChange, SessionFilter, SessionRow, SessionStore,
        StoreError,
    },
    store::{check, place::Place},
};

#[async_trait]
impl SessionStore for PgStore {
    async fn create_session(
        &self,
        session: &SessionRow,
        idempotency: Option<&Idempotency>,
    ) -> Result<Creation, StoreError> {
        check::session(session)?;
        let labels = arguments::json(&session.labels);
        let kept = idempotency.map(|wanted| &wanted.answer);
        let arguments = arguments!(
            session.id.0,
            session.tenant.0,
            stored(&session.name).into_owned(),
            labels,
            At(session.created_at),
            stored(&session.created_by).into_owned(),
            idempotency.map(|wanted| stored(&wanted.key).into_owned()),
            kept.map(|answer| answer.request.0.to_vec()),
            kept.map(|answer| i32::from(answer.status)),
            kept.map(|answer| answer.body.clone()),
            kept.map(|answer| At(answer.created_at)),
        );
        let sent = self.link.send(include_str!("queries/create_session.sql"), arguments).await;
        let created = match sent.rows {
            Ok(rows) => scalar(&rows)?.unwrap_or(false),
            Err(error) => return self.created_unseen(session, sent.uncertain, &error).await,
        };
        if created {
            return Ok(Creation::Created);
        }
        self.known(session, idempotency).await
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
        page::<SessionRecord, _>(&rows, filter.limit)
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

impl PgStore {
    /// After a lost answer, the session that is in the way may be the one that was to be created.
    async fn created_unseen(
        &self,
        session: &SessionRow,
        uncertain: bool,
        error: &sqlx::Error,
    ) -> Result<Creation, StoreError> {
        if uncertain && self.session(session.tenant, session.id).await?.as_ref() == Some(session) {
            return Ok(Creation::Created);
        }
        Err(store_error(error))
    }

    /// What a known key answers.
    async fn known(&self, session: &SessionRow, idempotency: Option<&Idempotency>) -> Result<Creation, StoreError> {
        let Some(wanted) = idempotency else { return Err(unsettled()) };
        let Some(kept) = self.idempotent_answer(wanted.tenant, &wanted.key).await? else { return Err(unsettled()) };
        if kept.request != wanted.answer.request {
            return Ok(Creation::Mismatched);
        }
        // After a lost answer the key may have been kept with this very session.
        let mine = kept == wanted.answer && self.session(session.tenant, session.id).await?.is_some();
        Ok(if mine { Creation::Created } else { Creation::Replayed(kept) })
    }
}

fn unsettled() -> StoreError {
    StoreError::Busy("what the request depends on does not come to rest".to_owned())
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
            labels: at.json("labels", &restored_json(record.labels))?,
            created_at: record.created_at.0,
            created_by: restored(record.created_by),
            archived_at: record.archived_at.map(|at| at.0),
        })
    }
}
