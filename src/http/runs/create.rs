//! Starting runs.

use std::collections::HashMap;

use axum::{extract::State, http::StatusCode, response::Response};

use super::Services;
use crate::{
    api::{CreateRun, CreateRuns, RunRefs, TriggerKind},
    control::{
        Once, OwnError, RunbookVersion, Runbooks, RunbooksError, StoredVersion, Submission, SubmitError, Submitted,
        Wishes,
    },
    http::{
        access::Caller,
        documents,
        extract::within_limits,
        idempotency::{self, Keyed},
        problem::{Code, FieldError, Problem},
        respond,
    },
    model::{SessionId, TenantId},
    ports::{RunRow, Trigger},
    runbook::params::{self, ParamProblem},
};

/// So many wrong things are named; who has more to mend begins with these.
const NAMED: usize = 100;

/// `POST /v1/runs`
pub(super) async fn one(
    State(services): State<Services>,
    caller: Caller,
    Keyed { body, once, first }: Keyed<CreateRun>,
) -> Result<Response, Problem> {
    within_limits(&body)?;
    let submissions = match Reader::new(&services.runbooks, &caller).all(vec![body], false).await {
        Ok(submissions) => submissions,
        Err(problem) => return idempotency::replayed_made(first.instead_of(problem).await?, "/v1/runs"),
    };
    let now = services.clock.now();
    let answer = |rows: &[RunRow]| {
        let document = rows.first().map(|row| documents::run(row, now));
        (201, serde_json::to_vec(&document).unwrap_or_default())
    };
    let key = once.map(|(key, request)| Once { key, request, answer: &answer });
    match services.runs.submit_once(&submissions, key.as_ref()).await? {
        Submitted::Created(rows) => {
            let row = rows.first().ok_or_else(|| Problem::internal("a submission made no run"))?;
            respond::created(&format!("/v1/runs/{}", row.id), &documents::run(row, now))
        }
        Submitted::Replayed(answer) => idempotency::replayed_made(answer, "/v1/runs"),
    }
}

/// `POST /v1/runs/batch`
pub(super) async fn many(
    State(services): State<Services>,
    caller: Caller,
    Keyed { body, once, first }: Keyed<CreateRuns>,
) -> Result<Response, Problem> {
    within_limits(&body)?;
    let submissions = match Reader::new(&services.runbooks, &caller).all(body.runs, true).await {
        Ok(submissions) => submissions,
        Err(problem) => {
            let answer = first.instead_of(problem).await?;
            let request = answer.request;
            return idempotency::replayed(answer, request);
        }
    };
    let refs = |rows: &[RunRow]| RunRefs { items: rows.iter().map(documents::run_ref).collect() };
    let answer = |rows: &[RunRow]| (201, serde_json::to_vec(&refs(rows)).unwrap_or_default());
    let key = once.map(|(key, request)| Once { key, request, answer: &answer });
    match services.runs.submit_once(&submissions, key.as_ref()).await? {
        Submitted::Created(rows) => respond::json(StatusCode::CREATED, &refs(&rows)),
        Submitted::Replayed(answer) => {
            let request = answer.request;
            idempotency::replayed(answer, request)
        }
    }
}

/// Makes submissions of requests. Each runbook is looked up once.
struct Reader<'a> {
    runbooks: &'a Runbooks,
    trigger: Trigger,
    known: HashMap<(String, Option<u32>), RunbookVersion>,
    wrong: Vec<FieldError>,
}

impl<'a> Reader<'a> {
    fn new(runbooks: &'a Runbooks, caller: &Caller) -> Reader<'a> {
        let trigger = Trigger { kind: TriggerKind::Api.as_str().to_owned(), actor: caller.actor.to_string() };
        Reader { runbooks, trigger, known: HashMap::new(), wrong: Vec::new() }
    }

    /// All submissions, or all that is wrong with the requests.
    async fn all(mut self, requests: Vec<CreateRun>, in_a_list: bool) -> Result<Vec<Submission>, Problem> {
        let mut submissions = Vec::with_capacity(requests.len());
        for (index, request) in requests.into_iter().enumerate() {
            let at = if in_a_list { format!("/runs/{index}") } else { String::new() };
            submissions.extend(self.one(request, &at).await?);
            if self.wrong.len() >= NAMED {
                break;
            }
        }
        let Some(first) = self.wrong.first() else { return Ok(submissions) };
        let detail = format!("`{}`: {}", first.pointer, first.detail);
        Err(self.wrong.into_iter().fold(Problem::new(Code::ParamsInvalid, detail), |problem, wrong| {
            problem.field(wrong.pointer, wrong.detail)
        }))
    }

    async fn one(&mut self, request: CreateRun, at: &str) -> Result<Option<Submission>, Problem> {
        let CreateRun { runbook, version, params, session_id, lane, priority, labels } = request;
        let RunbookVersion { row, plan } = self.find(runbook, version, at).await?;
        let wishes = Wishes {
            version: Some(StoredVersion { number: row.version, plan: row.plan }),
            session: session_id.map(SessionId),
            lane,
            priority,
            labels: labels.unwrap_or_default(),
        };
        let trigger = self.trigger.clone();
        Ok(match params::bind(&plan.params, params.unwrap_or_default()) {
            Ok(params) => Some(Submission { plan, source: "".into(), params, trigger, wishes }),
            Err(problems) => {
                self.wrong.extend(problems.iter().map(|problem| field(problem, at)));
                None
            }
        })
    }

    async fn find(&mut self, name: String, version: Option<u32>, at: &str) -> Result<RunbookVersion, Problem> {
        let key = (name, version);
        if let Some(found) = self.known.get(&key) {
            return Ok(found.clone());
        }
        let found =
            self.runbooks.find(TenantId::DEFAULT, &key.0, version).await.map_err(|error| not_found(error, at))?;
        self.known.insert(key, found.clone());
        Ok(found)
    }
}

/// What is wrong with a param, at its place in the body.
fn field(problem: &ParamProblem, at: &str) -> FieldError {
    let name = problem.param.replace('~', "~0").replace('/', "~1");
    let help = problem.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
    let detail = format!("{}{help}", problem.message);
    FieldError { pointer: format!("{at}/params/{name}{}", problem.pointer), detail }
}

/// Why a runbook cannot be had, at its place in the body.
fn not_found(error: RunbooksError, at: &str) -> Problem {
    let detail = error.to_string();
    let missing = |field: &str| {
        Problem::new(Code::RunbookNotFound, detail.clone())
            .field(format!("{at}/{field}"), detail.clone())
            .help("`GET /v1/runbooks` lists the runbooks")
    };
    match error {
        RunbooksError::NotFound(_) => missing("runbook"),
        RunbooksError::NoSuchVersion { .. } => missing("version"),
        RunbooksError::Store(error) => error.into(),
        RunbooksError::Plan(error) => OwnError::from(error).into(),
        other => other.into(),
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        let detail = error.to_string();
        match error {
            SubmitError::KeyReused => idempotency::mismatch(),
            SubmitError::NoSession(_) => Problem::new(Code::SessionNotFound, detail),
            SubmitError::SessionArchived(_) => Problem::new(Code::SessionArchived, detail),
            SubmitError::Store(error) => error.into(),
        }
    }
}
