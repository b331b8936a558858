//! Workers.

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};

use super::{
    documents,
    extract::{Path, Query, within_limits},
    problem::{Code, Problem},
    respond,
};
use crate::{
    api::{self, ListWorkersQuery},
    control::{Workers, WorkersError},
    model::WorkerId,
};

/// Workers on a page where nothing else is asked for, and at most.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;

pub fn routes(workers: Workers) -> Router {
    Router::new().route("/v1/workers", get(list)).route("/v1/workers/{worker}/drain", post(drain)).with_state(workers)
}

/// `GET /v1/workers`
async fn list(State(workers): State<Workers>, Query(query): Query<ListWorkersQuery>) -> Result<Response, Problem> {
    within_limits(&query)?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_request("limit", format!("a number from 1 to {MAX_PAGE}")));
    }
    let after = query.cursor.as_deref().map(respond::position::<WorkerId>).transpose()?;
    let page = workers.list(after, limit as usize).await?;
    let next_cursor = match page.items.last() {
        Some(last) if page.more => Some(respond::cursor(&last.state.row.id)?),
        _ => None,
    };
    let items = page.items.iter().map(documents::worker).collect();
    respond::json(StatusCode::OK, &api::WorkerList { items, next_cursor })
}

/// `POST /v1/workers/{worker}/drain`
async fn drain(State(workers): State<Workers>, Path(worker): Path<WorkerId>) -> Result<Response, Problem> {
    respond::json(StatusCode::ACCEPTED, &documents::worker(&workers.drain(worker).await?))
}

impl From<WorkersError> for Problem {
    fn from(error: WorkersError) -> Problem {
        match error {
            WorkersError::NotFound(_) => Problem::new(Code::WorkerNotFound, error.to_string()),
            WorkersError::NoLease(_) | WorkersError::Gone(_) => {
                Problem::new(Code::WorkerNotDrainable, error.to_string())
            }
            WorkersError::Store(error) => error.into(),
        }
    }
}
