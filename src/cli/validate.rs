//! `opsroom validate FILE...`: every problem of runbooks, with its place and its fix.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::{
    Context, block_on,
    fault::{Fault, exit},
    loading::{self, SourceFile},
    out::Out,
    place::Place,
    runbooks::{diagnostic_line, source_of},
};
use crate::{
    model::Digest,
    runbook::{self, Severity, diagnostic},
};

/// Check runbooks and report every problem
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom validate runbooks/*.yaml
  opsroom validate deploy.yaml --format json
  opsroom validate deploy.yaml --server http://ops:8484

Exit codes: 0 all are valid (warnings allowed), 1 a problem, 2 a file cannot be read.")]
pub struct Options {
    /// Runbook files; `-` for standard input
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// What `--format json` prints.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    valid: bool,
    /// The runbook's name and the plan's digest, where it is valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    runbook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Digest>,
    diagnostics: Value,
    #[serde(skip)]
    text: String,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let out = &context.out;
    let mut report = Report { valid: true, files: Vec::new() };
    for path in &options.files {
        let file = loading::read(path)?;
        let file = if context.config.server.url.is_some() { check_there(context, file)? } else { check(file) };
        report.valid &= file.valid;
        if !out.is_json() {
            show(out, &file);
        }
        report.files.push(file);
    }
    if out.is_json() {
        out.json(&report);
    }
    Ok(if report.valid { exit::SUCCESS } else { exit::FAILED })
}

fn check(file: SourceFile) -> FileReport {
    let (plan, diagnostics) = match loading::compile(&file) {
        Ok(compiled) => (Some(compiled.plan), compiled.warnings),
        Err(problems) => (None, problems),
    };
    let SourceFile { name, text, .. } = file;
    FileReport {
        file: name,
        valid: plan.is_some(),
        runbook: plan.as_ref().map(|plan| plan.name.clone()),
        plan: plan.as_ref().map(runbook::Plan::digest),
        text: describe(&diagnostics, &text),
        diagnostics: diagnostic::to_json(&diagnostics),
    }
}

/// The server's word: its actions may be others than those of this build.
fn check_there(context: &Context, file: SourceFile) -> Result<FileReport, Fault> {
    let SourceFile { name, text, beside } = file;
    let body = source_of(text, Some(name.clone()), &beside.bundle);
    let found = block_on(async {
        let place = Place::open(context).await?;
        Ok(place.client.validate_runbook(&body).await?)
    })?;
    Ok(FileReport {
        file: name,
        valid: found.valid,
        runbook: found.runbook,
        plan: found.plan,
        text: found.diagnostics.iter().map(diagnostic_line).collect::<Vec<_>>().join("\n"),
        diagnostics: serde_json::json!(found.diagnostics),
    })
}

fn describe(diagnostics: &[runbook::Diagnostic], text: &str) -> String {
    if diagnostics.is_empty() {
        return String::new();
    }
    let count = |severity| diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let rendered = diagnostic::to_text(diagnostics, text, Out::is_coloured());
    let counts = match (count(Severity::Error), count(Severity::Warning)) {
        (0, warnings) => format!("{warnings} warnings"),
        (errors, 0) => format!("{errors} problems"),
        (errors, warnings) => format!("{errors} problems, {warnings} warnings"),
    };
    format!("{rendered}\n\n{counts}")
}

fn show(out: &Out, file: &FileReport) {
    if file.text.is_empty() {
        out.line(format!("{}: valid", file.file));
    } else {
        out.line(&file.text);
        let verdict = if file.valid { "valid, with warnings" } else { "not valid" };
        out.line(format!("{}: {verdict}", file.file));
    }
}
