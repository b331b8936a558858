//! The lock that a supervisor holds until the last of its trees is gone.

use std::{
    fs::File,
    io::{self, ErrorKind},
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::time::{Instant, sleep};

const POLL: Duration = Duration::from_millis(5);

/// Waits until the supervisor that holds the lock at `path` is gone, and removes the file. False: it was still
/// there after `timeout`.
pub async fn wait_until_gone(path: &Path, timeout: Duration) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    let locked = lock_within(&file, timeout).await?;
    if locked {
        remove(path)?;
    }
    Ok(locked)
}

/// Whether no supervisor holds the lock at `path` now; if so, the file is removed.
pub(in crate::system) fn is_gone(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => remove(path).map(|()| true),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Takes the lock at `path`, for a supervisor to inherit.
#[cfg(target_os = "linux")]
pub async fn take(path: &Path, timeout: Duration) -> io::Result<File> {
    let file = File::options().create(true).append(true).open(path)?;
    if lock_within(&file, timeout).await? { Ok(file) } else { Err(ErrorKind::WouldBlock.into()) }
}

async fn lock_within(file: &File, timeout: Duration) -> io::Result<bool> {
    let started = Instant::now();
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if started.elapsed() >= timeout => return Ok(false),
            Err(Errno::WOULDBLOCK) => sleep(POLL).await,
            Err(error) => return Err(error.into()),
        }
    }
}
