//! Runbooks as the interface and the commands show them.

use serde_json::{Map, Value};

use crate::{
    api,
    control::{Problem, RunbookView},
    ports::RunbookVersionRow,
    runbook::ParamSpec,
};

/// One runbook: its latest version, and what is wrong with a newer file.
pub fn runbook_document(view: &RunbookView) -> api::Runbook {
    let problem = view.problem.as_ref().map(problem_document);
    let Some(latest) = &view.latest else {
        return api::Runbook { name: view.name.to_string(), problem, ..api::Runbook::default() };
    };
    let (row, plan) = (&latest.row, &latest.plan);
    api::Runbook {
        name: row.name.to_string(),
        version: row.version.into(),
        digest: Some(row.digest),
        plan: Some(row.plan),
        description: Some(plan.description.clone()).filter(|description| !description.is_empty()),
        lane: Some(plan.lane),
        labels: plan.labels.clone(),
        params: plan.params.iter().map(param_document).collect(),
        steps_total: plan.steps.len() as u64,
        origin: Some(row.origin.to_string()),
        updated_at: Some(row.created_at),
        problem,
    }
}

/// One version of a runbook.
pub fn version_document(row: &RunbookVersionRow) -> api::RunbookVersion {
    api::RunbookVersion {
        name: row.name.to_string(),
        version: row.version.into(),
        digest: row.digest,
        plan: row.plan,
        origin: Some(row.origin.to_string()),
        created_at: row.created_at,
    }
}

fn problem_document(problem: &Problem) -> api::RunbookProblem {
    let Problem { file, since, diagnostics, .. } = problem;
    let diagnostics = diagnostics.iter().map(api::Diagnostic::from).collect();
    api::RunbookProblem { file: file.clone(), since: *since, diagnostics }
}

fn param_document(spec: &ParamSpec) -> api::Param {
    let schema = match &spec.schema {
        Value::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    let description = schema.get("description").and_then(Value::as_str).map(str::to_owned);
    api::Param { name: spec.name.clone(), required: spec.required, default: spec.default.clone(), schema, description }
}
