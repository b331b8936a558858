//! What a run would do: one document for `POST /v1/plans` and `opsroom plan`.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    api,
    engine::{Run, RunScope},
    model::{EffectModel, Millis, RunId, StepIx},
    runbook::{Expr, Plan, PlannedStep, RetryPolicy, Template, TextPart, to_text},
};

/// The plan of a run with params that were bound to those that it declares. What depends on steps stays an
/// expression.
pub fn plan_document(plan: &Plan, params: Map<String, Value>) -> api::Plan {
    let run = Run::new(plan, RunId(uuid::Uuid::nil()), Arc::new(params.clone()));
    api::Plan {
        runbook: plan.name.clone(),
        plan: plan.digest(),
        source: plan.source,
        lane: plan.lane,
        priority: plan.priority,
        timeout: text_of(plan.timeout),
        params,
        secrets: plan.secrets.clone(),
        steps: (0..).map(StepIx).zip(&plan.steps).map(|(ix, step)| describe(plan, &run, ix, step)).collect(),
    }
}

fn describe(plan: &Plan, run: &Run, ix: StepIx, step: &PlannedStep) -> api::PlannedStep {
    let scope = RunScope::new(plan, run, ix);
    let env: Map<String, Value> =
        step.env.iter().map(|(name, value)| (name.clone(), rendered(value, &scope))).collect();
    api::PlannedStep {
        step: step.id.to_string(),
        phase: step.phase,
        needs: step.needs.iter().map(|need| plan.step(*need).id.to_string()).collect(),
        if_: step.condition.as_ref().map(|condition| condition.expr.source().to_owned()),
        uses: step.uses.to_string(),
        with: rendered(&step.with, &scope),
        env: (!env.is_empty()).then_some(env),
        secrets: (!step.secrets.is_empty()).then(|| step.secrets.clone()),
        max_attempts: step.retry.max_attempts,
        retry: retry(&step.retry),
        timeout: text_of(step.timeout),
        deadline: text_of(step.deadline),
        effect: step.effect,
        on_unknown: (step.effect == EffectModel::AtMostOnce).then_some(step.on_unknown),
        continue_on_error: step.continue_on_error,
    }
}

fn text_of(span: Option<Millis>) -> Option<String> {
    span.map(|span| span.to_string())
}

fn retry(policy: &RetryPolicy) -> Option<String> {
    (policy.max_attempts > 1).then(|| {
        format!(
            "{} attempts, {} apart, times {} up to {}",
            policy.max_attempts, policy.delay, policy.backoff, policy.max_delay
        )
    })
}

/// The value with what is known already; the rest stays as it is written.
fn rendered(template: &Template, scope: &RunScope<'_>) -> Value {
    match template {
        Template::Literal(value) => value.clone(),
        Template::Expr(expr) => known(expr, scope).unwrap_or_else(|| Value::String(written(expr))),
        Template::Text(parts) => Value::String(parts.iter().map(|part| part_text(part, scope)).collect()),
        Template::List(items) => items.iter().map(|item| rendered(item, scope)).collect(),
        Template::Map(entries) => {
            Value::Object(entries.iter().map(|(key, value)| (key.clone(), rendered(value, scope))).collect())
        }
    }
}

fn part_text(part: &TextPart, scope: &RunScope<'_>) -> String {
    match part {
        TextPart::Literal(text) => text.clone(),
        TextPart::Expr(expr) => known(expr, scope).map_or_else(|| written(expr), |value| to_text(&value)),
    }
}

fn known(expr: &Expr, scope: &RunScope<'_>) -> Option<Value> {
    let references = expr.references();
    let only_params = references.roots.iter().all(|root| root == "params") && !references.status_function;
    // One that fails is shown as it is written; the run will say why.
    only_params.then(|| expr.eval(scope).ok()).flatten()
}

fn written(expr: &Expr) -> String {
    format!("${{{{ {} }}}}", expr.source())
}
