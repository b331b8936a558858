//! Sessions.

use async_trait::async_trait;

use super::MemoryStore;
use crate::{
    model::{Micros, SessionId, TenantId},
    ports::{Creation, Idempotency, Page, SessionChange, SessionFilter, SessionRow, SessionStore, StoreError},
    store::check,
};

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create_session(
        &self,
        session: &SessionRow,
        idempotency: Option<&Idempotency>,
    ) -> Result<Creation, StoreError> {
        check::session(session)?;
        let mut state = self.state();
        if let Some(answer) = state.known(idempotency) {
            return Ok(answer);
        }
        if state.sessions.contains_key(&session.id) {
            return Err(StoreError::Refused(format!("session {} exists already", session.id)));
        }
        state.sessions.insert(session.id, session.clone());
        state.keep(idempotency);
        Ok(Creation::Created)
    }

    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionRow>, StoreError> {
        Ok(self.state().sessions.get(&session).filter(|row| row.tenant == tenant).cloned())
    }

    async fn sessions(&self, tenant: TenantId, filter: &SessionFilter) -> Result<Page<SessionRow>, StoreError> {
        let state = self.state();
        let mut found = state.sessions.values().rev().filter(|row| {
            row.tenant == tenant
                && (filter.archived || row.archived_at.is_none())
                && filter.before.is_none_or(|before| row.id < before)
        });
        let items = found.by_ref().take(filter.limit).cloned().collect();
        Ok(Page { items, more: found.next().is_some() })
    }

    async fn update_session(
        &self,
        tenant: TenantId,
        session: SessionId,
        change: &SessionChange,
        now: Micros,
    ) -> Result<Option<SessionRow>, StoreError> {
        let mut state = self.state();
        let Some(row) = state.sessions.get_mut(&session).filter(|row| row.tenant == tenant) else { return Ok(None) };
        if let Some(name) = &change.name {
            row.name.clone_from(name);
        }
        row.archived_at = match change.archived {
            None => row.archived_at,
            Some(true) => row.archived_at.or(Some(now)),
            Some(false) => None,
        };
        Ok(Some(row.clone()))
    }
}
