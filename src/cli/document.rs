//! A run as commands show it, to people and as JSON.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    control::RunView,
    engine::{Step, StepRecord},
    model::{Digest, Failure, Micros, RunId, RunStatus, StepStatus, WaitingOn},
    ports::RunRow,
    runbook::{Phase, PlannedStep},
};

/// One run; in a list without its steps.
#[derive(Debug, Serialize)]
pub struct RunDocument<'a> {
    pub run: RunId,
    pub runbook: &'a str,
    pub status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_on: Option<WaitingOn>,
    pub created_at: Micros,
    pub started_at: Option<Micros>,
    pub ended_at: Option<Micros>,
    pub duration_ms: Option<u64>,
    pub steps_total: u32,
    pub recoveries: u32,
    pub triggered_by: String,
    pub params: &'a Map<String, Value>,
    pub plan: Digest,
    pub error: Option<&'a Failure>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepDocument<'a>>>,
    /// Their keys below the data folder's `artifacts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifacts: Option<Vec<String>>,
    /// Commands that resolve what the run waits for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resolve: Vec<String>,
}

impl<'a> RunDocument<'a> {
    pub fn new(row: &'a RunRow, now: Micros) -> RunDocument<'a> {
        RunDocument {
            run: row.id,
            runbook: &row.runbook,
            status: row.status,
            waiting_on: row.waiting_on,
            created_at: row.created_at,
            started_at: row.started_at,
            ended_at: row.ended_at,
            duration_ms: duration(row, now).map(millis),
            steps_total: row.steps_total,
            recoveries: row.recoveries,
            triggered_by: format!("{} ({})", row.trigger.actor, row.trigger.kind),
            params: &row.params,
            plan: row.plan,
            error: row.error.as_ref(),
            steps: None,
            artifacts: None,
            resolve: Vec::new(),
        }
    }

    /// With everything that is known of the run.
    pub fn whole(view: &'a RunView, artifacts: Vec<String>, now: Micros) -> RunDocument<'a> {
        let steps = view.plan.steps.iter().zip(view.run.steps());
        RunDocument {
            steps: Some(steps.map(|(planned, record)| StepDocument::new(planned, record, now)).collect()),
            artifacts: Some(artifacts),
            resolve: resolve_commands(view),
            ..RunDocument::new(&view.row, now)
        }
    }
}

/// One step of a run.
#[derive(Debug, Serialize)]
pub struct StepDocument<'a> {
    pub step: &'a str,
    pub phase: Phase,
    pub uses: &'a str,
    pub status: StepStatus,
    pub attempts: u32,
    pub started_at: Option<Micros>,
    pub ended_at: Option<Micros>,
    pub duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outputs: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a Failure>,
}

impl<'a> StepDocument<'a> {
    pub fn new(planned: &'a PlannedStep, record: &'a StepRecord, now: Micros) -> StepDocument<'a> {
        StepDocument {
            step: &planned.id,
            phase: planned.phase,
            uses: &planned.uses,
            status: record.state.status(),
            attempts: record.attempt,
            started_at: record.first_started,
            ended_at: record.ended,
            duration_ms: step_duration(record, now).map(millis),
            outputs: record.success.as_ref().map(|success| &success.outputs).filter(|outputs| !outputs.is_empty()),
            error: failure_of(record),
        }
    }
}

/// What a person can type to resolve the held steps of a run.
pub fn resolve_commands(view: &RunView) -> Vec<String> {
    let command = |ix| format!("opsroom resolve {} {} retry|succeeded|failed", view.row.id, view.plan.step(ix).id);
    if view.row.status.is_ended() { Vec::new() } else { view.run.held().map(command).collect() }
}

/// The failure of a step that failed or is being retried.
pub fn failure_of(record: &StepRecord) -> Option<&Failure> {
    let failed = matches!(record.state, Step::Failed | Step::Retrying { .. });
    record.failure.as_ref().map(Arc::as_ref).filter(|_| failed)
}

/// From the first attempt's start to the end, or until now.
pub fn step_duration(record: &StepRecord, now: Micros) -> Option<Duration> {
    let started = record.first_started?;
    match record.state {
        Step::Running | Step::Retrying { .. } => Some(now.since(started)),
        _ => record.ended.map(|ended| ended.since(started)),
    }
}

/// From the run's start to its end, or until now while it runs.
pub fn duration(row: &RunRow, now: Micros) -> Option<Duration> {
    let end = row.ended_at.or((row.status == RunStatus::Running).then_some(now))?;
    row.started_at.map(|started| end.since(started))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `0.4 s`, `12.3 s`, `2 m 03 s`, `1 h 02 m`.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_millis() < 1_000 => format!("{} ms", duration.as_millis()),
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3_600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// The local wall-clock time of day.
pub fn clock_time(at: Micros) -> String {
    local(at, "%H:%M:%S")
}

/// The local date and time.
pub fn date_time(at: Micros) -> String {
    local(at, "%Y-%m-%d %H:%M:%S")
}

fn local(at: Micros, format: &str) -> String {
    match jiff::Timestamp::from_microsecond(at.0) {
        Ok(at) => at.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string(),
        Err(_) => at.to_string(),
    }
}

/// Text of a step, made safe for a terminal: no escape codes, no control characters.
pub fn printable(text: &str) -> String {
    let stripped = anstream::adapter::strip_str(text).to_string();
    stripped.chars().map(|c| if c == '\t' { ' ' } else { c }).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let cases = [(7, "7 ms"), (1_234, "1.2 s"), (59_949, "59.9 s"), (123_000, "2 m 03 s"), (3_720_000, "1 h 02 m")];
        for (millis, text) in cases {
            assert_eq!(human(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn what_steps_print_cannot_move_the_cursor() {
        assert_eq!(printable("\x1b[2Ja\x1b[31mb\tc\r\x07d"), "ab cd");
    }
}
