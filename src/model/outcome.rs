//! How an attempt ended.

use std::{fmt, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::{Map, Value};

use super::{status::UnknownWord, time::Micros};

/// How an attempt of a step ended, as its executor (or the sweep after a death) reports it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Succeeded(Success),
    Failed(Failure),
    /// Nothing is left to do but to let time pass: nobody executes the attempt any more, and it succeeds when its time
    /// has come.
    Waits {
        until: Micros,
    },
    /// Stopped because the run was cancelled or ran out of time. Not a failure of the step.
    Cancelled,
    /// Stopped by a drain before it could end; it may run again and no failure is counted.
    Interrupted,
    /// Handed back by a drain before anything of it had begun: it may run again, whatever its effect.
    NotBegun,
    /// Its worker or supervisor died: nobody knows how far it came.
    Lost,
}

/// What a succeeded attempt leaves behind.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Success {
    /// `steps.<id>.outputs`; at most 256 KiB of JSON.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub outputs: Map<String, Value>,
    /// `steps.<id>.result`; kept only where the plan says a later step reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code such as `EXIT_NONZERO` or `HTTP_STATUS`.
    pub code: String,
    /// One sentence for a person. Secrets are already masked.
    pub message: String,
    pub reason: FailureReason,
    /// False where another attempt cannot help (an expression that fails, a missing secret).
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub retryable: bool,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

impl Failure {
    /// A failure that a retry may mend.
    pub fn error(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.to_owned(), message: message.into(), reason: FailureReason::Error, retryable: true }
    }

    /// A failure that every further attempt would repeat.
    pub fn permanent(code: &str, message: impl Into<String>) -> Failure {
        Failure { retryable: false, ..Failure::error(code, message) }
    }

    /// An attempt was not done in time.
    pub fn timed_out() -> Failure {
        Failure::error("STEP_TIMED_OUT", "the attempt was not done in time").because(FailureReason::Timeout)
    }

    /// The same failure for another reason.
    #[must_use]
    pub fn because(self, reason: FailureReason) -> Failure {
        Failure { reason, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// The kind of a failure, as `retry.on` names it: `error`, `timeout`, `worker_lost`, `exit:75`, `status:503`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureReason {
    Error,
    Timeout,
    WorkerLost,
    /// A process ended with this code, not zero.
    Exit(i32),
    /// An HTTP answer with an unexpected status.
    Status(u16),
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureReason::Error => f.write_str("error"),
            FailureReason::Timeout => f.write_str("timeout"),
            FailureReason::WorkerLost => f.write_str("worker_lost"),
            FailureReason::Exit(code) => write!(f, "exit:{code}"),
            FailureReason::Status(status) => write!(f, "status:{status}"),
        }
    }
}

impl FromStr for FailureReason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let (word, number) = text.split_once(':').unwrap_or((text, ""));
        let unknown = || UnknownWord { kind: "reason of a failure", word: text.to_owned() };
        match (word, number) {
            ("error", "") => Ok(FailureReason::Error),
            ("timeout", "") => Ok(FailureReason::Timeout),
            ("worker_lost", "") => Ok(FailureReason::WorkerLost),
            ("exit", code) => code.parse().map(FailureReason::Exit).map_err(|_| unknown()),
            ("status", status) => status.parse().map(FailureReason::Status).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl Serialize for FailureReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FailureReason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReasonVisitor)
    }
}

/// Reads the word, and also `{"exit": 75}`, which 0.1.0 stored.
struct ReasonVisitor;

impl<'de> Visitor<'de> for ReasonVisitor {
    type Value = FailureReason;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("error, timeout, worker_lost, exit:<code> or status:<status>")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<FailureReason, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FailureReason, A::Error> {
        let (word, number) = map.next_entry::<String, i64>()?.unwrap_or_default();
        format!("{word}:{number}").parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words_on_the_wire() {
        let words = ["error", "timeout", "worker_lost", "exit:75", "exit:-1", "status:503"];
        for word in words {
            let json = format!("\"{word}\"");
            let reason: FailureReason = serde_json::from_str(&json).unwrap();
            assert_eq!((reason.to_string(), serde_json::to_string(&reason).unwrap()), (word.to_owned(), json));
        }
        assert_eq!(serde_json::from_str::<FailureReason>("{\"exit\": 75}").unwrap(), FailureReason::Exit(75));
        for bad in ["\"exit\"", "\"error:1\"", "\"status:x\"", "{}", "7"] {
            assert!(serde_json::from_str::<FailureReason>(bad).is_err(), "{bad}");
        }
    }
}
