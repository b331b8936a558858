// Generated from schemas/openapi.yaml; do not edit. A change of the document is taken over with
// `OPSROOM_BLESS=1 cargo test --test it generated`.

use reqwest::Method;
use uuid::Uuid;

use super::{
    Client, ClientError,
    transport::{Call, json, segment, target},
};
use crate::{
    api::{
        ArtifactList, CancelRun, CreateRun, CreateRuns, CreateSession, EventPage, LaneList, ListArtifactsQuery,
        ListEventsQuery, ListRunbookVersionsQuery, ListRunbooksQuery, ListRunsQuery, ListSessionsQuery,
        ListWorkersQuery, LoginLink, Plan, PlanRequest, Readiness, ResolveStep, Run, RunList, RunRefs, Runbook,
        RunbookList, RunbookSource, RunbookVersionList, Session, SessionList, StepList, UpdateSession, Validation, Why,
        Worker, WorkerList,
    },
    model::RunId,
};

impl Client {
    /// Start a run.
    pub async fn create_run(&self, body: &CreateRun) -> Result<Run, ClientError> {
        let call = Call { method: Method::POST, target: "/v1/runs".to_owned(), body: Some(json(body)) };
        self.send(&call).await
    }

    /// List runs, newest first.
    pub async fn list_runs(&self, query: &ListRunsQuery) -> Result<RunList, ClientError> {
        let call = Call { method: Method::GET, target: target("/v1/runs", query), body: None };
        self.send(&call).await
    }

    /// Start up to 1,000 runs; all or none.
    pub async fn create_runs(&self, body: &CreateRuns) -> Result<RunRefs, ClientError> {
        let call = Call { method: Method::POST, target: "/v1/runs/batch".to_owned(), body: Some(json(body)) };
        self.send(&call).await
    }

    /// One run.
    pub async fn get_run(&self, run: RunId) -> Result<Run, ClientError> {
        let call = Call { method: Method::GET, target: format!("/v1/runs/{}", segment(run)), body: None };
        self.send(&call).await
    }

    /// The steps of a run, in the order of the plan.
    pub async fn list_steps(&self, run: RunId) -> Result<StepList, ClientError> {
        let call = Call { method: Method::GET, target: format!("/v1/runs/{}/steps", segment(run)), body: None };
        self.send(&call).await
    }

    /// Say what became of a step whose outcome is unknown.
    pub async fn resolve_step(&self, run: RunId, step: &str, body: &ResolveStep) -> Result<Run, ClientError> {
        let call = Call {
            method: Method::POST,
            target: format!("/v1/runs/{}/steps/{}/resolve", segment(run), segment(step)),
            body: Some(json(body)),
        };
        self.send(&call).await
    }

    /// Ask a run to stop.
    pub async fn cancel_run(&self, run: RunId, body: &CancelRun) -> Result<Run, ClientError> {
        let call =
            Call { method: Method::POST, target: format!("/v1/runs/{}/cancel", segment(run)), body: Some(json(body)) };
        self.send(&call).await
    }

    /// Why a run is where it is, what it waits for, and what can be done.
    pub async fn explain_run(&self, run: RunId) -> Result<Why, ClientError> {
        let call = Call { method: Method::GET, target: format!("/v1/runs/{}/why", segment(run)), body: None };
        self.send(&call).await
    }

    /// What has happened in a run.
    pub async fn list_events(&self, run: RunId, query: &ListEventsQuery) -> Result<EventPage, ClientError> {
        let call = Call {
            method: Method::GET,
            target: target(&format!("/v1/runs/{}/events", segment(run)), query),
            body: None,
        };
        self.send(&call).await
    }

    /// What a run has left behind.
    pub async fn list_artifacts(&self, run: RunId, query: &ListArtifactsQuery) -> Result<ArtifactList, ClientError> {
        let call = Call {
            method: Method::GET,
            target: target(&format!("/v1/runs/{}/artifacts", segment(run)), query),
            body: None,
        };
        self.send(&call).await
    }

    /// The runbooks, by name, with their latest good version and what is wrong with a newer one.
    pub async fn list_runbooks(&self, query: &ListRunbooksQuery) -> Result<RunbookList, ClientError> {
        let call = Call { method: Method::GET, target: target("/v1/runbooks", query), body: None };
        self.send(&call).await
    }

    /// One runbook.
    pub async fn get_runbook(&self, name: &str) -> Result<Runbook, ClientError> {
        let call = Call { method: Method::GET, target: format!("/v1/runbooks/{}", segment(name)), body: None };
        self.send(&call).await
    }

    /// Store a new version; the same content makes none. Refused with diagnostics if it is not valid.
    pub async fn put_runbook(&self, name: &str, body: &RunbookSource) -> Result<Runbook, ClientError> {
        let call =
            Call { method: Method::PUT, target: format!("/v1/runbooks/{}", segment(name)), body: Some(json(body)) };
        self.send(&call).await
    }

    /// The versions of a runbook, newest first.
    pub async fn list_runbook_versions(
        &self,
        name: &str,
        query: &ListRunbookVersionsQuery,
    ) -> Result<RunbookVersionList, ClientError> {
        let call = Call {
            method: Method::GET,
            target: target(&format!("/v1/runbooks/{}/versions", segment(name)), query),
            body: None,
        };
        self.send(&call).await
    }

    /// The text of a version, byte for byte.
    pub async fn get_runbook_source(&self, name: &str, version: u32) -> Result<String, ClientError> {
        let call = Call {
            method: Method::GET,
            target: format!("/v1/runbooks/{}/versions/{}/source", segment(name), segment(version)),
            body: None,
        };
        self.send_for_text(&call).await
    }

    /// Check a runbook without storing it.
    pub async fn validate_runbook(&self, body: &RunbookSource) -> Result<Validation, ClientError> {
        let call = Call { method: Method::POST, target: "/v1/validate".to_owned(), body: Some(json(body)) };
        self.send(&call).await
    }

    /// What a run would do. Nothing is run or stored.
    pub async fn plan_run(&self, body: &PlanRequest) -> Result<Plan, ClientError> {
        let call = Call { method: Method::POST, target: "/v1/plans".to_owned(), body: Some(json(body)) };
        self.send(&call).await
    }

    /// Sessions, newest first.
    pub async fn list_sessions(&self, query: &ListSessionsQuery) -> Result<SessionList, ClientError> {
        let call = Call { method: Method::GET, target: target("/v1/sessions", query), body: None };
        self.send(&call).await
    }

    /// Open a session, which groups runs in four lanes.
    pub async fn create_session(&self, body: &CreateSession) -> Result<Session, ClientError> {
        let call = Call { method: Method::POST, target: "/v1/sessions".to_owned(), body: Some(json(body)) };
        self.send(&call).await
    }

    /// One session, with the counts of its lanes.
    pub async fn get_session(&self, session: Uuid) -> Result<Session, ClientError> {
        let call = Call { method: Method::GET, target: format!("/v1/sessions/{}", segment(session)), body: None };
        self.send(&call).await
    }

    /// Rename, archive or reopen a session. No runs start in an archived one.
    pub async fn update_session(&self, session: Uuid, body: &UpdateSession) -> Result<Session, ClientError> {
        let call = Call {
            method: Method::PATCH,
            target: format!("/v1/sessions/{}", segment(session)),
            body: Some(json(body)),
        };
        self.send(&call).await
    }

    /// The four lanes, with what waits and runs in them.
    pub async fn list_lanes(&self) -> Result<LaneList, ClientError> {
        let call = Call { method: Method::GET, target: "/v1/lanes".to_owned(), body: None };
        self.send(&call).await
    }

    /// The workers, oldest first, with what they serve and do.
    pub async fn list_workers(&self, query: &ListWorkersQuery) -> Result<WorkerList, ClientError> {
        let call = Call { method: Method::GET, target: target("/v1/workers", query), body: None };
        self.send(&call).await
    }

    /// Ask a worker to claim nothing more, to finish its runs or hand them back, and to end.
    pub async fn drain_worker(&self, worker: Uuid) -> Result<Worker, ClientError> {
        let call = Call { method: Method::POST, target: format!("/v1/workers/{}/drain", segment(worker)), body: None };
        self.send(&call).await
    }

    /// A link that signs a browser in, once, within 60 seconds.
    pub async fn create_login_link(&self) -> Result<LoginLink, ClientError> {
        let call = Call { method: Method::POST, target: "/v1/login-links".to_owned(), body: None };
        self.send(&call).await
    }

    /// The process can take work, part by part.
    pub async fn readyz(&self) -> Result<Readiness, ClientError> {
        let call = Call { method: Method::GET, target: "/readyz".to_owned(), body: None };
        self.send(&call).await
    }
}
