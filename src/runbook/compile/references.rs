//! Steps that expressions read: known, ended before, and with the field that is read.

use std::collections::HashSet;

use super::{expressions::StepUse, graph::Graph, report::Report, step::Draft};
use crate::{
    model::StepIx,
    runbook::{
        diagnostic::{Code, suggestion},
        plan::Phase,
    },
};

const FIELDS: [&str; 3] = ["outputs", "status", "result"];

/// Checks every use of a step, and marks the steps whose results have to be kept.
pub(super) fn check(drafts: &mut [Draft], graph: &Graph, report: &mut Report<'_>) {
    let mut kept = HashSet::new();
    for position in 0..drafts.len() {
        let uses = std::mem::take(&mut drafts[position].uses);
        let reader = StepIx(u32::try_from(position).unwrap_or(u32::MAX));
        for step_use in &uses {
            let Some(read) = graph.find(&step_use.path[0]) else {
                let ids: Vec<&str> = drafts.iter().map(|draft| draft.step.id.as_ref()).collect();
                let message = format!("there is no step `{}`", step_use.path[0]);
                let help = report.suggest_step(&step_use.path[0], &ids);
                report.span(Code::UnknownStep, step_use.span, &step_use.pointer, message, help);
                continue;
            };
            check_order(reader, read, step_use, drafts, graph, report);
            check_field(&drafts[read.get()], step_use, report);
            if step_use.path.get(1).is_none_or(|field| field == "result") {
                kept.insert(read);
            }
        }
    }
    for ix in kept {
        drafts[ix.get()].step.keep_result = true;
    }
}

fn check_order(
    reader: StepIx,
    read: StepIx,
    step_use: &StepUse,
    drafts: &[Draft],
    graph: &Graph,
    report: &mut Report<'_>,
) {
    let (reading, other) = (&drafts[reader.get()].step, &drafts[read.get()].step);
    let id = &other.id;
    let (message, help) = match (reading.phase, other.phase) {
        _ if reader == read => {
            (format!("`{id}` reads itself"), Some("`outputs` and `retry.if` read the step's own `result`".to_owned()))
        }
        (Phase::Body, Phase::Body) if graph.is_upstream(read, reader) => return,
        (Phase::Body, Phase::Body) if graph.is_upstream(reader, read) => {
            (format!("`{id}` runs after `{}`", reading.id), None)
        }
        (Phase::Body, Phase::Body) => {
            let needs = drafts[reader.get()].needs.iter().map(String::as_str).chain([id.as_ref()]);
            let fix = format!("needs: [{}]", needs.collect::<Vec<_>>().join(", "));
            let message = format!("`{}` does not wait for `{id}`", reading.id);
            let diagnostic = report.source.diagnose(Code::NotUpstream, step_use.span, &step_use.pointer, message);
            report
                .push(diagnostic.with_help(Some(format!("add `{id}` to the needs of `{}`", reading.id))).with_fix(fix));
            return;
        }
        (_, Phase::Body) => return,
        // Handlers run one after another.
        (reading, other) if reading == other && read < reader => return,
        _ => (format!("`{id}` need not have run before `{}`", reading.id), None),
    };
    report.span(Code::NotUpstream, step_use.span, &step_use.pointer, message, help);
}

fn check_field(read: &Draft, step_use: &StepUse, report: &mut Report<'_>) {
    let step = &read.step;
    let Some(field) = step_use.path.get(1) else { return };
    let problem = match (field.as_str(), step_use.path.get(2)) {
        ("outputs", Some(output)) => {
            // A process sets further outputs when it runs, and so does a child run.
            let is_closed = !["run", "runbook", ""].contains(&step.uses.as_ref());
            let is_known = step.outputs.iter().any(|(name, _)| name == output);
            let names: Vec<&str> = step.outputs.iter().map(|(name, _)| name.as_str()).collect();
            let message = || format!("the step `{}` has no output `{output}`", step.id);
            (is_closed && !is_known).then(|| (message(), suggestion(output, names.iter().copied())))
        }
        (known, _) if FIELDS.contains(&known) => None,
        (unknown, _) => {
            let message = format!("a step has no field `{unknown}`");
            let is_output = step.outputs.iter().any(|(name, _)| name == unknown);
            let output = is_output.then(|| format!("did you mean `steps.{}.outputs.{unknown}`?", step.id));
            Some((message, output.or_else(|| suggestion(unknown, FIELDS))))
        }
    };
    if let Some((message, help)) = problem {
        report.span(Code::UnknownField, step_use.span, &step_use.pointer, message, help);
    }
}
