//! What the machine itself takes for the least that a step can cost.

use std::{
    io,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Spawns `/bin/true` plainly and waits for it: how long that took.
pub(super) fn spawn() -> io::Result<Duration> {
    let started = Instant::now();
    let status = Command::new("/bin/true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if status.success() { Ok(started.elapsed()) } else { Err(io::Error::other("/bin/true failed")) }
}
