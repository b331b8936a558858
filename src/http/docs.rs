//! The document of the interface, for programs and for people.

use axum::{Router, http::HeaderMap, response::Response, routing::get};

use super::{contract, problem::Problem, reference, respond, ui};

pub fn routes() -> Router {
    Router::new().route("/openapi.yaml", get(openapi)).route("/docs", get(docs))
}

async fn openapi() -> Response {
    respond::text("application/yaml", contract::DOCUMENT)
}

async fn docs(headers: HeaderMap) -> Result<Response, Problem> {
    ui::page(&headers, "text/html; charset=utf-8", reference::page())
}
