// Generated from schemas/openapi.yaml; do not edit. A change of the document is taken over with
// `OPSROOM_BLESS=1 cargo test --test it generated`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::words::words;
use crate::{
    model::{Digest, EffectModel, Event, Failure, Lane, Micros, OnUnknown, RunId, RunStatus, StepStatus, WaitingOn},
    runbook::Phase,
};

words! {
    TriggerKind ("trigger kind") {
        Manual = "manual",
        Api = "api",
        Schedule = "schedule",
        Webhook = "webhook",
        Git = "git",
        Parent = "parent",
    }
}

words! {
    LogStream ("log stream") {
        Stdout = "stdout",
        Stderr = "stderr",
        Log = "log",
    }
}

words! {
    ArtifactKind ("artifact kind") {
        File = "file",
        Markdown = "markdown",
        Json = "json",
        Link = "link",
    }
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Problem {
    /// `/docs#CODE`.
    #[serde(rename = "type")]
    pub type_: String,
    pub title: String,
    pub status: u32,
    pub code: String,
    /// What happened, where, and what to do.
    pub detail: String,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    pub request_id: String,
    /// One entry for each thing that is wrong in the request.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub errors: Option<Vec<FieldError>>,
    /// What is wrong in a runbook.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub diagnostics: Option<Vec<Diagnostic>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FieldError {
    /// A JSON pointer into the body or the name of a parameter.
    pub pointer: String,
    pub detail: String,
}

words! {
    DiagnosticSeverity ("diagnostic severity") {
        Error = "error",
        Warning = "warning",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub code: String,
    pub severity: DiagnosticSeverity,
    pub message: String,
    pub file: String,
    pub line: u32,
    /// In characters.
    pub column: u32,
    /// The column after the last one, on the same line.
    pub end_column: u32,
    pub span: Span,
    /// What is meant or allowed.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Text to put into the runbook.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// A JSON pointer to the value.
    pub pointer: String,
}

/// A half-open range of bytes in the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Span {
    pub start: u64,
    pub end: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trigger {
    pub kind: TriggerKind,
    pub actor: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    pub runbook: String,
    /// The latest one if absent.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub session_id: Option<Uuid>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub labels: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRuns {
    pub runs: Vec<CreateRun>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRef {
    pub id: RunId,
    pub runbook: String,
    pub status: RunStatus,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunRefs {
    pub items: Vec<RunRef>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub runbook: String,
    /// Null for a file that was run directly.
    pub runbook_version: Option<u32>,
    pub plan: Digest,
    pub status: RunStatus,
    /// Set exactly while it is queued.
    pub waiting_on: Option<WaitingOn>,
    pub lane: Lane,
    pub priority: i32,
    pub session_id: Option<Uuid>,
    pub labels: Map<String, Value>,
    pub params: Map<String, Value>,
    pub trigger: Trigger,
    pub steps_total: u64,
    /// How often its worker died.
    pub recoveries: u64,
    pub error: Option<Failure>,
    pub created_at: Micros,
    pub started_at: Option<Micros>,
    pub ended_at: Option<Micros>,
    /// From start to end, or until now.
    pub duration_ms: Option<u64>,
    /// The id of its last durable event.
    pub last_event_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunList {
    pub items: Vec<Run>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: String,
    pub index: u64,
    pub phase: Phase,
    pub uses: String,
    pub needs: Vec<String>,
    pub status: StepStatus,
    pub attempts: u64,
    pub started_at: Option<Micros>,
    pub ended_at: Option<Micros>,
    pub duration_ms: Option<u64>,
    pub outputs: Map<String, Value>,
    pub error: Option<Failure>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepList {
    pub run_id: RunId,
    pub items: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CancelRun {
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Handlers are ended too.
    #[serde(default)]
    pub force: bool,
}

words! {
    ResolveStepVerdict ("resolve step verdict") {
        Retry = "retry",
        Succeeded = "succeeded",
        Failed = "failed",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolveStep {
    pub verdict: ResolveStepVerdict,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Why {
    pub run_id: RunId,
    pub status: RunStatus,
    pub waiting_on: Option<WaitingOn>,
    /// One sentence for a person.
    pub summary: String,
    /// Its place in the queue of its lane.
    pub position: Option<u64>,
    pub wake_at: Option<Micros>,
    pub blockers: Vec<Blocker>,
    /// Commands that move it on.
    pub actions: Vec<String>,
}

words! {
    BlockerKind ("blocker kind") {
        LaneFull = "lane_full",
        NoWorker = "no_worker",
        Timer = "timer",
        StepRunning = "step_running",
        StepRetrying = "step_retrying",
        StepOutcome = "step_outcome",
        StepFailed = "step_failed",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    pub kind: BlockerKind,
    pub step: Option<String>,
    pub detail: String,
    pub since: Option<Micros>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPage {
    pub run_id: RunId,
    pub events: Vec<Event>,
    pub count: u64,
    pub has_more: bool,
    /// The `start_id` of the next page; null when there is none.
    pub next_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    pub id: Uuid,
    pub run_id: RunId,
    /// Null for an upload.
    pub step: Option<String>,
    pub name: String,
    pub kind: ArtifactKind,
    pub media_type: String,
    /// Bytes.
    pub size: u64,
    pub digest: Digest,
    /// Where a link leads.
    pub url: Option<String>,
    pub created_at: Micros,
    pub created_by: String,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ArtifactList {
    pub items: Vec<Artifact>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunbookSource {
    /// The YAML.
    pub source: String,
    /// For diagnostics.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub file_name: Option<String>,
    /// The files that `files:` names, by path, in base64.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Runbook {
    pub name: String,
    /// The latest good version; 0 if there is none yet.
    pub version: u64,
    /// Of the source and the files that belong to it.
    pub digest: Option<Digest>,
    pub plan: Option<Digest>,
    pub description: Option<String>,
    pub lane: Option<Lane>,
    pub labels: Map<String, Value>,
    pub params: Vec<Param>,
    pub steps_total: u64,
    /// The file it comes from, or who put it here.
    pub origin: Option<String>,
    pub updated_at: Option<Micros>,
    /// Why a newer file is not the latest version.
    pub problem: Option<RunbookProblem>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Param {
    pub name: String,
    pub required: bool,
    /// Any value.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    pub schema: Map<String, Value>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunbookProblem {
    pub file: String,
    pub since: Micros,
    pub diagnostics: Vec<Diagnostic>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunbookList {
    pub items: Vec<Runbook>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunbookVersion {
    pub name: String,
    pub version: u64,
    pub digest: Digest,
    pub plan: Digest,
    pub origin: Option<String>,
    pub created_at: Micros,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct RunbookVersionList {
    pub items: Vec<RunbookVersion>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Validation {
    pub valid: bool,
    pub runbook: Option<String>,
    pub plan: Option<Digest>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Either the name of a stored runbook, or a source.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanRequest {
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The files that `files:` of the source names, by path, in base64.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub files: Option<BTreeMap<String, String>>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub runbook: String,
    pub plan: Digest,
    pub source: Digest,
    pub lane: Lane,
    pub priority: i32,
    pub timeout: Option<String>,
    pub params: Map<String, Value>,
    /// Names only.
    pub secrets: Vec<String>,
    pub steps: Vec<PlannedStep>,
}

/// A step with what is known already filled in; the rest stays as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub step: String,
    pub phase: Phase,
    pub needs: Vec<String>,
    #[serde(rename = "if", default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub if_: Option<String>,
    pub uses: String,
    /// What the action is given.
    pub with: Value,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub env: Option<Map<String, Value>>,
    /// Names only.
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<String>>,
    pub max_attempts: u32,
    /// When it is tried again, as a sentence.
    pub retry: Option<String>,
    pub timeout: Option<String>,
    pub deadline: Option<String>,
    pub effect: EffectModel,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub on_unknown: Option<OnUnknown>,
    pub continue_on_error: bool,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    pub name: String,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub labels: Option<Map<String, Value>>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateSession {
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    pub id: Uuid,
    pub name: String,
    pub labels: Map<String, Value>,
    pub created_at: Micros,
    pub created_by: String,
    pub archived_at: Option<Micros>,
    /// The lanes A to D of the session.
    pub lanes: Vec<LaneCount>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SessionList {
    pub items: Vec<Session>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneCount {
    pub lane: Lane,
    pub queued: u64,
    /// Claimed ones as well.
    pub running: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LaneInfo {
    pub lane: Lane,
    pub queued: u64,
    pub running: u64,
    /// Runs that the living workers execute at once.
    pub slots: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LaneList {
    pub items: Vec<LaneInfo>,
}

words! {
    /// Living, draining (claims nothing more), or expired (not heard of for too long; its runs are taken back).
    WorkerStatus ("worker status") {
        Living = "living",
        Draining = "draining",
        Expired = "expired",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// A restarted worker is another one.
    pub id: Uuid,
    pub status: WorkerStatus,
    pub host: String,
    pub pid: u64,
    pub version: String,
    /// The lanes that it claims from; none where it only executes its own runs.
    pub lanes: Vec<Lane>,
    /// Runs that it executes at once in each lane.
    pub slots: u64,
    /// Runs that it owns.
    pub running: u64,
    pub labels: Map<String, Value>,
    pub started_at: Micros,
    pub beat_at: Micros,
    /// How long ago its last heartbeat was.
    pub beat_age_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct WorkerList {
    pub items: Vec<Worker>,
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoginLink {
    pub url: String,
    pub expires_at: Micros,
}

words! {
    HealthStatus ("health status") {
        Ok = "ok",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    pub version: String,
}

words! {
    ReadinessStatus ("readiness status") {
        Ready = "ready",
        NotReady = "not_ready",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Readiness {
    pub status: ReadinessStatus,
    pub checks: Vec<Check>,
}

words! {
    CheckName ("check name") {
        Store = "store",
        Artifacts = "artifacts",
        Lanes = "lanes",
        Runbooks = "runbooks",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    pub name: CheckName,
    pub ok: bool,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(default, deserialize_with = "super::given", skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
