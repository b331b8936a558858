//! Artifacts in a folder: the key is the path.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use crate::{
    model::Digest,
    ports::{ArtifactError, ArtifactReader, ArtifactWriter, Artifacts, Probe, Unready},
};

/// Where files are until they are complete; no key begins with it.
const UNFINISHED: &str = ".unfinished";
/// An unfinished file of this age is of a process that is dead.
const LEFT_BEHIND: Duration = Duration::from_hours(24);

const MAX_KEY: usize = 1_024;
const MAX_SEGMENT: usize = 255;

/// Artifacts below one folder, which belongs to the store alone.
#[derive(Debug)]
pub struct FolderArtifacts {
    root: PathBuf,
}

impl FolderArtifacts {
    /// Creates the folder if it is missing.
    pub fn new(root: impl Into<PathBuf>) -> io::Result<FolderArtifacts> {
        let root = root.into();
        create_folder(&root.join(UNFINISHED))?;
        Ok(FolderArtifacts { root })
    }

    /// Removes what dead processes left unfinished: nobody writes one file for a day.
    pub fn tidy(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.root.join(UNFINISHED))? {
            let entry = entry?;
            let age = entry.metadata().and_then(|known| known.modified()).ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age > LEFT_BEHIND) {
                gone(std::fs::remove_file(entry.path()))?;
            }
        }
        Ok(())
    }

    fn path(&self, key: &str) -> Result<PathBuf, ArtifactError> {
        check_key(key).map(|()| self.root.join(key))
    }
}

/// Every store takes the same keys, so that one can take the place of another.
pub(super) fn check_key(key: &str) -> Result<(), ArtifactError> {
    let good = key.len() <= MAX_KEY && key.split('/').all(is_segment) && key.split('/').next() != Some(UNFINISHED);
    if good { Ok(()) } else { Err(ArtifactError::BadName(key.to_owned())) }
}

/// A segment that stays where it is put, in every file system.
pub(super) fn is_segment(segment: &str) -> bool {
    let good_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !matches!(segment, "" | "." | "..") && segment.len() <= MAX_SEGMENT && segment.bytes().all(good_byte)
}

#[async_trait]
impl Artifacts for FolderArtifacts {
    async fn put_file(&self, key: &str, file: &Path) -> Result<(Digest, u64), ArtifactError> {
        let (target, source) = (self.path(key)?, file.to_owned());
        let unfinished = self.root.join(UNFINISHED);
        blocking(move || copy_in(&source, &unfinished, &target)).await.map_err(ArtifactError::Io)
    }

    async fn begin(&self, key: &str) -> Result<Box<dyn ArtifactWriter>, ArtifactError> {
        let target = self.path(key)?;
        let unfinished = self.root.join(UNFINISHED);
        let (path, file) = blocking(move || new_file(&unfinished)).await?;
        let unfinished = Unfinished(path);
        Ok(Box::new(Writer { target, unfinished, file: Some(file), hasher: Sha256::new(), size: 0 }))
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, ArtifactError> {
        let path = self.path(key)?;
        blocking(move || std::fs::read(path)).await.map_err(|error| read_error(key, error))
    }

    async fn open(&self, key: &str) -> Result<Box<dyn ArtifactReader>, ArtifactError> {
        let path = self.path(key)?;
        let open = move || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_file() { Ok((file, metadata.len())) } else { Err(io::ErrorKind::NotFound.into()) }
        };
        let (file, size) = blocking(open).await.map_err(|error| read_error(key, error))?;
        Ok(Box::new(Reader { file: Arc::new(file), size }))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, ArtifactError> {
        let prefix = prefix.trim_end_matches('/').to_owned();
        let folder = if prefix.is_empty() { self.root.clone() } else { self.path(&prefix)? };
        let mut keys = blocking(move || {
            let mut keys = Vec::new();
            list_below(&folder, &prefix, &mut keys)?;
            Ok(keys)
        })
        .await?;
        keys.sort_unstable();
        Ok(keys)
    }

    async fn delete(&self, key: &str) -> Result<(), ArtifactError> {
        let path = self.path(key)?;
        blocking(move || gone(std::fs::remove_file(path))).await.map_err(ArtifactError::Io)
    }

    async fn delete_below(&self, prefix: &str) -> Result<(), ArtifactError> {
        let folder = self.path(prefix.trim_end_matches('/'))?;
        blocking(move || gone(std::fs::remove_dir_all(folder))).await.map_err(ArtifactError::Io)
    }
}

fn read_error(key: &str, error: io::Error) -> ArtifactError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory => {
            ArtifactError::NotFound(key.to_owned())
        }
        _ => ArtifactError::Io(error),
    }
}

/// What is not there is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(error),
        _ => Ok(()),
    }
}

/// A file without a name yet; dropped, it is removed.
#[derive(Debug)]
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It has its name by now, or nobody wants it.
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Writer {
    target: PathBuf,
    unfinished: Unfinished,
    /// Absent while a piece is being written, and after that failed.
    file: Option<File>,
    hasher: Sha256,
    size: u64,
}

#[async_trait]
impl ArtifactWriter for Writer {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ArtifactError> {
        let mut file = self.file.take().ok_or_else(|| io::Error::other("an earlier write failed"))?;
        let mut hasher = std::mem::take(&mut self.hasher);
        self.size += bytes.len() as u64;
        let written = blocking(move || {
            file.write_all(&bytes)?;
            hasher.update(&bytes);
            Ok((file, hasher))
        });
        let (file, hasher) = written.await?;
        (self.file, self.hasher) = (Some(file), hasher);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(Digest, u64), ArtifactError> {
        let file = self.file.take().ok_or_else(|| io::Error::other("an earlier write failed"))?;
        let Writer { target, unfinished, hasher, size, .. } = *self;
        blocking(move || {
            file.sync_all()?;
            name(&unfinished.0, &target)
        })
        .await?;
        Ok((Digest(hasher.finalize().into()), size))
    }
}

struct Reader {
    file: Arc<File>,
    size: u64,
}

#[async_trait]
impl ArtifactReader for Reader {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, ArtifactError> {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (file, mut buffer) = (self.file.clone(), vec![0; length.min(left)]);
        let read = blocking(move || {
            file.read_exact_at(&mut buffer, offset)?;
            Ok(buffer)
        });
        Ok(read.await?.into())
    }
}

/// Gives a complete file its key, and makes the name durable.
fn name(path: &Path, target: &Path) -> io::Result<()> {
    let Some(folder) = target.parent() else { return Err(io::ErrorKind::InvalidInput.into()) };
    create_folder(folder)?;
    std::fs::rename(path, target)?;
    File::open(folder)?.sync_all()
}

#[async_trait]
impl Probe for FolderArtifacts {
    /// Writes a small file durably and removes it.
    async fn probe(&self) -> Result<(), Unready> {
        let unfinished = self.root.join(UNFINISHED);
        let written = blocking(move || {
            let (path, mut file) = new_file(&unfinished)?;
            let written = file.write_all(&[0; 4_096]).and_then(|()| file.sync_data());
            std::fs::remove_file(path)?;
            written
        });
        written.await.map_err(|error| {
            tracing::warn!(%error, "the folder of artifacts cannot be written");
            let (code, detail) = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    ("DISK_FULL", "there is no space left where the artifacts are")
                }
                _ => ("ARTIFACTS_UNAVAILABLE", "the folder of artifacts cannot be written"),
            };
            Unready { code, detail: detail.to_owned() }
        })
    }
}

/// Copies to an unfinished file, then gives it its name: a reader sees the old file or the new one.
fn copy_in(source: &Path, unfinished: &Path, target: &Path) -> io::Result<(Digest, u64)> {
    let mut source = open_regular(source)?;
    let (path, file) = new_file(unfinished)?;
    let copied = copy_and_digest(&mut source, file).and_then(|copied| {
        if let Some(folder) = target.parent() {
            create_folder(folder)?;
        }
        std::fs::rename(&path, target)?;
        Ok(copied)
    });
    if copied.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&path);
    }
    copied
}

/// Opens a file that may have been put there by anybody: no link is followed, and nothing is waited for.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn copy_and_digest(source: &mut File, mut target: File) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        target.write_all(&buffer[..read])?;
        size += read as u64;
    }
    // The digest goes into a committed event; the bytes must not be lost after it.
    target.sync_all()?;
    Ok((Digest(hasher.finalize().into()), size))
}

/// A file of a name that nobody has, also where processes of the same number share the folder.
fn new_file(folder: &Path) -> io::Result<(PathBuf, File)> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let path = folder.join(format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Ok(file) => return Ok((path, file)),
            Err(error) => return Err(error),
        }
    }
}

fn list_below(folder: &Path, prefix: &str, keys: &mut Vec<String>) -> io::Result<()> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        // Only we write here, and only names like these.
        let Some(name) = name.to_str().filter(|name| is_segment(name) && *name != UNFINISHED) else { continue };
        let key = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list_below(&entry.path(), &key, keys)?;
        } else if kind.is_file() {
            keys.push(key);
        }
    }
    Ok(())
}

fn create_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn world() -> (tempfile::TempDir, FolderArtifacts) {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderArtifacts::new(folder.path().join("artifacts")).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn files_come_back_as_they_went_in() {
        let (folder, store) = world();
        let file = folder.path().join("report");
        for content in ["first", "second"] {
            std::fs::write(&file, content).unwrap();
            let put = store.put_file("run/build/out/report.md", &file).await.unwrap();
            assert_eq!(put, (Digest::of(content.as_bytes()), content.len() as u64));
            assert_eq!(store.get("run/build/out/report.md").await.unwrap(), content.as_bytes());
        }
        assert_eq!(std::fs::read_dir(store.root.join(UNFINISHED)).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_seen_when_it_is_complete() {
        let (_folder, store) = world();
        let mut writer = store.begin("archives/x").await.unwrap();
        writer.write(Bytes::from_static(b"one ")).await.unwrap();
        writer.write(Bytes::from_static(b"two")).await.unwrap();
        assert!(store.list("").await.unwrap().is_empty());
        assert_eq!(writer.finish().await.unwrap(), (Digest::of(b"one two"), 7));
        let reader = store.open("archives/x").await.unwrap();
        assert_eq!(reader.size(), 7);
        for (offset, length, expected) in [(0, 3, "one"), (4, 99, "two"), (7, 1, ""), (99, 1, "")] {
            assert_eq!(reader.read_at(offset, length).await.unwrap(), expected);
        }
        let mut dropped = store.begin("archives/y").await.unwrap();
        dropped.write(Bytes::from_static(b"half")).await.unwrap();
        drop(dropped);
        assert!(matches!(store.begin("../x").await, Err(ArtifactError::BadName(_))));
        assert_eq!(std::fs::read_dir(store.root.join(UNFINISHED)).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_is_deleted_is_gone_and_open_readers_go_on() {
        let (folder, store) = world();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for key in ["r1/a", "r1/b/c", "r2/a"] {
            store.put_file(key, &file).await.unwrap();
        }
        let reader = store.open("r1/a").await.unwrap();
        store.delete("r1/a").await.unwrap();
        store.delete("r1/a").await.unwrap();
        assert_eq!(store.list("").await.unwrap(), ["r1/b/c", "r2/a"]);
        store.delete_below("r1").await.unwrap();
        store.delete_below("r1").await.unwrap();
        assert_eq!(store.list("").await.unwrap(), ["r2/a"]);
        assert_eq!(reader.read_at(0, 9).await.unwrap(), "x");
        for bad in ["", ".", "..", "/", ".unfinished"] {
            assert!(store.delete_below(bad).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn keys_are_listed_below_a_prefix() {
        let (folder, store) = world();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        for key in ["r1/b/z", "r1/a", "r10/c"] {
            store.put_file(key, &file).await.unwrap();
        }
        assert_eq!(store.list("r1").await.unwrap(), ["r1/a", "r1/b/z"]);
        assert_eq!(store.list("r1/b/").await.unwrap(), ["r1/b/z"]);
        assert_eq!(store.list("").await.unwrap(), ["r1/a", "r1/b/z", "r10/c"]);
        assert!(store.list("none").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn no_key_leads_out_of_the_folder() {
        let (folder, store) = world();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let long = "a".repeat(256);
        for key in ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "a\0", "é", ".unfinished/x"]
            .into_iter()
            .chain([long.as_str()])
        {
            assert!(matches!(store.put_file(key, &file).await, Err(ArtifactError::BadName(_))), "{key:?}");
            assert!(matches!(store.get(key).await, Err(ArtifactError::BadName(_))), "{key:?}");
        }
        assert!(matches!(store.list("..").await, Err(ArtifactError::BadName(_))));
    }

    #[tokio::test]
    async fn links_and_devices_are_not_copied() {
        let (folder, store) = world();
        let link = folder.path().join("link");
        symlink("/etc/hostname", &link).unwrap();
        assert!(store.put_file("run/link", &link).await.is_err());
        assert!(store.put_file("run/null", Path::new("/dev/null")).await.is_err());
        assert!(store.list("run").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let (folder, store) = world();
        let file = folder.path().join("file");
        std::fs::write(&file, "x").unwrap();
        store.put_file("run/a", &file).await.unwrap();
        for key in ["run/b", "run", "run/a/b"] {
            assert!(matches!(store.get(key).await, Err(ArtifactError::NotFound(_))), "{key}");
        }
    }
}
