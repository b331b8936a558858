//! Processes as the system shows them: who carries a mark, and how much memory was used.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use crate::cli::world::PATIENCE;

/// One process, told from a later one with the same number by its start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Traced {
    pub pid: u32,
    start: String,
    pub command: String,
}

/// All living processes that carry one of the marks in their environment or on their command line.
pub fn carriers(marks: &[&str]) -> BTreeSet<Traced> {
    let entries = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    entries.filter_map(|folder| carrier(&folder, marks)).collect()
}

fn carrier(folder: &Path, marks: &[&str]) -> Option<Traced> {
    let pid = folder.file_name()?.to_str()?.parse().ok()?;
    let command = std::fs::read(folder.join("cmdline")).ok()?;
    let environment = std::fs::read(folder.join("environ")).unwrap_or_default();
    if !marks.iter().any(|mark| contains(&command, mark.as_bytes()) || contains(&environment, mark.as_bytes())) {
        return None;
    }
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Traced { pid, start: start_of(pid)?, command })
}

impl Traced {
    pub fn lives(&self) -> bool {
        start_of(self.pid).as_ref() == Some(&self.start)
    }
}

/// When the process began; `None` if it is gone or only waits to be reaped.
fn start_of(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z" && fields[0] != "X").then(|| fields[19].to_owned())
}

pub fn contains(text: &[u8], wanted: &[u8]) -> bool {
    text.windows(wanted.len()).any(|window| window == wanted)
}

/// Waits until they are gone, and answers how long that took from `since` on.
pub fn until_gone(mut traced: BTreeSet<Traced>, since: Instant, within: Duration) -> Duration {
    loop {
        traced.retain(Traced::lives);
        if traced.is_empty() {
            return since.elapsed();
        }
        assert!(since.elapsed() < within, "still there after {within:?}: {traced:#?}");
        pause();
    }
}

/// Waits for the end of a process; the most memory that it had, in KiB, beside how it ended.
pub fn peak_memory(child: &mut Child) -> (ExitStatus, u64) {
    let (deadline, mut peak) = (Instant::now() + 10 * PATIENCE, 0);
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(now) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()) {
            peak = now;
        }
        if let Some(ended) = child.try_wait().unwrap() {
            return (ended, peak);
        }
        assert!(Instant::now() < deadline, "the process does not end");
        pause();
    }
}

/// Between two looks at something that gives no signal.
#[expect(clippy::disallowed_methods, reason = "a poll with a deadline, outside of any runtime")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(2));
}
