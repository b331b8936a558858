//! Floor 5: the HTTP interface. `schemas/openapi.yaml` is its contract.
//!
//! Handlers are thin: they read the request ([`extract`]), call a service, and answer ([`respond`]). What goes
//! wrong is a [`Problem`]. No rule about runs is here, and no store: only services and ports.
//!
//! One noun a file, with `routes(service)`. To add a route: its operation in the document, its handler, its line
//! in `routes`. A test holds the document and the routes equal.

pub mod access;
mod aliases;
mod artifacts;
pub mod contract;
mod docs;
pub mod documents;
mod events;
pub mod extract;
pub mod health;
pub mod idempotency;
mod lanes;
pub mod metrics;
pub mod plan_document;
mod plans;
pub mod problem;
mod ranges;
mod reference;
mod request;
pub mod respond;
pub mod runbooks;
mod runs;
pub mod server;
mod sessions;
mod sse;
mod step_log;
mod ui;
mod validate;

use std::sync::Arc;

use axum::{Router, middleware};

use self::{
    access::Access,
    health::Health,
    idempotency::Idempotency,
    metrics::Metrics,
    problem::{Code, Problem},
};
use crate::{
    control::{RunArtifacts, Runbooks, Runs, Sessions, Streams},
    ports::{Clock, Ids},
};

/// What the routes need, one field a service.
#[derive(Clone)]
pub struct Services {
    pub runs: Runs,
    pub runbooks: Runbooks,
    pub sessions: Sessions,
    pub access: Access,
    pub health: Health,
    pub metrics: Metrics,
    pub streams: Streams,
    pub artifacts: RunArtifacts,
    pub idempotency: Idempotency,
    pub ids: Arc<dyn Ids>,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// All routes, with what every request goes through.
pub fn router(services: Services) -> Router {
    let Services { runs, runbooks, sessions, streams, artifacts, access, health, metrics, idempotency, ids, clock } =
        services;
    let routes = Router::new()
        .merge(access::routes(access.clone()))
        .merge(aliases::routes(streams.clone()))
        .merge(artifacts::routes(artifacts))
        .merge(docs::routes())
        .merge(events::routes(streams.clone()))
        .merge(step_log::routes(runs.clone(), streams))
        .merge(health::routes(health))
        .merge(lanes::routes(runs.clone()))
        .merge(metrics::routes(metrics, runs.clone()))
        .merge(plans::routes(runbooks.clone()))
        .merge(runbooks::routes(runbooks.clone()))
        .merge(runs::routes(runs, runbooks.clone(), clock))
        .merge(sessions::routes(sessions))
        .merge(validate::routes(runbooks))
        .merge(ui::routes());
    routes
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_with_this_method)
        .layer(middleware::from_fn_with_state(idempotency, idempotency::answer_once))
        .layer(middleware::from_fn(request::only_known_parameters))
        .layer(middleware::from_fn_with_state(access, access::guard))
        .layer(middleware::from_fn_with_state(ids, request::around))
}

async fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "no route has this path").help("`/openapi.yaml` lists all routes")
}

async fn not_with_this_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the path exists, but not with this method; see the header `Allow`")
}
