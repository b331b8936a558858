//! Ids. Each is a newtype, so that a run's id cannot be passed where a worker's is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// One execution of a runbook. A UUIDv7: sorts by creation time.
    RunId
}
uuid_id! {
    /// A group of runs that people work on together. A UUIDv7.
    SessionId
}
uuid_id! {
    /// Whose data it is. Every entity carries one.
    TenantId
}
uuid_id! {
    /// One start of one worker process; a restarted worker is another worker.
    WorkerId
}

impl TenantId {
    /// The tenant of an installation that has only one.
    pub const DEFAULT: TenantId = TenantId(Uuid::from_u128(1));
}

/// The index of a step in its plan. Only meaningful together with that plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepIx(pub u32);

impl StepIx {
    /// The index as the `usize` that slices want.
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// How often the ownership of a run has changed. Every write of an owner is guarded by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl Epoch {
    /// The epoch of the next owner.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

/// The number of an attempt of a step, from 1. It is the attempt's identity, not a count of failures.
pub type Attempt = u32;

/// One attempt of one step of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    pub step: StepIx,
    pub number: Attempt,
}
