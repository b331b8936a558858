//! What a run would do: one document for `POST /v1/plans` and `opsroom plan`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    engine::{Run, RunScope},
    model::{Digest, EffectModel, Millis, OnUnknown, RunId, StepIx},
    runbook::{Expr, Phase, Plan, PlannedStep, RetryPolicy, Template, TextPart, to_text},
};

/// The plan of a run, with its params filled in.
#[derive(Debug, Serialize)]
pub struct PlanDocument<'a> {
    pub runbook: &'a str,
    /// The digest that pins the plan.
    pub plan: Digest,
    pub source: Digest,
    pub lane: &'a str,
    pub priority: i32,
    pub timeout: Option<String>,
    pub params: Map<String, Value>,
    pub secrets: &'a [String],
    pub steps: Vec<StepPlan<'a>>,
}

/// One step of it.
#[derive(Debug, Serialize)]
pub struct StepPlan<'a> {
    pub step: &'a str,
    pub phase: Phase,
    pub needs: Vec<&'a str>,
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<&'a str>,
    pub uses: &'a str,
    pub with: Value,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub env: Map<String, Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub secrets: &'a [String],
    pub max_attempts: u32,
    pub retry: Option<String>,
    pub timeout: Option<String>,
    pub deadline: Option<String>,
    pub effect: EffectModel,
    /// Only where it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    pub continue_on_error: bool,
}

impl<'a> PlanDocument<'a> {
    /// With params that were bound to those that the plan declares. What depends on steps stays an expression.
    pub fn new(plan: &'a Plan, params: Map<String, Value>) -> PlanDocument<'a> {
        let run = Run::new(plan, RunId(uuid::Uuid::nil()), Arc::new(params.clone()));
        PlanDocument {
            runbook: &plan.name,
            plan: plan.digest(),
            source: plan.source,
            lane: plan.lane.as_str(),
            priority: plan.priority,
            timeout: text_of(plan.timeout),
            params,
            secrets: &plan.secrets,
            steps: (0..).map(StepIx).zip(&plan.steps).map(|(ix, step)| describe(plan, &run, ix, step)).collect(),
        }
    }
}

fn describe<'a>(plan: &'a Plan, run: &Run, ix: StepIx, step: &'a PlannedStep) -> StepPlan<'a> {
    let scope = RunScope::new(plan, run, ix);
    StepPlan {
        step: &step.id,
        phase: step.phase,
        needs: step.needs.iter().map(|need| &*plan.step(*need).id).collect(),
        condition: step.condition.as_ref().map(|condition| condition.expr.source()),
        uses: &step.uses,
        with: rendered(&step.with, &scope),
        env: step.env.iter().map(|(name, value)| (name.clone(), rendered(value, &scope))).collect(),
        secrets: &step.secrets,
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
