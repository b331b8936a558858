//! Why a run is where it is: what it waits for, and what moves it on. Pure.

use std::{sync::Arc, time::Duration};

use super::RunView;
use crate::{
    engine::{Ending, Step},
    model::{Lane, Micros, RunStatus, StepIx, WaitingOn},
    ports::WorkerState,
};

/// What is known of the world around a run.
#[derive(Debug, Clone, Default)]
pub struct Circumstances {
    /// Its place in the queue of its lane.
    pub position: Option<u64>,
    /// Runs of its lane that somebody executes.
    pub running_in_lane: u64,
    /// Runs of its lane that the living workers execute at once; 0 if none serves it.
    pub slots: usize,
    /// The lanes that living workers serve.
    pub served: Vec<Lane>,
    /// The worker that has it, where that has missed its beats.
    pub silent: Option<Silence>,
}

/// A worker of which nothing was heard for so long that it may be dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// How old its last sign of life is.
    pub age: Duration,
    /// Then its runs are taken back.
    pub lease_until: Micros,
    pub is_expired: bool,
}

impl Silence {
    /// A worker beats more than three times a lease; half a lease after the last one a beat was missed.
    pub fn of(state: &WorkerState) -> Option<Silence> {
        let lease_until = state.lease_until?;
        let lease = lease_until.since(state.beat_at);
        let is_silent = state.is_expired || state.beat_age * 2 > lease;
        is_silent.then_some(Silence { age: state.beat_age, lease_until, is_expired: state.is_expired })
    }
}

/// The reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// One sentence for a person.
    pub summary: String,
    pub position: Option<u64>,
    /// When it goes on by itself.
    pub wake_at: Option<Micros>,
    pub blockers: Vec<Blocker>,
    /// Commands that move it on.
    pub actions: Vec<String>,
}

/// One thing that a run waits for, or that ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    pub kind: BlockerKind,
    pub step: Option<Arc<str>>,
    pub detail: String,
    pub since: Option<Micros>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockerKind {
    /// Other runs have all slots of the lane, or wait before this one.
    LaneFull,
    /// No worker is there to take it.
    NoWorker,
    /// It sleeps until a time.
    Timer,
    StepRunning,
    StepRetrying,
    /// A person has to say what became of a step.
    StepOutcome,
    StepFailed,
}

/// Tells why.
pub fn why(view: &RunView, around: &Circumstances) -> Why {
    match (view.row.status, view.row.waiting_on) {
        (status, _) if status.is_ended() => ended(view),
        (RunStatus::Queued, Some(WaitingOn::StepOutcome)) => held(view),
        (RunStatus::Queued, Some(WaitingOn::Timer)) => asleep(view),
        (RunStatus::Queued, _) => queued(view, around),
        _ => match around.silent {
            Some(silence) => silent(owned(view), silence),
            None => owned(view),
        },
    }
}

/// Nobody knows whether what the run was last seen doing goes on.
fn silent(why: Why, Silence { age, lease_until, is_expired }: Silence) -> Why {
    let then = if is_expired {
        format!("its lease ran out at {lease_until}, and the run is about to be taken back")
    } else {
        format!("its lease runs out at {lease_until}, and then the run is taken back")
    };
    let summary = format!("Its worker's last sign is {} s old: {then}. Last seen: {}", age.as_secs(), why.summary);
    Why { summary, ..why }
}

fn queued(view: &RunView, around: &Circumstances) -> Why {
    let (row, lane) = (&view.row, view.row.lane);
    let position = around.position;
    let ahead = position.map_or(0, |position| position - 1);
    let since = Some(row.created_at);
    if around.slots == 0 {
        let others: Vec<&str> = around.served.iter().map(|lane| lane.as_str()).collect();
        let but =
            if others.is_empty() { String::new() } else { format!("; those that live serve {}", others.join(", ")) };
        let detail = format!("no worker serves lane {lane}{but}");
        let blocker = Blocker { kind: BlockerKind::NoWorker, step: None, detail, since };
        let summary = format!("{}waits in lane {lane}, and no worker is there to take it.", again(view));
        let start = if others.is_empty() { "opsroom up".to_owned() } else { format!("opsroom worker --lanes {lane}") };
        let actions = vec![start, cancel(view)];
        return Why { summary, position, wake_at: None, blockers: vec![blocker], actions };
    }
    let running = around.running_in_lane;
    let detail =
        format!("{} and {} in lane {lane}", count(running, "run is under way", "runs are under way"), waits(ahead));
    let blocker = Blocker { kind: BlockerKind::LaneFull, step: None, detail: detail.clone(), since };
    let summary = format!("{}waits for a free slot: {detail}.", again(view));
    Why { summary, position, wake_at: None, blockers: vec![blocker], actions: vec![cancel(view)] }
}

fn again(view: &RunView) -> &'static str {
    if view.row.recoveries > view.row.recoveries_applied { "Its worker died; it " } else { "It " }
}

fn waits(ahead: u64) -> String {
    match ahead {
        0 => "none waits before it".to_owned(),
        ahead => count(ahead, "waits before it", "wait before it"),
    }
}

fn asleep(view: &RunView) -> Why {
    let wake_at = view.row.wake_at.or_else(|| view.run.wake_at());
    let until = wake_at.map_or_else(|| "later".to_owned(), |at| at.to_string());
    let mut blockers = [retrying(view), waiting(view)].concat();
    if blockers.is_empty() {
        let detail = format!("sleeps until {until}");
        blockers.push(Blocker { kind: BlockerKind::Timer, step: None, detail, since: None });
    }
    let summary = format!("It does nothing until {until}, then goes on by itself.");
    Why { summary, position: None, wake_at, blockers, actions: vec![cancel(view)] }
}

fn held(view: &RunView) -> Why {
    let outcomes = outcomes(view);
    let steps: Vec<&str> = outcomes.iter().filter_map(|blocker| blocker.step.as_deref()).collect();
    let summary = format!("A worker died while {} ran; a person has to say what became of it.", names(&steps));
    let mut actions = resolves(view);
    actions.push(cancel(view));
    let blockers = [outcomes, retrying(view), waiting(view)].concat();
    Why { summary, position: None, wake_at: view.row.wake_at, blockers, actions }
}

fn owned(view: &RunView) -> Why {
    let running = running(view);
    let retrying = retrying(view);
    let (waiting, outcomes) = (waiting(view), outcomes(view));
    let ending = match view.run.ending() {
        Some(Ending::Cancelled) => "It is being cancelled: ",
        Some(Ending::TimedOut) => "Its time is up, and it is ending: ",
        Some(Ending::GivenUp) => "It is being given up: ",
        None => "",
    };
    let at_work: Vec<&str> = running.iter().filter_map(|blocker| blocker.step.as_deref()).collect();
    let doing = match (at_work.as_slice(), waiting.len(), retrying.len(), outcomes.len()) {
        ([], 0, 0, 0) => "a worker has it and is about to decide what comes next".to_owned(),
        ([], 0, 0, _) => "it waits for a person to say what became of a step".to_owned(),
        ([], 0, retrying, _) => format!("{} for the next attempt", count(retrying as u64, "step waits", "steps wait")),
        ([], waiting, _, _) => format!("{} for a time", count(waiting as u64, "step waits", "steps wait")),
        (steps, ..) => format!("{} {} at work", names(steps), if steps.len() == 1 { "is" } else { "are" }),
    };
    let summary = capitalized(&format!("{ending}{doing}."));
    let mut actions = resolves(view);
    actions.push(cancel(view));
    let blockers = [running, retrying, waiting, outcomes].concat();
    Why { summary, position: None, wake_at: view.run.wake_at(), blockers, actions }
}

fn ended(view: &RunView) -> Why {
    let row = &view.row;
    let failed = |ix: &StepIx| matches!(view.run.step(*ix).state, Step::Failed);
    let detail = |ix: StepIx| {
        let failure = view.run.step(ix).failure.as_deref();
        failure.map_or_else(|| "failed".to_owned(), |failure| format!("{}: {}", failure.code, failure.message))
    };
    let blockers: Vec<Blocker> = if row.status == RunStatus::Succeeded {
        Vec::new()
    } else {
        let of = |ix| blocker(view, BlockerKind::StepFailed, ix, detail(ix), view.run.step(ix).ended);
        steps(view).filter(failed).map(of).collect()
    };
    let reason = row.error.as_ref().map(|error| format!(": {}", error.message)).unwrap_or_default();
    let summary = match row.status {
        RunStatus::Succeeded => "It has succeeded.".to_owned(),
        RunStatus::Cancelled => format!("It was cancelled{reason}."),
        RunStatus::TimedOut => format!("It ran out of time{reason}."),
        _ => format!("It has failed{reason}."),
    };
    let log = |blocker: &Blocker| blocker.step.as_ref().map(|step| format!("opsroom logs {} --step {step}", row.id));
    let actions = blockers.iter().filter_map(log).collect();
    Why { summary, position: None, wake_at: None, blockers, actions }
}

fn running(view: &RunView) -> Vec<Blocker> {
    let of = |ix| {
        let record = view.run.step(ix);
        let of_max = match view.plan.step(ix).retry.max_attempts {
            1 => String::new(),
            max => format!(" of at most {max}"),
        };
        let detail = format!("attempt {}{of_max} of `{}` is under way", record.attempt, view.plan.step(ix).uses);
        blocker(view, BlockerKind::StepRunning, ix, detail, record.started)
    };
    view.run.running().map(of).collect()
}

fn retrying(view: &RunView) -> Vec<Blocker> {
    let of = |ix: StepIx| {
        let record = view.run.step(ix);
        let Step::Retrying { until } = record.state else { return None };
        let why = record.failure.as_deref().map(|failure| format!(", after {}: {}", failure.code, failure.message));
        let detail = format!("attempt {} begins at {until}{}", record.attempt + 1, why.unwrap_or_default());
        Some(blocker(view, BlockerKind::StepRetrying, ix, detail, record.started))
    };
    steps(view).filter_map(of).collect()
}

fn waiting(view: &RunView) -> Vec<Blocker> {
    let of = |ix: StepIx| {
        let record = view.run.step(ix);
        let Step::Waiting { until, due } = record.state else { return None };
        let over = if until <= due { String::new() } else { format!(", and times out at {due}") };
        let detail = format!("`{}` waits until {until}{over}", view.plan.step(ix).uses);
        Some(blocker(view, BlockerKind::Timer, ix, detail, record.started))
    };
    steps(view).filter_map(of).collect()
}

fn outcomes(view: &RunView) -> Vec<Blocker> {
    let of = |ix| {
        let record = view.run.step(ix);
        let detail = format!("its worker died in attempt {}; nobody knows what it did", record.attempt);
        blocker(view, BlockerKind::StepOutcome, ix, detail, record.started)
    };
    view.run.held().map(of).collect()
}

fn steps(view: &RunView) -> impl Iterator<Item = StepIx> + '_ {
    (0..).map(StepIx).take(view.plan.steps.len())
}

fn blocker(view: &RunView, kind: BlockerKind, ix: StepIx, detail: String, since: Option<Micros>) -> Blocker {
    Blocker { kind, step: Some(view.plan.step(ix).id.clone()), detail, since }
}

fn resolves(view: &RunView) -> Vec<String> {
    let command = |ix| format!("opsroom resolve {} {} retry|succeeded|failed", view.row.id, view.plan.step(ix).id);
    view.run.held().map(command).collect()
}

fn cancel(view: &RunView) -> String {
    format!("opsroom cancel {}", view.row.id)
}

fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn names(steps: &[&str]) -> String {
    let named: Vec<String> = steps.iter().take(3).map(|step| format!("`{step}`")).collect();
    match steps.len() - named.len() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
