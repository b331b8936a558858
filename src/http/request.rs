//! What every request goes through, whatever its route: it gets an id, may not take forever, may panic
//! without harm, is logged, and its problem becomes a document.
//!
//! Never logged: query strings and headers, which may hold tokens.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;

use super::{
    access::Caller,
    contract,
    extract::{query_names, unknown_parameters},
    metrics,
    problem::{Code, Problem},
};
use crate::ports::Ids;

/// How long a handler may take to begin its answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Routes that take as long as their body does.
const UNLIMITED: &[(Method, &str)] = &[(Method::POST, "/v1/runs/{id}/artifacts")];

/// The outermost layer.
pub async fn around(State(ids): State<Arc<dyn Ids>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = given_id(&request).unwrap_or_else(|| ids.request_id().to_string().into());
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let mut response = limited(&method, route, next.run(request)).await;
    let problem = response.extensions_mut().remove::<Arc<Problem>>();
    if let Some(problem) = &problem {
        write_problem(&mut response, problem, &id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    let caller = response.extensions_mut().remove::<Caller>();
    let line = Line { id: &id, method: &method, route, status: response.status().as_u16(), took: begin.elapsed() };
    line.log(caller.as_ref(), problem.as_deref());
    response
}

/// Refuses query parameters that the document does not know.
pub async fn only_known_parameters(request: Request, next: Next) -> Response {
    match known_parameters(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn known_parameters(request: &Request) -> Result<(), Problem> {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else { return Ok(()) };
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let Some(operation) = route.and_then(|route| contract::operation(request.method(), route)) else { return Ok(()) };
    let mut names = query_names(query)?;
    names.retain(|name| !operation.query.contains(name));
    if names.is_empty() {
        return Ok(());
    }
    let known: Vec<&str> = operation.query.iter().map(String::as_str).collect();
    Err(unknown_parameters(&names, &known.join(", ")))
}

/// The id that the caller gave, if it is a sane one.
fn given_id(request: &Request) -> Option<Arc<str>> {
    let given = request.headers().get("x-request-id")?.to_str().ok()?;
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (!given.is_empty() && given.len() <= 100 && given.bytes().all(sane)).then(|| given.into())
}

/// Runs a handler within its time; a panic ends this request only.
async fn limited(method: &Method, route: &str, answer: impl Future<Output = Response>) -> Response {
    let guarded = AssertUnwindSafe(answer).catch_unwind();
    let answered = if UNLIMITED.iter().any(|(of, path)| of == method && *path == route) {
        Ok(guarded.await)
    } else {
        tokio::time::timeout(TIME_LIMIT, guarded).await
    };
    match answered {
        Ok(Ok(response)) => response,
        // The panic hook has told where.
        Ok(Err(_)) => Problem::internal("the handler panicked").into_response(),
        Err(_) => Problem::new(Code::TimedOut, "the request was given up after 30 seconds").into_response(),
    }
}

fn write_problem(response: &mut Response, problem: &Problem, id: &str) {
    *response.body_mut() = Body::from(problem.to_json(id));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
}

/// A method as a label. Callers may invent any number of others, and each would be kept for ever.
fn known_method(method: &Method) -> &str {
    match *method {
        Method::GET | Method::HEAD | Method::POST | Method::PUT | Method::PATCH | Method::DELETE | Method::OPTIONS => {
            method.as_str()
        }
        _ => "other",
    }
}

/// What is logged of a request.
struct Line<'a> {
    id: &'a str,
    method: &'a Method,
    route: &'a str,
    status: u16,
    took: Duration,
}

impl Line<'_> {
    fn log(&self, caller: Option<&Caller>, problem: Option<&Problem>) {
        let Line { id, method, route, status, took } = self;
        metrics::request(route, known_method(method), *status, *took);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let actor = caller.map_or("-", |caller| &*caller.actor);
        match problem {
            Some(problem) if *status >= 500 => {
                let (code, why) = (problem.code.as_str(), problem.reason().unwrap_or(&problem.detail));
                tracing::error!(request_id = id, %method, route, status, ms, actor, code, why, "a request failed");
            }
            _ => tracing::info!(request_id = id, %method, route, status, ms, actor, "request"),
        }
    }
}
