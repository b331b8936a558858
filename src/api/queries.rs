// Generated from schemas/openapi.yaml; do not edit. A change of the document is taken over with
// `OPSROOM_BLESS=1 cargo test --test it generated`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    ArtifactKind, LogStream, TriggerKind,
    query::{Query, push},
};
use crate::model::{Lane, Micros, RunStatus};

/// The query of `listRuns`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRunsQuery {
    /// One of these statuses; may be repeated.
    #[serde(default)]
    pub status: Vec<RunStatus>,
    #[serde(default)]
    pub lane: Option<Lane>,
    #[serde(default)]
    pub runbook: Option<String>,
    #[serde(default)]
    pub session: Option<Uuid>,
    /// `name=value`, or `name` for any value; may be repeated, all must match.
    #[serde(default)]
    pub label: Vec<String>,
    #[serde(default)]
    pub trigger: Option<TriggerKind>,
    #[serde(default)]
    pub actor: Option<String>,
    /// Created at this time or later.
    #[serde(default)]
    pub since: Option<Micros>,
    /// Created before this time.
    #[serde(default)]
    pub until: Option<Micros>,
    /// A part of the runbook's name, the actor or a label's value, in any case, or the beginning of the id.
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListRunsQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "status", &self.status);
        push(&mut pairs, "lane", &self.lane);
        push(&mut pairs, "runbook", &self.runbook);
        push(&mut pairs, "session", &self.session);
        push(&mut pairs, "label", &self.label);
        push(&mut pairs, "trigger", &self.trigger);
        push(&mut pairs, "actor", &self.actor);
        push(&mut pairs, "since", &self.since);
        push(&mut pairs, "until", &self.until);
        push(&mut pairs, "text", &self.text);
        push(&mut pairs, "limit", &self.limit);
        push(&mut pairs, "cursor", &self.cursor);
        pairs
    }
}

/// The query of `getStepLog`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetStepLogQuery {
    /// Only this attempt; all of them if absent.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// Only this stream; all of them if absent.
    #[serde(default)]
    pub stream: Option<LogStream>,
}

impl Query for GetStepLogQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "attempt", &self.attempt);
        push(&mut pairs, "stream", &self.stream);
        pairs
    }
}

/// The query of `listEvents`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListEventsQuery {
    /// The first id wanted, `<ms>-<sequence>`, or `<ms>`; the beginning if absent or `-`.
    #[serde(default)]
    pub start_id: Option<String>,
    /// The last id wanted; the end if absent or `+`.
    #[serde(default)]
    pub end_id: Option<String>,
    #[serde(default)]
    pub limit: Option<u32>,
}

impl Query for ListEventsQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "start_id", &self.start_id);
        push(&mut pairs, "end_id", &self.end_id);
        push(&mut pairs, "limit", &self.limit);
        pairs
    }
}

/// The query of `streamEvents`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEventsQuery {
    /// For clients that cannot set the header.
    #[serde(default)]
    pub last_event_id: Option<String>,
}

impl Query for StreamEventsQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "last_event_id", &self.last_event_id);
        pairs
    }
}

/// The query of `listArtifacts`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListArtifactsQuery {
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListArtifactsQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "limit", &self.limit);
        push(&mut pairs, "cursor", &self.cursor);
        pairs
    }
}

/// The query of `uploadArtifact`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UploadArtifactQuery {
    /// Letters, digits, `.`, `_`, `-`, and `/` between them.
    pub name: String,
    /// Told from the name and the media type if absent.
    #[serde(default)]
    pub kind: Option<ArtifactKind>,
}

impl Query for UploadArtifactQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "name", &[&self.name]);
        push(&mut pairs, "kind", &self.kind);
        pairs
    }
}

/// The query of `listRunbooks`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRunbooksQuery {
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListRunbooksQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "limit", &self.limit);
        push(&mut pairs, "cursor", &self.cursor);
        pairs
    }
}

/// The query of `listRunbookVersions`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRunbookVersionsQuery {
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListRunbookVersionsQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "limit", &self.limit);
        push(&mut pairs, "cursor", &self.cursor);
        pairs
    }
}

/// The query of `listSessions`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSessionsQuery {
    /// Also archived ones.
    #[serde(default)]
    pub archived: bool,
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListSessionsQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "archived", &self.archived.then_some(true));
        push(&mut pairs, "limit", &self.limit);
        push(&mut pairs, "cursor", &self.cursor);
        pairs
    }
}

/// The query of `listWorkers`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListWorkersQuery {
    #[serde(default)]
    pub limit: Option<u32>,
    #[serde(default)]
    pub cursor: Option<String>,
}

impl Query for ListWorkersQuery {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push(&mut pairs, "limit", &self.limit);
        push(&mut pairs, "cursor", &self.cursor);
        pairs
    }
}
