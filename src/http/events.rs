//! The events of runs: pages of them, and streams.

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    extract::{Path, Query},
    problem::{Code, Problem},
    respond, sse,
};
use crate::{
    control::{Change, Changes, EventRange, EventStream, HistoryError, Item, RangeError, Streams, parse_cursor},
    model::{Event, RunId, TenantId},
};

/// Events in a page where nothing else is asked for, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

const LAST_EVENT_ID: &str = "last-event-id";

pub fn routes(streams: Streams) -> Router {
    Router::new()
        .route("/v1/runs/{id}/events", get(list))
        .route("/v1/runs/{id}/events/stream", get(stream))
        .route("/v1/events/stream", get(changes))
        .with_state(streams)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    start_id: Option<String>,
    end_id: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Page {
    run_id: RunId,
    count: usize,
    has_more: bool,
    next_id: Option<String>,
    events: Vec<Event>,
}

/// `GET /v1/runs/{id}/events`
pub async fn list(
    State(streams): State<Streams>,
    Path(run): Path<RunId>,
    Query(query): Query<ListQuery>,
) -> Result<Response, Problem> {
    let start = EventRange::parse(query.start_id.as_deref(), None).map_err(|error| invalid("start_id", &error))?;
    let end = EventRange::parse(None, query.end_id.as_deref()).map_err(|error| invalid("end_id", &error))?;
    let limit = query.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::bad_request("limit", format!("a number from 1 to {MAX_PAGE}")));
    }
    let history = streams.history();
    history.row(run).await?;
    let page = history.page(run, EventRange { start: start.start, end: end.end }, limit).await?;
    let next_id = page.next.map(|id| id.to_string());
    let (count, has_more) = (page.events.len(), next_id.is_some());
    respond::json(StatusCode::OK, &Page { run_id: run, count, has_more, next_id, events: page.events })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamQuery {
    last_event_id: Option<String>,
}

/// `GET /v1/runs/{id}/events/stream`
pub async fn stream(
    State(streams): State<Streams>,
    Path(run): Path<RunId>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = match last_event_id(&headers, query.last_event_id)? {
        None => 0,
        Some((name, text)) => {
            let id = parse_cursor(&text).map_err(|error| invalid(name, &error))?;
            streams.history().row(run).await?;
            streams.history().cursor(run, id).await?
        }
    };
    Ok(sse::answer(OneRun { stream: streams.open(run, after).await?, id: run, closed: false }))
}

/// The last event that the client has: the header, which a browser sends when it connects again, goes before the
/// URL, which stays as it was. An empty one is none.
fn last_event_id(headers: &HeaderMap, query: Option<String>) -> Result<Option<(&'static str, String)>, Problem> {
    let header = headers.get(LAST_EVENT_ID).map(|value| value.to_str().map(str::to_owned)).transpose();
    let header = header.map_err(|_| invalid(LAST_EVENT_ID, &RangeError("(not text)".to_owned())))?;
    let given = [(LAST_EVENT_ID, header), ("last_event_id", query)];
    let given = given.into_iter().filter_map(|(name, text)| Some((name, text.filter(|text| !text.is_empty())?)));
    let given: Vec<_> = given.collect();
    // The one that is not needed must be an id all the same.
    for (name, text) in &given {
        parse_cursor(text).map_err(|error| invalid(name, &error))?;
    }
    Ok(given.into_iter().next())
}

fn invalid(name: &str, error: &RangeError) -> Problem {
    Problem::new(Code::InvalidEventId, format!("`{name}`: {error}")).field(name, error.to_string())
}

/// The frames of one run.
struct OneRun {
    stream: EventStream,
    id: RunId,
    closed: bool,
}

impl sse::Frames for OneRun {
    async fn next(&mut self) -> Option<Bytes> {
        if self.closed {
            return None;
        }
        match self.stream.next().await {
            Ok(Item::Event(shown)) => Some(shown.rendered(sse::event)),
            Ok(Item::End(status)) => {
                self.closed = true;
                Some(sse::word("close", &json!({"status": status.as_str()})))
            }
            // The client connects again and resumes.
            Ok(Item::Stopped) => None,
            Err(error) => {
                tracing::warn!(run = %self.id, %error, "a stream of events was cut off");
                None
            }
        }
    }
}

/// `GET /v1/events/stream`
async fn changes(State(streams): State<Streams>) -> Response {
    sse::answer(All(streams.changes(TenantId::DEFAULT)))
}

/// The frames of all runs.
struct All(Changes);

impl sse::Frames for All {
    async fn next(&mut self) -> Option<Bytes> {
        match self.0.next().await {
            Change::Sync => Some(sse::word("sync", &json!({}))),
            // Without an id, since nothing can be resumed.
            Change::Event(event) => Some(sse::word(&event.event.to_string(), &*event)),
            Change::Stopped => None,
        }
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Problem {
        let text = error.to_string();
        match error {
            HistoryError::NotFound(_) => Problem::new(Code::RunNotFound, text),
            HistoryError::Expired(_) => Problem::new(Code::RunExpired, text),
            HistoryError::Store(_)
            | HistoryError::Spool { .. }
            | HistoryError::Segments { .. }
            | HistoryError::Archive(_) => {
                Problem::concealed(Code::EventsUnavailable, "the events of the run cannot be read now", error)
            }
        }
    }
}
