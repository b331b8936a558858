//! The end of a run in a few lines.

use std::fmt::Write;

use serde_json::Value;

use super::{
    document::{Whole, bytes, human, printable},
    live::Watch,
};
use crate::{
    api,
    model::{RunStatus, StepStatus, WaitingOn},
    runbook::{Phase, to_text},
};

/// Longer outputs are cut; `show --output json` has them whole.
const LONGEST_OUTPUT: usize = 200;

/// Failed steps that are told with their last lines.
const FAILURES: usize = 5;

/// Status and duration, failed steps with their last lines, outputs, artifacts, and where to look next.
pub fn of_run(whole: &Whole, watch: &Watch) -> Vec<String> {
    let run = &whole.run;
    let mut lines = vec![String::new(), headline(whole)];
    lines.extend(failures(whole, watch));
    if let Some(error) = &run.error
        && error.code != "STEP_FAILED"
    {
        lines.push(format!("  {}: {}", error.code, printable(&error.message)));
    }
    lines.extend(waiting(whole));
    lines.extend(outputs(&whole.steps));
    if !whole.artifacts.is_empty() {
        lines.push(format!("artifacts (opsroom artifacts get {} NAME):", run.id));
        let line = |artifact: &api::Artifact| format!("  {} ({})", printable(&artifact.name), bytes(artifact.size));
        lines.extend(whole.artifacts.iter().map(line));
    }
    lines.push(format!("opsroom show {}", run.id));
    lines
}

fn headline(whole: &Whole) -> String {
    let status = whole.run.status;
    let colour = match status {
        RunStatus::Succeeded => "\x1b[1;32m",
        RunStatus::Failed | RunStatus::TimedOut => "\x1b[1;31m",
        _ => "\x1b[1;33m",
    };
    let word = if status.is_ended() { status.as_str().replace('_', " ") } else { "held".to_owned() };
    let taken = whole.duration().map(|taken| format!(" in {}", human(taken))).unwrap_or_default();
    format!("{} {colour}{word}\x1b[0m{taken}: {}", printable(&whole.run.runbook), counts(&whole.steps))
}

/// `3 succeeded, 1 failed`; handlers that were not called for do not count.
fn counts(steps: &[api::Step]) -> String {
    let count = |status: StepStatus| {
        steps.iter().filter(|step| step.status == status && (step.phase == Phase::Body || step.attempts > 0)).count()
    };
    let counts: Vec<String> = StepStatus::ALL
        .iter()
        .map(|status| (count(*status), status))
        .filter(|(count, _)| *count > 0)
        .map(|(count, status)| format!("{count} {status}"))
        .collect();
    if counts.is_empty() { "no steps".to_owned() } else { counts.join(", ") }
}

fn failures(whole: &Whole, watch: &Watch) -> Vec<String> {
    let mut lines = Vec::new();
    for step in whole.steps.iter().filter(|step| step.status == StepStatus::Failed).take(FAILURES) {
        let attempts = if step.attempts > 1 { format!(" after {} attempts", step.attempts) } else { String::new() };
        let why = step.error.as_ref().map(|failure| printable(&failure.to_string())).unwrap_or_default();
        lines.push(format!("  \x1b[31mstep `{}` failed\x1b[0m{attempts}: {why}", step.id));
        let tail = watch.plan.find(&step.id).map(|ix| watch.tail(ix)).into_iter().flatten();
        lines.extend(tail.map(|line| format!("    | {line}")));
    }
    lines
}

/// What a held run waits for, and what to do.
pub fn waiting(whole: &Whole) -> Vec<String> {
    let held = whole.run.waiting_on == Some(WaitingOn::StepOutcome);
    let Some(why) = whole.why.as_ref().filter(|_| held || unknown(&whole.steps)) else { return Vec::new() };
    let mut lines =
        vec!["  the outcome of a step is unknown: its worker ended while it ran. Say what happened:".to_owned()];
    let resolves = why.actions.iter().filter(|action| action.starts_with("opsroom resolve"));
    lines.extend(resolves.map(|command| format!("    {command}")));
    lines.push("  then it goes on: by itself on a server, else with `opsroom recover`".to_owned());
    lines
}

fn unknown(steps: &[api::Step]) -> bool {
    steps.iter().any(|step| step.status == StepStatus::Unknown)
}

fn outputs(steps: &[api::Step]) -> Vec<String> {
    let mut lines = Vec::new();
    for step in steps {
        lines.extend(step.outputs.iter().map(|(name, value)| format!("  {}.{name} = {}", step.id, shortened(value))));
    }
    if !lines.is_empty() {
        lines.insert(0, "outputs:".to_owned());
    }
    lines
}

fn shortened(value: &Value) -> String {
    let mut text = printable(&to_text(value).replace('\n', " "));
    if let Some((end, _)) = text.char_indices().nth(LONGEST_OUTPUT) {
        text.truncate(end);
        // Writing to a string does not fail.
        let _ = write!(text, "…");
    }
    text
}
