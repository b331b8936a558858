//! A folder of runbooks on a disk.
//!
//! Every scan walks the whole folder and reads what has changed since the last one. Notices of the operating
//! system (`notify`) only say when to scan; where they do not come (network folders, no watches left, a folder
//! that was away) a scan every few seconds finds the change all the same.

use std::{
    collections::BTreeMap,
    fs::{self, Metadata},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::TaskTracker;

use super::beside::{self, Found, Stamp};
use crate::{
    ports::{FolderFile, FolderScan, FolderText, RunbookFolder},
    runbook,
};

/// After a notice, for the others that come with the same save.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A file that has not changed for so long is taken as written to its end.
const SETTLED: Duration = Duration::from_millis(50);
/// One that is so old when it is first seen need not be waited for.
const OLD: Duration = Duration::from_secs(1);
/// At the latest after so long it is looked without a notice.
const RESCAN: Duration = Duration::from_secs(3);
/// The same where no notices come.
const POLL: Duration = Duration::from_millis(500);
/// Larger files are not read; the compiler's own limit is 1 MiB.
const MAX_FILE: u64 = 2 << 20;
const MAX_ENTRIES: usize = 100_000;
const MAX_DEPTH: usize = 16;

/// Watches one folder and those below it.
pub struct NotifiedFolder {
    root: PathBuf,
    state: Arc<Mutex<State>>,
    /// Something was written somewhere below.
    noticed: Arc<Notify>,
    /// A file was being written when it was last looked.
    unsettled: AtomicBool,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Known>,
    /// With the folder that it watches: one that went away and came back is another.
    watcher: Option<((u64, u64), RecommendedWatcher)>,
}

/// A file as it was at the last scan.
struct Known {
    stamp: Stamp,
    /// What its globs matched.
    found: Found,
    /// Since when it has looked like this.
    since: Instant,
    /// None while it has never been read.
    content: Option<Result<Arc<FolderText>, String>>,
    /// Whether `content` is what the stamps say.
    is_read: bool,
}

impl std::fmt::Debug for NotifiedFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotifiedFolder").field("root", &self.root).finish_non_exhaustive()
    }
}

impl NotifiedFolder {
    /// The folder need not be there yet.
    pub fn new(root: impl Into<PathBuf>) -> NotifiedFolder {
        let unsettled = AtomicBool::new(false);
        NotifiedFolder { root: root.into(), state: Arc::default(), noticed: Arc::default(), unsettled }
    }
}

#[async_trait]
impl RunbookFolder for NotifiedFolder {
    async fn scan(&self) -> FolderScan {
        let (root, state, noticed) = (self.root.clone(), self.state.clone(), self.noticed.clone());
        let scanning = TaskTracker::new().spawn_blocking(move || {
            let mut state = lock(&state);
            state.watch(&root, &noticed);
            state.scan(&root)
        });
        let (scan, settled) = scanning.await.unwrap_or_else(|error| (problem(error.to_string()), true));
        self.unsettled.store(!settled, Ordering::Relaxed);
        scan
    }

    async fn changed(&self) {
        if self.unsettled.load(Ordering::Relaxed) {
            return tokio::time::sleep(SETTLED).await;
        }
        let patience = if lock(&self.state).watcher.is_some() { RESCAN } else { POLL };
        if tokio::time::timeout(patience, self.noticed.notified()).await.is_ok() {
            tokio::time::sleep(DEBOUNCE).await;
        }
    }

    fn name(&self) -> String {
        self.root.display().to_string()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn problem(text: String) -> FolderScan {
    FolderScan { files: Vec::new(), problem: Some(text) }
}

impl State {
    /// Asks for notices of the folder that is there now.
    fn watch(&mut self, root: &Path, noticed: &Arc<Notify>) {
        use std::os::unix::fs::MetadataExt as _;
        let id = fs::metadata(root).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        if self.watcher.as_ref().map(|(known, _)| *known) == id {
            return;
        }
        self.watcher = None;
        let Some(id) = id else { return };
        let noticed = noticed.clone();
        let config = notify::Config::default().with_follow_symlinks(false);
        let notice = move |event: notify::Result<notify::Event>| {
            // Reading, which every scan does, is no change.
            if event.map_or(true, |event| !event.kind.is_access() || is_closed(event.kind)) {
                noticed.notify_one();
            }
        };
        let watcher = RecommendedWatcher::new(notice, config).and_then(|mut watcher| {
            watcher.watch(root, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some((id, watcher)),
            Err(error) => {
                tracing::warn!(folder = %root.display(), %error, "no notices of changes; looking twice a second instead");
            }
        }
    }

    /// What is there, and whether all of it was written to its end.
    fn scan(&mut self, root: &Path) -> (FolderScan, bool) {
        let paths = match runbook_files(root) {
            Ok(paths) => paths,
            Err(error) => return (problem(error.to_string()), true),
        };
        let mut before = std::mem::take(&mut self.files);
        let (mut files, mut settled) = (Vec::new(), true);
        for path in paths {
            let known = before.remove(&path);
            // One that is gone again was not there.
            let Some(known) = look(root, &path, known) else { continue };
            settled &= known.is_read;
            if let Some(content) = known.content.clone() {
                files.push(FolderFile { path: path.clone(), content });
            }
            self.files.insert(path, known);
        }
        (FolderScan { files, problem: None }, settled)
    }
}

fn is_closed(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// Looks at one file again; reads it if it has come to rest since it changed.
fn look(root: &Path, path: &str, known: Option<Known>) -> Option<Known> {
    let full = root.join(path);
    // Through links: a link is as good as the file that it leads to, if that is in the folder.
    let metadata = fs::metadata(&full).or_else(|_| fs::symlink_metadata(&full)).ok()?;
    let stamp = Stamp::of(&metadata);
    let folder = full.parent().unwrap_or(root);
    let globs = match known.as_ref().and_then(|known| known.content.as_ref()) {
        Some(Ok(content)) => runbook::globs(&content.text),
        _ => Vec::new(),
    };
    let found = beside::find(folder, &globs);
    let now = Instant::now();
    let same = known.as_ref().is_some_and(|known| known.stamp == stamp && known.found == found);
    let mut known = match known {
        Some(known) if same => known,
        Some(known) => Known { stamp, found, since: now, is_read: false, ..known },
        None => Known { stamp, found, since: now, content: None, is_read: false },
    };
    let is_old = || metadata.modified().is_ok_and(|at| at.elapsed().is_ok_and(|age| age > OLD));
    if !known.is_read && (known.since.elapsed() >= SETTLED || (known.content.is_none() && is_old())) {
        let (content, found) = read(root, &full, folder);
        // Written to while it was read: not at rest after all.
        let still = fs::metadata(&full).ok().map(|metadata| Stamp::of(&metadata));
        if content.is_err() || still == Some(stamp) {
            known.content = Some(content);
            known.found = found;
            known.is_read = true;
        } else {
            known.since = now;
        }
    }
    Some(known)
}

/// The file with what belongs to it.
fn read(root: &Path, full: &Path, folder: &Path) -> (Result<Arc<FolderText>, String>, Found) {
    let text = match read_text(root, full) {
        Ok(text) => text,
        Err(error) => return (Err(error.to_string()), Found::default()),
    };
    let found = beside::find(folder, &runbook::globs(&text));
    let beside = beside::read(folder, found.clone());
    (Ok(Arc::new(FolderText { text: text.into(), beside })), found)
}

fn read_text(root: &Path, full: &Path) -> io::Result<String> {
    let target = if fs::symlink_metadata(full)?.is_symlink() { within(root, full)? } else { full.to_owned() };
    let mut bytes = Vec::new();
    beside::open(&target)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::other("a runbook has at most 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        io::Error::other(format!("line {line} is not UTF-8"))
    })
}

/// Where a link leads to, if that is below the folder.
fn within(root: &Path, link: &Path) -> io::Result<PathBuf> {
    let target = fs::canonicalize(link)?;
    if target.starts_with(fs::canonicalize(root)?) {
        Ok(target)
    } else {
        Err(io::Error::other("it is a link that leads out of the folder of runbooks"))
    }
}

/// The paths of runbook files below a folder, sorted. Hidden files and folders are not looked at.
fn runbook_files(root: &Path) -> io::Result<Vec<String>> {
    let (mut paths, mut entries) = (Vec::new(), 0);
    let mut folders = vec![(String::new(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let listing = match fs::read_dir(root.join(&folder)) {
            // One below that is gone again, or not for us.
            Err(_) if depth > 0 => continue,
            other => other?,
        };
        for entry in listing.flatten() {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(io::Error::other("there are more than 100,000 files in it; give a folder of runbooks"));
            }
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if entry.metadata().as_ref().is_ok_and(Metadata::is_dir) {
                if depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                }
            } else if is_runbook(name) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

fn is_runbook(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml")) && !beside::is_leftover(name)
}
