//! What runs leave behind: what their steps store, and what people and programs add.
//!
//! The content is in the artifact store, the index beside it is what lists show. An upload has a key of its own for
//! each content, so that replacing one is one write of the index: whoever reads the old content reads it to its end.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use crate::{
    model::{ArtifactKind, Digest, Micros, RunId, TenantId},
    ports::{
        ArtifactCursor, ArtifactError, ArtifactIndex, ArtifactPlace, ArtifactReader, ArtifactRow, ArtifactWriter,
        Artifacts, Clock, Page, Store, StoreError,
    },
};

/// The largest upload.
pub const MAX_ARTIFACT: u64 = 1 << 30;
/// The largest one that is checked as a whole: JSON, Markdown, links.
pub const MAX_TEXT: usize = 32 << 20;
const MAX_NAME: usize = 255;
const MAX_URL: usize = 2_000;
/// Where uploads are among the artifacts; no run has such an id.
const UPLOADS: &str = "uploads";

/// The same for stored working folders.
const SNAPSHOTS: &str = "workspaces";

#[derive(Debug, thiserror::Error)]
pub enum ArtifactsError {
    #[error("no run {0}")]
    RunNotFound(RunId),
    #[error("no artifact {0}")]
    NotFound(Uuid),
    #[error("`{name}` is not a name for an artifact: {why}")]
    BadName { name: String, why: &'static str },
    #[error("the content is not {kind}: {why}")]
    BadContent { kind: ArtifactKind, why: String },
    #[error("the artifact has more than {0} bytes")]
    TooLarge(u64),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The service over the artifacts of one tenant's runs. Cheap to clone.
#[derive(Clone)]
pub struct RunArtifacts {
    tenant: TenantId,
    store: Arc<dyn Store>,
    index: Arc<dyn ArtifactIndex>,
    artifacts: Arc<dyn Artifacts>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for RunArtifacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunArtifacts").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

/// What is to be added to a run.
#[derive(Debug, Clone)]
pub struct NewArtifact {
    pub run: RunId,
    pub name: String,
    /// Told from the name and the media type if absent.
    pub kind: Option<ArtifactKind>,
    /// As the sender says; told from the name if it says nothing of use.
    pub media_type: Option<String>,
    pub created_by: String,
}

impl RunArtifacts {
    pub fn new(
        tenant: TenantId,
        store: Arc<dyn Store>,
        index: Arc<dyn ArtifactIndex>,
        artifacts: Arc<dyn Artifacts>,
        clock: Arc<dyn Clock>,
    ) -> RunArtifacts {
        RunArtifacts { tenant, store, index, artifacts, clock }
    }

    async fn check_run(&self, run: RunId) -> Result<(), ArtifactsError> {
        let row = self.store.run(run).await?.filter(|row| row.tenant == self.tenant);
        row.map(drop).ok_or(ArtifactsError::RunNotFound(run))
    }

    /// The artifacts of a run, by name.
    pub async fn list(
        &self,
        run: RunId,
        after: Option<&ArtifactCursor>,
        limit: usize,
    ) -> Result<Page<ArtifactRow>, ArtifactsError> {
        self.check_run(run).await?;
        Ok(self.index.artifacts(run, after, limit).await?)
    }

    pub async fn get(&self, id: Uuid) -> Result<ArtifactRow, ArtifactsError> {
        self.index.artifact(self.tenant, id).await?.ok_or(ArtifactsError::NotFound(id))
    }

    /// The content of an artifact; that of a link is its URL.
    pub async fn open(&self, row: &ArtifactRow) -> Result<Box<dyn ArtifactReader>, ArtifactsError> {
        match &row.place {
            ArtifactPlace::Link(url) => Ok(Box::new(Text(url.clone().into()))),
            ArtifactPlace::Stored(key) => self.artifacts.open(key).await.map_err(|error| match error {
                ArtifactError::NotFound(_) => ArtifactsError::NotFound(row.id),
                other => other.into(),
            }),
        }
    }

    /// Begins to add an artifact to a run, whether or not it has ended: it is evidence beside the sealed log.
    pub async fn begin(&self, new: NewArtifact) -> Result<Upload, ArtifactsError> {
        check_name(&new.name)?;
        self.check_run(new.run).await?;
        let kind = new.kind.unwrap_or_else(|| kind_of(&new.name, new.media_type.as_deref()));
        let id = artifact_id(new.run, None, &new.name);
        let key = format!("{UPLOADS}/{}/{id}-{}", new.run, self.clock.now().0);
        let writer = self.artifacts.begin(&key).await?;
        Ok(Upload { of: self.clone(), new, kind, key, writer, size: 0, text: Vec::new() })
    }
}

/// An artifact that is being added. Nobody sees it before it is finished; dropped, it is gone.
pub struct Upload {
    of: RunArtifacts,
    new: NewArtifact,
    kind: ArtifactKind,
    key: String,
    writer: Box<dyn ArtifactWriter>,
    size: u64,
    /// The content so far, of kinds that are checked.
    text: Vec<u8>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("new", &self.new).finish_non_exhaustive()
    }
}

impl Upload {
    /// Takes the next piece.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), ArtifactsError> {
        self.size += bytes.len() as u64;
        let limit = match self.kind {
            ArtifactKind::File => MAX_ARTIFACT,
            ArtifactKind::Link => MAX_URL as u64,
            ArtifactKind::Markdown | ArtifactKind::Json => MAX_TEXT as u64,
        };
        if self.size > limit {
            return Err(ArtifactsError::TooLarge(limit));
        }
        if self.kind != ArtifactKind::File {
            self.text.extend_from_slice(&bytes);
        }
        Ok(self.writer.write(bytes).await?)
    }

    /// Adds it, in place of the one of the same name.
    pub async fn finish(self) -> Result<ArtifactRow, ArtifactsError> {
        let Upload { of, new, kind, key, writer, size, text } = self;
        let url = check_content(kind, &text)?;
        let id = artifact_id(new.run, None, &new.name);
        let created_at = of.clock.now();
        let (place, digest) = if let Some(url) = url {
            (ArtifactPlace::Link(url), Digest::of(&text))
        } else {
            let (digest, _) = writer.finish().await?;
            (ArtifactPlace::Stored(key), digest)
        };
        let row = ArtifactRow {
            id,
            run: new.run,
            tenant: of.tenant,
            step: None,
            media_type: media_type(&new.name, kind, new.media_type.as_deref()),
            name: new.name,
            kind,
            size,
            digest,
            place,
            created_at,
            created_by: new.created_by,
        };
        let replaced = of.index.put_artifact(&row).await?;
        if let Some(ArtifactPlace::Stored(old)) = replaced.map(|old| old.place)
            && row.place != ArtifactPlace::Stored(old.clone())
            && let Err(error) = of.artifacts.delete(&old).await
        {
            tracing::warn!(key = old, %error, "a replaced artifact could not be deleted; it goes with its run");
        }
        Ok(row)
    }
}

/// The artifact store of steps: what it stores of a run is in the index too.
pub struct IndexedArtifacts {
    tenant: TenantId,
    inner: Arc<dyn Artifacts>,
    index: Arc<dyn ArtifactIndex>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for IndexedArtifacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IndexedArtifacts").finish_non_exhaustive()
    }
}

impl IndexedArtifacts {
    pub fn new(
        tenant: TenantId,
        inner: Arc<dyn Artifacts>,
        index: Arc<dyn ArtifactIndex>,
        clock: Arc<dyn Clock>,
    ) -> IndexedArtifacts {
        IndexedArtifacts { tenant, inner, index, clock }
    }

    fn row(&self, key: &str, digest: Digest, size: u64, created_at: Micros) -> Option<ArtifactRow> {
        let (run, rest) = key.split_once('/')?;
        let (run, (step, name)) = (run.parse().ok()?, rest.split_once('/')?);
        let kind = kind_of(name, None);
        Some(ArtifactRow {
            id: artifact_id(run, Some(step), name),
            run,
            tenant: self.tenant,
            step: Some(step.to_owned()),
            name: name.to_owned(),
            kind,
            media_type: media_type(name, kind, None),
            size,
            digest,
            place: ArtifactPlace::Stored(key.to_owned()),
            created_at,
            created_by: format!("step {step}"),
        })
    }
}

#[async_trait]
impl Artifacts for IndexedArtifacts {
    async fn put_file(&self, key: &str, file: &Path) -> Result<(Digest, u64), ArtifactError> {
        let (digest, size) = self.inner.put_file(key, file).await?;
        if let Some(row) = self.row(key, digest, size, self.clock.now()) {
            let put = self.index.put_artifact(&row).await;
            put.map_err(|error| ArtifactError::Io(std::io::Error::other(error)))?;
        }
        Ok((digest, size))
    }

    async fn begin(&self, key: &str) -> Result<Box<dyn ArtifactWriter>, ArtifactError> {
        self.inner.begin(key).await
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactError> {
        self.inner.get(key).await
    }

    async fn open(&self, key: &str) -> Result<Box<dyn ArtifactReader>, ArtifactError> {
        self.inner.open(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactError> {
        self.inner.list(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), ArtifactError> {
        self.inner.delete(key).await
    }

    async fn delete_below(&self, prefix: &str) -> Result<(), ArtifactError> {
        self.inner.delete_below(prefix).await
    }
}

/// Everything that a run has in the artifact store goes.
pub(super) async fn delete_all(artifacts: &dyn Artifacts, run: RunId) -> Result<(), ArtifactError> {
    artifacts.delete_below(&run.to_string()).await?;
    artifacts.delete_below(&format!("{UPLOADS}/{run}")).await?;
    artifacts.delete_below(&format!("{SNAPSHOTS}/{run}")).await
}

/// The id of an artifact: the same for every content that it has in the course of time.
fn artifact_id(run: RunId, step: Option<&str>, name: &str) -> Uuid {
    let digest = Digest::of(format!("{run}/{}/{name}", step.unwrap_or_default()).as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.0[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn check_name(name: &str) -> Result<(), ArtifactsError> {
    let bad = |why| Err(ArtifactsError::BadName { name: name.chars().take(MAX_NAME).collect(), why });
    let good_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    if name.is_empty() || name.len() > MAX_NAME {
        return bad("it has 1 to 255 characters");
    }
    if !name.bytes().all(good_byte) {
        return bad("use letters, digits, `.`, `_`, `-`, and `/` between them");
    }
    if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return bad("no part of it may be empty, `.` or `..`");
    }
    Ok(())
}

/// Checks what a kind promises; answers the URL of a link.
fn check_content(kind: ArtifactKind, text: &[u8]) -> Result<Option<String>, ArtifactsError> {
    let bad = |why: String| ArtifactsError::BadContent { kind, why };
    match kind {
        ArtifactKind::File => Ok(None),
        ArtifactKind::Markdown => {
            std::str::from_utf8(text).map(|_| None).map_err(|error| bad(format!("it is not UTF-8: {error}")))
        }
        ArtifactKind::Json => {
            serde_json::from_slice::<serde::de::IgnoredAny>(text).map(|_| None).map_err(|error| bad(error.to_string()))
        }
        ArtifactKind::Link => {
            let url = std::str::from_utf8(text).map(str::trim).unwrap_or_default();
            let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic());
            let has_host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']));
            if is_plain && has_host {
                Ok(Some(url.to_owned()))
            } else {
                Err(bad("send an http or https URL of at most 2,000 characters".to_owned()))
            }
        }
    }
}

fn extension(name: &str) -> String {
    name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default()
}

fn kind_of(name: &str, media_type: Option<&str>) -> ArtifactKind {
    match (extension(name).as_str(), media_type.map(essence).unwrap_or_default()) {
        (_, "text/uri-list") => ArtifactKind::Link,
        ("md" | "markdown", _) | (_, "text/markdown") => ArtifactKind::Markdown,
        ("json", _) | (_, "application/json") => ArtifactKind::Json,
        _ => ArtifactKind::File,
    }
}

fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

fn media_type(name: &str, kind: ArtifactKind, given: Option<&str>) -> String {
    let of_name = match (kind, extension(name).as_str()) {
        (ArtifactKind::Link, _) => "text/uri-list",
        (ArtifactKind::Markdown, _) => "text/markdown",
        (ArtifactKind::Json, _) => "application/json",
        (_, "txt" | "log") => "text/plain",
        (_, "csv") => "text/csv",
        (_, "html" | "htm") => "text/html",
        (_, "xml") => "application/xml",
        (_, "yaml" | "yml") => "application/yaml",
        (_, "png") => "image/png",
        (_, "jpg" | "jpeg") => "image/jpeg",
        (_, "svg") => "image/svg+xml",
        (_, "pdf") => "application/pdf",
        (_, "gz") => "application/gzip",
        (_, "zst") => "application/zstd",
        (_, "zip") => "application/zip",
        _ => "",
    };
    let is_good =
        |text: &&str| text.len() <= 100 && text.contains('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    let given = given.map(essence).filter(is_good).filter(|text| *text != "application/octet-stream");
    let told = if of_name.is_empty() { given.unwrap_or("application/octet-stream") } else { of_name };
    told.to_ascii_lowercase()
}

/// A content that is in memory.
struct Text(Bytes);

#[async_trait]
impl ArtifactReader for Text {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, ArtifactError> {
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        Ok(self.0.slice(begin..begin.saturating_add(length).min(self.0.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere_else() {
        for good in ["a", "report.md", "a/b-c_d.e", "...", ".hidden"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        let long = "x".repeat(256);
        for bad in ["", "/", "a/", "/a", "a//b", "..", "a/../b", ".", "ä", "a b", "a\\b", "a\0", "%2e", &long] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_content_is_what_its_kind_says() {
        let check = |kind, text: &str| check_content(kind, text.as_bytes());
        assert!(check(ArtifactKind::Json, "{\"a\": [1]}").is_ok());
        for bad in ["", "{", "{} x", "NaN"] {
            assert!(check(ArtifactKind::Json, bad).is_err(), "{bad}");
        }
        assert!(check_content(ArtifactKind::Markdown, b"\xff").is_err());
        assert_eq!(check(ArtifactKind::Link, " https://a.b/c?d#e\n").unwrap().unwrap(), "https://a.b/c?d#e");
        for bad in ["", "https://", "https:///x", "javascript:alert(1)", "ftp://a", "http://a b", "http://ä", "//a"] {
            assert!(check(ArtifactKind::Link, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_and_media_types_are_told() {
        assert_eq!(kind_of("a.MD", None), ArtifactKind::Markdown);
        assert_eq!(kind_of("a", Some("application/json; charset=utf-8")), ArtifactKind::Json);
        assert_eq!(kind_of("a.json.gz", None), ArtifactKind::File);
        assert_eq!(media_type("a.html", ArtifactKind::File, Some("text/plain")), "text/html");
        assert_eq!(media_type("a", ArtifactKind::File, Some("image/webp")), "image/webp");
        for nonsense in ["", "x", "a b/c", "application/octet-stream"] {
            assert_eq!(media_type("a", ArtifactKind::File, Some(nonsense)), "application/octet-stream");
        }
    }
}
