//! Runs: lists of them, one of them, and what they are told.

mod create;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::{get, post},
};

use super::{
    access::Caller,
    documents,
    extract::{Json, Path, Query, within_limits},
    problem::{Code, Problem},
    respond,
};
use crate::{
    api::{self, CancelRun, ListRunsQuery, ResolveStep, ResolveStepVerdict},
    control::{Runbooks, Runs, RunsError},
    engine::Verdict,
    model::{RunId, SessionId},
    ports::{Clock, LabelFilter, RunFilter},
};

/// Runs on a page where nothing else is asked for, and at most.
const PAGE: u32 = 50;
const MAX_PAGE: u32 = 200;

/// What the handlers of runs need.
#[derive(Clone)]
struct Services {
    runs: Runs,
    runbooks: Runbooks,
    clock: Arc<dyn Clock>,
}

pub fn routes(runs: Runs, runbooks: Runbooks, clock: Arc<dyn Clock>) -> Router {
    Router::new()
        .route("/v1/runs", get(list).post(create::one))
        .route("/v1/runs/batch", post(create::many))
        .route("/v1/runs/{id}", get(read))
        .route("/v1/runs/{id}/steps", get(steps))
        .route("/v1/runs/{id}/steps/{step}/resolve", post(resolve))
        .route("/v1/runs/{id}/cancel", post(cancel))
        .route("/v1/runs/{id}/why", get(why))
        .with_state(Services { runs, runbooks, clock })
}

/// `GET /v1/runs`
async fn list(
    State(Services { runs, clock, .. }): State<Services>,
    headers: HeaderMap,
    Query(query): Query<ListRunsQuery>,
) -> Result<Response, Problem> {
    within_limits(&query)?;
    let page = runs.list(&filter(query)?).await?;
    let next_cursor = match page.items.last() {
        Some(last) if page.more => Some(respond::cursor(&last.id)?),
        _ => None,
    };
    let now = clock.now();
    let items = page.items.iter().map(|row| documents::run(row, now)).collect();
    respond::cached(&headers, &api::RunList { items, next_cursor })
}

fn filter(query: ListRunsQuery) -> Result<RunFilter, Problem> {
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_request("limit", format!("a number from 1 to {MAX_PAGE}")));
    }
    Ok(RunFilter {
        status: query.status,
        lane: query.lane,
        runbook: query.runbook,
        session: query.session.map(SessionId),
        labels: query.label.iter().map(|label| label_filter(label)).collect(),
        trigger: query.trigger.map(|kind| kind.as_str().to_owned()),
        actor: query.actor,
        since: query.since,
        until: query.until,
        text: query.text,
        id_prefix: None,
        before: query.cursor.as_deref().map(respond::position::<RunId>).transpose()?,
        limit: limit as usize,
    })
}

/// `name=value`, or `name`.
fn label_filter(text: &str) -> LabelFilter {
    match text.split_once('=') {
        Some((name, value)) => LabelFilter { name: name.to_owned(), value: Some(value.to_owned()) },
        None => LabelFilter { name: text.to_owned(), value: None },
    }
}

/// `GET /v1/runs/{id}`: one read of one row.
async fn read(
    State(Services { runs, clock, .. }): State<Services>,
    headers: HeaderMap,
    Path(run): Path<RunId>,
) -> Result<Response, Problem> {
    let row = runs.row(run).await?;
    respond::cached_by(&headers, &documents::run_version(&row), || {
        respond::json(StatusCode::OK, &documents::run(&row, clock.now()))
    })
}

/// `GET /v1/runs/{id}/steps`
async fn steps(
    State(Services { runs, clock, .. }): State<Services>,
    headers: HeaderMap,
    Path(run): Path<RunId>,
) -> Result<Response, Problem> {
    let now = clock.now();
    let items = runs.steps(run).await?.into_iter().map(|view| documents::step(view, now)).collect();
    respond::cached(&headers, &api::StepList { run_id: run, items })
}

/// `GET /v1/runs/{id}/why`
async fn why(State(Services { runs, .. }): State<Services>, Path(run): Path<RunId>) -> Result<Response, Problem> {
    let (row, why) = runs.why(run).await?;
    respond::json(StatusCode::OK, &documents::why(&row, why))
}

/// `POST /v1/runs/{id}/cancel`
async fn cancel(
    State(Services { runs, clock, .. }): State<Services>,
    caller: Caller,
    Path(run): Path<RunId>,
    body: Option<Json<CancelRun>>,
) -> Result<Response, Problem> {
    let CancelRun { reason, force } =
        body.map(|Json(body)| within_limits(&body).map(|()| body)).transpose()?.unwrap_or_default();
    runs.cancel(run, &caller.actor, &reason.unwrap_or_default(), force).await?;
    accepted(&runs, run, &*clock).await
}

/// `POST /v1/runs/{id}/steps/{step}/resolve`
async fn resolve(
    State(Services { runs, clock, .. }): State<Services>,
    caller: Caller,
    Path((run, step)): Path<(RunId, String)>,
    Json(body): Json<ResolveStep>,
) -> Result<Response, Problem> {
    within_limits(&body)?;
    let verdict = match body.verdict {
        ResolveStepVerdict::Retry => Verdict::Retry,
        ResolveStepVerdict::Succeeded => Verdict::Succeeded,
        ResolveStepVerdict::Failed => Verdict::Failed,
    };
    runs.resolve(run, &step, verdict, &caller.actor, &body.note.unwrap_or_default()).await?;
    accepted(&runs, run, &*clock).await
}

/// The run as it is now; it takes in what it was told when it gets to it.
async fn accepted(runs: &Runs, run: RunId, clock: &dyn Clock) -> Result<Response, Problem> {
    let row = runs.row(run).await?;
    respond::json(StatusCode::ACCEPTED, &documents::run(&row, clock.now()))
}

impl From<RunsError> for Problem {
    fn from(error: RunsError) -> Problem {
        let detail = error.to_string();
        match error {
            RunsError::NotFound(_) => Problem::new(Code::RunNotFound, detail),
            RunsError::Expired(_) => Problem::new(Code::RunExpired, detail),
            RunsError::Ended { .. } => Problem::new(Code::RunEnded, detail),
            RunsError::NoSuchStep { .. } => Problem::new(Code::StepNotFound, detail),
            RunsError::NotHeld { .. } => Problem::new(Code::StepNotHeld, detail),
            RunsError::Own(error) => error.into(),
            RunsError::Store(error) => error.into(),
        }
    }
}
