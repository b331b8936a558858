//! How an attempt ended.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How an attempt of a step ended, as its executor (or the sweep after a death) reports it.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Succeeded(Success),
    Failed(Failure),
    /// Stopped because the run was cancelled or ran out of time. Not a failure of the step.
    Cancelled,
    /// Stopped by a drain before it could end; it may run again and no failure is counted.
    Interrupted,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    Error,
    Timeout,
    WorkerLost,
    /// A process ended with this code, not zero.
    Exit(i32),
    /// An HTTP answer with an unexpected status.
    Status(u16),
}
