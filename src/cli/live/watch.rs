//! The state of a run, folded from the events that clients get.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use base64::Engine as _;
use serde_json::{Map, Value};

use crate::{
    cli::document::printable,
    engine::{self, Fact, Run},
    model::{Event, Micros, RunId, StepIx},
    runbook::Plan,
};

/// Lines kept of each step, for views and for the summary of a failure.
const TAIL: usize = 10;

/// Characters kept of each of them.
const TAIL_WIDTH: usize = 500;

/// A longer line is shown in pieces.
const LONGEST: usize = 16 << 10;

/// A run and the last lines of its steps.
#[derive(Debug)]
pub struct Watch {
    pub plan: Arc<Plan>,
    /// The same fold that the owner makes.
    pub run: Run,
    /// The sequence of the last event taken in.
    pub last: u64,
    /// Whether every line is wanted, or only the last ones of each step.
    every_line: bool,
    tails: HashMap<StepIx, VecDeque<String>>,
    /// The unfinished line of each step and stream.
    open: HashMap<(StepIx, String), Vec<u8>>,
}

/// A line that a step wrote.
#[derive(Debug)]
pub struct LogLine {
    pub step: StepIx,
    pub text: String,
}

/// What an event meant.
#[derive(Debug)]
pub struct News {
    pub at: Micros,
    pub fact: Option<engine::Event>,
    /// Lines that became complete, before the fact.
    pub lines: Vec<LogLine>,
}

impl Watch {
    /// `every_line`: [`News::lines`] leaves nothing out.
    pub fn new(plan: Arc<Plan>, run: RunId, every_line: bool) -> Watch {
        let state = Run::new(&plan, run, Arc::new(Map::new()));
        Watch { plan, run: state, last: 0, every_line, tails: HashMap::new(), open: HashMap::new() }
    }

    /// Takes an event in; `None` if it was known already.
    pub fn take(&mut self, event: &Event) -> Option<News> {
        if event.sequence <= self.last {
            return None;
        }
        self.last = event.sequence;
        // An event that this build cannot read is for others; the run's own view will say so.
        let fact = engine::Event::from_stored(&self.plan, &event.event, &event.data).ok().flatten();
        let mut lines = Vec::new();
        if let Some(fact) = &fact {
            if let Some(step) = fact.step() {
                self.flush(step, &mut lines);
            }
            self.run.apply(&self.plan, &Fact { at: event.timestamp, event: fact.clone() });
        } else if event.is_chunk() {
            self.log(&event.data, &mut lines);
        }
        for line in &lines {
            let tail = self.tails.entry(line.step).or_default();
            if tail.len() == TAIL {
                tail.pop_front();
            }
            tail.push_back(line.text.chars().take(TAIL_WIDTH).collect());
        }
        // Kept only of steps that run or have failed: there may be thousands of the others.
        if let Some(engine::Event::StepStarted { step, .. } | engine::Event::StepSucceeded { step, .. }) = &fact {
            self.tails.remove(step);
        }
        Some(News { at: event.timestamp, fact, lines })
    }

    /// The last lines of a step's last attempt.
    pub fn tail(&self, step: StepIx) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        self.tails.get(&step).map(|tail| tail.iter()).unwrap_or_default().map(String::as_str)
    }

    fn log(&mut self, data: &Value, lines: &mut Vec<LogLine>) {
        let text = |name: &str| data.get(name).and_then(Value::as_str);
        let Some(step) = text("step").and_then(|id| self.plan.find(id)) else { return };
        let stream = text("stream").unwrap_or_default().to_owned();
        if stream == "log" {
            // A line of the action itself is whole.
            let level = text("level").filter(|level| *level != "info").map(|level| format!("{level}: "));
            let text = format!("{}{}", level.unwrap_or_default(), text("text").unwrap_or_default());
            lines.extend(text.lines().map(|line| LogLine { step, text: printable(line) }));
            return;
        }
        let open = self.open.entry((step, stream)).or_default();
        open.extend(payload(data));
        let mut ends = Vec::new();
        let mut start = 0;
        while let Some(length) = line_end(&open[start..]) {
            ends.push((start, start + length));
            start += length;
        }
        let left_out = if self.every_line { 0 } else { ends.len().saturating_sub(TAIL) };
        lines.extend(ends[left_out..].iter().map(|(start, end)| log_line(step, &open[*start..*end])));
        open.drain(..start);
    }

    /// Ends the unfinished lines of a step.
    fn flush(&mut self, step: StepIx, lines: &mut Vec<LogLine>) {
        self.open.retain(|(of, _), open| {
            if *of == step && !open.is_empty() {
                lines.push(log_line(step, open));
            }
            *of != step
        });
    }
}

/// Where the first line ends, its end included; a long line ends where it is cut.
fn line_end(bytes: &[u8]) -> Option<usize> {
    let within = &bytes[..bytes.len().min(LONGEST)];
    within.iter().position(|byte| *byte == b'\n').map(|at| at + 1).or((bytes.len() > LONGEST).then_some(LONGEST))
}

fn log_line(step: StepIx, bytes: &[u8]) -> LogLine {
    LogLine { step, text: printable(&String::from_utf8_lossy(bytes)) }
}

/// The bytes of a chunk.
pub fn payload(data: &Value) -> Vec<u8> {
    if let Some(text) = data.get("text").and_then(Value::as_str) {
        return text.as_bytes().to_vec();
    }
    let base64 = data.get("base64").and_then(Value::as_str).unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        model::{Category, EventKind},
        runbook::PlannedStep,
    };

    fn watch() -> Watch {
        let plan = Plan::new("test", vec![PlannedStep::new("a", "run")]);
        Watch::new(Arc::new(plan), RunId(uuid::Uuid::from_u128(1)), true)
    }

    fn event(sequence: u64, category: Category, action: &str, data: Value) -> Event {
        Event {
            run_id: RunId(uuid::Uuid::from_u128(1)),
            timestamp: Micros(0),
            sequence,
            prev: sequence - 1,
            source: None,
            event: EventKind { category, action: action.to_owned() },
            data,
        }
    }

    fn chunk(sequence: u64, stream: &str, text: &str) -> Event {
        event(sequence, Category::System, "log", json!({"step": "a", "stream": stream, "text": text}))
    }

    fn texts(news: Option<News>) -> Vec<String> {
        news.unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_whole_whatever_the_chunks() {
        let mut watch = watch();
        assert_eq!(texts(watch.take(&chunk(1, "stdout", "on"))), [""; 0]);
        assert_eq!(texts(watch.take(&chunk(2, "stderr", "other\n"))), ["other"]);
        assert_eq!(texts(watch.take(&chunk(3, "stdout", "e\ntwo\nthr"))), ["one", "two"]);
        let ended = event(4, Category::Lifecycle, "step_unknown", json!({"step": "a", "attempt": 1}));
        assert_eq!(texts(watch.take(&ended)), ["thr"]);
        assert!(watch.take(&ended).is_none(), "known already");
        assert_eq!(watch.tail(StepIx(0)).collect::<Vec<_>>(), ["other", "one", "two", "thr"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut watch = watch();
        let lines = texts(watch.take(&chunk(1, "stdout", &"x".repeat(3 * LONGEST + 10))));
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LONGEST; 3]);
    }
}
