//! A run as plain lines: for pipes, files and dumb terminals.

use std::sync::Arc;

use super::{News, Watch};
use crate::{
    cli::{
        document::{clock_time, date_time, human, step_duration},
        out::Out,
    },
    engine::Event,
    model::{Micros, StepIx},
    runbook::Phase,
};

/// One line for each thing that happens: `12:00:01 drain started`.
#[derive(Debug)]
pub struct Lines {
    out: Arc<Out>,
}

impl Lines {
    pub fn new(out: Arc<Out>) -> Lines {
        Lines { out }
    }

    pub fn show(&mut self, watch: &Watch, news: &News) {
        let time = clock_time(news.at);
        for line in &news.lines {
            self.out.line(format!("{time} {} | {}", watch.plan.step(line.step).id, line.text));
        }
        if let Some(said) = news.fact.as_ref().and_then(|fact| sentence(watch, fact, news.at)) {
            self.out.line(format!("{time} {said}"));
        }
    }
}

/// What a fact says; `None` for those that only matter to machines.
pub fn sentence(watch: &Watch, fact: &Event, at: Micros) -> Option<String> {
    let id = |step: &StepIx| watch.plan.step(*step).id.clone();
    let took = |step: &StepIx| {
        step_duration(watch.run.step(*step), at).map(|taken| format!(" ({})", human(taken))).unwrap_or_default()
    };
    Some(match fact {
        Event::RunStarted => format!("{} started", watch.plan.name),
        Event::RunResumed => format!("{} goes on", watch.plan.name),
        Event::RunRecovered { recoveries } => format!("{} goes on after {recoveries} lost workers", watch.plan.name),
        Event::RunParked { waiting_on } => format!("{} waits: {waiting_on}", watch.plan.name),
        Event::CancelRequested { by, reason, force } => {
            let how = if *force { " by force" } else { "" };
            let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
            format!("cancelled{how} by {by}{reason}")
        }
        Event::RunTimedOut => "the run is out of time".to_owned(),
        Event::RunGivenUp { recoveries } => format!("given up after {recoveries} lost workers"),
        Event::PhaseStarted { phase } if *phase != Phase::Body => format!("{} begins", phase_name(*phase)),
        Event::PhaseTimedOut { phase } => format!("{} is out of time", phase_name(*phase)),
        Event::StepStarted { step, attempt: 1, .. } => format!("{} started", id(step)),
        Event::StepStarted { step, attempt, .. } => format!("{} started, attempt {attempt}", id(step)),
        Event::StepSucceeded { step, .. } => format!("{} succeeded{}", id(step), took(step)),
        Event::StepFailed { step, failure, .. } => format!("{} failed{}: {failure}", id(step), took(step)),
        Event::StepRetrying { step, failure, until, .. } => {
            format!("{} failed, again in {}: {failure}", id(step), human(until.since(at)))
        }
        Event::StepWaiting { step, until, .. } => {
            format!("{} waits for {}, until {}", id(step), human(until.since(at)), date_time(*until))
        }
        Event::StepInterrupted { step, lost: true, .. } => format!("{} lost its worker; it runs again", id(step)),
        Event::StepInterrupted { step, .. } => format!("{} was interrupted; it runs again", id(step)),
        Event::StepUnknown { step, .. } => format!("{} lost its worker; nobody knows what it did", id(step)),
        Event::StepResolved { step, verdict, by, .. } => format!("{}: {by} says {}", id(step), verdict.as_str()),
        Event::StepSkipped { step } => format!("{} skipped", id(step)),
        Event::StepBlocked { step } => format!("{} blocked: a step it needs did not succeed", id(step)),
        Event::StepCancelled { step, .. } => format!("{} cancelled", id(step)),
        Event::WorkspaceNotStored { failure } => format!("the working folder was not stored: {failure}"),
        Event::PhaseStarted { .. }
        | Event::RunFinished { .. }
        | Event::WorkspaceUsed { .. }
        | Event::WorkspaceStored { .. } => return None,
    })
}

pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Body => "steps",
        Phase::OnFailure => "on_failure",
        Phase::OnCancel => "on_cancel",
        Phase::Finally => "finally",
    }
}
