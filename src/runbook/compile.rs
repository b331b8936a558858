//! From a runbook's text to a [`Plan`].
//!
//! The text is read with positions, checked against the schema, and lowered step by step; then the graph of needs
//! and the references between steps are checked. Every stage works on what the stages before it could make out,
//! so that all problems of a file come out together.

mod action;
mod expressions;
mod files;
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
    Beside, Catalog, Diagnostic, Plan,
    diagnostic::{Code, Severity, sorted},
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

/// Compiles a runbook that has no files beside it. `file_name` is what the diagnostics call the file.
///
/// On failure all problems of the file, in its order, warnings included.
pub fn compile(file_name: &str, text: &str, catalog: &Catalog) -> Result<Compiled, Vec<Diagnostic>> {
    compile_with_files(file_name, text, catalog, &Beside::default())
}

/// Compiles a runbook with what was found for its [`globs`](super::globs).
pub fn compile_with_files(
    file_name: &str,
    text: &str,
    catalog: &Catalog,
    beside: &Beside,
) -> Result<Compiled, Vec<Diagnostic>> {
    let (source, problems) = Source::read(file_name, text);
    let Some(mut source) = source else { return Err(sorted(problems)) };
    let actions = Actions::new(catalog, source.json());
    let violations = check_schema(&mut source, &actions);
    let mut report = Report::new(&source, problems);
    for violation in violations {
        report.violation("", violation, None);
    }
    unavailable::check(source.json(), &mut report);
    let files = files::check(source.json(), beside, &mut report);
    let mut plan = lower(&source, &actions, &mut report);
    if let Some(plan) = &mut plan {
        plan.files = files;
    }
    let diagnostics = sorted(report.diagnostics);
    let failed = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    match plan {
        Some(plan) if !failed => Ok(Compiled { plan: plan.link(), warnings: diagnostics }),
        _ => Err(diagnostics),
    }
}

/// A problem of the value at a JSON pointer that only those know who have more than the text.
pub fn diagnose(file_name: &str, text: &str, code: Code, pointer: &str, message: impl Into<String>) -> Diagnostic {
    let source = Source::read(file_name, text).0.unwrap_or_else(|| Source::blank(file_name));
    source.diagnose(code, source.value_span(pointer), pointer, message)
}

/// The runbook's name, also of a text that is not valid otherwise.
pub fn name_of(text: &str) -> Option<String> {
    let is_name = |name: &str| {
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=64).contains(&name.len()) && name.bytes().all(known)
    };
    let name = match Source::read("", text).0 {
        Some(source) => source.json().get("name").and_then(Value::as_str).map(str::to_owned),
        // No YAML; the line with the name may be well all the same.
        None => text.lines().find_map(|line| {
            let value = line.strip_prefix("name:")?.split(" #").next()?;
            Some(value.trim().trim_matches(['"', '\'']).to_owned())
        }),
    };
    name.filter(|name| is_name(name))
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
