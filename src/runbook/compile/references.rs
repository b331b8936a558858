//! Steps that expressions read: known, ended before, and with the field that is read.

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
    let mut reads = Vec::new();
    for (reader, draft) in (0..).map(StepIx).zip(drafts.iter()) {
        for step_use in &draft.uses {
            let id = &step_use.path[0];
            if let Some(read) = graph.find(id) {
                reads.push(Read { reader, target: read, step_use });
            } else {
                let help = report.suggest_step(id, drafts, None);
                let message = format!("there is no step `{id}`");
                report.span(Code::UnknownStep, step_use.span, &step_use.pointer, message, help);
            }
        }
    }
    let in_order = graph.are_upstream(&reads.iter().map(|read| (read.target, read.reader)).collect::<Vec<_>>());
    let reversed = graph.are_upstream(&reads.iter().map(|read| (read.reader, read.target)).collect::<Vec<_>>());
    for ((read, in_order), reversed) in reads.iter().zip(in_order).zip(reversed) {
        check_order(read, in_order, reversed, drafts, report);
        check_field(&drafts[read.target.get()], read.step_use, report);
    }
    let is_kept = |read: &&Read<'_>| read.step_use.path.get(1).is_none_or(|field| field == "result");
    let kept: Vec<StepIx> = reads.iter().filter(is_kept).map(|read| read.target).collect();
    for ix in kept {
        drafts[ix.get()].step.keep_result = true;
    }
}

/// One step reads another.
struct Read<'a> {
    reader: StepIx,
    target: StepIx,
    step_use: &'a StepUse,
}

fn check_order(read: &Read<'_>, in_order: bool, reversed: bool, drafts: &[Draft], report: &mut Report<'_>) {
    let (reader, other) = (&drafts[read.reader.get()], &drafts[read.target.get()].step);
    let (reading, id, step_use) = (&reader.step, &other.id, read.step_use);
    let (message, help) = match (reading.phase, other.phase) {
        _ if read.reader == read.target => {
            (format!("`{id}` reads itself"), Some("`outputs` and `retry.if` read the step's own `result`".to_owned()))
        }
        (Phase::Body, Phase::Body) if in_order => return,
        (Phase::Body, Phase::Body) if reversed => (format!("`{id}` runs after `{}`", reading.id), None),
        (Phase::Body, Phase::Body) => {
            let needs = reader.needs.iter().map(String::as_str).chain([id.as_ref()]);
            let fix = format!("needs: [{}]", needs.collect::<Vec<_>>().join(", "));
            let message = format!("`{}` does not wait for `{id}`", reading.id);
            let diagnostic = report.source.diagnose(Code::NotUpstream, step_use.span, &step_use.pointer, message);
            let help = format!("add `{id}` to the needs of `{}`", reading.id);
            report.push(diagnostic.with_help(Some(help)).with_fix(fix));
            return;
        }
        (_, Phase::Body) => return,
        // Handlers run one after another.
        (reading, other) if reading == other && read.target < read.reader => return,
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
