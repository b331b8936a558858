//! Sessions.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};

use super::{
    access::Caller,
    documents,
    extract::{Json, Path, Query, within_limits},
    idempotency::{self, Keyed},
    problem::{Code, Problem},
    respond,
};
use crate::{
    api::{self, CreateSession, ListSessionsQuery, UpdateSession},
    control::{NewSession, Opened, SessionView, Sessions, SessionsError},
    model::SessionId,
    ports::{SessionChange, SessionFilter},
};

/// Sessions on a page where nothing else is asked for, and at most.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;

pub fn routes(sessions: Sessions) -> Router {
    Router::new()
        .route("/v1/sessions", get(list).post(create))
        .route("/v1/sessions/{session}", get(read).patch(update))
        .with_state(sessions)
}

/// `GET /v1/sessions`
async fn list(
    State(sessions): State<Sessions>,
    headers: HeaderMap,
    Query(query): Query<ListSessionsQuery>,
) -> Result<Response, Problem> {
    within_limits(&query)?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_request("limit", format!("a number from 1 to {MAX_PAGE}")));
    }
    let before = query.cursor.as_deref().map(respond::position::<SessionId>).transpose()?;
    let page = sessions.list(&SessionFilter { archived: query.archived, before, limit: limit as usize }).await?;
    let next_cursor = match page.items.last() {
        Some(last) if page.more => Some(respond::cursor(&last.row.id)?),
        _ => None,
    };
    let items = page.items.iter().map(documents::session).collect();
    respond::cached(&headers, &api::SessionList { items, next_cursor })
}

/// `POST /v1/sessions`
async fn create(
    State(sessions): State<Sessions>,
    caller: Caller,
    Keyed { body, once, .. }: Keyed<CreateSession>,
) -> Result<Response, Problem> {
    within_limits(&body)?;
    let CreateSession { name, labels } = body;
    let new = NewSession { name, labels: labels.unwrap_or_default(), created_by: caller.actor.to_string() };
    let answer = |view: &SessionView| (201, serde_json::to_vec(&documents::session(view)).unwrap_or_default());
    match sessions.create(new, once, &answer).await? {
        Opened::Created(view) => respond::created(&format!("/v1/sessions/{}", view.row.id), &documents::session(&view)),
        Opened::Replayed(answer) => idempotency::replayed_made(answer, "/v1/sessions"),
    }
}

/// `GET /v1/sessions/{session}`
async fn read(
    State(sessions): State<Sessions>,
    headers: HeaderMap,
    Path(session): Path<SessionId>,
) -> Result<Response, Problem> {
    respond::cached(&headers, &documents::session(&sessions.get(session).await?))
}

/// `PATCH /v1/sessions/{session}`
async fn update(
    State(sessions): State<Sessions>,
    Path(session): Path<SessionId>,
    Json(body): Json<UpdateSession>,
) -> Result<Response, Problem> {
    within_limits(&body)?;
    let change = SessionChange { name: body.name, archived: body.archived };
    respond::json(StatusCode::OK, &documents::session(&sessions.update(session, &change).await?))
}

impl From<SessionsError> for Problem {
    fn from(error: SessionsError) -> Problem {
        match error {
            SessionsError::NotFound(_) => Problem::new(Code::SessionNotFound, error.to_string()),
            SessionsError::Store(error) => error.into(),
        }
    }
}
