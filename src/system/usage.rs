//! What this process takes of the machine.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Figures of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: u64,
    pub threads: u64,
}

impl Usage {
    /// `None` where the system does not tell.
    #[cfg(target_os = "linux")]
    pub fn of_process() -> Option<Usage> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // The listing has one of its own open.
        let descriptors = std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64;
        Some(Usage { resident: field("VmRSS:")? * 1_024, descriptors, threads: field("Threads:")? })
    }

    /// `None` where the system does not tell.
    #[cfg(not(target_os = "linux"))]
    pub fn of_process() -> Option<Usage> {
        None
    }
}

/// Lets the process open as many files and connections as the system allows it. Answers how many.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    now.unwrap_or(u64::MAX)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_something() {
        let usage = Usage::of_process().unwrap();
        assert!(usage.resident > 1 << 20 && usage.descriptors >= 3 && usage.threads >= 1, "{usage:?}");
    }
}
