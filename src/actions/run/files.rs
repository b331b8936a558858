//! What a step leaves behind: the files in `$OPSROOM_ARTIFACTS` and `$OPSROOM_SUMMARY`.
//!
//! They are stored as `<run>/<step>/<path>`; the summary as `summary.md`. Links are refused, not
//! followed. Every file is masked, whatever it holds: one that contains a secret is stored with `***` in
//! its place, and the log says so.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Map, json};

use super::{
    command::Scratch,
    outputs::{open, read_bounded},
};
use crate::{
    actions::attempt::shortened,
    model::{Digest, Failure},
    ports::{ArtifactError, Artifacts, AttemptContext, MaskStream},
};

const MAX_SUMMARY: usize = 1 << 20;
const MAX_FILES: usize = 1_000;
const MAX_DEPTH: usize = 16;
const MAX_BYTES: u64 = 2 << 30;

pub(super) struct Keeper<'a> {
    pub artifacts: &'a dyn Artifacts,
    pub context: &'a AttemptContext,
}

impl Keeper<'_> {
    /// Stores everything, or says what could not be.
    pub async fn keep(&self, scratch: &Scratch) -> Result<(), Failure> {
        let (folder, summary) = (scratch.artifacts.clone(), scratch.summary.clone());
        let (files, summary) = blocking(move || Ok((walk(&folder)?, read_bounded(&summary, MAX_SUMMARY + 1)?)))
            .await
            .map_err(|error| self.failure(&error.to_string()))?;
        for file in files {
            self.keep_file(scratch, &file).await?;
        }
        match summary {
            Some(summary) if !summary.is_empty() => self.keep_summary(scratch, &summary).await,
            _ => Ok(()),
        }
    }

    async fn keep_file(&self, scratch: &Scratch, name: &str) -> Result<(), Failure> {
        if self.context.log.mask().text(name) != name {
            return Err(self.failure(&format!("the name of the artifact `{name}` contains a secret")));
        }
        let source = scratch.artifacts.join(name);
        let masked = scratch.folder.join("masked");
        let (path, copy) = (source.clone(), masked.clone());
        let (look, write) = (self.context.log.mask_stream(), self.context.log.mask_stream());
        let holds_secret = blocking(move || {
            let holds_secret = holds_secret(open(&path)?, look)?;
            if holds_secret {
                mask_copy(open(&path)?, &copy, write)?;
            }
            Ok(holds_secret)
        })
        .await
        .map_err(|error| self.failure(&format!("artifact `{name}`: {error}")))?;
        if holds_secret {
            let text = format!("artifact `{name}` contained a secret, which was masked");
            self.context.log.record("warn", &text, Map::new()).await;
        }
        self.store(name, if holds_secret { &masked } else { &source }).await
    }

    async fn keep_summary(&self, scratch: &Scratch, summary: &[u8]) -> Result<(), Failure> {
        let text = self.context.log.mask().text(&String::from_utf8_lossy(summary));
        let (masked, text) = (scratch.folder.join("masked"), shortened(&text, MAX_SUMMARY));
        let path = masked.clone();
        blocking(move || create(&path)?.write_all(text.as_bytes()))
            .await
            .map_err(|error| self.failure(&format!("summary: {error}")))?;
        self.store("summary.md", &masked).await
    }

    async fn store(&self, name: &str, file: &Path) -> Result<(), Failure> {
        let key = format!("{}/{}/{name}", self.context.run, self.context.step);
        match self.artifacts.put_file(&key, file).await {
            Ok((digest, size)) => {
                self.tell(name, digest, size).await;
                Ok(())
            }
            Err(error @ ArtifactError::BadName(_)) => Err(self.failure(&error.to_string())),
            Err(error) => Err(Failure::error("ARTIFACT_FAILED", format!("artifact `{name}`: {error}"))),
        }
    }

    async fn tell(&self, name: &str, digest: Digest, size: u64) {
        let fields = json!({"artifact": name, "sha256": digest, "bytes": size});
        let serde_json::Value::Object(fields) = fields else { return };
        self.context.log.record("info", &format!("stored artifact `{name}`"), fields).await;
    }

    fn failure(&self, message: &str) -> Failure {
        Failure::permanent("ARTIFACT_INVALID", shortened(&self.context.log.mask().text(message), 500))
    }
}

/// The files below a folder, as sorted relative paths.
fn walk(root: &Path) -> io::Result<Vec<String>> {
    let (mut files, mut bytes) = (Vec::new(), 0);
    match std::fs::symlink_metadata(root) {
        Ok(metadata) if metadata.is_dir() => {}
        // The step may have removed the folder; then it has no artifacts.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        _ => return Err(io::Error::other("$OPSROOM_ARTIFACTS is not a folder any more")),
    }
    let mut folders: VecDeque<(PathBuf, String, usize)> = [(root.to_owned(), String::new(), 0)].into();
    while let Some((folder, prefix, depth)) = folders.pop_front() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = entry.metadata()?;
            if metadata.is_dir() && depth < MAX_DEPTH {
                folders.push_back((entry.path(), format!("{name}/"), depth + 1));
            } else if metadata.is_file() {
                bytes += metadata.len();
                files.push(name);
            } else {
                return Err(io::Error::other(format!("artifact `{name}` is a link, a device or too deep")));
            }
        }
        if files.len() > MAX_FILES || bytes > MAX_BYTES {
            return Err(io::Error::other("more than 1,000 artifacts, or more than 2 GiB of them"));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Whether masking changes anything: what comes out is held against what went in.
fn holds_secret(mut file: File, mut mask: Box<dyn MaskStream>) -> io::Result<bool> {
    let (mut buffer, mut waiting) = (vec![0; 64 << 10], Vec::new());
    loop {
        let read = file.read(&mut buffer)?;
        waiting.extend_from_slice(&buffer[..read]);
        let out = if read == 0 { mask.finish() } else { mask.push(&buffer[..read]) };
        if !waiting.starts_with(&out) {
            return Ok(true);
        }
        waiting.drain(..out.len());
        if read == 0 {
            return Ok(!waiting.is_empty());
        }
    }
}

fn mask_copy(mut file: File, copy: &Path, mut mask: Box<dyn MaskStream>) -> io::Result<()> {
    let (mut buffer, mut copy) = (vec![0; 64 << 10], create(copy)?);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return copy.write_all(&mask.finish());
        }
        copy.write_all(&mask.push(&buffer[..read]))?;
    }
}

/// A new file in place of whatever the step may have put there.
fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
