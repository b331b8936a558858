//! Paths of earlier systems; they call the same handlers.

use axum::{Router, routing::get};

use super::events;
use crate::control::Streams;

pub fn routes(streams: Streams) -> Router {
    Router::new()
        .route("/runs/{id}/events", get(events::list))
        .route("/runs/{id}/events/stream", get(events::stream))
        .with_state(streams)
}
