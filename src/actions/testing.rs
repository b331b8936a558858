//! The world of an action under test: a context to execute in, and what comes out of it.

use std::{
    collections::BTreeMap,
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
        ArtifactError, ArtifactReader, ArtifactWriter, Artifacts, AttemptContext, LogChunk, LogSender, LogSink, Mask,
        MaskStream, Process, ProcessSpec, Processes, SecretValue, SpawnError, log_channel,
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
        World { folder, chunks, cancel: CancellationToken::new(), sender }
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
            scratch: self.folder.path().join("scratch"),
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
