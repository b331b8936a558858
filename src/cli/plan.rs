//! `opsroom plan FILE`: what a run would do, with its params filled in. Nothing is run or stored.

use std::path::PathBuf;

use super::{
    Context,
    fault::{Fault, exit},
    live::phase_name,
    loading::{self, ParamOptions},
    named,
};
use crate::{
    api,
    http::plan_document::plan_document,
    runbook::{Phase, to_text},
};

/// Show what a run would do, without doing it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Params are filled in; what depends on steps stays an expression.

Examples:
  opsroom plan deploy.yaml -p env=prod
  opsroom plan deploy.yaml --output json")]
pub struct Options {
    /// A runbook file, `-` for standard input, or the name of a runbook (deploy, deploy@3)
    #[arg(value_name = "FILE|NAME")]
    file: PathBuf,
    #[command(flatten)]
    params: ParamOptions,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let plan = named::load(context, &options.file)?.plan;
    let params = loading::bind(&plan, &options.params)?;
    let document = plan_document(&plan, params);
    if context.out.is_json() {
        context.out.json(&document);
    } else {
        for line in text(&document) {
            context.out.line(line);
        }
    }
    Ok(exit::SUCCESS)
}

fn text(document: &api::Plan) -> Vec<String> {
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

fn step_lines(step: &api::PlannedStep) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: Option<String>| lines.extend(value.map(|value| (name.to_owned(), value)));
    add("needs", (!step.needs.is_empty()).then(|| step.needs.join(", ")));
    add("if", step.if_.clone());
    for (name, value) in step.with.as_object().into_iter().flatten() {
        add(name, Some(indented(&to_text(value))));
    }
    for (name, value) in step.env.iter().flatten() {
        add(&format!("env {name}"), Some(indented(&to_text(value))));
    }
    add("secrets", step.secrets.as_ref().map(|secrets| secrets.join(", ")));
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
