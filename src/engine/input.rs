//! What reaches the engine, and what it answers.

use crate::model::{AttemptId, Failure, Micros, Outcome, Snapshot};

use super::Event;

/// Something that happened to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A worker owns the run and begins, or goes on after a park or a hand-back.
    Begin,
    /// A worker owns the run after its last owner died; `recoveries` deaths so far. Every attempt that was
    /// under way is lost.
    Recovered { recoveries: u32 },
    /// The owner can have this many attempts under way.
    Slots(u32),
    /// Whether the owner is about to end: then it gives the run up whenever nothing is under way, however soon something
    /// will be.
    Leaving(bool),
    /// An attempt ended.
    Finished { attempt: AttemptId, outcome: Outcome },
    /// A person or a program wants the run to stop. `force` ends
    /// `always()` steps too, and handlers: those under way stop and no more begin.
    Cancel { by: String, reason: String, force: bool },
    /// A person says what became of an unknown step.
    Resolve { step: String, verdict: Verdict, by: String, note: String },
    /// Time has passed.
    Tick,
    /// A step that works in the run's working folder, which is at this place, is about to be ended.
    WorkspaceUsed { place: String },
    /// The working folder, unchanged since the last step in it ended, was stored, or was empty, or could not be stored.
    WorkspaceStored(Result<Option<Snapshot>, Failure>),
    /// The owner has nothing to do for the run for long and would give it up; accepted while
    /// [`Run::waiting_on`](super::Run::waiting_on) says what it waits for.
    Park,
}

/// What a person says of an unknown step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It did not happen, or may happen again: run it.
    Retry,
    Succeeded,
    Failed,
}

impl Verdict {
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Retry => "retry",
            Verdict::Succeeded => "succeeded",
            Verdict::Failed => "failed",
        }
    }

    pub fn parse(word: &str) -> Option<Verdict> {
        [Verdict::Retry, Verdict::Succeeded, Verdict::Failed].into_iter().find(|v| v.as_str() == word)
    }
}

/// Why an input changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// A late or repeated delivery; drop it.
    Stale,
    /// The run has ended.
    Ended,
    /// The named step is not waiting for a person.
    NotHeld,
}

/// What an input led to: facts to commit, and effects to carry out once they are committed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
}

/// What the world must do about committed facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start an attempt. `since` is when the current try began (a lost attempt's repetition keeps it);
    /// after `deadline` the attempt has timed out.
    Start { attempt: AttemptId, since: Micros, deadline: Option<Micros> },
    /// Stop an attempt; it reports its outcome as usual.
    Interrupt { attempt: AttemptId, why: Interrupt },
}

/// Why an attempt is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interrupt {
    Cancelled,
    /// The run, or the phase of handlers, is out of time.
    TimedOut,
}
