//! What a step wrote, as bytes, whole or in parts.

use axum::{Router, body::Body, extract::State, http::HeaderMap, response::Response, routing::get};
use futures::stream;

use super::{
    extract::{Path, Query, within_limits},
    problem::{Code, Problem},
    ranges::{self, Wanted},
};
use crate::{
    api::{GetStepLogQuery, LogStream},
    control::{LogFilter, Runs, Streams},
    model::RunId,
};

/// The bytes are whatever the step wrote; most of it is text.
const MEDIA_TYPE: &str = "text/plain; charset=utf-8";

#[derive(Clone)]
struct Logs {
    runs: Runs,
    streams: Streams,
}

pub fn routes(runs: Runs, streams: Streams) -> Router {
    Router::new().route("/v1/runs/{id}/steps/{step}/log", get(read)).with_state(Logs { runs, streams })
}

async fn read(
    State(logs): State<Logs>,
    Path((run, step)): Path<(RunId, String)>,
    Query(query): Query<GetStepLogQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    within_limits(&query)?;
    let history = logs.streams.history();
    let row = history.row(run).await?;
    let plan = logs.runs.plan(&row).await?;
    if plan.find(&step).is_none() {
        let detail = format!("run {run} has no step `{step}`");
        return Err(Problem::new(Code::StepNotFound, detail));
    }
    let stream = query.stream.map(|stream| match stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
        LogStream::Log => "log",
    });
    let filter = LogFilter { step: step.into(), attempt: query.attempt, stream };
    // A log only grows: its length says which content it is.
    let size = history.log_size(run, &filter).await?;
    let tag = format!("\"{size}\"");
    let wanted = ranges::wanted(&headers, size, &tag)?;
    let (begin, length) = match &wanted {
        Wanted::Nothing => (0, 0),
        Wanted::All => (0, size),
        Wanted::Part(part) => (part.start, part.end - part.start),
    };
    let log = history.log(run, filter, begin, length);
    let pieces = stream::try_unfold(log, async |mut log| {
        Ok::<_, std::io::Error>(match log.next().await {
            Ok(piece) => piece.map(|piece| (piece, log)),
            Err(error) => return Err(std::io::Error::other(error)),
        })
    });
    ranges::answer(&wanted, size, &tag, MEDIA_TYPE, Body::from_stream(pieces))
}
