//! Runbooks: lists, versions, sources, and storing a new version.

mod documents;

use std::collections::BTreeMap;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
    routing::get,
};
use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

use super::{
    access::Caller,
    extract::{Json, Path, Query, within_limits},
    problem::{Code, Problem},
    respond,
};
use crate::{
    api::{ListRunbookVersionsQuery, ListRunbooksQuery, RunbookList, RunbookSource, RunbookVersionList},
    control::{Draft, Origin, OwnError, Put, RunbookVersion, RunbookView, Runbooks, RunbooksError},
    model::TenantId,
    runbook::{Bundle, BundleFile, is_bundle_path, params::ParamProblem},
};

pub use documents::{runbook_document, version_document};

/// Of a page, where the request says nothing.
const PAGE: u32 = 50;

/// Bits that no byte needs may be set: not all encoders clear them.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

pub fn routes(runbooks: Runbooks) -> Router {
    Router::new()
        .route("/v1/runbooks", get(list))
        .route("/v1/runbooks/{name}", get(show).put(put))
        .route("/v1/runbooks/{name}/versions", get(versions))
        .route("/v1/runbooks/{name}/versions/{version}/source", get(source))
        .with_state(runbooks)
}

async fn list(
    State(runbooks): State<Runbooks>,
    headers: HeaderMap,
    Query(query): Query<ListRunbooksQuery>,
) -> Result<Response, Problem> {
    within_limits(&query)?;
    let after: Option<String> = query.cursor.as_deref().map(respond::position).transpose()?;
    let limit = query.limit.unwrap_or(PAGE) as usize;
    let page = runbooks.list(TenantId::DEFAULT, after.as_deref(), limit).await?;
    let last = page.items.last().filter(|_| page.more);
    let next_cursor = last.map(|view| respond::cursor(&&*view.name)).transpose()?;
    respond::cached(&headers, &RunbookList { items: page.items.iter().map(runbook_document).collect(), next_cursor })
}

async fn show(
    State(runbooks): State<Runbooks>,
    headers: HeaderMap,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let view = runbooks.view(TenantId::DEFAULT, &name).await?;
    // The tag is of the whole document: what is wrong with a file changes without a version.
    respond::cached(&headers, &runbook_document(&view))
}

async fn put(
    State(runbooks): State<Runbooks>,
    caller: Caller,
    Path(name): Path<String>,
    Json(given): Json<RunbookSource>,
) -> Result<Response, Problem> {
    let origin = Origin::Api(caller.actor.to_string());
    let Put { version, plan, created, .. } =
        runbooks.put_named(TenantId::DEFAULT, &name, draft(given, &name)?, &origin).await?;
    let problem = runbooks.view(TenantId::DEFAULT, &name).await?.problem;
    let name = version.name.clone();
    let view = RunbookView { name, latest: Some(RunbookVersion { row: version, plan }), problem };
    respond::json(if created { StatusCode::CREATED } else { StatusCode::OK }, &runbook_document(&view))
}

async fn versions(
    State(runbooks): State<Runbooks>,
    headers: HeaderMap,
    Path(name): Path<String>,
    Query(query): Query<ListRunbookVersionsQuery>,
) -> Result<Response, Problem> {
    within_limits(&query)?;
    let before: Option<u32> = query.cursor.as_deref().map(respond::position).transpose()?;
    let limit = query.limit.unwrap_or(PAGE) as usize;
    let page = runbooks.versions(TenantId::DEFAULT, &name, before, limit).await?;
    let last = page.items.last().filter(|_| page.more);
    let next_cursor = last.map(|row| respond::cursor(&row.version)).transpose()?;
    let items = page.items.iter().map(version_document).collect();
    respond::cached(&headers, &RunbookVersionList { items, next_cursor })
}

async fn source(
    State(runbooks): State<Runbooks>,
    headers: HeaderMap,
    Path((name, version)): Path<(String, u32)>,
) -> Result<Response, Problem> {
    if version == 0 {
        return Err(Problem::bad_request("version", "versions are numbered from 1"));
    }
    let (row, text) = runbooks.source(TenantId::DEFAULT, &name, version).await?;
    respond::cached_by(&headers, &row.digest, || Ok(respond::text("application/yaml", text)))
}

/// What was sent as a runbook; `name` is what it is called where it has no file name.
pub(super) fn draft(given: RunbookSource, name: &str) -> Result<Draft, Problem> {
    within_limits(&given)?;
    let RunbookSource { source, file_name, files } = given;
    let file_name = file_name.unwrap_or_else(|| format!("{name}.yaml"));
    Ok(Draft::new(file_name, source).with_files(bundle(files.unwrap_or_default())?))
}

fn bundle(files: BTreeMap<String, String>) -> Result<Bundle, Problem> {
    let mut bundle = Bundle::default();
    for (path, text) in files {
        let pointer = pointer_of(&path);
        if !is_bundle_path(&path) {
            return Err(Problem::bad_request(pointer, "not a path below the folder of the runbook"));
        }
        let bytes = BASE64.decode(text).map_err(|_| Problem::bad_request(pointer, "not base64"))?;
        // There are no modes here: a file that names its interpreter is a program.
        let executable = bytes.starts_with(b"#!");
        bundle.files.insert(path, BundleFile::new(bytes, executable));
    }
    Ok(bundle)
}

fn pointer_of(path: &str) -> String {
    format!("/files/{}", path.replace('~', "~0").replace('/', "~1"))
}

/// Params that do not fit the runbook.
pub(super) fn params_problem(problems: &[ParamProblem]) -> Problem {
    let words: Vec<String> = problems.iter().map(ToString::to_string).collect();
    problems.iter().fold(Problem::new(Code::ParamsInvalid, words.join("; ")), |problem, wrong| {
        let name = wrong.param.replace('~', "~0").replace('/', "~1");
        let detail = match &wrong.help {
            Some(help) => format!("{} ({help})", wrong.message),
            None => wrong.message.clone(),
        };
        problem.field(format!("/params/{name}{}", wrong.pointer), detail)
    })
}

impl From<RunbooksError> for Problem {
    fn from(error: RunbooksError) -> Problem {
        let detail = error.to_string();
        match error {
            RunbooksError::Invalid(diagnostics) => {
                let first = diagnostics.first().map(ToString::to_string).unwrap_or_default();
                Problem::new(Code::RunbookInvalid, format!("{detail}; the first is {first}")).diagnostics(diagnostics)
            }
            RunbooksError::NameMismatch(diagnostics) => {
                let detail = diagnostics.first().map(|found| found.message.clone()).unwrap_or(detail);
                let problem = Problem::new(Code::BadRequest, detail.clone()).field("/source", detail);
                problem
                    .help("give the name of the path to the runbook, or put it under its own")
                    .diagnostics(diagnostics)
            }
            RunbooksError::UnnamedFiles(paths) => {
                let problem = Problem::new(Code::RunbookInvalid, detail);
                paths
                    .iter()
                    .fold(problem, |problem, path| problem.field(pointer_of(path), "no glob of `files:` names it"))
            }
            RunbooksError::NotFound(_) | RunbooksError::NoSuchVersion { .. } => {
                Problem::new(Code::RunbookNotFound, detail).help("`GET /v1/runbooks` lists the runbooks")
            }
            RunbooksError::Store(error) => error.into(),
            RunbooksError::Plan(error) => OwnError::from(error).into(),
            RunbooksError::Bundle(_) | RunbooksError::Panicked => Problem::internal(detail),
        }
    }
}
