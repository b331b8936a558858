//! Finding the files that `files:` of a runbook names.

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

use crate::runbook::{Beside, BundleFile, FilesProblem, Glob, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES};

/// So many entries of folders are looked at for one runbook.
const MAX_ENTRIES: usize = 50_000;
const MAX_DEPTH: usize = 32;

/// Changes whenever a file's content may have: device, inode, size, mode, times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp(u64, u64, u64, u32, (i64, i64), (i64, i64));

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Stamp {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        Stamp(metadata.dev(), metadata.ino(), metadata.size(), metadata.mode(), modified, changed)
    }
}

/// What globs match, not yet read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// By path below the folder; with the place of the glob that named it first.
    pub(super) files: BTreeMap<String, (usize, Stamp)>,
    pub(super) problems: Vec<FilesProblem>,
}

/// The files below `folder` that the globs name, with their contents. Links are refused, not followed.
pub fn gather(folder: &Path, globs: &[Glob]) -> Beside {
    if globs.is_empty() {
        return Beside::default();
    }
    read(folder, find(folder, globs))
}

/// The files that the globs name, without reading them.
pub(super) fn find(folder: &Path, globs: &[Glob]) -> Found {
    let mut search = Search { folder, found: Found::default(), entries: 0 };
    for glob in globs {
        if let Err((too_large, message)) = search.glob(glob) {
            search.found.problems.push(FilesProblem { glob: glob.index, too_large, message });
        }
    }
    search.found
}

/// Reads what was found.
pub(super) fn read(folder: &Path, found: Found) -> Beside {
    let mut beside = Beside { problems: found.problems, ..Beside::default() };
    let mut room = MAX_BUNDLE_BYTES;
    for (path, (glob, _)) in found.files {
        match read_file(&folder.join(&path), room) {
            Ok(Some(file)) => {
                room -= file.bytes.len() as u64;
                beside.bundle.files.insert(path, file);
            }
            Ok(None) => {
                let message = "the files of a runbook have at most 10 MiB together".to_owned();
                beside.problems.push(FilesProblem { glob, too_large: true, message });
                break;
            }
            Err(error) => {
                let message = format!("`{path}` cannot be read: {error}");
                beside.problems.push(FilesProblem { glob, too_large: false, message });
            }
        }
    }
    beside
}

/// `None`: it does not fit.
fn read_file(path: &Path, room: u64) -> io::Result<Option<BundleFile>> {
    let file = open(path)?;
    let mode = file.metadata()?.mode();
    let mut bytes = Vec::new();
    file.take(room + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= room).then(|| BundleFile::new(bytes, mode & 0o100 != 0)))
}

/// Opens a regular file, and nothing else: no link, no pipe that would make us wait.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

/// What editors leave beside a file while it is edited; a wildcard does not mean them.
pub(super) fn is_leftover(name: &str) -> bool {
    let has_end = |end: &str| name.len() > end.len() && name.ends_with(end);
    has_end("~")
        || has_end(".tmp")
        || has_end(".swp")
        || has_end(".swx")
        || name.starts_with(".#")
        || (name.starts_with('#') && has_end("#"))
        || name == "4913"
}

struct Search<'a> {
    folder: &'a Path,
    found: Found,
    entries: usize,
}

/// Whether it is about size, and what it is.
type Problem = (bool, String);

impl Search<'_> {
    fn glob(&mut self, glob: &Glob) -> Result<(), Problem> {
        let Some(metadata) = self.literal(&glob.literal)? else { return Ok(()) };
        match (glob.is_literal, metadata.is_dir()) {
            (true, true) => Err((false, format!("`{0}` is a folder; for all in it write `{0}/**`", glob.literal))),
            (true, false) => self.take(&glob.literal, glob, &metadata),
            (false, true) => self.walk(glob),
            (false, false) => Ok(()),
        }
    }

    /// What is at the part without wildcards, if anything. No link leads there.
    fn literal(&self, literal: &str) -> Result<Option<Metadata>, Problem> {
        let mut path = self.folder.to_owned();
        let mut metadata = fs::metadata(&path);
        for part in literal.split('/').filter(|part| !part.is_empty()) {
            path.push(part);
            metadata = fs::symlink_metadata(&path);
            if metadata.as_ref().is_ok_and(Metadata::is_symlink) {
                return Err((false, format!("`{literal}` is a link or leads over one; links are not followed")));
            }
        }
        match metadata {
            Ok(metadata) => Ok(Some(metadata)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err((false, format!("`{literal}` cannot be read: {error}"))),
        }
    }

    fn walk(&mut self, glob: &Glob) -> Result<(), Problem> {
        let mut folders = vec![(glob.literal.clone(), 0)];
        while let Some((folder, depth)) = folders.pop() {
            let unreadable = |error: io::Error| (false, format!("the folder `{folder}` cannot be read: {error}"));
            for entry in fs::read_dir(self.folder.join(&folder)).map_err(unreadable)? {
                let entry = entry.map_err(unreadable)?;
                self.entries += 1;
                if self.entries > MAX_ENTRIES {
                    return Err((true, "there are more than 50,000 files to look through".to_owned()));
                }
                let name = entry.file_name();
                let Some(name) = name.to_str() else { continue };
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                // One that is gone again was not there.
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() && depth < MAX_DEPTH {
                    folders.push((path, depth + 1));
                } else if glob.matches(&path) && !is_leftover(name) {
                    self.take(&path, glob, &metadata)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, path: &str, glob: &Glob, metadata: &Metadata) -> Result<(), Problem> {
        if !metadata.is_file() {
            return Err((false, format!("`{path}` is no regular file; links are not followed")));
        }
        if self.found.files.len() >= MAX_BUNDLE_FILES && !self.found.files.contains_key(path) {
            return Err((true, "a runbook has at most 1,000 files".to_owned()));
        }
        self.found.files.entry(path.to_owned()).or_insert((glob.index, Stamp::of(metadata)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::runbook::globs;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Folder {
            let folder = tempfile::tempdir().unwrap();
            for (path, text) in files {
                let path = folder.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Folder(folder)
        }

        fn gather(&self, files: &str) -> Beside {
            gather(self.0.path(), &globs(&format!("files: {files}")))
        }

        fn names(&self, files: &str) -> Vec<String> {
            let beside = self.gather(files);
            assert_eq!(beside.problems, [], "{files}");
            beside.bundle.files.into_keys().collect()
        }
    }

    #[test]
    fn globs_find_files() {
        let files =
            ["a.sh", "b.txt", "scripts/c.sh", "scripts/deep/d.sh", "scripts/c.sh~", "scripts/.c.sh.swp", ".env"];
        let folder = Folder::new(&files.map(|file| (file, file)));
        assert_eq!(folder.names("['*.sh']"), ["a.sh"]);
        assert_eq!(folder.names("['**/*.sh']"), ["a.sh", "scripts/c.sh", "scripts/deep/d.sh"]);
        assert_eq!(folder.names("[scripts/**]"), ["scripts/c.sh", "scripts/deep/d.sh"]);
        assert_eq!(folder.names("['scripts/c.sh~', .env]"), [".env", "scripts/c.sh~"], "named outright");
        assert_eq!(folder.names("[a.sh, '*.sh']"), ["a.sh"]);
        assert_eq!(folder.names("[missing.sh, 'missing/*', 'a.sh/*']"), [""; 0]);
        assert_eq!(&*folder.gather("[b.txt]").bundle.files["b.txt"].bytes, b"b.txt");
    }

    #[test]
    fn modes_are_kept() {
        let folder = Folder::new(&[("a.sh", "x"), ("b.sh", "x")]);
        fs::set_permissions(folder.0.path().join("a.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        let files = folder.gather("['*.sh']").bundle.files;
        assert!(files["a.sh"].executable && !files["b.sh"].executable);
    }

    #[test]
    fn links_and_other_things_are_refused() {
        let folder = Folder::new(&[("real/a.sh", "x")]);
        let path = |name: &str| folder.0.path().join(name);
        symlink("/etc/passwd", path("link.sh")).unwrap();
        symlink("/etc", path("etc")).unwrap();
        symlink("/etc", path("real/etc")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        for files in ["[link.sh]", "['*.sh']", "[etc/passwd]", "['etc/*']", "[pipe]", "[real]", "['real/**']"] {
            let beside = folder.gather(files);
            assert_eq!(beside.problems.len(), 1, "{files}: {beside:?}");
            assert!(beside.bundle.files.keys().all(|path| path == "real/a.sh"), "{files}");
        }
    }

    #[test]
    fn there_are_limits() {
        let folder = Folder::new(&[("big", "")]);
        let file = File::create(folder.0.path().join("big")).unwrap();
        file.set_len(MAX_BUNDLE_BYTES + 1).unwrap();
        assert!(folder.gather("[big]").problems[0].too_large);
        file.set_len(MAX_BUNDLE_BYTES).unwrap();
        assert_eq!(folder.gather("[big]").problems, []);
        for number in 0..MAX_BUNDLE_FILES {
            fs::write(folder.0.path().join(format!("{number}.txt")), "").unwrap();
        }
        assert_eq!(folder.gather("['*.txt']").bundle.files.len(), MAX_BUNDLE_FILES);
        assert!(folder.gather("['*']").problems[0].too_large);
    }
}
