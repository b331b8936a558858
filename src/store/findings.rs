//! What a look at a store finds, and what must be so in every store.
//!
//! The queries are each store's own; what their answers mean is decided here and in the stores' `checks`, without I/O.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::model::StepStatus;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It works, and should be looked at.
    Warn,
    /// Something is broken, or will lose something.
    Fail,
}

/// One line of a check-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// Stable, for programs.
    pub code: &'static str,
    /// What was found, in one sentence.
    pub what: String,
    /// What to do about it; not where all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    pub fn ok(code: &'static str, what: impl Into<String>) -> Finding {
        Finding { level: Level::Ok, code, what: what.into(), fix: None }
    }

    pub fn warn(code: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { level: Level::Warn, code, what: what.into(), fix: Some(fix.into()) }
    }

    pub fn fail(code: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { level: Level::Fail, code, what: what.into(), fix: Some(fix.into()) }
    }
}

/// Where the files of archives are among the artifacts.
pub const ARCHIVES: &str = "archives";

/// What it means which files of archives are recorded, and which are there.
pub fn packs(recorded: &[String], there: &[String]) -> Finding {
    let code = "DEEP_PACKS";
    let there: BTreeSet<&String> = there.iter().collect();
    let lost: Vec<&str> = recorded.iter().filter(|name| !there.contains(name)).map(String::as_str).collect();
    let Some(first) = lost.first() else {
        return Finding::ok(code, format!("the files of all archives are there ({})", recorded.len()));
    };
    let what = format!("files of archives are missing ({}): {first}", lost.len());
    Finding::fail(code, what, "restore them from a backup of the artifact store: the events of their runs are in them")
}

/// Something that must hold for all rows of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invariant {
    Owners,
    Sequences,
    EventsKept,
    Ended,
    Signals,
    Archives,
    WakeUps,
    Versions,
    Inputs,
}

/// So many rows that break an invariant are looked for.
pub const LOOKED_FOR: i64 = 11;
/// And so many are shown.
const SHOWN: usize = 3;

/// What steps of ended runs may be, in words.
pub fn settled() -> Vec<&'static str> {
    StepStatus::ALL.iter().filter(|status| status.is_settled()).map(|status| status.as_str()).collect()
}

impl Invariant {
    pub const ALL: [Invariant; 9] = [
        Invariant::Owners,
        Invariant::Sequences,
        Invariant::EventsKept,
        Invariant::Ended,
        Invariant::Signals,
        Invariant::Archives,
        Invariant::WakeUps,
        Invariant::Versions,
        Invariant::Inputs,
    ];

    pub const fn code(self) -> &'static str {
        match self {
            Invariant::Owners => "DEEP_OWNERS",
            Invariant::Sequences => "DEEP_SEQUENCES",
            Invariant::EventsKept => "DEEP_EVENTS",
            Invariant::Ended => "DEEP_ENDED",
            Invariant::Signals => "DEEP_SIGNALS",
            Invariant::Archives => "DEEP_ARCHIVES",
            Invariant::WakeUps => "DEEP_WAKE_UPS",
            Invariant::Versions => "DEEP_VERSIONS",
            Invariant::Inputs => "DEEP_INPUTS",
        }
    }

    const fn holds(self) -> &'static str {
        match self {
            Invariant::Owners => "every running run has a live owner",
            Invariant::Sequences => "the events of every run are in order up to its head",
            Invariant::EventsKept => "the events of every run are in rows or in its archive",
            Invariant::Ended => "ended runs wait for nothing, and their steps have ended",
            Invariant::Signals => "signals are numbered without gaps, and none was taken in that was not received",
            Invariant::Archives => "every archive has its file's row and an ended run",
            Invariant::WakeUps => "no parked run has overslept",
            Invariant::Versions => "the versions of runbooks are numbered without gaps",
            Invariant::Inputs => "every run has its inputs, and labels belong to runs",
        }
    }

    const fn broken(self) -> &'static str {
        match self {
            Invariant::Owners => "runs are owned by workers that are gone",
            Invariant::Sequences => "events are out of order or missing at the end",
            Invariant::EventsKept => "runs have lost their events",
            Invariant::Ended => "ended runs still wait for something, or have steps that have not ended",
            Invariant::Signals => "runs have signals that do not fit their counters",
            Invariant::Archives => "archives are not what their runs say",
            Invariant::WakeUps => "parked runs should have been woken a minute ago",
            Invariant::Versions => "runbooks have gaps in their versions",
            Invariant::Inputs => "runs lack their inputs, or labels their runs",
        }
    }

    const fn fix(self) -> &'static str {
        match self {
            Invariant::Owners => "start `opsroom scheduler` (on a data folder: `opsroom recover`), which hands them on",
            Invariant::WakeUps => "start `opsroom scheduler` (on a data folder: `opsroom up`), which wakes them",
            _ => "somebody has changed rows by hand, or it is a fault of opsroom: keep a backup and report it",
        }
    }

    /// What the rows that break it mean; at most [`LOOKED_FOR`] are given.
    pub fn finding(self, broken: &[String]) -> Finding {
        if broken.is_empty() {
            return Finding::ok(self.code(), self.holds());
        }
        let all = usize::try_from(LOOKED_FOR).unwrap_or(usize::MAX);
        let count = if broken.len() >= all { format!("{} or more", all - 1) } else { broken.len().to_string() };
        let shown: Vec<&str> = broken.iter().take(SHOWN).map(String::as_str).collect();
        let dots = if broken.len() > SHOWN { ", …" } else { "" };
        let what = format!("{} ({count}): {}{dots}", self.broken(), shown.join(", "));
        Finding::fail(self.code(), what, self.fix())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_invariant_names_a_few() {
        assert_eq!(Invariant::Owners.finding(&[]).level, Level::Ok);
        let two = Invariant::Owners.finding(&["a".to_owned(), "b".to_owned()]);
        assert_eq!((two.level, &*two.what), (Level::Fail, "runs are owned by workers that are gone (2): a, b"));
        let many: Vec<String> = (0..LOOKED_FOR).map(|number| number.to_string()).collect();
        let many = Invariant::Inputs.finding(&many).what;
        assert!(many.ends_with("(10 or more): 0, 1, 2, …"), "{many}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(packs(&names(&["a", "b"]), &names(&["c", "b", "a"])).level, Level::Ok);
        let lost = packs(&names(&["a", "b", "d"]), &names(&["b"]));
        assert_eq!((lost.level, &*lost.what), (Level::Fail, "files of archives are missing (2): a"));
    }

    #[test]
    fn codes_are_told_apart() {
        let codes: std::collections::BTreeSet<_> = Invariant::ALL.map(Invariant::code).into_iter().collect();
        assert_eq!(codes.len(), Invariant::ALL.len());
    }
}
