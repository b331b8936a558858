//! What went wrong, as a problem document (RFC 9457).
//!
//! Every code is in one table, with its status and its explanation; `/docs` shows the table.

use std::sync::Arc;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::metrics;
use crate::{
    control::{OwnError, PlanError},
    ports::StoreError,
    runbook::Diagnostic,
};

macro_rules! codes {
    ($($variant:ident = $name:literal, $status:literal, $title:literal, $explanation:literal;)*) => {
        /// The stable codes of all problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $explanation] $variant,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// As it is written in problems.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            /// The HTTP status of its answers.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// A few words that are the same for every problem of the code.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// For the documentation: when it comes, and what to do.
            pub const fn explanation(self) -> &'static str {
                match self { $(Code::$variant => $explanation,)* }
            }
        }
    };
}

codes! {
    BadRequest = "BAD_REQUEST", 400, "The request is not valid",
        "A parameter, a header or a field of the body is missing or has a value that is not allowed. `errors` names each.";
    BadJson = "BAD_JSON", 400, "The body is not JSON",
        "The body cannot be read as JSON, nests deeper than 64 levels, or has the same key twice in an object.";
    UnknownField = "UNKNOWN_FIELD", 400, "A field is not known",
        "The body has a field that the document does not describe. Nothing is ignored silently; remove or rename it.";
    UnknownParameter = "UNKNOWN_PARAMETER", 400, "A query parameter is not known",
        "The URL has a query parameter that the document does not describe. Nothing is ignored silently.";
    BadCursor = "BAD_CURSOR", 400, "The cursor is not valid",
        "`cursor` must be the `next_cursor` of an earlier page of the same list. Begin again without it.";
    InvalidEventId = "INVALID_EVENT_ID", 400, "The event id is not valid",
        "Event ids are `<ms>-<sequence>`, or `<ms>` alone.";
    Unauthenticated = "UNAUTHENTICATED", 401, "The request is not authenticated",
        "Send `Authorization: Bearer KEY`, with the key from the file `api.key` in the data folder, or sign a browser in with `opsroom open`.";
    LoginExpired = "LOGIN_EXPIRED", 401, "The login link is not valid any more",
        "A login link works once, within 60 seconds. `opsroom open` makes a new one.";
    BadOrigin = "BAD_ORIGIN", 403, "The request comes from another site",
        "A browser session writes only from the pages of this server. Programs use the key.";
    NotFound = "NOT_FOUND", 404, "There is nothing here",
        "No route has this path. `/openapi.yaml` lists all of them.";
    RunNotFound = "RUN_NOT_FOUND", 404, "No such run",
        "There is no run with this id.";
    StepNotFound = "STEP_NOT_FOUND", 404, "No such step",
        "The run has no step with this id. `GET /v1/runs/{id}/steps` lists its steps.";
    ArtifactNotFound = "ARTIFACT_NOT_FOUND", 404, "No such artifact",
        "There is no artifact with this id, or its content has been removed.";
    RunbookNotFound = "RUNBOOK_NOT_FOUND", 404, "No such runbook",
        "No runbook has this name, or it has no such version. `GET /v1/runbooks` lists the runbooks.";
    SessionNotFound = "SESSION_NOT_FOUND", 404, "No such session",
        "There is no session with this id.";
    WorkerNotFound = "WORKER_NOT_FOUND", 404, "No such worker",
        "There is no worker with this id, or it has ended. `GET /v1/workers` lists the workers.";
    MethodNotAllowed = "METHOD_NOT_ALLOWED", 405, "The method is not allowed here",
        "The path exists, but not with this method. `Allow` lists the methods that it has.";
    RequestTimeout = "REQUEST_TIMEOUT", 408, "The request did not arrive in time",
        "The body stopped coming, or came too slowly. Nothing was done.";
    RunEnded = "RUN_ENDED", 409, "The run has ended",
        "What was asked for is possible only before a run ends.";
    StepNotHeld = "STEP_NOT_HELD", 409, "The step is not held",
        "Only a step of unknown outcome is resolved.";
    SessionArchived = "SESSION_ARCHIVED", 409, "The session is archived",
        "No runs start in an archived session. Reopen it with `PATCH /v1/sessions/{session}`.";
    WorkerNotDrainable = "WORKER_NOT_DRAINABLE", 409, "The worker cannot be drained",
        "It belongs to `opsroom up` or to a command, whose process is to be ended instead (SIGTERM drains it), or it is gone already.";
    IdempotencyInProgress = "IDEMPOTENCY_IN_PROGRESS", 409, "The same request is being handled",
        "A request with the same `Idempotency-Key` has not been answered yet. Repeat this one in a moment.";
    Conflict = "CONFLICT", 409, "The request is in conflict with what is stored",
        "A constraint of the store says no: what is to be stored exists already, or something it needs does not.";
    RunExpired = "RUN_EXPIRED", 410, "The run's events are gone",
        "The run ended so long ago that its events were removed.";
    BodyTooLarge = "BODY_TOO_LARGE", 413, "The body is too large",
        "Bodies have at most 1 MiB, those with the files of a runbook 17 MiB, artifacts 1 GiB.";
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", 415, "The body has another media type",
        "Send JSON as `Content-Type: application/json`.";
    RangeNotSatisfiable = "RANGE_NOT_SATISFIABLE", 416, "There are no such bytes",
        "The range begins after the end of the content. `Content-Range` tells its length.";
    BadHost = "BAD_HOST", 421, "The request is meant for another host",
        "The `Host` header names neither the address that the server listens on nor a name given with `--host`.";
    ParamsInvalid = "PARAMS_INVALID", 422, "The params do not fit the runbook",
        "`errors` names each param that is missing, unknown or not valid.";
    ContentInvalid = "CONTENT_INVALID", 422, "The content is not what it is said to be",
        "A markdown artifact is UTF-8, a JSON artifact is JSON, and a link is an http or https URL.";
    RunbookInvalid = "RUNBOOK_INVALID", 422, "The runbook is not valid",
        "`diagnostics` tells what is wrong in it, line by line.";
    IdempotencyMismatch = "IDEMPOTENCY_MISMATCH", 422, "The key was used for another request",
        "This `Idempotency-Key` belongs to a request with another method, path or body. Use a new key.";
    TooManyTries = "TOO_MANY_TRIES", 429, "Too many failed tries",
        "There were many requests with a wrong key. Wait as long as `Retry-After` says.";
    Internal = "INTERNAL", 500, "The server has a fault",
        "This is a fault of opsroom. The server's log has more under the request id.";
    StoreCorrupt = "STORE_CORRUPT", 500, "The store has a row that cannot be read",
        "The data folder is damaged, or was written by another version. The server's log names the row.";
    StoreRefused = "STORE_REFUSED", 500, "The store refused the write",
        "This is a fault of opsroom. The server's log has more under the request id.";
    StoreBusy = "STORE_BUSY", 503, "The store is busy",
        "Another process holds the database. Repeat the request after `Retry-After`.";
    StoreUnavailable = "STORE_UNAVAILABLE", 503, "The store is not available",
        "The data folder cannot be reached or not be written. `/readyz` tells when it can again.";
    EventsUnavailable = "EVENTS_UNAVAILABLE", 503, "The events are not available",
        "Neither the live feed, the store nor the archive can give the events of the run now.";
    TimedOut = "TIMED_OUT", 503, "The request took too long",
        "The server gave the request up after 30 seconds. A write may or may not have been done: repeat it with its `Idempotency-Key`.";
    Stopping = "STOPPING", 503, "The server is stopping",
        "No new work is taken. Repeat the request when the server is back.";
    StoreFull = "STORE_FULL", 507, "The disk is full",
        "There is no space left where the data folder is. Nothing was written; free some space.";
}

/// One thing that is wrong in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A JSON pointer into the body, or the name of a parameter or header.
    pub pointer: String,
    pub detail: String,
}

/// What went wrong. Becomes a complete document where the request's id is known.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    /// What happened, where, and what to do.
    pub detail: String,
    pub help: Option<String>,
    pub errors: Vec<FieldError>,
    pub diagnostics: Vec<Diagnostic>,
    /// For the log only.
    hidden: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        let problem = Problem {
            code,
            detail: detail.into(),
            help: None,
            errors: Vec::new(),
            diagnostics: Vec::new(),
            hidden: None,
            headers: Vec::new(),
        };
        match code {
            Code::StoreBusy | Code::TimedOut | Code::IdempotencyInProgress => problem.retry_after(1),
            Code::StoreUnavailable | Code::EventsUnavailable | Code::Stopping => problem.retry_after(5),
            _ => problem,
        }
    }

    /// A fault of ours: the log gets the reason, the caller only the request's id.
    pub fn internal(reason: impl ToString) -> Problem {
        Problem::concealed(Code::Internal, "the request could not be handled", reason)
    }

    /// With a reason that is for the log only.
    #[expect(clippy::needless_pass_by_value, reason = "it ends here")]
    pub(super) fn concealed(code: Code, detail: &str, reason: impl ToString) -> Problem {
        Problem { hidden: Some(reason.to_string()), ..Problem::new(code, detail) }
    }

    /// One parameter, header or field has a value that is not allowed.
    pub fn bad_request(pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        let (pointer, detail) = (pointer.into(), detail.into());
        Problem::new(Code::BadRequest, format!("`{pointer}`: {detail}")).field(pointer, detail)
    }

    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Problem {
        Problem { help: Some(help.into()), ..self }
    }

    /// Names one more thing that is wrong in the request.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>, detail: impl Into<String>) -> Problem {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
        self
    }

    #[must_use]
    pub fn diagnostics(self, diagnostics: Vec<Diagnostic>) -> Problem {
        Problem { diagnostics, ..self }
    }

    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Problem {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What the log gets to know, for problems that are ours.
    pub fn reason(&self) -> Option<&str> {
        self.hidden.as_deref()
    }

    /// The document.
    pub fn to_json(&self, request_id: &str) -> Vec<u8> {
        let document = Document {
            kind: format!("/docs#{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status(),
            code: self.code.as_str(),
            detail: &self.detail,
            help: self.help.as_deref(),
            request_id,
            errors: &self.errors,
            diagnostics: &self.diagnostics,
        };
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    request_id: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    diagnostics: &'a [Diagnostic],
}

impl IntoResponse for Problem {
    /// Without a body: [`super::request`] writes it, with the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        metrics::store_error(&error);
        match &error {
            StoreError::Busy(_) => Problem::concealed(Code::StoreBusy, "the store is busy; try again", error),
            StoreError::Full(_) => {
                Problem::concealed(Code::StoreFull, "there is no space left where the data folder is", error)
            }
            StoreError::Unavailable(_) => {
                Problem::concealed(Code::StoreUnavailable, "the store cannot be read or written now", error)
            }
            StoreError::Corrupt { .. } => {
                Problem::concealed(Code::StoreCorrupt, "a row of the store cannot be read", error)
            }
            StoreError::Refused(_) => Problem::concealed(Code::StoreRefused, "the store refused the write", error),
        }
    }
}

impl From<OwnError> for Problem {
    fn from(error: OwnError) -> Problem {
        match error {
            OwnError::Store(error) | OwnError::Plan(PlanError::Store(error)) => error.into(),
            OwnError::Plan(_) | OwnError::Unreadable { .. } => {
                Problem::concealed(Code::StoreCorrupt, "the run was made by another version, or is damaged", error)
            }
            other => Problem::internal(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_words_of_their_own_and_explained() {
        let mut seen = BTreeSet::new();
        for code in Code::ALL {
            let word = code.as_str();
            assert!(seen.insert(word), "{word} twice");
            assert!(word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{word}");
            assert!((400..600).contains(&code.status()), "{word}");
            assert!(code.explanation().ends_with('.') && !code.title().ends_with('.'), "{word}");
        }
    }

    #[test]
    fn faults_of_the_store_tell_the_caller_no_details() {
        let path = "/home/ada/data/opsroom.db: disk I/O error";
        let problem = Problem::from(StoreError::Unavailable(path.to_owned()));
        let body = String::from_utf8(problem.to_json("r-1")).unwrap();
        assert!(!body.contains("ada"), "{body}");
        assert!(problem.reason().unwrap().contains(path));
        assert_eq!(problem.clone().into_response().headers()["retry-after"], "5");
        assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(body.contains(r#""type":"/docs#STORE_UNAVAILABLE""#), "{body}");
    }
}
