//! Floor 4: the operating system behind ports.

mod processes;
#[cfg(target_os = "linux")]
mod supervisor;

pub use processes::{Grouped, Supervised, SupervisorConfig, kill_leftovers, supervisor_hook, wait_until_gone};
