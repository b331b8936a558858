//! The V2 event: what clients read, from Redis, over SSE, from the history and from the archive.
//!
//! Its JSON form is fixed by `schemas/event.v2.schema.json`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Micros, RunId, status::UnknownWord};

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub run_id: RunId,
    /// RFC 3339 with milliseconds.
    pub timestamp: Micros,
    /// Strictly increasing in a run, over all its owners; gaps are allowed.
    pub sequence: u64,
    /// The sequence assigned before this one. A reader has missed something exactly when `prev` is
    /// greater than the last sequence it was given.
    pub prev: u64,
    /// The agent that spoke, for events of agent teams.
    pub source: Option<Source>,
    pub event: EventKind,
    pub data: Value,
}

impl Event {
    /// The id in streams and in SSE.
    pub fn id(&self) -> StreamId {
        StreamId { millis: self.timestamp.millis(), sequence: self.sequence }
    }

    /// Whether it tells of the run as a whole: that it was created, started, was asked to stop, waits, or ended.
    pub fn is_about_run(&self) -> bool {
        let action = self.event.action.as_str();
        self.event.category == Category::Lifecycle && (action.starts_with("run_") || action == "cancel_requested")
    }

    /// Whether it is a piece of a log, kept beside the durable events.
    pub fn is_chunk(&self) -> bool {
        self.event.category == Category::System && self.event.action == "log"
    }
}

/// `lifecycle.run_started` and so on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventKind {
    pub category: Category,
    pub action: String,
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.category.as_str(), self.action)
    }
}

/// The four categories of the V2 event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A run or a step changed its state.
    Lifecycle,
    /// What a model said, token by token.
    Llm,
    /// Work was given to somebody.
    Dispatch,
    /// Logs, and words of the system itself.
    System,
}

impl Category {
    pub const fn as_str(self) -> &'static str {
        match self {
            Category::Lifecycle => "lifecycle",
            Category::Llm => "llm",
            Category::Dispatch => "dispatch",
            Category::System => "system",
        }
    }
}

impl FromStr for Category {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        [Category::Lifecycle, Category::Llm, Category::Dispatch, Category::System]
            .into_iter()
            .find(|c| c.as_str() == word)
            .ok_or_else(|| UnknownWord { kind: "event category", word: word.to_owned() })
    }
}

/// The agent of an agent team that an event comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    pub agent_id: String,
    /// `global_supervisor`, `team_supervisor` or `worker`.
    pub agent_type: String,
    pub agent_name: String,
    pub team_name: Option<String>,
}

/// `<ms>-<sequence>`: the id of an event in Redis, memory, SQL, SSE and archive alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    pub millis: i64,
    pub sequence: u64,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.sequence)
    }
}

/// The text is not `<ms>-<sequence>`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an event id is <milliseconds>-<sequence>")]
pub struct ParseEventId;

impl FromStr for StreamId {
    type Err = ParseEventId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (millis, sequence) = text.split_once('-').ok_or(ParseEventId)?;
        Ok(StreamId {
            millis: millis.parse().map_err(|_| ParseEventId)?,
            sequence: sequence.parse().map_err(|_| ParseEventId)?,
        })
    }
}
