//! Files of runbooks: kept among the artifacts, laid into folders of this machine.
//!
//! A bundle is `.bundles/<digest>/manifest.json` and each file under its own digest beside it. The manifest is
//! written last, so whoever finds it finds all. Nobody who names artifacts can reach these keys: those begin
//! with a run.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;

use crate::{
    model::Digest,
    ports::{ArtifactError, Artifacts, BundleError, Bundles},
    runbook::{Bundle, BundleEntry, is_bundle_path},
};

const FOLDER: &str = ".bundles";
const MANIFEST: &str = "manifest.json";

/// Bundles in an artifact store, laid below one folder.
pub struct FolderBundles {
    artifacts: Arc<dyn Artifacts>,
    /// `<digest>` is a complete folder; what begins with `.` is not.
    root: PathBuf,
    /// Those that this process has seen to be whole, with the marks of their files at that time.
    seen: Mutex<Vec<(Digest, BTreeSet<Mark>)>>,
    /// One at a time lays a folder; the others find it.
    laying: tokio::sync::Mutex<()>,
    next: AtomicU64,
}

/// So many are remembered; the others are looked at again.
const SEEN: usize = 1_000;

/// Changes with the file: inode, size, and the time of the last change of either, which nobody can set.
type Mark = (PathBuf, u64, u64, u32, i64, i64);

impl std::fmt::Debug for FolderBundles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FolderBundles").field("root", &self.root).finish_non_exhaustive()
    }
}

impl FolderBundles {
    pub fn new(artifacts: Arc<dyn Artifacts>, root: impl Into<PathBuf>) -> FolderBundles {
        FolderBundles {
            artifacts,
            root: root.into(),
            seen: Mutex::default(),
            laying: tokio::sync::Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    fn folder(&self, digest: Digest) -> PathBuf {
        self.root.join(digest.to_string())
    }

    /// A folder of our own that becomes a bundle when it is complete.
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

    async fn fetch(&self, digest: Digest) -> Result<Bundle, BundleError> {
        let manifest = match self.artifacts.get(&key(digest, MANIFEST)).await {
            Err(ArtifactError::NotFound(_)) => return Err(BundleError::Missing(digest)),
            other => other?,
        };
        if Digest::of(&manifest) != digest {
            return Err(BundleError::Damaged(digest));
        }
        let entries: Vec<BundleEntry> = serde_json::from_slice(&manifest).map_err(|_| BundleError::Damaged(digest))?;
        let mut bundle = Bundle::default();
        for BundleEntry { path, sha256, executable, .. } in entries {
            let bytes = match self.artifacts.get(&key(digest, &sha256.to_string())).await {
                Err(ArtifactError::NotFound(_)) => return Err(BundleError::Missing(digest)),
                other => other?,
            };
            let file = crate::runbook::BundleFile::new(bytes, executable);
            if file.digest != sha256 || !is_bundle_path(&path) {
                return Err(BundleError::Damaged(digest));
            }
            bundle.files.insert(path, file);
        }
        Ok(bundle)
    }

    fn is_whole(&self, digest: Digest) -> bool {
        let Some(marks) = marks(&self.folder(digest)) else { return false };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.iter().any(|(known, then)| *known == digest && *then == marks) {
            return true;
        }
        seen.retain(|(known, _)| *known != digest);
        let whole = digest_of(&self.folder(digest)).is_ok_and(|found| found == digest);
        if whole {
            if seen.len() >= SEEN {
                seen.clear();
            }
            seen.push((digest, marks));
        }
        whole
    }

    /// Makes the folder of a bundle, in place of a damaged one.
    fn make(&self, bundle: &Bundle, digest: Digest) -> io::Result<()> {
        private_folder().create(&self.root)?;
        let (unfinished, target) = (self.unfinished(), self.folder(digest));
        let made = write_out(bundle, &unfinished).and_then(|()| {
            if fs::symlink_metadata(&target).is_ok() {
                // Moved away first: a step that has it open keeps what it has.
                let old = self.unfinished();
                fs::rename(&target, &old)?;
                remove(&old);
            }
            fs::rename(&unfinished, &target)
        });
        if made.is_err() {
            remove(&unfinished);
        }
        match made {
            // Another process was faster.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                Ok(())
            }
            other => other,
        }
    }
}

fn key(digest: Digest, name: &str) -> String {
    format!("{FOLDER}/{digest}/{name}")
}

#[async_trait]
impl Bundles for FolderBundles {
    async fn put(&self, bundle: &Bundle) -> Result<(), BundleError> {
        let digest = bundle.digest();
        if self.artifacts.get(&key(digest, MANIFEST)).await.is_ok_and(|known| known == bundle.manifest()) {
            return Ok(());
        }
        private_folder().create(&self.root)?;
        let file = self.unfinished();
        let stored = self.put_parts(bundle, digest, &file).await;
        let _ = fs::remove_file(&file);
        stored
    }

    async fn lay(&self, digest: Digest) -> Result<PathBuf, BundleError> {
        if !self.is_whole(digest) {
            let _laying = self.laying.lock().await;
            if !self.is_whole(digest) {
                let bundle = self.fetch(digest).await?;
                self.make(&bundle, digest)?;
            }
            if !self.is_whole(digest) {
                return Err(BundleError::Damaged(digest));
            }
        }
        Ok(self.folder(digest))
    }

    async fn stored(&self) -> Result<Vec<Digest>, BundleError> {
        let keys = self.artifacts.list(FOLDER).await?;
        let digest = |key: &String| key.strip_prefix(FOLDER)?.strip_prefix('/')?.split('/').next()?.parse().ok();
        let mut digests: Vec<Digest> = keys.iter().filter_map(digest).collect();
        digests.dedup();
        Ok(digests)
    }

    async fn remove(&self, digest: Digest) -> Result<(), BundleError> {
        // The manifest first: what is half removed is stored again when it is put.
        self.artifacts.delete(&key(digest, MANIFEST)).await?;
        Ok(self.artifacts.delete_below(&format!("{FOLDER}/{digest}")).await?)
    }
}

impl FolderBundles {
    async fn put_parts(&self, bundle: &Bundle, digest: Digest, file: &Path) -> Result<(), BundleError> {
        let contents: BTreeSet<(Digest, &Arc<[u8]>)> =
            bundle.files.values().map(|file| (file.digest, &file.bytes)).collect();
        for (name, bytes) in contents {
            fs::write(file, bytes)?;
            self.artifacts.put_file(&key(digest, &name.to_string()), file).await?;
        }
        fs::write(file, bundle.manifest())?;
        self.artifacts.put_file(&key(digest, MANIFEST), file).await?;
        Ok(())
    }
}

fn private_folder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

/// Writes the files of a bundle, which nobody may write to afterwards.
fn write_out(bundle: &Bundle, folder: &Path) -> io::Result<()> {
    private_folder().create(folder)?;
    let mut folders: BTreeSet<PathBuf> = [folder.to_owned()].into();
    for (path, file) in &bundle.files {
        let target = folder.join(path);
        if let Some(parent) = target.parent() {
            private_folder().create(parent)?;
            folders.extend(parent.ancestors().take_while(|above| *above != folder).map(Path::to_owned));
        }
        let mode = if file.executable { 0o500 } else { 0o400 };
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&target)?.write_all(&file.bytes)?;
    }
    // The deepest first, and the folder itself last.
    folders.iter().rev().try_for_each(|folder| fs::set_permissions(folder, fs::Permissions::from_mode(0o500)))
}

/// Removes a folder whose folders may not be written to.
fn remove(folder: &Path) {
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path());
    }
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(folder = %folder.display(), %error, "an old folder of runbook files could not be removed");
    }
}

/// The files below a folder that has nothing but files and folders in it, and that nobody may write to.
fn marks(folder: &Path) -> Option<BTreeSet<Mark>> {
    let mut marks = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let metadata = fs::symlink_metadata(&folder).ok()?;
        if !metadata.is_dir() || metadata.mode() & 0o222 != 0 {
            return None;
        }
        for entry in fs::read_dir(&folder).ok()? {
            let path = entry.ok()?.path();
            let metadata = fs::symlink_metadata(&path).ok()?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() && metadata.mode() & 0o222 == 0 {
                let (size, inode, mode) = (metadata.size(), metadata.ino(), metadata.mode());
                marks.insert((path, size, inode, mode, metadata.ctime(), metadata.ctime_nsec()));
            } else {
                return None;
            }
        }
    }
    Some(marks)
}

/// The digest of what is in a folder.
fn digest_of(folder: &Path) -> io::Result<Digest> {
    let mut bundle = Bundle::default();
    for (path, _, _, mode, ..) in marks(folder).unwrap_or_default() {
        let name = path.strip_prefix(folder).map_err(io::Error::other)?.to_string_lossy().into_owned();
        bundle.files.insert(name, crate::runbook::BundleFile::new(fs::read(&path)?, mode & 0o100 != 0));
    }
    Ok(bundle.digest())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{runbook::BundleFile, system::FolderArtifacts};

    fn bundle() -> Bundle {
        let file = |text: &str, executable| BundleFile::new(text.as_bytes(), executable);
        let files = [
            ("scripts/undo.sh", file("#!/bin/sh\necho undone\n", true)),
            ("scripts/deep/data", file("x", false)),
            ("with space é.txt", file("x", false)),
            ("empty", file("", false)),
        ];
        Bundle { files: files.map(|(path, file)| (path.to_owned(), file)).into() }
    }

    fn bundles(data: &Path) -> FolderBundles {
        FolderBundles::new(Arc::new(FolderArtifacts::new(data.join("artifacts")).unwrap()), data.join("bundles"))
    }

    #[tokio::test]
    async fn what_is_put_is_laid_read_only_and_shared() {
        let data = tempfile::tempdir().unwrap();
        let (here, there) = (bundles(data.path()), bundles(data.path()));
        let digest = bundle().digest();
        assert!(matches!(here.lay(digest).await, Err(BundleError::Missing(missing)) if missing == digest));
        here.put(&bundle()).await.unwrap();
        here.put(&bundle()).await.unwrap();
        let folder = here.lay(digest).await.unwrap();
        assert_eq!(there.lay(digest).await.unwrap(), folder);
        for (path, file) in bundle().files {
            let mode = fs::metadata(folder.join(&path)).unwrap().mode() & 0o777;
            assert_eq!(mode, if file.executable { 0o500 } else { 0o400 }, "{path}");
            assert_eq!(*fs::read(folder.join(&path)).unwrap(), *file.bytes, "{path}");
        }
        assert_eq!(fs::metadata(folder.join("scripts/deep")).unwrap().mode() & 0o777, 0o500);
        let left: Vec<_> = fs::read_dir(data.path().join("bundles")).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[tokio::test]
    async fn what_was_changed_is_laid_anew() {
        let data = tempfile::tempdir().unwrap();
        let bundles = bundles(data.path());
        let digest = bundle().digest();
        bundles.put(&bundle()).await.unwrap();
        let changes: [fn(&Path); 4] = [
            |folder| {
                fs::set_permissions(folder.join("empty"), fs::Permissions::from_mode(0o600)).unwrap();
                fs::write(folder.join("empty"), "full").unwrap();
                fs::set_permissions(folder.join("empty"), fs::Permissions::from_mode(0o400)).unwrap();
            },
            |folder| {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
                fs::write(folder.join("more"), "").unwrap();
            },
            |folder| {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).unwrap();
                fs::remove_file(folder.join("empty")).unwrap();
                std::os::unix::fs::symlink("/dev/null", folder.join("empty")).unwrap();
            },
            |folder| remove(folder),
        ];
        for change in changes {
            let folder = bundles.lay(digest).await.unwrap();
            change(&folder);
            assert_eq!(bundles.lay(digest).await.unwrap(), folder);
            assert_eq!(digest_of(&folder).unwrap(), digest);
            assert!(marks(&folder).is_some());
        }
    }

    #[tokio::test]
    async fn what_was_damaged_in_the_store_is_not_laid() {
        let data = tempfile::tempdir().unwrap();
        let bundles = bundles(data.path());
        let digest = bundle().digest();
        bundles.put(&bundle()).await.unwrap();
        let stored = data.path().join("artifacts").join(key(digest, &Digest::of(b"x").to_string()));
        fs::write(&stored, "y").unwrap();
        assert!(matches!(bundles.lay(digest).await, Err(BundleError::Damaged(_))));
        fs::remove_file(&stored).unwrap();
        assert!(matches!(bundles.lay(digest).await, Err(BundleError::Missing(_))));
        assert!(!data.path().join("bundles").join(digest.to_string()).exists());
    }
}
