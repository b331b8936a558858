//! The world of an action under test: a context to execute in, and what comes out of it.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Deps, HttpConfig};
use crate::{
    model::{Digest, Micros, RunId, StepIx},
    ports::{
        ARTIFACTS, ArtifactError, ArtifactReader, ArtifactWriter, Artifacts, AttemptContext, LogChunk, LogSender,
        LogSink, Mask, MaskStream, Process, ProcessSpec, Processes, SecretValue, SpawnError, Workspaces, log_channel,
    },
};

/// 2026-01-01T00:00:00Z.
pub(super) const NOW: Micros = Micros(1_767_225_600_000_000);

/// Its one secret is `hunter2`, declared as `db_password`.
pub(super) struct World {
    pub folder: TempDir,
    pub chunks: mpsc::Receiver<LogChunk>,
    pub cancel: CancellationToken,
    sender: LogSender,
}

impl World {
    pub fn new() -> World {
        World::with_room(1_024)
    }

    /// A world whose owner takes only so many chunks before it looks.
    pub fn with_room(chunks: usize) -> World {
        let (sender, chunks) = log_channel(chunks);
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("workspace")).unwrap();
        let world = World { folder, chunks, cancel: CancellationToken::new(), sender };
        world.renew_scratch();
        world
    }

    /// Gives the next attempt an empty scratch folder.
    pub fn renew_scratch(&self) {
        let scratch = self.scratch();
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch).unwrap();
        }
        std::fs::DirBuilder::new().mode(0o700).create(scratch).unwrap();
    }

    pub fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    pub fn workspace(&self) -> PathBuf {
        self.folder.path().join("workspace")
    }

    pub fn context(&self, with: Value) -> AttemptContext {
        AttemptContext {
            run: RunId(Uuid::from_u128(7)),
            runbook: "test".into(),
            step: "step_1".into(),
            attempt: 1,
            since: NOW,
            now: NOW,
            with,
            env: BTreeMap::new(),
            secrets: BTreeMap::from([("db_password".to_owned(), SecretValue::new("hunter2"))]),
            workspace: self.workspace(),
            scratch: self.scratch(),
            files: None,
            cancel: self.cancel.clone(),
            grace: Duration::from_secs(5),
            log: LogSink::new(StepIx(0), 1, Arc::new(MaskHunter2), self.sender.clone()),
        }
    }
}

/// Nothing that an action without processes needs.
pub(super) fn deps() -> Deps {
    Deps {
        processes: Arc::new(NoProcesses),
        artifacts: Arc::new(MemoryArtifacts::default()),
        workspaces: Arc::new(GivenFolders::default()),
        base_env: BTreeMap::new(),
        http: Arc::new(HttpConfig::new(no_trust)),
    }
}

/// TLS that trusts nobody.
pub(super) fn no_trust() -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth()
}

#[derive(Debug)]
struct NoProcesses;

#[async_trait]
impl Processes for NoProcesses {
    async fn spawn(&self, _: ProcessSpec) -> Result<Box<dyn Process>, SpawnError> {
        Err(SpawnError::SupervisorLost)
    }
}

/// Knows of no run: a [`World`] has its folders already. How a folder is looked at is `system`'s.
#[derive(Debug, Default)]
pub(super) struct GivenFolders {
    /// What was answered so far.
    pub untouched: Mutex<Vec<bool>>,
}

impl Workspaces for GivenFolders {
    fn open(&self, _: RunId) -> io::Result<PathBuf> {
        unimplemented!("actions are given their folders")
    }

    fn is_empty(&self, _: RunId) -> bool {
        unimplemented!("actions know nothing of other steps")
    }

    fn scratch(&self, _: RunId) -> io::Result<PathBuf> {
        unimplemented!("actions are given their folders")
    }

    fn is_untouched(&self, folder: &Path) -> bool {
        let mut entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let verdict = entries.all(|entry| {
            entry.file_name() == ARTIFACTS
                && entry.file_type().unwrap().is_dir()
                && std::fs::read_dir(entry.path()).unwrap().next().is_none()
        });
        self.untouched.lock().unwrap().push(verdict);
        verdict
    }

    fn discard_scratch(&self, _: RunId, _: &Path) {
        unimplemented!("actions do not dispose of their folders")
    }

    fn hand_on_scratch(&self, _: RunId, _: PathBuf) {
        unimplemented!("actions do not dispose of their folders")
    }

    fn close(&self, _: RunId, _: bool) {
        unimplemented!("actions know nothing of their run's end")
    }
}

#[derive(Debug, Default)]
pub(super) struct MemoryArtifacts {
    pub stored: Mutex<BTreeMap<String, Vec<u8>>>,
}

#[async_trait]
impl Artifacts for MemoryArtifacts {
    async fn put_file(&self, key: &str, file: &Path) -> Result<(Digest, u64), ArtifactError> {
        let bytes = std::fs::read(file)?;
        let answer = (Digest::of(&bytes), bytes.len() as u64);
        self.stored.lock().unwrap().insert(key.to_owned(), bytes);
        Ok(answer)
    }

    async fn begin(&self, _: &str) -> Result<Box<dyn ArtifactWriter>, ArtifactError> {
        unimplemented!("actions put whole files")
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactError> {
        self.stored.lock().unwrap().get(key).cloned().ok_or_else(|| ArtifactError::NotFound(key.to_owned()))
    }

    async fn open(&self, _: &str) -> Result<Box<dyn ArtifactReader>, ArtifactError> {
        unimplemented!("actions do not read artifacts in parts")
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactError> {
        Ok(self.stored.lock().unwrap().keys().filter(|key| key.starts_with(prefix)).cloned().collect())
    }

    async fn delete(&self, key: &str) -> Result<(), ArtifactError> {
        self.stored.lock().unwrap().remove(key);
        Ok(())
    }

    async fn delete_below(&self, prefix: &str) -> Result<(), ArtifactError> {
        self.stored.lock().unwrap().retain(|key, _| !key.starts_with(prefix));
        Ok(())
    }
}

/// A mask good enough to see what is masked; how is `system`'s.
struct MaskHunter2;

impl Mask for MaskHunter2 {
    fn text(&self, text: &str) -> String {
        text.replace("hunter2", "***")
    }

    fn json(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(map) => map.values_mut().for_each(|value| self.json(value)),
            _ => {}
        }
    }

    fn stream(&self) -> Box<dyn MaskStream> {
        Box::new(HoldBack(Vec::new()))
    }
}

/// Holds back the longest end of the input that begins the secret.
struct HoldBack(Vec<u8>);

impl MaskStream for HoldBack {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.extend_from_slice(bytes);
        let mut out = Vec::new();
        while let Some(at) = self.0.windows(7).position(|window| window == b"hunter2") {
            out.extend(self.0.drain(..at));
            self.0.drain(..7);
            out.extend_from_slice(b"***");
        }
        let open = (0..7).rev().find(|n| self.0.ends_with(&b"hunter2"[..*n])).unwrap_or(0);
        out.extend(self.0.drain(..self.0.len() - open));
        out
    }

    fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}
