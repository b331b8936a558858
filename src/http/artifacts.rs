//! What runs leave behind: lists, uploads and contents.

use std::{io, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
    routing::get,
};
use futures::{StreamExt, stream};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    access::Caller,
    extract::{Path, Query, body_problem, within_limits},
    idempotency::{self, Idempotency, IdempotencyKey},
    problem::{Code, Problem},
    ranges::{self, Wanted},
    respond,
};
use crate::{
    api::{self, ArtifactList, ListArtifactsQuery, UploadArtifactQuery},
    control::{ArtifactsError, NewArtifact, RunArtifacts, Upload},
    model::{ArtifactKind, Digest, RunId},
    ports::{ArtifactCursor, ArtifactError, ArtifactPlace, ArtifactReader, ArtifactRow},
};

/// Of a page, where the request says nothing.
const PAGE: u32 = 50;

/// How long the next piece of an upload may take to arrive.
const PIECE_TIME: Duration = Duration::from_secs(30);

/// Read at once from a content.
const PIECE: usize = 256 << 10;

/// Contents come from steps and people: a browser saves them and never shows them as pages of this server.
const POLICY: &str = "default-src 'none'; sandbox";
const MEDIA_TYPE: &str = "application/octet-stream";

pub fn routes(artifacts: RunArtifacts) -> Router {
    Router::new()
        .route("/v1/runs/{id}/artifacts", get(list).post(upload))
        .route("/v1/artifacts/{artifact}/content", get(content))
        .with_state(artifacts)
}

async fn list(
    State(artifacts): State<RunArtifacts>,
    headers: HeaderMap,
    Path(run): Path<RunId>,
    Query(query): Query<ListArtifactsQuery>,
) -> Result<Response, Problem> {
    within_limits(&query)?;
    let after: Option<ArtifactCursor> = query.cursor.as_deref().map(respond::position).transpose()?;
    let page = artifacts.list(run, after.as_ref(), query.limit.unwrap_or(PAGE) as usize).await?;
    let last = page.items.last().filter(|_| page.more);
    let cursor = |last: &ArtifactRow| respond::cursor(&(&last.name, last.step.as_deref().unwrap_or_default()));
    let next_cursor = last.map(cursor).transpose()?;
    respond::cached(&headers, &ArtifactList { items: page.items.into_iter().map(document).collect(), next_cursor })
}

async fn upload(
    State(artifacts): State<RunArtifacts>,
    caller: Caller,
    Path(run): Path<RunId>,
    Query(query): Query<UploadArtifactQuery>,
    IdempotencyKey(key): IdempotencyKey,
    request: Request,
) -> Result<Response, Problem> {
    within_limits(&query)?;
    let keyed = match (key, request.extensions().get::<Idempotency>()) {
        (Some(key), Some(idempotency)) => Some(idempotency.begin(key).await?),
        _ => None,
    };
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let new = NewArtifact {
        run,
        name: query.name,
        kind: query.kind.map(kind_of),
        media_type: media_type.map(str::to_owned),
        created_by: caller.actor.to_string(),
    };
    let (upload, content) = receive(artifacts.begin(new).await?, request.into_body()).await?;
    let digest = idempotency::digest(&method, &uri, &content.0);
    if let Some(first) = keyed.as_ref().and_then(|keyed| keyed.first(digest)) {
        return first;
    }
    let document = document(upload.finish().await?);
    if let Some(keyed) = keyed {
        let body = serde_json::to_vec(&document).map_err(Problem::internal)?;
        keyed.keep(digest, StatusCode::CREATED, &body.into()).await;
    }
    respond::created(&format!("/v1/artifacts/{}/content", document.id), &document)
}

/// Takes the body in, piece by piece; answers its digest as well.
async fn receive(mut upload: Upload, body: Body) -> Result<(Upload, Digest), Problem> {
    let mut pieces = body.into_data_stream();
    let mut hash = Sha256::new();
    loop {
        match tokio::time::timeout(PIECE_TIME, pieces.next()).await {
            Err(_) => {
                return Err(Problem::new(Code::RequestTimeout, "the content stopped coming; nothing was stored"));
            }
            Ok(None) => return Ok((upload, Digest(hash.finalize().into()))),
            Ok(Some(Ok(piece))) => {
                hash.update(&piece);
                upload.write(piece).await?;
            }
            Ok(Some(Err(error))) => return Err(body_problem(&error)),
        }
    }
}

async fn content(
    State(artifacts): State<RunArtifacts>,
    Path(artifact): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = artifacts.get(artifact).await?;
    let tag = format!("\"{}\"", row.digest);
    let reader = artifacts.open(&row).await?;
    let size = reader.size();
    let wanted = ranges::wanted(&headers, size, &tag)?;
    let part = match &wanted {
        Wanted::Nothing => 0..0,
        Wanted::All => 0..size,
        Wanted::Part(part) => part.clone(),
    };
    let mut response = ranges::answer(&wanted, size, &tag, MEDIA_TYPE, body(reader, part))?;
    let file_name = row.name.rsplit('/').next().unwrap_or("artifact");
    let disposition =
        HeaderValue::from_str(&format!("attachment; filename=\"{file_name}\"")).map_err(Problem::internal)?;
    response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

fn body(reader: Box<dyn ArtifactReader>, part: std::ops::Range<u64>) -> Body {
    let pieces = stream::try_unfold((reader, part.start), move |(reader, at)| async move {
        let left = usize::try_from(part.end.saturating_sub(at)).unwrap_or(usize::MAX);
        if left == 0 {
            return Ok::<_, io::Error>(None);
        }
        let piece = reader.read_at(at, left.min(PIECE)).await.map_err(io::Error::other)?;
        let next = at + piece.len() as u64;
        Ok((!piece.is_empty()).then_some((piece, (reader, next))))
    });
    Body::from_stream(pieces)
}

fn kind_of(kind: api::ArtifactKind) -> ArtifactKind {
    match kind {
        api::ArtifactKind::File => ArtifactKind::File,
        api::ArtifactKind::Markdown => ArtifactKind::Markdown,
        api::ArtifactKind::Json => ArtifactKind::Json,
        api::ArtifactKind::Link => ArtifactKind::Link,
    }
}

/// An artifact as clients see it.
pub fn document(row: ArtifactRow) -> api::Artifact {
    let url = match row.place {
        ArtifactPlace::Link(url) => Some(url),
        ArtifactPlace::Stored(_) => None,
    };
    api::Artifact {
        id: row.id,
        run_id: row.run,
        step: row.step,
        name: row.name,
        kind: match row.kind {
            ArtifactKind::File => api::ArtifactKind::File,
            ArtifactKind::Markdown => api::ArtifactKind::Markdown,
            ArtifactKind::Json => api::ArtifactKind::Json,
            ArtifactKind::Link => api::ArtifactKind::Link,
        },
        media_type: row.media_type,
        size: row.size,
        digest: row.digest,
        url,
        created_at: row.created_at,
        created_by: row.created_by,
    }
}

impl From<ArtifactsError> for Problem {
    fn from(error: ArtifactsError) -> Problem {
        let text = error.to_string();
        match error {
            ArtifactsError::RunNotFound(_) => Problem::new(Code::RunNotFound, text),
            ArtifactsError::NotFound(_) => Problem::new(Code::ArtifactNotFound, text),
            ArtifactsError::BadName { why, .. } => Problem::bad_request("name", why),
            ArtifactsError::BadContent { .. } => Problem::new(Code::ContentInvalid, text).field("", "the body"),
            ArtifactsError::TooLarge(_) => Problem::new(Code::BodyTooLarge, text),
            ArtifactsError::Artifacts(ArtifactError::Io(error)) if error.kind() == io::ErrorKind::StorageFull => {
                Problem::concealed(Code::StoreFull, "there is no space left where the data folder is", error)
            }
            ArtifactsError::Artifacts(error) => {
                Problem::concealed(Code::StoreUnavailable, "the folder of artifacts cannot be read or written", error)
            }
            ArtifactsError::Store(error) => error.into(),
        }
    }
}
