//! The four lanes.

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::get};

use super::{documents, problem::Problem, respond};
use crate::{api::LaneList, control::Runs};

pub fn routes(runs: Runs) -> Router {
    Router::new().route("/v1/lanes", get(list)).with_state(runs)
}

/// `GET /v1/lanes`
async fn list(State(runs): State<Runs>) -> Result<Response, Problem> {
    let items = runs.lanes().await?.iter().map(|(count, slots)| documents::lane(count, *slots)).collect();
    respond::json(StatusCode::OK, &LaneList { items })
}
