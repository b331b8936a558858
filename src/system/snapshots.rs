//! Working folders as artifacts: a tar archive in a zstd frame.
//!
//! What is restored was written by steps, and may have been changed on its way: nothing that is restored leaves the
//! folder, whatever the archive says. Links are made as they were and never followed; sockets, pipes and devices are
//! passed over; set-user-id and set-group-id are dropped.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, BufReader, Read, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use crate::{
    model::{Digest, RunId, Snapshot},
    ports::{ArtifactError, Artifacts, SnapshotError, Snapshots},
};

/// Where snapshots are among the artifacts; no run has such an id.
const FOLDER: &str = "workspaces";
/// Of zstd: the fastest that is better than none by far.
const LEVEL: i32 = 1;
/// Read from the artifact store at once.
const PIECE: usize = 4 << 20;
/// Names in one working folder.
const MAX_ENTRIES: u64 = 1_000_000;
/// What names and headers may add to the contents of files, each.
const ENTRY: u64 = 512;

/// Snapshots in an artifact store, of the folders below `workspaces` in the data folder.
pub struct StoredSnapshots {
    artifacts: Arc<dyn Artifacts>,
    /// `<run>` is a run's folder; what begins with `.` is ours.
    root: PathBuf,
    place: String,
    /// In bytes, before it is packed.
    limit: u64,
    next: AtomicU64,
}

impl std::fmt::Debug for StoredSnapshots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredSnapshots").field("root", &self.root).field("place", &self.place).finish_non_exhaustive()
    }
}

impl StoredSnapshots {
    /// `place` is kept in the data folder: workers that share it see each other's folders.
    pub fn new(artifacts: Arc<dyn Artifacts>, data: &Path, limit: u64) -> io::Result<StoredSnapshots> {
        let root = data.join("workspaces");
        DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        let place = place_of(&root)?;
        Ok(StoredSnapshots { artifacts, root, place, limit, next: AtomicU64::new(0) })
    }

    fn folder(&self, run: RunId) -> PathBuf {
        self.root.join(run.to_string())
    }

    /// A name of our own beside the runs' folders.
    fn unfinished(&self) -> PathBuf {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join(format!(".{}-{number}", std::process::id()));
            // A process of the same number may have died here.
            if fs::symlink_metadata(&path).is_err() {
                return path;
            }
        }
    }

    async fn fetch(&self, snapshot: &Snapshot, target: &Path) -> Result<(), SnapshotError> {
        let lost = |why: &str| SnapshotError::Lost(why.to_owned());
        let file = match self.artifacts.open(&snapshot.artifact).await {
            Err(ArtifactError::NotFound(_)) => return Err(lost("it is not in the artifact store")),
            opened => opened.map_err(SnapshotError::Artifacts)?,
        };
        if file.size() != snapshot.size {
            return Err(lost("it has another size"));
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
        let (mut hasher, mut at) = (Sha256::new(), 0);
        while at < snapshot.size {
            let piece = file.read_at(at, PIECE).await.map_err(SnapshotError::Artifacts)?;
            at += piece.len() as u64;
            (out, hasher) = blocking(move || {
                hasher.update(&piece);
                out.write_all(&piece).map(|()| (out, hasher))
            })
            .await?;
        }
        let is_same = Digest(hasher.finalize().into()) == snapshot.digest;
        if is_same { Ok(()) } else { Err(lost("it is not what its digest says")) }
    }
}

/// The name of the place, made when it is first asked for.
fn place_of(root: &Path) -> io::Result<String> {
    let file = root.join(".place");
    loop {
        match fs::read_to_string(&file) {
            Ok(name) if name.len() == 32 => return Ok(name),
            // Somebody is writing it, or died while at it.
            Ok(_) => fs::remove_file(&file)?,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        let name = format!("{:032x}", u128::from_be_bytes(bytes));
        let fresh = root.join(format!(".place-{name}"));
        fs::write(&fresh, &name)?;
        let linked = fs::hard_link(&fresh, &file);
        fs::remove_file(&fresh)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
}

#[async_trait]
impl Snapshots for StoredSnapshots {
    fn place(&self) -> &str {
        &self.place
    }

    async fn is_here(&self, run: RunId) -> bool {
        tokio::fs::symlink_metadata(self.folder(run)).await.is_ok_and(|found| found.is_dir())
    }

    async fn store(&self, run: RunId) -> Result<Option<Snapshot>, SnapshotError> {
        let (folder, file, limit) = (self.folder(run), self.unfinished(), self.limit);
        let packed = Removed(file.clone());
        let found = tokio::task::spawn_blocking(move || pack(&folder, &file, limit)).await;
        if !found.unwrap_or_else(|error| Err(io::Error::other(error).into()))? {
            return Ok(None);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let artifact = format!("{FOLDER}/{run}/{}-{}-{number}", self.place, std::process::id());
        let (digest, size) = self.artifacts.put_file(&artifact, &packed.0).await.map_err(SnapshotError::Artifacts)?;
        Ok(Some(Snapshot { artifact, size, digest }))
    }

    async fn restore(&self, run: RunId, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let (packed, folder) = (Removed(self.unfinished()), Removed(self.unfinished()));
        self.fetch(snapshot, &packed.0).await?;
        let (from, to, target, limit) = (packed.0.clone(), folder.0.clone(), self.folder(run), self.limit);
        let restored = tokio::task::spawn_blocking(move || {
            // The limit may have been lowered since it was stored; twice as much is no bomb yet.
            unpack(&from, &to, limit.saturating_mul(2))?;
            remove(&target)?;
            Ok(fs::rename(&to, &target)?)
        });
        restored.await.unwrap_or_else(|error| Err(io::Error::other(error).into()))
    }

    async fn leave(&self, run: RunId) {
        let folder = self.folder(run);
        if let Err(error) = blocking(move || remove(&folder)).await {
            tracing::warn!(%run, %error, "a stored working folder could not be removed");
        }
    }

    async fn set_aside(&self, run: RunId) -> Option<PathBuf> {
        let (folder, aside) = (self.folder(run), self.unfinished());
        match blocking(move || fs::rename(folder, &aside).map(|()| aside)).await {
            Ok(aside) => Some(aside),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%run, %error, "a working folder that was left behind could not be moved");
                }
                None
            }
        }
    }

    async fn discard(&self, aside: PathBuf) {
        if let Err(error) = blocking(move || remove(&aside)).await {
            tracing::warn!(%error, "a working folder that was left behind could not be removed");
        }
    }

    async fn put_back(&self, run: RunId, aside: PathBuf) {
        let folder = self.folder(run);
        // A folder that is not empty is not replaced.
        let put = blocking(move || fs::rename(&aside, &folder).or_else(|_| remove(&aside))).await;
        if let Err(error) = put {
            tracing::warn!(%run, %error, "a working folder that was set aside could not be put back");
        }
    }

    async fn forget(&self, run: RunId, but: Option<&Snapshot>) -> Result<(), SnapshotError> {
        let stored = self.artifacts.list(&format!("{FOLDER}/{run}")).await.map_err(SnapshotError::Artifacts)?;
        for artifact in stored.iter().filter(|artifact| but.is_none_or(|but| but.artifact != **artifact)) {
            self.artifacts.delete(artifact).await.map_err(SnapshotError::Artifacts)?;
        }
        Ok(())
    }
}

/// What is at this path goes with this.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        // It has got its name by now, or nobody wants it.
        let _ = remove(&self.0);
    }
}

/// Removes a file, or a folder in which folders may not be written to.
fn remove(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.is_dir() {
        return fs::remove_file(path);
    }
    if let Err(error) = fs::remove_dir_all(path) {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return Err(error);
        }
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Packs a folder into a file; answers whether there was anything.
fn pack(folder: &Path, target: &Path, limit: u64) -> Result<bool, SnapshotError> {
    let out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target)?;
    let mut packer = Packer { tar: tar::Builder::new(zstd::Encoder::new(out, LEVEL)?), bytes: 0, entries: 0, limit };
    packer.tar.follow_symlinks(false);
    match packer.add_below(folder) {
        // A run whose steps have made no file may have no folder either.
        Err(SnapshotError::Io(error)) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {
            return Ok(false);
        }
        added => added?,
    }
    let is_anything = packer.entries > 0;
    packer.tar.into_inner()?.finish()?;
    Ok(is_anything)
}

struct Packer {
    tar: tar::Builder<zstd::Encoder<'static, File>>,
    bytes: u64,
    entries: u64,
    limit: u64,
}

impl Packer {
    fn add_below(&mut self, root: &Path) -> Result<(), SnapshotError> {
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                let name = path.strip_prefix(root).map_err(io::Error::other)?.to_owned();
                if self.add(&path, &name)? {
                    folders.push(path);
                }
            }
        }
        Ok(())
    }

    /// Adds one; answers whether it is a folder.
    fn add(&mut self, path: &Path, name: &Path) -> Result<bool, SnapshotError> {
        let metadata = fs::symlink_metadata(path)?;
        let kind = metadata.file_type();
        if !(kind.is_dir() || kind.is_file() || kind.is_symlink()) {
            return Ok(false);
        }
        self.entries += 1;
        self.bytes += ENTRY + if kind.is_file() { metadata.len() } else { 0 };
        if self.bytes > self.limit || self.entries > MAX_ENTRIES {
            return Err(SnapshotError::TooLarge(self.limit >> 20));
        }
        let mut header = Header::new_gnu();
        header.set_metadata(&metadata);
        header.set_uid(0);
        header.set_gid(0);
        if kind.is_symlink() {
            header.set_size(0);
            self.tar.append_link(&mut header, name, fs::read_link(path)?)?;
        } else if kind.is_dir() {
            header.set_size(0);
            self.tar.append_data(&mut header, name, io::empty())?;
        } else {
            let file = super::artifacts::open_regular(path)?;
            // A file that is shorter by now would spoil what follows.
            let padded = BufReader::new(file).chain(io::repeat(0)).take(metadata.len());
            self.tar.append_data(&mut header, name, padded)?;
        }
        Ok(kind.is_dir())
    }
}

/// Unpacks a file into a folder that is not there yet.
fn unpack(file: &Path, root: &Path, limit: u64) -> Result<(), SnapshotError> {
    DirBuilder::new().mode(0o700).create(root)?;
    let broken = |error: io::Error| SnapshotError::Lost(format!("it cannot be unpacked: {error}"));
    let bounded = zstd::Decoder::new(File::open(file)?)?.take(limit.saturating_add(1));
    let mut archive = tar::Archive::new(bounded);
    // The deepest last: a folder that may not be written to gets its mode when all is in it.
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    let mut left = limit;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let size = entry.header().entry_size().map_err(broken)?.saturating_add(ENTRY);
        left = left.checked_sub(size).ok_or(SnapshotError::TooLarge(limit >> 20))?;
        let path = entry.path().map_err(broken)?.into_owned();
        let target =
            inside(root, &path).ok_or_else(|| SnapshotError::Lost(format!("`{}` leads out", path.display())))?;
        let mode = entry.header().mode().map_err(broken)? & 0o777;
        match entry.header().entry_type() {
            EntryType::Directory => {
                DirBuilder::new().mode(0o700).create(&target)?;
                modes.push((target, mode));
            }
            EntryType::Regular => {
                let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
                io::copy(&mut entry, &mut out).map_err(broken)?;
                out.set_permissions(Permissions::from_mode(mode))?;
                let at = Duration::from_secs(entry.header().mtime().unwrap_or(0));
                SystemTime::UNIX_EPOCH.checked_add(at).map_or(Ok(()), |at| out.set_modified(at))?;
            }
            EntryType::Symlink => {
                let to = entry.link_name().map_err(broken)?;
                symlink(to.ok_or_else(|| SnapshotError::Lost("a link to nothing".to_owned()))?, &target)?;
            }
            other => return Err(SnapshotError::Lost(format!("it has an entry of kind {other:?}"))),
        }
    }
    for (folder, mode) in modes.into_iter().rev() {
        fs::set_permissions(folder, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// The place of a name below a folder that nobody else writes to; `None` where it would lead out of it, also through a
/// link that was unpacked before.
fn inside(root: &Path, name: &Path) -> Option<PathBuf> {
    let mut parts = name.components().map(|part| if let Component::Normal(part) = part { Some(part) } else { None });
    let (mut folder, mut last) = (root.to_owned(), parts.next()??);
    for part in parts {
        folder.push(last);
        if !fs::symlink_metadata(&folder).ok()?.is_dir() {
            return None;
        }
        last = part?;
    }
    Some(folder.join(last))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
