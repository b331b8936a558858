// Generated from schemas/openapi.yaml; do not edit. A change of the document is taken over with
// `OPSROOM_BLESS=1 cargo test --test it generated`.

use super::{
    CancelRun, CreateRun, CreateRuns, CreateSession, FieldError, GetStepLogQuery, ListArtifactsQuery, ListEventsQuery,
    ListRunbookVersionsQuery, ListRunbooksQuery, ListRunsQuery, ListSessionsQuery, ListWorkersQuery, PlanRequest,
    ResolveStep, RunbookSource, StreamEventsQuery, UpdateSession, UploadArtifactQuery,
    check::{Checked, Fields},
};

impl Checked for CreateRun {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.length("runbook", Some(&self.runbook), 1, 200);
        fields.range("version", self.version.map(i64::from), 1, 4_294_967_295);
        fields.range("priority", self.priority.map(i64::from), -100, 100);
        fields.count("labels", self.labels.as_ref().map(serde_json::Map::len), 0, 50);
        fields.scalars("labels", self.labels.as_ref());
    }
}

impl Checked for CreateRuns {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.count("runs", Some(self.runs.len()), 1, 1000);
        fields.each("runs", &self.runs);
    }
}

impl Checked for CancelRun {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.length("reason", self.reason.as_ref(), 0, 1_000);
    }
}

impl Checked for ResolveStep {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.length("note", self.note.as_ref(), 0, 1_000);
    }
}

impl Checked for RunbookSource {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.length("source", Some(&self.source), 0, 1_048_576);
        fields.length("file_name", self.file_name.as_ref(), 1, 255);
        fields.count("files", self.files.as_ref().map(std::collections::BTreeMap::len), 0, 1000);
    }
}

impl Checked for PlanRequest {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.length("runbook", self.runbook.as_ref(), 1, 200);
        fields.range("version", self.version.map(i64::from), 1, 4_294_967_295);
        fields.length("source", self.source.as_ref(), 0, 1_048_576);
        fields.count("files", self.files.as_ref().map(std::collections::BTreeMap::len), 0, 1000);
    }
}

impl Checked for CreateSession {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.length("name", Some(&self.name), 1, 200);
        fields.count("labels", self.labels.as_ref().map(serde_json::Map::len), 0, 50);
        fields.scalars("labels", self.labels.as_ref());
    }
}

impl Checked for UpdateSession {
    fn check(&self, at: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_body(at, found);
        fields.length("name", self.name.as_ref(), 1, 200);
        fields.some(self.name.is_some() || self.archived.is_some(), "name, archived");
    }
}

impl Checked for ListRunsQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.count("status", Some(self.status.len()), 0, 7);
        fields.length("runbook", self.runbook.as_ref(), 1, 200);
        fields.texts("label", &self.label, 5, 1, 400);
        fields.length("actor", self.actor.as_ref(), 1, 200);
        fields.length("text", self.text.as_ref(), 1, 100);
        fields.range("limit", self.limit.map(i64::from), 1, 200);
        fields.length("cursor", self.cursor.as_ref(), 1, 500);
    }
}

impl Checked for GetStepLogQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.range("attempt", self.attempt.map(i64::from), 1, 4_294_967_295);
    }
}

impl Checked for ListEventsQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.length("start_id", self.start_id.as_ref(), 1, 50);
        fields.length("end_id", self.end_id.as_ref(), 1, 50);
        fields.range("limit", self.limit.map(i64::from), 1, 1_000);
    }
}

impl Checked for StreamEventsQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.length("last_event_id", self.last_event_id.as_ref(), 0, 50);
    }
}

impl Checked for ListArtifactsQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.range("limit", self.limit.map(i64::from), 1, 200);
        fields.length("cursor", self.cursor.as_ref(), 1, 500);
    }
}

impl Checked for UploadArtifactQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.length("name", Some(&self.name), 1, 255);
    }
}

impl Checked for ListRunbooksQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.range("limit", self.limit.map(i64::from), 1, 200);
        fields.length("cursor", self.cursor.as_ref(), 1, 500);
    }
}

impl Checked for ListRunbookVersionsQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.range("limit", self.limit.map(i64::from), 1, 200);
        fields.length("cursor", self.cursor.as_ref(), 1, 500);
    }
}

impl Checked for ListSessionsQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.range("limit", self.limit.map(i64::from), 1, 200);
        fields.length("cursor", self.cursor.as_ref(), 1, 500);
    }
}

impl Checked for ListWorkersQuery {
    fn check(&self, _: &str, found: &mut Vec<FieldError>) {
        let mut fields = Fields::of_query(found);
        fields.range("limit", self.limit.map(i64::from), 1, 200);
        fields.length("cursor", self.cursor.as_ref(), 1, 500);
    }
}
