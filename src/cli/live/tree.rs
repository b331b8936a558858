//! A run as a tree of steps, painted again and again on a terminal.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use anstyle::{AnsiColor, Style};

use super::Watch;
use crate::{
    cli::{
        document::{failure_of, human, step_duration},
        out::Out,
    },
    engine::{Stage, Step, StepRecord},
    model::{Micros, StepIx},
    runbook::{Phase, PlannedStep},
};

/// Log lines shown below a running step.
const TAIL: usize = 3;

/// Larger trees are not left on the terminal as a whole.
const ALL: usize = 200;

/// Faster is not seen, and costs the run time.
const PAUSE: Duration = Duration::from_millis(50);

/// On a terminal that does not say how large it is.
const ROWS: usize = 24;

/// The steps of a run with states, durations and the last lines of those that run.
#[derive(Debug)]
pub struct Tree {
    out: Arc<Out>,
    /// Lines on the terminal that the next frame replaces.
    painted: usize,
    painted_at: Option<Micros>,
    /// Messages when the last frame was painted.
    messages: u64,
}

impl Tree {
    pub fn new(out: Arc<Out>) -> Tree {
        Tree { messages: out.messages(), out, painted: 0, painted_at: None }
    }

    /// Paints a frame, unless the last one is too young.
    pub fn paint(&mut self, watch: &Watch, now: Micros) {
        if self.painted_at.is_some_and(|at| now.since(at) < PAUSE) {
            return;
        }
        let rows = rustix::termios::tcgetwinsize(rustix::stdio::stdout()).map_or(0, |size| usize::from(size.ws_row));
        let room = if rows == 0 { ROWS } else { rows }.saturating_sub(1).max(3);
        let lines = frame(watch, now, room);
        self.replace(&lines);
        self.painted_at = Some(now);
    }

    /// Leaves the whole tree on the terminal, or what did not succeed of a very large one.
    pub fn finish(&mut self, watch: &Watch, now: Micros) {
        let mut lines = Vec::new();
        let whole = watch.plan.steps.len() <= ALL;
        for (ix, step, record) in steps(watch) {
            let called = step.phase == Phase::Body || record.attempt > 0;
            if called && (whole || !matches!(record.state, Step::Succeeded | Step::Skipped)) {
                lines.push(step_line(watch, ix, step, record, now));
            }
        }
        self.replace(&lines);
        self.painted = 0;
    }

    fn replace(&mut self, lines: &[String]) {
        let messages = self.out.messages();
        if std::mem::replace(&mut self.messages, messages) != messages {
            // There is a message below the last frame: that one stays as it is.
            self.painted = 0;
        }
        // Without wrapping a long line is cut by the terminal, so that a line is a row.
        let mut text = String::from("\x1b[?7l");
        if self.painted > 0 {
            let _ = write!(text, "\x1b[{}A\r\x1b[J", self.painted);
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("\x1b[?7h");
        self.out.raw(text.as_bytes());
        self.painted = lines.len();
    }
}

fn steps(watch: &Watch) -> impl Iterator<Item = (StepIx, &PlannedStep, &StepRecord)> {
    (0..).map(StepIx).zip(watch.plan.steps.iter().zip(watch.run.steps())).map(|(ix, (step, record))| (ix, step, record))
}

/// The lines of a frame, at most `room`.
fn frame(watch: &Watch, now: Micros, room: usize) -> Vec<String> {
    let mut lines = vec![header(watch, now)];
    let shown = |step: &PlannedStep, record: &StepRecord| step.phase == Phase::Body || record.attempt > 0;
    let all = steps(watch).filter(|(_, step, record)| shown(step, record)).count();
    // Where the tree has no room, only what is under way or went wrong is shown.
    let whole = all + 1 + TAIL <= room;
    for (ix, step, record) in steps(watch).filter(|(_, step, record)| shown(step, record)) {
        let is_idle = record.state.is_settled() || record.state == Step::Pending;
        if whole || !is_idle || record.state == Step::Failed {
            lines.push(step_line(watch, ix, step, record, now));
        }
        if record.state == Step::Running {
            let tail = watch.tail(ix);
            let skipped = tail.len().saturating_sub(TAIL);
            let dim = Style::new().dimmed();
            lines.extend(tail.skip(skipped).map(|line| format!("      {dim}{line}{dim:#}")));
        }
    }
    lines.truncate(room);
    lines
}

fn header(watch: &Watch, now: Micros) -> String {
    let settled = watch.run.steps().iter().filter(|record| record.state.is_settled()).count();
    let word = match (watch.run.stage(), watch.run.ending()) {
        (Stage::Created, _) => "starting".to_owned(),
        (Stage::Ended(status), _) => status.to_string(),
        (_, Some(_)) => "ending".to_owned(),
        (_, None) => "running".to_owned(),
    };
    let taken = watch.run.started_at().map(|at| human(now.since(at))).unwrap_or_default();
    let bold = Style::new().bold();
    format!("{bold}{}{bold:#}  {word}  {settled}/{}  {taken}", watch.plan.name, watch.plan.steps.len())
}

fn step_line(watch: &Watch, ix: StepIx, step: &PlannedStep, record: &StepRecord, now: Micros) -> String {
    let (symbol, colour) = symbol(record.state);
    let style = Style::new().fg_color(Some(colour.into()));
    let indent = if step.phase == Phase::Body { "  " } else { "    " };
    let mut line = format!("{indent}{style}{symbol}{style:#} {}", watch.plan.step(ix).id);
    if let Some(taken) = step_duration(record, now) {
        let _ = write!(line, "  \x1b[2m{}\x1b[0m", human(taken));
    }
    if record.attempt > 1 {
        let _ = write!(line, "  attempt {}", record.attempt);
    }
    match record.state {
        Step::Retrying { until } => {
            let _ = write!(line, "  again in {}", human(until.since(now)));
        }
        Step::Waiting { due, .. } => {
            let _ = write!(line, "  {} to go", human(due.since(now)));
        }
        Step::Skipped | Step::Blocked | Step::Cancelled | Step::Unknown => {
            line.push_str("  ");
            line.push_str(record.state.status().as_str());
        }
        _ => {}
    }
    if let Some(failure) = failure_of(record) {
        let message = failure.message.lines().next().unwrap_or_default();
        let _ = write!(line, "  {style}{}: {}{style:#}", failure.code, crate::cli::document::printable(message));
    }
    line
}

fn symbol(state: Step) -> (&'static str, AnsiColor) {
    match state {
        Step::Pending => ("○", AnsiColor::BrightBlack),
        Step::Running => ("●", AnsiColor::Cyan),
        Step::Retrying { .. } => ("↻", AnsiColor::Yellow),
        Step::Waiting { .. } => ("◷", AnsiColor::Cyan),
        Step::Unknown => ("?", AnsiColor::Magenta),
        Step::Succeeded => ("✓", AnsiColor::Green),
        Step::Failed => ("✗", AnsiColor::Red),
        Step::Skipped => ("–", AnsiColor::BrightBlack),
        Step::Blocked => ("⊘", AnsiColor::Yellow),
        Step::Cancelled => ("■", AnsiColor::Yellow),
    }
}
