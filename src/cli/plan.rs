//! `opsroom plan FILE`: what a run would do, with its params filled in. Nothing is run or stored.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Context,
    fault::{Fault, exit},
    live::phase_name,
    loading::{self, ParamOptions},
};
use crate::{
    engine::{Run, RunScope},
    model::{Digest, EffectModel, Millis, OnUnknown, RunId, StepIx},
    runbook::{Expr, Phase, Plan, PlannedStep, RetryPolicy, Template, TextPart, to_text},
};

/// Show what a run would do, without doing it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Params are filled in; what depends on steps stays an expression.

Examples:
  opsroom plan deploy.yaml -p env=prod
  opsroom plan deploy.yaml --output json")]
pub struct Options {
    /// The runbook; `-` for standard input
    file: PathBuf,
    #[command(flatten)]
    params: ParamOptions,
}

#[derive(Debug, Serialize)]
struct PlanDocument<'a> {
    runbook: &'a str,
    /// The digest that pins the plan.
    plan: Digest,
    source: Digest,
    lane: &'a str,
    priority: i32,
    timeout: Option<String>,
    params: Map<String, Value>,
    secrets: &'a [String],
    steps: Vec<StepPlan<'a>>,
}

#[derive(Debug, Serialize)]
struct StepPlan<'a> {
    step: &'a str,
    phase: Phase,
    needs: Vec<&'a str>,
    #[serde(rename = "if", skip_serializing_if = "Option::is_none")]
    condition: Option<&'a str>,
    uses: &'a str,
    with: Value,
    #[serde(skip_serializing_if = "Map::is_empty")]
    env: Map<String, Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    secrets: &'a [String],
    max_attempts: u32,
    retry: Option<String>,
    timeout: Option<String>,
    deadline: Option<String>,
    effect: EffectModel,
    /// Only where it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    on_unknown: Option<OnUnknown>,
    continue_on_error: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let plan = loading::load(&options.file, &context.out)?.plan;
    let params = loading::bind(&plan, &options.params)?;
    let run = Run::new(&plan, RunId(uuid::Uuid::nil()), Arc::new(params.clone()));
    let document = PlanDocument {
        runbook: &plan.name,
        plan: plan.digest(),
        source: plan.source,
        lane: plan.lane.as_str(),
        priority: plan.priority,
        timeout: text_of(plan.timeout),
        params,
        secrets: &plan.secrets,
        steps: (0..).map(StepIx).zip(&plan.steps).map(|(ix, step)| describe(&plan, &run, ix, step)).collect(),
    };
    if context.out.is_json() {
        context.out.json(&document);
    } else {
        for line in text(&document) {
            context.out.line(line);
        }
    }
    Ok(exit::SUCCESS)
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

fn text(document: &PlanDocument<'_>) -> Vec<String> {
    let mut lines = vec![format!("{} (plan {})", document.runbook, document.plan)];
    for (name, value) in &document.params {
        lines.push(format!("  param {name} = {value}"));
    }
    if !document.secrets.is_empty() {
        lines.push(format!("  secrets: {}", document.secrets.join(", ")));
    }
    if let Some(timeout) = &document.timeout {
        lines.push(format!("  timeout: {timeout}"));
    }
    let mut phase = Phase::Body;
    for step in &document.steps {
        if step.phase != phase {
            phase = step.phase;
            lines.push(format!("\n{}:", phase_name(phase)));
        }
        lines.push(format!("\n  {}  {}", step.step, step.uses));
        lines.extend(step_lines(step).into_iter().map(|(name, value)| format!("      {name}: {value}")));
    }
    lines
}

fn step_lines(step: &StepPlan<'_>) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: Option<String>| lines.extend(value.map(|value| (name.to_owned(), value)));
    add("needs", (!step.needs.is_empty()).then(|| step.needs.join(", ")));
    add("if", step.condition.map(str::to_owned));
    for (name, value) in step.with.as_object().into_iter().flatten() {
        add(name, Some(indented(&to_text(value))));
    }
    for (name, value) in &step.env {
        add(&format!("env {name}"), Some(indented(&to_text(value))));
    }
    add("secrets", (!step.secrets.is_empty()).then(|| step.secrets.join(", ")));
    add("retry", step.retry.clone());
    add("timeout", step.timeout.clone());
    add("deadline", step.deadline.clone());
    let unknown = step.on_unknown.map(|on_unknown| format!(", if its worker dies: {on_unknown}")).unwrap_or_default();
    add("effect", Some(format!("{}{unknown}", step.effect)));
    add("continue_on_error", step.continue_on_error.then(|| "true".to_owned()));
    lines
}

/// Text of several lines begins on the next line.
fn indented(text: &str) -> String {
    let text = text.trim_end();
    if !text.contains('\n') {
        return text.to_owned();
    }
    format!("\n        {}", text.replace('\n', "\n        "))
}
