//! The keys of the language, as the compiler knows them. A test holds them equal to the schema.

use crate::runbook::plan::Phase;

/// Keys of a runbook that are lowered.
#[cfg(test)]
pub(super) const TOP: &[&str] = &[
    "version",
    "name",
    "description",
    "labels",
    "lane",
    "priority",
    "params",
    "timeout",
    "handler_timeout",
    "defaults",
    "env",
    "files",
    "workspace",
    "secrets",
    "steps",
    "on_failure",
    "on_cancel",
    "finally",
];
/// Keys of a runbook that this build does not do.
pub(super) const TOP_UNAVAILABLE: &[&str] = &["triggers", "concurrency", "limits", "preconditions", "rollback"];
/// Keys of a step that are lowered.
#[cfg(test)]
pub(super) const STEP: &[&str] = &[
    "id",
    "needs",
    "if",
    "uses",
    "with",
    "run",
    "shell",
    "env",
    "secrets",
    "timeout",
    "outputs",
    "retry",
    "deadline",
    "effect",
    "on_unknown",
    "continue_on_error",
    "workspace",
];
/// Keys of a step that this build does not do.
pub(super) const STEP_UNAVAILABLE: &[&str] =
    &["foreach", "matrix", "max_parallel", "distribute", "loop", "rollback", "runs_on"];
/// Keys of a step that a handler's step does not have.
pub(super) const BODY_ONLY: &[&str] = &["needs", "foreach", "matrix", "max_parallel", "distribute", "loop", "rollback"];
#[cfg(test)]
pub(super) const RETRY: &[&str] = &["max_attempts", "delay", "backoff", "max_delay", "jitter", "on", "if"];
#[cfg(test)]
pub(super) const DEFAULTS: &[&str] = &["timeout", "retry"];

/// The key of a phase's steps, which is also the prefix of the ids of handlers.
pub(super) const fn of_phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Body => "steps",
        Phase::OnFailure => "on_failure",
        Phase::OnCancel => "on_cancel",
        Phase::Finally => "finally",
    }
}

/// Whether this build does what the key at a dotted path (`steps.foreach`) asks for.
pub(in crate::runbook) fn is_available(path: &str) -> bool {
    let mut names = path.split('.');
    match (names.next(), names.next()) {
        (Some("steps" | "on_failure" | "on_cancel" | "finally"), Some(key)) => !STEP_UNAVAILABLE.contains(&key),
        (Some(key), _) => !TOP_UNAVAILABLE.contains(&key),
        (None, _) => true,
    }
}
