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
mod workers;

use std::sync::Arc;

use axum::{Extension, Router, middleware};

use self::{
    access::{Access, Caller},
    health::Health,
    idempotency::Idempotency,
    metrics::Metrics,
    problem::{Code, Problem},
};
use crate::{
    control::{RunArtifacts, Runbooks, Runs, Sessions, Streams, Workers},
    ports::{Clock, Ids},
};

/// The services behind the nouns of the interface, one field each.
#[derive(Clone)]
pub struct Nouns {
    pub runs: Runs,
    pub runbooks: Runbooks,
    pub sessions: Sessions,
    pub workers: Workers,
    pub streams: Streams,
    pub artifacts: RunArtifacts,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
}

impl std::fmt::Debug for Nouns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nouns").finish_non_exhaustive()
    }
}

/// What the routes of a server need, one field a service.
#[derive(Debug, Clone)]
pub struct Services {
    pub nouns: Nouns,
    pub access: Access,
    pub health: Health,
    pub metrics: Metrics,
    pub idempotency: Idempotency,
}

/// All routes, with what every request goes through.
pub fn router(services: Services) -> Router {
    let Services { nouns, access, health, metrics, idempotency } = services;
    let ids = nouns.ids.clone();
    let routes = Router::new()
        .merge(access::routes(access.clone()))
        .merge(aliases::routes(nouns.streams.clone()))
        .merge(docs::routes())
        .merge(health::routes(health.clone()))
        .merge(metrics::routes(metrics, nouns.runs.clone(), health))
        .merge(noun_routes(nouns))
        .merge(ui::routes());
    routes
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_with_this_method)
        .layer(middleware::from_fn_with_state(idempotency, idempotency::answer_once))
        .layer(middleware::from_fn(request::only_known_parameters))
        .layer(middleware::from_fn_with_state(access, access::guard))
        .layer(middleware::from_fn_with_state(ids, request::around))
}

/// What a process without an API tells of itself.
#[derive(Debug, Clone)]
pub struct Status {
    pub health: Health,
    pub metrics: Metrics,
    pub runs: Runs,
    /// `None`: whoever reaches it may see the figures.
    pub access: Option<Access>,
}

/// Health and figures, for a process that has no API.
pub fn status(status: Status, ids: Arc<dyn Ids>) -> Router {
    let Status { health, metrics, runs, access } = status;
    let routes = Router::new().merge(health::routes(health.clone())).merge(metrics::routes(metrics, runs, health));
    let routes = routes
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_with_this_method)
        .layer(middleware::from_fn(request::only_known_parameters));
    let routes = match access {
        Some(access) => routes.layer(middleware::from_fn_with_state(access, access::guard)),
        None => routes,
    };
    routes.layer(middleware::from_fn_with_state(ids, request::around))
}

/// The nouns without a server: for the command line on a data folder of its own, which answers the same
/// documents. Nothing guards them; everything is done in the name of `caller`.
pub fn local(nouns: Nouns, caller: Caller) -> Router {
    let ids = nouns.ids.clone();
    noun_routes(nouns)
        .fallback(nothing_here)
        .method_not_allowed_fallback(not_with_this_method)
        .layer(Extension(caller))
        .layer(middleware::from_fn_with_state(ids, request::around))
}

fn noun_routes(nouns: Nouns) -> Router {
    let Nouns { runs, runbooks, sessions, workers, streams, artifacts, clock, ids: _ } = nouns;
    Router::new()
        .merge(artifacts::routes(artifacts))
        .merge(events::routes(streams.clone()))
        .merge(step_log::routes(runs.clone(), streams))
        .merge(lanes::routes(runs.clone()))
        .merge(plans::routes(runbooks.clone()))
        .merge(runbooks::routes(runbooks.clone()))
        .merge(runs::routes(runs, runbooks.clone(), clock))
        .merge(sessions::routes(sessions))
        .merge(validate::routes(runbooks))
        .merge(workers::routes(workers))
}

async fn nothing_here() -> Problem {
    Problem::new(Code::NotFound, "no route has this path").help("`/openapi.yaml` lists all routes")
}

async fn not_with_this_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "the path exists, but not with this method; see the header `Allow`")
}
