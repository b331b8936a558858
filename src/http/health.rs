//! Whether the process lives.

use axum::{Router, http::StatusCode, response::Response, routing::get};
use serde_json::json;

use super::{problem::Problem, respond};

pub fn routes() -> Router {
    Router::new().route("/healthz", get(healthz)).route("/health", get(healthz))
}

async fn healthz() -> Result<Response, Problem> {
    respond::json(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}
