//! Sessions: groups of runs that people work on together, each with its four lanes.

use async_trait::async_trait;
use serde_json::{Map, Value};

use super::{Creation, Idempotency, Page, StoreError};
use crate::model::{Micros, SessionId, TenantId};

/// A session as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    pub id: SessionId,
    pub tenant: TenantId,
    pub name: String,
    pub labels: Map<String, Value>,
    pub created_at: Micros,
    pub created_by: String,
    /// Since when it takes no runs any more.
    pub archived_at: Option<Micros>,
}

/// Which sessions to list, newest first.
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Also archived ones.
    pub archived: bool,
    /// Only sessions created before this one (the cursor).
    pub before: Option<SessionId>,
    /// At most this many.
    pub limit: usize,
}

/// What to change in a session; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct SessionChange {
    pub name: Option<String>,
    /// Archives it, or opens it again. One that is archived already keeps its time.
    pub archived: Option<bool>,
}

/// Sessions by tenant and id.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Creates a session. An id that exists is `Refused`.
    async fn create_session(
        &self,
        session: &SessionRow,
        idempotency: Option<&Idempotency>,
    ) -> Result<Creation, StoreError>;

    async fn session(&self, tenant: TenantId, session: SessionId) -> Result<Option<SessionRow>, StoreError>;

    /// Newest first.
    async fn sessions(&self, tenant: TenantId, filter: &SessionFilter) -> Result<Page<SessionRow>, StoreError>;

    /// Changes a session and answers it as it is then; `None`: no such session.
    async fn update_session(
        &self,
        tenant: TenantId,
        session: SessionId,
        change: &SessionChange,
        now: Micros,
    ) -> Result<Option<SessionRow>, StoreError>;
}
