//! From a runbook's text to a [`Plan`].
//!
//! The text is read with positions, checked against the schema, and lowered step by step; then the graph of needs
//! and the references between steps are checked. Every stage works on what the stages before it could make out,
//! so that all problems of a file come out together.

mod action;
mod expressions;
mod graph;
mod header;
pub(super) mod keys;
mod references;
mod report;
mod step;
mod unavailable;

#[cfg(test)]
mod tests;

use serde_json::Value;

use self::{action::Actions, header::Header, report::Report, step::Draft};
use super::{
    Catalog, Diagnostic, Plan,
    diagnostic::{Severity, sorted},
    plan::Phase,
    schema,
    source::Source,
};
use crate::model::Digest;

/// A runbook that can be run.
#[derive(Debug)]
pub struct Compiled {
    pub plan: Plan,
    /// What is worth saying, though the runbook can be run.
    pub warnings: Vec<Diagnostic>,
}

/// Compiles a runbook. `file_name` is what the diagnostics call the file.
///
/// On failure all problems of the file, in its order, warnings included.
pub fn compile(file_name: &str, text: &str, catalog: &Catalog) -> Result<Compiled, Vec<Diagnostic>> {
    let (source, problems) = Source::read(file_name, text);
    let Some(mut source) = source else { return Err(sorted(problems)) };
    let actions = Actions::new(catalog, source.json());
    let violations = check_schema(&mut source, &actions);
    let mut report = Report::new(&source, problems);
    for violation in violations {
        report.violation("", violation, None);
    }
    unavailable::check(source.json(), &mut report);
    let plan = lower(&source, &actions, &mut report);
    let diagnostics = sorted(report.diagnostics);
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match plan {
        Some(plan) if !failed => Ok(Compiled { plan: plan.link(), warnings: diagnostics }),
        _ => Err(diagnostics),
    }
}

/// Checks the file against the schema. Where a string is wanted and a plain scalar stands, the string is the scalar
/// as written: `message: 1.10` is the text `1.10`.
fn check_schema(source: &mut Source, actions: &Actions<'_>) -> Vec<schema::Violation> {
    let mut violations = schema::runbook_checker().check(source.json());
    let before = violations.len();
    violations.retain(|violation| !(violation.wants_string && source.take_text(&violation.pointer)));
    if violations.len() < before {
        violations = schema::runbook_checker().check(source.json());
    }
    action::take_texts(source, actions);
    header::take_texts(source);
    violations
}

/// The plan, as far as the file allows: only of use where no error was reported.
fn lower(source: &Source, actions: &Actions<'_>, report: &mut Report<'_>) -> Option<Plan> {
    let json = source.json();
    let header = Header::lower(json, report);
    let mut drafts = Vec::new();
    for phase in [Phase::Body, Phase::OnFailure, Phase::OnCancel, Phase::Finally] {
        let key = keys::of_phase(phase);
        let steps = json.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (index, step) in steps.iter().enumerate() {
            drafts.push(Draft::lower(step, phase, index, &header, actions, report));
        }
    }
    let graph = graph::Graph::build(&mut drafts, report);
    references::check(&mut drafts, &graph, report);
    header.report_unused_secrets(&drafts, report);
    let mut plan = header.into_plan(Digest::of(source.text().as_bytes()))?;
    plan.steps = drafts.into_iter().map(|draft| draft.step).collect();
    Some(plan)
}
