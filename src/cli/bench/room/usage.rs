//! What a process uses, as the kernel counts it.

use std::{fs, io, time::Duration};

/// The kernel counts processor time in hundredths of a second, on every machine that there is.
const TICKS_PER_SECOND: u64 = 100;

/// One look at a process.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Resident memory in bytes.
    pub resident: u64,
    /// Processor time of all its threads so far.
    pub cpu: Duration,
    pub threads: u64,
    /// Open file descriptors; 0 where they may not be counted.
    pub files: u64,
}

impl Usage {
    pub fn of(pid: u32) -> io::Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in parentheses may contain anything, so what is counted comes after the last of them.
        let fields: Vec<&str> = stat.rsplit_once(')').map_or(Vec::new(), |(_, rest)| rest.split_whitespace().collect());
        // Numbered as in proc_pid_stat(5), where the state is the third.
        let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let page = rustix::param::page_size() as u64;
        Ok(Usage {
            resident: field(24) * page,
            cpu: Duration::from_millis((field(14) + field(15)) * 1_000 / TICKS_PER_SECOND),
            threads: field(20),
            files: fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |entries| entries.count() as u64),
        })
    }

    pub fn own() -> io::Result<Usage> {
        Usage::of(std::process::id())
    }

    /// How many cores it kept busy since `before`, `elapsed` ago.
    pub fn cores_since(&self, before: &Usage, elapsed: Duration) -> f64 {
        self.cpu.saturating_sub(before.cpu).as_secs_f64() / elapsed.as_secs_f64().max(0.001)
    }
}

/// Memory of the processes that `pid` has started.
pub(super) fn resident_of_children(pid: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    children.map(|child| Usage::of(child).map_or(0, |usage| usage.resident) + resident_of_children(child)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_seen() {
        let usage = Usage::own().unwrap();
        assert!(usage.resident > 1 << 20 && usage.threads > 0 && usage.files > 2, "{usage:?}");
    }
}
