//! Artifacts in an object store that speaks S3: the key is the object's, below a prefix.
//!
//! What is small is one request; what is larger than [`PART`] goes up in parts, which nobody sees before the last
//! request names them, so a writer that is dropped or dies leaves no object. Dropped, it also takes its parts back; those
//! of a process that died are for a lifecycle rule of the bucket (docs/artifacts.md).
//!
//! Requests have time limits and are tried again; credentials come from the caller and appear in no message.

use std::{error::Error as _, fmt, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, MultipartUpload, ObjectStore, ObjectStoreExt as _, PutPayload,
    RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService},
    path::Path as Key,
};
use sha2::{Digest as _, Sha256};
use tokio::{io::AsyncReadExt as _, task::JoinSet};
use tokio_util::task::TaskTracker;

use super::{
    artifacts::{check_key, open_regular},
    tls,
};
use crate::{
    model::Digest,
    ports::{ArtifactError, ArtifactReader, ArtifactWriter, Artifacts, Probe, Unready},
};

/// What is larger goes up in parts of this size; S3 wants at least 5 MiB, and at most 10,000 parts.
const PART: usize = 8 << 20;
/// Parts of one artifact that are under way at once.
const PARTS_AT_ONCE: usize = 3;
/// Read from a file at once.
const PIECE: usize = 1 << 20;
/// No key begins with it; the probe asks for an object there.
const UNFINISHED: &str = ".unfinished";
/// For a connection, and for the answer to the probe.
const CONNECT: Duration = Duration::from_secs(5);
const PROBE: Duration = Duration::from_secs(5);

/// How to reach an object store.
#[derive(Clone)]
pub struct ObjectConfig {
    pub bucket: String,
    /// Before every key; may be empty.
    pub prefix: String,
    /// The `AWS_*` variables: region, endpoint, credentials.
    pub variables: Vec<(String, String)>,
    /// How long one request may take, and how long it is tried again.
    pub timeout: Duration,
    pub patience: Duration,
}

impl ObjectConfig {
    pub fn new(bucket: impl Into<String>, prefix: impl Into<String>) -> ObjectConfig {
        ObjectConfig {
            bucket: bucket.into(),
            prefix: prefix.into(),
            variables: Vec::new(),
            timeout: Duration::from_mins(1),
            patience: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for ObjectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectConfig")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("variables", &self.variables.len())
            .finish_non_exhaustive()
    }
}

/// Why an object store cannot be used as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ObjectConfigError(String);

/// Artifacts in one bucket below one prefix.
pub struct ObjectArtifacts {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
    faults: Faults,
    /// Uploads that are being taken back.
    aborts: TaskTracker,
}

impl fmt::Debug for ObjectArtifacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectArtifacts").field("prefix", &self.prefix.as_ref()).finish_non_exhaustive()
    }
}

impl ObjectArtifacts {
    /// Makes no request yet.
    pub fn new(config: &ObjectConfig) -> Result<ObjectArtifacts, ObjectConfigError> {
        tls::install();
        let faults = Faults::of(config);
        let mut builder = AmazonS3Builder::new();
        for (name, value) in &config.variables {
            // As the variables of the AWS tools; what is for others is passed over.
            let key = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>();
            if let Ok(key) = key.map_err(drop)
                && !matches!(key, AmazonS3ConfigKey::Client(_) | AmazonS3ConfigKey::Bucket)
            {
                builder = builder.with_config(key, value);
            }
        }
        let is_plain = |name: &str| ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"].contains(&name);
        let speaks_plainly = config.variables.iter().any(|(name, url)| is_plain(name) && url.starts_with("http://"));
        let backoff =
            BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(3), base: 2. };
        let retry = RetryConfig { backoff, max_retries: 8, retry_timeout: config.patience };
        let store = builder
            .with_bucket_name(&config.bucket)
            .with_allow_http(speaks_plainly)
            .with_retry(retry)
            .with_http_connector(Connector { timeout: config.timeout, speaks_plainly })
            .build()
            .map_err(|error| ObjectConfigError(faults.tell("", &error).to_string()))?;
        let prefix = config.prefix.trim_matches('/');
        let prefix = Key::parse(prefix).map_err(|error| ObjectConfigError(error.to_string()))?;
        Ok(ObjectArtifacts { store: Arc::new(store), prefix, faults, aborts: TaskTracker::new() })
    }

    /// Waits until the parts of dropped uploads are taken back, at most for so long.
    pub async fn close(&self, limit: Duration) {
        self.aborts.close();
        if tokio::time::timeout(limit, self.aborts.wait()).await.is_err() {
            tracing::warn!("parts of given-up uploads could not be removed; a rule of the bucket has to");
        }
    }

    fn key(&self, key: &str) -> Result<Key, ArtifactError> {
        check_key(key)?;
        let full = if self.prefix.as_ref().is_empty() { key.to_owned() } else { format!("{}/{key}", self.prefix) };
        Key::parse(full).map_err(|_| ArtifactError::BadName(key.to_owned()))
    }

    /// The key of an object; `None` for what is none of ours.
    fn name(&self, location: &Key) -> Option<String> {
        let prefix = self.prefix.as_ref();
        let name = location.as_ref().strip_prefix(prefix)?;
        let name = if prefix.is_empty() { name } else { name.strip_prefix('/')? };
        check_key(name).ok().map(|()| name.to_owned())
    }

    fn writer(&self, key: &str) -> Result<ObjectWriter, ArtifactError> {
        Ok(ObjectWriter {
            store: self.store.clone(),
            location: self.key(key)?,
            key: key.to_owned(),
            pending: BytesMut::new(),
            upload: None,
            parts: JoinSet::new(),
            hasher: Sha256::new(),
            size: 0,
            has_failed: false,
            faults: self.faults.clone(),
            aborts: self.aborts.clone(),
        })
    }
}

#[async_trait]
impl Artifacts for ObjectArtifacts {
    async fn put_file(&self, key: &str, file: &Path) -> Result<(Digest, u64), ArtifactError> {
        let (mut writer, path) = (self.writer(key)?, file.to_owned());
        let opened = tokio::task::spawn_blocking(move || open_regular(&path)).await;
        let mut file = tokio::fs::File::from_std(opened.unwrap_or_else(|error| Err(std::io::Error::other(error)))?);
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if file.read_buf(&mut piece).await? == 0 {
                return Box::new(writer).finish().await;
            }
            writer.write(piece.freeze()).await?;
        }
    }

    async fn begin(&self, key: &str) -> Result<Box<dyn ArtifactWriter>, ArtifactError> {
        Ok(Box::new(self.writer(key)?))
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactError> {
        let fail = |error| self.faults.tell(key, &error);
        let answer = self.store.get(&self.key(key)?).await.map_err(fail)?;
        Ok(answer.bytes().await.map_err(fail)?.into())
    }

    async fn open(&self, key: &str) -> Result<Box<dyn ArtifactReader>, ArtifactError> {
        let location = self.key(key)?;
        let known = self.store.head(&location).await.map_err(|error| self.faults.tell(key, &error))?;
        let (store, key, faults) = (self.store.clone(), key.to_owned(), self.faults.clone());
        Ok(Box::new(ObjectReader { store, location, key, faults, size: known.size, tag: known.e_tag }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactError> {
        let prefix = prefix.trim_end_matches('/');
        let below = if prefix.is_empty() { self.prefix.clone() } else { self.key(prefix)? };
        let found = self.store.list(Some(&below)).map_ok(|object| self.name(&object.location));
        let names: Vec<Option<String>> = found.try_collect().await.map_err(|error| self.faults.tell(prefix, &error))?;
        let mut names: Vec<String> = names.into_iter().flatten().collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn delete(&self, key: &str) -> Result<(), ArtifactError> {
        match self.store.delete(&self.key(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.faults.tell(key, &error)),
        }
    }

    async fn delete_below(&self, prefix: &str) -> Result<(), ArtifactError> {
        let below = self.key(prefix.trim_end_matches('/'))?;
        let found = self.store.list(Some(&below)).map_ok(|object| object.location).boxed();
        let mut deleted = self.store.delete_stream(found);
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.faults.tell(prefix, &error)),
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Probe for ObjectArtifacts {
    /// Asks for an object that is not there: that says whether the store answers, and to us.
    async fn probe(&self) -> Result<(), Unready> {
        let key = if self.prefix.as_ref().is_empty() { String::new() } else { format!("{}/", self.prefix) };
        let asked = tokio::time::timeout(PROBE, self.store.head(&Key::from(format!("{key}{UNFINISHED}/probe")))).await;
        let error = match asked {
            Ok(Ok(_) | Err(object_store::Error::NotFound { .. })) => return Ok(()),
            Ok(Err(error)) => self.faults.tell("", &error),
            Err(_) => ArtifactError::Unavailable("no answer in time".to_owned()),
        };
        tracing::warn!(%error, "the artifact store cannot be used");
        let detail = match error {
            ArtifactError::Denied(_) => "the artifact store refuses access",
            _ => "the artifact store does not answer",
        };
        Err(Unready { code: error.code(), detail: detail.to_owned() })
    }
}

struct ObjectWriter {
    store: Arc<dyn ObjectStore>,
    location: Key,
    key: String,
    /// Less than a part.
    pending: BytesMut,
    /// Begun once there is more than a part.
    upload: Option<Box<dyn MultipartUpload>>,
    parts: JoinSet<object_store::Result<()>>,
    hasher: Sha256,
    size: u64,
    has_failed: bool,
    faults: Faults,
    aborts: TaskTracker,
}

impl ObjectWriter {
    async fn take(&mut self, bytes: Bytes) -> Result<(), object_store::Error> {
        self.pending.extend_from_slice(&bytes);
        while self.pending.len() > PART {
            let part = self.pending.split_to(PART).freeze();
            self.send(part).await?;
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), object_store::Error> {
        while self.parts.len() >= PARTS_AT_ONCE {
            self.part_done().await?;
        }
        if self.upload.is_none() {
            self.upload = Some(self.store.put_multipart(&self.location).await?);
        }
        if let Some(upload) = &mut self.upload {
            self.parts.spawn(upload.put_part(PutPayload::from_bytes(part)));
        }
        Ok(())
    }

    async fn part_done(&mut self) -> Result<(), object_store::Error> {
        match self.parts.join_next().await {
            Some(Ok(done)) => done,
            Some(Err(source)) => Err(object_store::Error::Generic { store: "S3", source: source.into() }),
            None => Ok(()),
        }
    }

    async fn complete(&mut self) -> Result<(), object_store::Error> {
        let rest = std::mem::take(&mut self.pending).freeze();
        if self.upload.is_none() {
            return self.store.put(&self.location, PutPayload::from_bytes(rest)).await.map(drop);
        }
        self.send(rest).await?;
        while !self.parts.is_empty() {
            self.part_done().await?;
        }
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }
}

#[async_trait]
impl ArtifactWriter for ObjectWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ArtifactError> {
        if std::mem::replace(&mut self.has_failed, true) {
            return Err(ArtifactError::Unavailable("an earlier write failed".to_owned()));
        }
        self.hasher.update(&bytes);
        self.size += bytes.len() as u64;
        self.take(bytes).await.map_err(|error| self.faults.tell(&self.key, &error))?;
        self.has_failed = false;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(Digest, u64), ArtifactError> {
        if self.has_failed {
            return Err(ArtifactError::Unavailable("an earlier write failed".to_owned()));
        }
        self.complete().await.map_err(|error| self.faults.tell(&self.key, &error))?;
        Ok((Digest(std::mem::take(&mut self.hasher).finalize().into()), self.size))
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        let (Some(mut upload), Ok(runtime)) = (self.upload.take(), tokio::runtime::Handle::try_current()) else {
            return;
        };
        let (mut parts, key, faults) = (std::mem::take(&mut self.parts), self.key.clone(), self.faults.clone());
        let abort = async move {
            parts.shutdown().await;
            if let Err(error) = upload.abort().await {
                let error = faults.tell(&key, &error);
                tracing::warn!(key, %error, "the parts of a given-up upload could not be removed");
            }
        };
        self.aborts.spawn_on(abort, &runtime);
    }
}

struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    location: Key,
    key: String,
    faults: Faults,
    size: u64,
    /// Of the content that was opened.
    tag: Option<String>,
}

#[async_trait]
impl ArtifactReader for ObjectReader {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, ArtifactError> {
        let end = offset.saturating_add(length as u64).min(self.size);
        if offset >= end {
            return Ok(Bytes::new());
        }
        let range = Some((offset..end).into());
        let options = GetOptions { range, if_match: self.tag.clone(), ..GetOptions::default() };
        let fail = |error| self.faults.tell(&self.key, &error);
        let answer = self.store.get_opts(&self.location, options).await.map_err(fail)?;
        let bytes = answer.bytes().await.map_err(fail)?;
        if bytes.len() as u64 == end - offset {
            Ok(bytes)
        } else {
            Err(ArtifactError::Unavailable("the answer was cut off".to_owned()))
        }
    }
}

/// Our own client: the system's root certificates, no proxy from the environment, limits on silence.
#[derive(Debug)]
struct Connector {
    timeout: Duration,
    speaks_plainly: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let tls = if self.speaks_plainly { tls::unused_config() } else { tls::client_config() };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .connect_timeout(CONNECT)
            .timeout(self.timeout)
            .user_agent(concat!("opsroom/", env!("CARGO_PKG_VERSION")))
            .build();
        let client =
            client.map_err(|error| object_store::Error::Generic { store: "S3", source: error.without_url().into() })?;
        Ok(HttpClient::new(Client(client)))
    }
}

/// Says of a request that never left that it may be sent again.
#[derive(Debug)]
struct Client(reqwest::Client);

#[async_trait]
impl HttpService for Client {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = HttpService::call(&self.0, request).await;
        answer.map_err(|error| if never_left(&error) { HttpError::new(HttpErrorKind::Request, error) } else { error })
    }
}

/// The store closed a connection just as it was to be used again.
fn never_left(error: &HttpError) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Tells errors without the credentials, which a store may repeat in its answer.
#[derive(Clone)]
struct Faults {
    hidden: Arc<[String]>,
}

impl Faults {
    fn of(config: &ObjectConfig) -> Faults {
        let is_secret = |name: &str| ["KEY", "SECRET", "TOKEN"].iter().any(|word| name.contains(word));
        let hidden = config.variables.iter().filter(|(name, value)| is_secret(name) && !value.is_empty());
        Faults { hidden: hidden.map(|(_, value)| value.clone()).collect() }
    }

    fn tell(&self, key: &str, error: &object_store::Error) -> ArtifactError {
        let reason = |error| self.hidden.iter().fold(reason(error), |text, hidden| text.replace(hidden, "…"));
        match error {
            object_store::Error::NotFound { .. } => ArtifactError::NotFound(key.to_owned()),
            object_store::Error::Precondition { .. } => ArtifactError::Replaced(key.to_owned()),
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                ArtifactError::Denied(reason(error))
            }
            object_store::Error::InvalidPath { .. } => ArtifactError::BadName(key.to_owned()),
            _ => ArtifactError::Unavailable(reason(error)),
        }
    }
}

/// The innermost cause, in one line.
fn reason(error: &object_store::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(300).collect()
}
