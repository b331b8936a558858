//! Sessions: groups of runs that people work on together.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::SubmitError;
use crate::{
    model::{Digest, Lane, SessionId, TenantId},
    ports::{
        Clock, Idempotency, IdempotentAnswer, Ids, LiveCount, Page, SessionChange, SessionFilter, SessionRow,
        SessionStore, Store, StoreError,
    },
};

/// A session to be opened.
#[derive(Debug, Clone)]
pub struct NewSession {
    pub name: String,
    pub labels: Map<String, Value>,
    pub created_by: String,
}

/// A session with what waits and runs in its lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionView {
    pub row: SessionRow,
    /// The lanes A to D.
    pub lanes: [LaneCount; 4],
}

/// What waits and runs in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneCount {
    pub lane: Lane,
    pub queued: u64,
    /// Claimed ones as well.
    pub running: u64,
}

/// The sums of the counts, lane by lane.
pub(super) fn by_lane<'a>(counts: impl Iterator<Item = &'a LiveCount>) -> [LaneCount; 4] {
    let mut lanes = [Lane::A, Lane::B, Lane::C, Lane::D].map(|lane| LaneCount { lane, queued: 0, running: 0 });
    for count in counts {
        for lane in lanes.iter_mut().filter(|lane| lane.lane == count.lane) {
            lane.queued += count.queued;
            lane.running += count.running;
        }
    }
    lanes
}

#[derive(Debug, thiserror::Error)]
pub enum SessionsError {
    #[error("no session {0}")]
    NotFound(SessionId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A key that makes a session be opened once, and the answer to keep.
pub type AnswerWithSession<'a> = dyn Fn(&SessionView) -> (u16, Vec<u8>) + Send + Sync + 'a;

/// What became of a request to open a session.
#[derive(Debug)]
pub enum Opened {
    Created(SessionView),
    /// The same request came before: this was its answer.
    Replayed(IdempotentAnswer),
}

/// The service over the sessions of one tenant. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    rows: Arc<dyn SessionStore>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    tenant: TenantId,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Sessions {
    /// `store` has the runs of the sessions.
    pub fn new(
        rows: Arc<dyn SessionStore>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        tenant: TenantId,
    ) -> Sessions {
        Sessions { rows, store, clock, ids, tenant }
    }

    /// Opens a session; with a key (and the digest of the request), once for each key.
    pub async fn create(
        &self,
        new: NewSession,
        once: Option<(String, Digest)>,
        answer: &AnswerWithSession<'_>,
    ) -> Result<Opened, SubmitError> {
        let created_at = self.clock.now();
        let NewSession { name, labels, created_by } = new;
        let (id, tenant) = (self.ids.session_id(), self.tenant);
        let row = SessionRow { id, tenant, name, labels, created_at, created_by, archived_at: None };
        let view = SessionView { row, lanes: by_lane([].iter()) };
        let idempotency = once.map(|(key, request)| {
            let (status, body) = answer(&view);
            Idempotency { tenant, key, answer: IdempotentAnswer { request, status, body, created_at } }
        });
        let creation = self.rows.create_session(&view.row, idempotency.as_ref()).await?;
        Ok(SubmitError::check(creation)?.map_or(Opened::Created(view), Opened::Replayed))
    }

    pub async fn get(&self, session: SessionId) -> Result<SessionView, SessionsError> {
        let row = self.rows.session(self.tenant, session).await?.ok_or(SessionsError::NotFound(session))?;
        Ok(self.with_lanes(vec![row]).await?.remove(0))
    }

    /// Newest first.
    pub async fn list(&self, filter: &SessionFilter) -> Result<Page<SessionView>, SessionsError> {
        let page = self.rows.sessions(self.tenant, filter).await?;
        Ok(Page { items: self.with_lanes(page.items).await?, more: page.more })
    }

    /// Renames, archives or reopens a session.
    pub async fn update(&self, session: SessionId, change: &SessionChange) -> Result<SessionView, SessionsError> {
        let row = self.rows.update_session(self.tenant, session, change, self.clock.now()).await?;
        let row = row.ok_or(SessionsError::NotFound(session))?;
        Ok(self.with_lanes(vec![row]).await?.remove(0))
    }

    /// One count of all live runs, whatever the number of sessions.
    async fn with_lanes(&self, rows: Vec<SessionRow>) -> Result<Vec<SessionView>, StoreError> {
        let counts = if rows.is_empty() { Vec::new() } else { self.store.live_counts(self.tenant).await? };
        let view = |row: SessionRow| {
            let lanes = by_lane(counts.iter().filter(|count| count.session == Some(row.id)));
            SessionView { row, lanes }
        };
        Ok(rows.into_iter().map(view).collect())
    }
}
