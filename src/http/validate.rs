//! Checking a runbook without storing it.

use axum::{Router, extract::State, http::StatusCode, response::Response, routing::post};

use super::{extract::Json, problem::Problem, respond, runbooks::draft};
use crate::{
    api::{Diagnostic, RunbookSource, Validation},
    control::{Runbooks, RunbooksError},
    runbook,
};

pub fn routes(runbooks: Runbooks) -> Router {
    Router::new().route("/v1/validate", post(validate)).with_state(runbooks)
}

async fn validate(State(runbooks): State<Runbooks>, Json(given): Json<RunbookSource>) -> Result<Response, Problem> {
    let name = runbook::name_of(&given.source);
    let draft = draft(given, name.as_deref().unwrap_or("runbook"))?;
    let (plan, diagnostics) = match runbooks.check(draft).await {
        Ok(checked) => (Some(checked.plan), checked.warnings),
        Err(RunbooksError::Invalid(diagnostics)) => (None, diagnostics),
        Err(other) => return Err(other.into()),
    };
    let validation = Validation {
        valid: plan.is_some(),
        runbook: plan.as_ref().map(|plan| plan.name.clone()),
        plan: plan.as_ref().map(|plan| plan.digest()),
        diagnostics: diagnostics.iter().map(Diagnostic::from).collect(),
    };
    respond::json(StatusCode::OK, &validation)
}
