//! What a run would do. Nothing is run or stored.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::post};

use super::{
    extract::Json,
    plan_document::plan_document,
    problem::{Code, Problem},
    respond,
    runbooks::{draft, params_problem},
};
use crate::{
    api::{PlanRequest, RunbookSource},
    control::Runbooks,
    model::TenantId,
    runbook::{self, Plan, params},
};

pub fn routes(runbooks: Runbooks) -> Router {
    Router::new().route("/v1/plans", post(plan)).with_state(runbooks)
}

async fn plan(State(runbooks): State<Runbooks>, Json(request): Json<PlanRequest>) -> Result<Response, Problem> {
    let PlanRequest { runbook, version, source, files, params } = request;
    let plan = match (runbook, version, source) {
        (Some(name), version, None) if files.is_none() => runbooks.find(TenantId::DEFAULT, &name, version).await?.plan,
        (None, None, Some(source)) => of_source(&runbooks, RunbookSource { source, file_name: None, files }).await?,
        _ => {
            let detail =
                "give either `runbook`, with `version` if it is not the latest one, or `source`, with its `files`";
            return Err(Problem::new(Code::BadRequest, detail).field("", detail));
        }
    };
    let bound = params::bind(&plan.params, params.unwrap_or_default()).map_err(|wrong| params_problem(&wrong))?;
    respond::json(StatusCode::OK, &plan_document(&plan, bound))
}

async fn of_source(runbooks: &Runbooks, given: RunbookSource) -> Result<Arc<Plan>, Problem> {
    let name = runbook::name_of(&given.source);
    let draft = draft(given, name.as_deref().unwrap_or("runbook"))?;
    Ok(runbooks.check(draft).await?.plan)
}
