//! The end of a run in a few lines.

use std::path::Path;

use serde_json::Value;

use super::{
    document::{duration, failure_of, human, printable, resolve_commands},
    live::Watch,
};
use crate::{
    control::RunView,
    engine::{Step, StepRecord},
    model::{Micros, RunStatus, StepIx, StepStatus},
    runbook::{Phase, Plan, to_text},
};

/// Longer outputs are cut; `show --output json` has them whole.
const LONGEST_OUTPUT: usize = 200;

/// Failed steps that are told with their last lines.
const FAILURES: usize = 5;

/// Status and duration, failed steps with their last lines, outputs, artifacts, and where to look next.
pub fn of_run(view: &RunView, watch: &Watch, artifacts: &[String], folder: &Path, now: Micros) -> Vec<String> {
    let mut lines = vec![String::new(), headline(view, now)];
    lines.extend(failures(view, watch));
    if let Some(error) = &view.row.error
        && error.code != "STEP_FAILED"
    {
        lines.push(format!("  {}: {}", error.code, printable(&error.message)));
    }
    if !view.row.status.is_ended() {
        lines.extend(waiting(view));
    }
    lines.extend(outputs(view));
    if !artifacts.is_empty() {
        lines.push(format!("artifacts in {}:", folder.join(view.row.id.to_string()).display()));
        let prefix = format!("{}/", view.row.id);
        lines.extend(artifacts.iter().map(|key| format!("  {}", key.strip_prefix(&prefix).unwrap_or(key))));
    }
    lines.push(format!("opsroom show {}", view.row.id));
    lines
}

fn headline(view: &RunView, now: Micros) -> String {
    let status = view.row.status;
    let colour = match status {
        RunStatus::Succeeded => "\x1b[1;32m",
        RunStatus::Failed | RunStatus::TimedOut => "\x1b[1;31m",
        _ => "\x1b[1;33m",
    };
    let word = if status.is_ended() { status.as_str().replace('_', " ") } else { "held".to_owned() };
    let taken = duration(&view.row, now).map(|taken| format!(" in {}", human(taken))).unwrap_or_default();
    format!("{} {colour}{word}\x1b[0m{taken}: {}", view.row.runbook, counts(&view.plan, view.run.steps()))
}

/// `3 succeeded, 1 failed`; handlers that were not called for do not count.
pub fn counts(plan: &Plan, steps: &[StepRecord]) -> String {
    let count = |status: StepStatus| {
        let counted = plan.steps.iter().zip(steps).filter(|(planned, record)| {
            record.state.status() == status && (planned.phase == Phase::Body || record.attempt > 0)
        });
        counted.count()
    };
    let counts: Vec<String> = StepStatus::ALL
        .iter()
        .map(|status| (count(*status), status))
        .filter(|(count, _)| *count > 0)
        .map(|(count, status)| format!("{count} {status}"))
        .collect();
    if counts.is_empty() { "no steps".to_owned() } else { counts.join(", ") }
}

fn failures(view: &RunView, watch: &Watch) -> Vec<String> {
    let mut lines = Vec::new();
    let failed = |(_, record): &(StepIx, &StepRecord)| record.state == Step::Failed;
    let all = (0..).map(StepIx).zip(view.run.steps()).filter(failed);
    for (ix, record) in all.take(FAILURES) {
        let attempts = if record.attempt > 1 { format!(" after {} attempts", record.attempt) } else { String::new() };
        let why = failure_of(record).map(|failure| printable(&failure.to_string())).unwrap_or_default();
        lines.push(format!("  \x1b[31mstep `{}` failed\x1b[0m{attempts}: {why}", view.plan.step(ix).id));
        lines.extend(watch.tail(ix).map(|line| format!("    | {line}")));
    }
    lines
}

/// What a run that has not ended waits for, and what to do.
pub fn waiting(view: &RunView) -> Vec<String> {
    let commands = resolve_commands(view);
    if commands.is_empty() {
        return Vec::new();
    }
    let mut lines =
        vec!["  the outcome of a step is unknown: its worker died while it ran. Say what happened:".to_owned()];
    lines.extend(commands.iter().map(|command| format!("    {command}")));
    lines.push("  then `opsroom recover` goes on with it".to_owned());
    lines
}

fn outputs(view: &RunView) -> Vec<String> {
    let mut lines = Vec::new();
    for (planned, record) in view.plan.steps.iter().zip(view.run.steps()) {
        for (name, value) in record.success.iter().flat_map(|success| &success.outputs) {
            lines.push(format!("  {}.{name} = {}", planned.id, shortened(value)));
        }
    }
    if !lines.is_empty() {
        lines.insert(0, "outputs:".to_owned());
    }
    lines
}

fn shortened(value: &Value) -> String {
    let text = printable(&to_text(value).replace('\n', " "));
    match text.char_indices().nth(LONGEST_OUTPUT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
