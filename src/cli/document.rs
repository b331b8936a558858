//! What the interface answers, as commands show it: to people, and as JSON.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::fault::Fault;
use crate::{
    api::{self, ListArtifactsQuery},
    client::Client,
    engine::{Step, StepRecord},
    model::{Failure, Micros, RunId},
};

/// The largest page.
pub const PAGE: u32 = 200;

/// A run with everything that belongs to it, as `show` and `run` print it.
#[derive(Debug)]
pub struct Whole {
    pub run: api::Run,
    pub steps: Vec<api::Step>,
    pub artifacts: Vec<api::Artifact>,
    /// While it has not ended.
    pub why: Option<api::Why>,
}

impl Whole {
    /// Reads it.
    pub async fn read(client: &Client, run: RunId) -> Result<Whole, Fault> {
        let steps = client.list_steps(run).await?.items;
        let artifacts = artifacts(client, run).await?;
        // Last, so that nothing of an ended run is older than its end.
        let run = client.get_run(run).await?;
        let why = if run.status.is_ended() { None } else { Some(client.explain_run(run.id).await?) };
        Ok(Whole { run, steps, artifacts, why })
    }

    /// The run's document, with `steps`, `artifacts` and `why` in it.
    pub fn to_json(&self) -> Value {
        let mut document = json!(self.run);
        document["steps"] = json!(self.steps);
        document["artifacts"] = json!(self.artifacts);
        document["why"] = json!(self.why);
        document
    }

    /// From the run's start to its end, or until now.
    pub fn duration(&self) -> Option<Duration> {
        self.run.duration_ms.map(Duration::from_millis)
    }
}

/// Every artifact of a run, by name.
pub async fn artifacts(client: &Client, run: RunId) -> Result<Vec<api::Artifact>, Fault> {
    let mut query = ListArtifactsQuery { limit: Some(PAGE), cursor: None };
    let mut found = Vec::new();
    loop {
        let page = client.list_artifacts(run, &query).await?;
        found.extend(page.items);
        match page.next_cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => return Ok(found),
        }
    }
}

/// A list as JSON.
#[derive(Debug, Serialize)]
pub struct List<'a, T> {
    pub items: &'a [T],
    /// What `--cursor` takes for the next ones.
    pub next_cursor: Option<&'a str>,
}

/// The status, and what a queued run waits for.
pub fn status_word(run: &api::Run) -> String {
    match run.waiting_on {
        Some(waiting_on) => format!("{}: {waiting_on}", run.status),
        None => run.status.to_string(),
    }
}

/// The failure of a step that failed or is being retried.
pub fn failure_of(record: &StepRecord) -> Option<&Failure> {
    let failed = matches!(record.state, Step::Failed | Step::Retrying { .. });
    record.failure.as_deref().filter(|_| failed)
}

/// From the first attempt's start to the end, or until now.
pub fn step_duration(record: &StepRecord, now: Micros) -> Option<Duration> {
    let started = record.first_started?;
    match record.state {
        Step::Running | Step::Retrying { .. } | Step::Waiting { .. } => Some(now.since(started)),
        _ => record.ended.map(|ended| ended.since(started)),
    }
}

/// `512 B`, `1.5 KiB`, `20.0 MiB`.
pub fn bytes(size: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if size < 1_024 {
        return format!("{size} B");
    }
    let mut value = size as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
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
    fn sizes_read_well() {
        let cases =
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (20 << 20, "20.0 MiB"), (1 << 50, "1024.0 TiB")];
        for (size, text) in cases {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn what_steps_print_cannot_move_the_cursor() {
        assert_eq!(printable("\x1b[2Ja\x1b[31mb\tc\r\x07d"), "ab cd");
    }
}
