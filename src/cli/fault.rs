//! Why a command did not do what it was asked, in the form that people and programs get it.

use std::{borrow::Cow, fmt};

use serde_json::{Value, json};

use super::out::Out;
use crate::{
    api::Problem,
    client::ClientError,
    control::{FenceError, HistoryError, OwnError, PlanError, RunsError, SegmentError, SubmitError},
    ports::{ArtifactError, BundleError, StoreError},
};

const UNAVAILABLE: &str = "check the data folder (--data-dir, OPSROOM_DATA_DIR) and its permissions, or the database \
    (`opsroom doctor`)";
const BUSY: &str = "another process holds the data folder's database, or the database has too much to do; try again";

/// The exit codes of all commands (see the language's "Exit codes").
pub mod exit {
    pub const SUCCESS: u8 = 0;
    /// The run failed or timed out; the runbook is not valid.
    pub const FAILED: u8 = 1;
    /// Refused: the runbook, its params, or the command line.
    pub const REFUSED: u8 = 2;
    /// Our own fault, or the machine's.
    pub const FAULT: u8 = 3;
    /// Cancelled by a signal.
    pub const INTERRUPTED: u8 = 130;
}

/// What went wrong, where, and what to do about it.
#[derive(Debug)]
pub struct Fault {
    pub code: Cow<'static, str>,
    pub message: String,
    pub help: Option<String>,
    /// More for programs: diagnostics, problems of params.
    pub details: Vec<(&'static str, Value)>,
    /// Printed in place of the first line, where the message has a form of its own.
    pub rendered: Option<String>,
    pub exit: u8,
}

impl Fault {
    /// The command was refused: nothing was done.
    pub fn refused(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Fault {
        Fault { exit: exit::REFUSED, ..Fault::internal(code, message) }
    }

    /// Our own fault, or the machine's.
    pub fn internal(code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Fault {
        Fault {
            code: code.into(),
            message: message.into(),
            help: None,
            details: Vec::new(),
            rendered: None,
            exit: exit::FAULT,
        }
    }

    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Fault {
        Fault { help: Some(help.into()), ..self }
    }

    #[must_use]
    pub fn detail(mut self, name: &'static str, value: Value) -> Fault {
        self.details.push((name, value));
        self
    }

    /// Tells people on standard error and, where JSON was asked for, programs on standard output.
    pub fn report(&self, out: &Out) {
        if let Some(rendered) = &self.rendered {
            out.message(rendered);
        }
        out.message(format!("\x1b[1;31merror[{}]\x1b[0m\x1b[1m:\x1b[0m {}", self.code, self.message));
        if let Some(help) = &self.help {
            out.message(format!("  \x1b[1mhelp:\x1b[0m {help}"));
        }
        if out.is_json() {
            out.json(&self.to_json());
        }
    }

    /// `{"error": {code, message, help, …}}`.
    pub fn to_json(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(help) = &self.help {
            error["help"] = json!(help);
        }
        for (name, value) in &self.details {
            error[*name] = value.clone();
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<HistoryError> for Fault {
    fn from(error: HistoryError) -> Fault {
        match error {
            HistoryError::Store(error) | HistoryError::Segments { error: SegmentError::Store(error), .. } => {
                error.into()
            }
            HistoryError::NotFound(_) | HistoryError::Expired(_) => Fault::refused("RUN_NOT_FOUND", error.to_string()),
            HistoryError::Archive(error) => Fault::internal("ARCHIVE_UNREADABLE", error.to_string())
                .help("restore the data folder's `artifacts` from a backup"),
            HistoryError::Spool { error, .. } => io_fault("SPOOL_UNREADABLE", "the logs of the run", &error),
            HistoryError::Segments { .. } => Fault::internal("ARTIFACTS_UNAVAILABLE", error.to_string())
                .help("check the artifact store (OPSROOM_ARTIFACTS_URL), then try again"),
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        let (code, help) = match &error {
            StoreError::Busy(_) => ("STORE_BUSY", BUSY),
            StoreError::Refused(_) => ("STORE_REFUSED", "this is a fault of opsroom; please report it"),
            StoreError::Full(_) => ("STORE_FULL", "free space where the data folder is, then `opsroom recover`"),
            StoreError::Corrupt { .. } => ("STORE_CORRUPT", "restore the data folder from a backup"),
            StoreError::Unavailable(_) => ("STORE_UNAVAILABLE", UNAVAILABLE),
        };
        Fault::internal(code, error.to_string()).help(help)
    }
}

impl From<FenceError> for Fault {
    fn from(error: FenceError) -> Fault {
        match error {
            FenceError::Store(error) => error.into(),
            other => Fault::internal("LEASE_UNAVAILABLE", other.to_string())
                .help("the database took too long, or the clock of this machine stood still; try again"),
        }
    }
}

impl From<BundleError> for Fault {
    fn from(error: BundleError) -> Fault {
        match error {
            BundleError::Io(error) | BundleError::Artifacts(ArtifactError::Io(error)) => {
                io_fault("FILES_FAILED", "the files of the runbook", &error)
            }
            other => Fault::internal("FILES_LOST", other.to_string()).help("restore the data folder from a backup"),
        }
    }
}

impl From<OwnError> for Fault {
    fn from(error: OwnError) -> Fault {
        match error {
            OwnError::Store(error) | OwnError::Plan(PlanError::Store(error)) => error.into(),
            OwnError::Plan(error) => Fault::internal("PLAN_UNREADABLE", error.to_string())
                .help("the run was made by another version of opsroom; use that one"),
            OwnError::Commit(error) => commit_fault(&error.to_string()),
            OwnError::Unreadable { .. } => Fault::internal("EVENT_UNREADABLE", error.to_string())
                .help("the run was made by another version of opsroom; use that one"),
            OwnError::Halted => Fault::internal("HALTED", error.to_string())
                .help("`opsroom recover`, or the next `opsroom up`, goes on with the run"),
            OwnError::LeaseLost(_) => Fault::internal("LEASE_LOST", error.to_string())
                .help("another worker goes on with the run; check the way to the database"),
            OwnError::Panicked => Fault::internal("INTERNAL", error.to_string())
                .help("please report it; `opsroom recover` goes on with the run"),
            OwnError::Refused(_) => {
                Fault::internal("STORE_REFUSED", error.to_string()).help("this is a fault of opsroom; please report it")
            }
        }
    }
}

/// A commit's error comes as text only; the words are the store's.
fn commit_fault(message: &str) -> Fault {
    if message.contains(" full") {
        return Fault::from(StoreError::Full(message.to_owned()));
    }
    Fault::internal("STORE_UNAVAILABLE", message)
        .help("check the disk of the data folder; then `opsroom recover` finishes the run")
}

impl From<SubmitError> for Fault {
    fn from(error: SubmitError) -> Fault {
        let message = error.to_string();
        match error {
            SubmitError::Store(error) => error.into(),
            SubmitError::KeyReused => Fault::refused("IDEMPOTENCY_KEY_REUSED", message).help("give another key"),
            SubmitError::NoSession(_) => {
                Fault::refused("SESSION_NOT_FOUND", message).help("`opsroom sessions` lists them")
            }
            SubmitError::SessionArchived(_) => {
                Fault::refused("SESSION_ARCHIVED", message).help("reopen it, or take another session")
            }
        }
    }
}

impl From<RunsError> for Fault {
    fn from(error: RunsError) -> Fault {
        let message = error.to_string();
        match error {
            RunsError::NotFound(_) => {
                Fault::refused("RUN_NOT_FOUND", message).help("`opsroom runs` lists the runs of this data folder")
            }
            RunsError::Expired(_) => {
                Fault::refused("RUN_EXPIRED", message).help("runs are removed 90 days after their end")
            }
            RunsError::Ended { run, .. } => {
                Fault::refused("RUN_ENDED", message).help(format!("`opsroom show {run}` tells how it ended"))
            }
            RunsError::NoSuchStep { run, .. } => {
                Fault::refused("STEP_NOT_FOUND", message).help(format!("`opsroom show {run}` lists its steps"))
            }
            RunsError::NotHeld { .. } => Fault::refused("STEP_NOT_HELD", message).help("there is nothing to resolve"),
            RunsError::Own(error) => error.into(),
            RunsError::Store(error) => error.into(),
        }
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Fault {
        let message = error.to_string();
        match error {
            ClientError::Problem(problem) => (*problem).into(),
            ClientError::BadUrl { .. } => Fault::refused("BAD_URL", message)
                .help("give --server or OPSROOM_URL a URL such as http://127.0.0.1:8484"),
            ClientError::Unreachable { .. } => Fault::internal("SERVER_UNREACHABLE", message)
                .help("start a server with `opsroom up`, or give its URL with --server or OPSROOM_URL"),
            ClientError::Foreign { .. } => Fault::internal("NOT_A_SERVER", message)
                .help("is this the URL of an opsroom server of this version? `opsroom version` tells yours"),
            ClientError::Damaged { .. } => Fault::internal("ARTIFACT_DAMAGED", message).help("try again"),
            ClientError::Io(error) => io_fault("FILE_UNUSABLE", "a local file", &error),
        }
    }
}

impl From<Problem> for Fault {
    /// What the interface says, with the commands that help in place of its paths.
    fn from(problem: Problem) -> Fault {
        let help = help(&problem.code).map(str::to_owned).or(problem.help);
        let mut message = problem.detail;
        let wrong = problem.errors.unwrap_or_default();
        // One thing that is wrong is the detail already.
        for error in wrong.iter().filter(|_| wrong.len() > 1) {
            message.push_str("\n  ");
            message.push_str(&error.pointer);
            message.push_str(": ");
            message.push_str(&error.detail);
        }
        let fault = if problem.status >= 500 {
            Fault::internal(problem.code, message)
        } else {
            Fault::refused(problem.code, message)
        };
        let fault = Fault { help, ..fault };
        let fault = if wrong.is_empty() { fault } else { fault.detail("errors", json!(wrong)) };
        let Some(found) = problem.diagnostics else { return fault };
        let lines = found.iter().map(|d| format!("{}:{}:{}: {}: {}", d.file, d.line, d.column, d.code, d.message));
        let rendered = Some(lines.collect::<Vec<_>>().join("\n"));
        Fault { rendered, ..fault }.detail("diagnostics", json!(found))
    }
}

/// What to do on the command line about a problem.
fn help(code: &str) -> Option<&'static str> {
    Some(match code {
        "RUN_NOT_FOUND" => "`opsroom runs` lists the runs",
        "RUN_EXPIRED" => "runs are removed 90 days after their end",
        "RUN_ENDED" => "`opsroom show RUN` tells how it ended",
        "STEP_NOT_FOUND" => "`opsroom show RUN` lists its steps",
        "STEP_NOT_HELD" => "there is nothing to resolve",
        "RUNBOOK_NOT_FOUND" => "`opsroom runbooks` lists the runbooks",
        "SESSION_NOT_FOUND" => "`opsroom sessions` lists them",
        "SESSION_ARCHIVED" => "reopen it with `opsroom sessions reopen`, or take another session",
        "ARTIFACT_NOT_FOUND" => "`opsroom artifacts list RUN` lists what there is",
        "UNAUTHENTICATED" => {
            "give the server's key with OPSROOM_KEY, or the path of a file with it with OPSROOM_KEY_FILE; it is in \
             `api.key` in the server's data folder"
        }
        "BAD_HOST" => "start the server with --host and the name that you use for it",
        "STORE_FULL" => "free space where the data folder is, then `opsroom recover`",
        "STORE_BUSY" => BUSY,
        "STORE_UNAVAILABLE" => UNAVAILABLE,
        "STORE_CORRUPT" => "restore the data folder from a backup",
        _ => return None,
    })
}

/// An error of the operating system at a place.
pub fn io_fault(code: &'static str, place: &str, error: &std::io::Error) -> Fault {
    if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
        return Fault::internal("DISK_FULL", format!("{place}: {error}")).help("free some space and try again");
    }
    Fault::internal(code, format!("{place}: {error}"))
}
