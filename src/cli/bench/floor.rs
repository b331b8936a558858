//! What the machine itself takes for the least that a step can cost.

use std::{
    io,
    process::{Command, Stdio},
    time::Instant,
};

use super::stats::median;

/// Spawning `/bin/true` and waiting for it, plainly; the median of `n`, in milliseconds.
pub(super) fn spawn(n: usize) -> io::Result<f64> {
    let mut samples = Vec::with_capacity(n);
    for _ in 0..n {
        let started = Instant::now();
        let status =
            Command::new("/bin/true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        samples.push(started.elapsed());
        if !status.success() {
            return Err(io::Error::other("/bin/true failed"));
        }
    }
    Ok(median(&samples).unwrap_or_default())
}
