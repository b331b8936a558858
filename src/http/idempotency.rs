//! A repeated write gets the first answer again.
//!
//! [`answer_once`] does it for every operation that the document gives an `Idempotency-Key`, other than those
//! in [`IN_THE_STORE`], which keep their answer in the transaction of the write itself. Only answers below
//! 300 are kept: after any other nothing was done, or nobody knows, and the request may be tried again.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    contract,
    extract::{read_json, whole_body},
    problem::{Code, Problem},
    respond,
};
use crate::{
    model::{Digest, TenantId},
    ports::{Clock, IdempotencyStore, IdempotentAnswer},
};

/// Operations that see to it themselves.
const IN_THE_STORE: &[(Method, &str)] = &[
    (Method::POST, "/v1/runs"),
    (Method::POST, "/v1/runs/batch"),
    (Method::POST, "/v1/sessions"),
    (Method::POST, "/v1/runs/{id}/artifacts"),
    (Method::POST, "/v1/login-links"),
];

/// How long a second request waits for the answer to the first.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest key.
const MAX_KEY: usize = 255;

/// The `Idempotency-Key` of a request: an extractor for handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IdempotencyKey, Problem> {
        key(&parts.headers).map(IdempotencyKey)
    }
}

/// A JSON body, with the key of its request and the digest that goes with it: for operations that keep their
/// answer in the transaction of the write.
#[derive(Debug)]
pub struct Keyed<T> {
    pub body: T,
    pub once: Option<(String, Digest)>,
    pub first: First,
}

/// The way to the answer that the first request with a key got.
#[derive(Debug)]
pub struct First(Option<(Idempotency, String, Digest)>);

impl First {
    /// The first answer, for a request that would be refused now: what it names may have changed since. The problem
    /// itself if there was no such request.
    pub async fn instead_of(self, problem: Problem) -> Result<IdempotentAnswer, Problem> {
        let First(Some((idempotency, key, request))) = self else { return Err(problem) };
        let known = idempotency.store.idempotent_answer(idempotency.tenant, &key).await?;
        known.filter(|answer| answer.request == request).ok_or(problem)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Keyed<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Keyed<T>, Problem> {
        let (parts, body) = request.into_parts();
        let key = key(&parts.headers)?;
        let bytes = whole_body(&parts, body).await?;
        let body = read_json(&parts.headers, &bytes)?;
        let once = key.map(|key| (key, digest(&parts.method, &parts.uri, &bytes)));
        let idempotency = parts.extensions.get::<Idempotency>();
        let first = once.clone().zip(idempotency.cloned()).map(|((key, request), kept)| (kept, key, request));
        Ok(Keyed { body, once, first: First(first) })
    }
}

/// The digest that a request is known by.
pub fn digest(method: &Method, uri: &Uri, body: &[u8]) -> Digest {
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    let mut hash = Sha256::new();
    for part in [method.as_str().as_bytes(), target.as_bytes(), body] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Digest(hash.finalize().into())
}

/// The answer to a key that belongs to another request.
pub fn mismatch() -> Problem {
    Problem::new(Code::IdempotencyMismatch, "this Idempotency-Key was used for another request; take a new one")
}

/// The answer that was kept, if it is one to the same request.
pub fn replayed(answer: IdempotentAnswer, request: Digest) -> Result<Response, Problem> {
    if answer.request != request {
        return Err(mismatch());
    }
    let status = StatusCode::from_u16(answer.status).map_err(Problem::internal)?;
    if answer.body.is_empty() {
        return Ok(status.into_response());
    }
    Ok(respond::json_bytes(status, answer.body))
}

/// The answer that was kept for something that was made, with its place below `folder` again.
pub fn replayed_made(answer: IdempotentAnswer, folder: &str) -> Result<Response, Problem> {
    #[derive(serde::Deserialize)]
    struct Made {
        id: Uuid,
    }
    let Made { id } = serde_json::from_slice(&answer.body).map_err(Problem::internal)?;
    let request = answer.request;
    Ok(respond::at(&format!("{folder}/{id}"), replayed(answer, request)?))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(given) = headers.get("idempotency-key") else { return Ok(None) };
    let text = given.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > MAX_KEY || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let detail = format!("1 to {MAX_KEY} visible ASCII characters");
        return Err(Problem::bad_request("idempotency-key", detail));
    }
    Ok(Some(text.to_owned()))
}

/// Keeps answers. Cheap to clone.
#[derive(Clone)]
pub struct Idempotency {
    store: Arc<dyn IdempotencyStore>,
    clock: Arc<dyn Clock>,
    tenant: TenantId,
    in_progress: Arc<InProgress>,
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Idempotency").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

impl Idempotency {
    pub fn new(store: Arc<dyn IdempotencyStore>, clock: Arc<dyn Clock>, tenant: TenantId) -> Idempotency {
        Idempotency { store, clock, tenant, in_progress: Arc::default() }
    }

    async fn once(&self, key: String, request: Request, next: Next) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let body = whole_body(&parts, body).await?;
        let digest = digest(&parts.method, &parts.uri, &body);
        let keyed = self.begin(key).await?;
        if let Some(answer) = keyed.first(digest) {
            return answer;
        }
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        if response.status().as_u16() >= 300 {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.map_err(Problem::internal)?;
        keyed.keep(digest, parts.status, &body).await;
        Ok(Response::from_parts(parts, Body::from(body)))
    }

    /// Waits until no other request with the key is being handled, and looks for its answer.
    pub async fn begin(&self, key: String) -> Result<UnderWay, Problem> {
        let turn = self.in_progress.enter(&key).await?;
        let known = self.store.idempotent_answer(self.tenant, &key).await?;
        Ok(UnderWay { idempotency: self.clone(), known, turn })
    }
}

/// A request that has a key, while it is being handled.
#[derive(Debug)]
pub struct UnderWay {
    idempotency: Idempotency,
    known: Option<IdempotentAnswer>,
    turn: Turn,
}

impl UnderWay {
    /// The answer that the first request got, if this is not the first.
    pub fn first(&self, request: Digest) -> Option<Result<Response, Problem>> {
        self.known.clone().map(|answer| replayed(answer, request))
    }

    /// Keeps the answer for requests to come. The write is done: that its answer cannot be kept is no reason to say
    /// that it failed.
    pub async fn keep(&self, request: Digest, status: StatusCode, body: &Bytes) {
        let Idempotency { store, clock, tenant, .. } = &self.idempotency;
        let (created_at, key) = (clock.now(), &self.turn.key);
        let answer = IdempotentAnswer { request, status: status.as_u16(), body: body.to_vec(), created_at };
        if let Err(error) = store.put_idempotent_answer(*tenant, key, &answer).await {
            tracing::warn!(%error, "the answer to a keyed request could not be kept; a repetition is carried out again");
        }
    }
}

/// The layer for all routes.
pub async fn answer_once(State(idempotency): State<Idempotency>, mut request: Request, next: Next) -> Response {
    if !applies(&request) {
        // For those that see to it themselves.
        request.extensions_mut().insert(idempotency);
        return next.run(request).await;
    }
    let key = match key(request.headers()) {
        Ok(Some(key)) => key,
        Ok(None) => return next.run(request).await,
        Err(problem) => return problem.into_response(),
    };
    // In a task of its own: a caller that goes away must not leave a write that is done and not kept.
    let once = TaskTracker::new().spawn(async move { idempotency.once(key, request, next).await });
    match once.await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(error) => Problem::internal(error).into_response(),
    }
}

fn applies(request: &Request) -> bool {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let elsewhere = IN_THE_STORE.iter().any(|(method, path)| method == request.method() && *path == route);
    !elsewhere && contract::operation(request.method(), route).is_some_and(|operation| operation.idempotent)
}

/// Keys whose requests are being handled in this process.
#[derive(Debug, Default)]
struct InProgress {
    keys: Mutex<HashSet<String>>,
    left: Notify,
}

impl InProgress {
    /// Waits until no other request has the key.
    async fn enter(self: &Arc<InProgress>, key: &str) -> Result<Turn, Problem> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            left.as_mut().enable();
            if self.keys().insert(key.to_owned()) {
                return Ok(Turn { of: self.clone(), key: key.to_owned() });
            }
            if tokio::time::timeout_at(deadline, left).await.is_err() {
                let detail = "a request with the same Idempotency-Key is still being handled";
                return Err(Problem::new(Code::IdempotencyInProgress, detail));
            }
        }
    }

    fn keys(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Turn {
    of: Arc<InProgress>,
    key: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.keys().remove(&self.key);
        self.of.left.notify_waiters();
    }
}
