//! Which server holds a data folder, told by a file lock and what is written in the file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::model::Micros;

/// Who holds a data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpInfo {
    pub pid: u32,
    /// Where it listens, as in `http://127.0.0.1:8484`.
    pub url: String,
    pub started_at: Micros,
    pub version: String,
    /// The file that its key is in.
    pub key_file: PathBuf,
}

/// The lock of a server on its data folder. Dropping it, or dying, frees the folder.
#[derive(Debug)]
pub struct UpLock {
    file: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub enum UpLockError {
    /// Another server holds the folder; it may not have said yet who it is.
    #[error("another server holds the data folder")]
    Held(Option<UpInfo>),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl UpLock {
    /// Takes the lock of the folder, which exists.
    pub fn acquire(folder: &Path) -> Result<UpLock, UpLockError> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path(folder))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                // What a dead one wrote is not true any more.
                file.set_len(0)?;
                Ok(UpLock { file })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(UpLockError::Held(read(&file))),
            Err(error) => Err(UpLockError::Io(error.into())),
        }
    }

    /// Says who holds the folder.
    pub fn tell(&mut self, info: &UpInfo) -> io::Result<()> {
        let text = serde_json::to_vec(info)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(&text)?;
        self.file.flush()
    }

    /// The living server that holds the folder, if there is one.
    pub fn holder(folder: &Path) -> Option<UpInfo> {
        let file = File::open(path(folder)).ok()?;
        // Shared, so that two who look at the same time do not take each other for a server. It is freed with
        // the file.
        let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        if free { None } else { read(&file) }
    }
}

fn read(mut file: &File) -> Option<UpInfo> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn path(folder: &Path) -> PathBuf {
    folder.join("up.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_the_folder_and_says_who_it_is() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(UpLock::holder(folder.path()), None);
        let mut lock = UpLock::acquire(folder.path()).unwrap();
        assert!(matches!(UpLock::acquire(folder.path()), Err(UpLockError::Held(None))));
        let info = UpInfo {
            pid: 7,
            url: "http://127.0.0.1:8484".to_owned(),
            started_at: Micros(1_000),
            version: "0.1.0".to_owned(),
            key_file: "/data/api.key".into(),
        };
        lock.tell(&info).unwrap();
        assert_eq!(UpLock::holder(folder.path()).as_ref(), Some(&info));
        assert!(matches!(UpLock::acquire(folder.path()), Err(UpLockError::Held(Some(other))) if other == info));
        drop(lock);
        assert_eq!(UpLock::holder(folder.path()), None);
        UpLock::acquire(folder.path()).unwrap();
    }
}
