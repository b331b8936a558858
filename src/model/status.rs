//! The words that are stored and shown. Written down here alone; SQL binds them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A stored word that this build does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a {kind}")]
pub struct UnknownWord {
    pub kind: &'static str,
    pub word: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident ($kind:literal) { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word that is stored and shown.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|w| w.as_str() == word)
                    .ok_or_else(|| UnknownWord { kind: $kind, word: word.to_owned() })
            }
        }
    };
}

words! {
    /// The life of a run: `queued → claimed → running → succeeded | failed | cancelled | timed_out`.
    /// A parked, recovered or handed-back run returns to `queued`.
    RunStatus ("run status") {
        /// Nobody owns it. Entered at creation, by a park, a recovery or a hand-back; left by a claim.
        Queued = "queued",
        /// A worker owns it and has not decided anything yet. Entered by a claim; left by its first commit.
        Claimed = "claimed",
        /// A worker owns it. Left by a park, a recovery, a hand-back or an end.
        Running = "running",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
        TimedOut = "timed_out",
    }
}

impl RunStatus {
    /// Whether the run has ended; an ended run is sealed.
    pub const fn is_ended(self) -> bool {
        matches!(self, RunStatus::Succeeded | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut)
    }

    /// Whether a worker owns the run.
    pub const fn is_owned(self) -> bool {
        matches!(self, RunStatus::Claimed | RunStatus::Running)
    }
}

words! {
    /// What an artifact is, for those who show it.
    ArtifactKind ("artifact kind") {
        File = "file",
        Markdown = "markdown",
        Json = "json",
        /// A URL; the content is elsewhere.
        Link = "link",
    }
}

words! {
    /// The state of a step as every view shows it. The transitions are in [`crate::engine`].
    StepStatus ("step status") {
        /// Waits for its needs or for a slot.
        Pending = "pending",
        Running = "running",
        /// Failed, and waits for its next attempt.
        Retrying = "retrying",
        /// Waits for something outside (a person, a time, a child run).
        Waiting = "waiting",
        Succeeded = "succeeded",
        Failed = "failed",
        /// Its own `if` said no.
        Skipped = "skipped",
        /// A step it needs did not succeed.
        Blocked = "blocked",
        Cancelled = "cancelled",
        /// Its worker died while it ran; a person says what happened.
        Unknown = "unknown",
    }
}

impl StepStatus {
    /// Whether nothing more will happen to the step.
    pub const fn is_settled(self) -> bool {
        matches!(
            self,
            StepStatus::Succeeded
                | StepStatus::Failed
                | StepStatus::Skipped
                | StepStatus::Blocked
                | StepStatus::Cancelled
        )
    }
}

words! {
    /// Why a queued run is not running.
    WaitingOn ("reason to wait") {
        /// A free worker slot.
        Capacity = "capacity",
        /// Its `wake_at`.
        Timer = "timer",
        /// A person who says what became of a step whose worker died.
        StepOutcome = "step_outcome",
    }
}

words! {
    /// One of the four lanes of a session.
    Lane ("lane") { A = "A", B = "B", C = "C", D = "D", }
}

words! {
    /// What an interrupted attempt may have done to the world.
    EffectModel ("effect") {
        /// Doing it twice is the same as doing it once.
        Idempotent = "idempotent",
        /// It must not be done a second time without a person's word.
        AtMostOnce = "at_most_once",
    }
}

words! {
    /// What happens to an `at_most_once` step whose worker died while it ran.
    OnUnknown ("on_unknown") {
        /// The run waits until a person resolves the step.
        Hold = "hold",
        Fail = "fail",
        Retry = "retry",
    }
}
