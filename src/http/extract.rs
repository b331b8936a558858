//! What a handler is given: bodies, query strings and paths, read strictly. Whatever is unknown, repeated
//! or of another type is refused with a problem that names the place.

mod json;
mod params;

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, OptionalFromRequest, RawPathParams, Request},
    http::{HeaderMap, Method, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;

use self::params::Params;
use super::problem::{Code, Problem};

/// The largest body, artifacts aside.
pub const MAX_BODY: usize = 1024 * 1024;

/// The largest body with the files of a runbook: 10 MiB of them in base64, a thousand names, and the source as a JSON
/// string.
pub const MAX_RUNBOOK_BODY: usize = 18 * MAX_BODY;

/// How long a body of that size may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(20);
const RUNBOOK_BODY_TIME: Duration = Duration::from_mins(2);

/// How much of a body that is too large is read all the same, and for how long.
const DISCARD: usize = 64 * MAX_BODY;
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// A JSON body. `Option<Json<T>>` is `None` for a request without one.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>, Problem> {
        let (parts, body) = request.into_parts();
        expect_json(&parts.headers)?;
        let bytes = whole_body(&parts, body).await?;
        json::read(&bytes).map(Json)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> OptionalFromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Option<Json<T>>, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = whole_body(&parts, body).await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        expect_json(&parts.headers)?;
        json::read(&bytes).map(|value| Some(Json(value)))
    }
}

/// A JSON body whose bytes are at hand.
pub fn read_json<T: DeserializeOwned>(headers: &HeaderMap, bytes: &[u8]) -> Result<T, Problem> {
    expect_json(headers)?;
    json::read(bytes)
}

/// Whether a body or a query keeps to the limits of the document: lengths, ranges, counts.
pub fn within_limits(given: &impl crate::api::Checked) -> Result<(), Problem> {
    let wrong = crate::api::check::problems(given);
    let Some(first) = wrong.first() else { return Ok(()) };
    let problem = Problem::new(Code::BadRequest, format!("`{}`: {}", first.pointer, first.detail));
    Err(wrong.into_iter().fold(problem, |problem, wrong| problem.field(wrong.pointer, wrong.detail)))
}

/// The query string. Lists are repeated parameters: `status=failed&status=timed_out`.
#[derive(Debug, Clone)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, Problem> {
        let params = Params::of_query(parts.uri.query().unwrap_or_default())?;
        params.read().map(Query)
    }
}

/// The parameters of the path: a struct by their names, a tuple in their order, or the only one.
#[derive(Debug, Clone)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let raw = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(Code::BadRequest, "the path is not UTF-8"))?;
        let params = Params::of_path(raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
        params.read().map(Path)
    }
}

pub use self::params::unknown_parameters;

/// The names in a query string, for those who only check them.
pub fn query_names(query: &str) -> Result<Vec<String>, Problem> {
    Params::of_query(query).map(Params::into_names)
}

fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = if given.is_empty() {
        "the request has no Content-Type; send `application/json`".to_owned()
    } else {
        format!("the Content-Type is `{given}`; send `application/json`")
    };
    Err(Problem::new(Code::UnsupportedMediaType, detail))
}

/// How large the body of a request may be, and how long it may take: where a runbook comes with its files, more.
fn bounds(parts: &Parts) -> (usize, Duration) {
    let path = parts.uri.path();
    let has_files = match parts.method {
        Method::PUT => path.starts_with("/v1/runbooks/"),
        Method::POST => ["/v1/plans", "/v1/validate"].contains(&path),
        _ => false,
    };
    if has_files { (MAX_RUNBOOK_BODY, RUNBOOK_BODY_TIME) } else { (MAX_BODY, BODY_TIME) }
}

/// All of a body of at most [`MAX_BODY`] bytes, or [`MAX_RUNBOOK_BODY`].
pub async fn whole_body(parts: &Parts, mut body: Body) -> Result<Bytes, Problem> {
    let (headers, (limit, time)) = (&parts.headers, bounds(parts));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // Only what is large has the time of what is large.
    let time = if announced.is_some_and(|length| length <= MAX_BODY as u64) { time.min(BODY_TIME) } else { time };
    let read = if announced.is_some_and(|length| length > limit as u64) {
        Err(larger_than(limit))
    } else {
        tokio::time::timeout(time, up_to(limit, &mut body)).await.unwrap_or_else(|_| Err(too_slow()))
    };
    if read.as_ref().is_err_and(|problem| problem.code == Code::BodyTooLarge) && !headers.contains_key(header::EXPECT) {
        // A client that is still sending when the connection closes may never see the answer.
        let _ = tokio::time::timeout(DISCARD_TIME, discard(body)).await;
    }
    read
}

async fn up_to(limit: usize, body: &mut Body) -> Result<Bytes, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| body_problem(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limit {
            return Err(larger_than(limit));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn discard(mut body: Body) {
    let mut left = DISCARD;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(less) = left.checked_sub(length) else { return };
        left = less;
    }
}

/// What an error while a body is read means.
pub fn body_problem(error: &(dyn std::error::Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return larger_than(MAX_BODY);
        }
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if kind == Some(std::io::ErrorKind::TimedOut) {
            return too_slow();
        }
        cause = error.source();
    }
    Problem::new(Code::BadRequest, "the body could not be read to its end")
}

fn larger_than(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body has more than {limit} bytes"))
}

fn too_slow() -> Problem {
    Problem::new(Code::RequestTimeout, "the body did not arrive in time; nothing was done")
}
