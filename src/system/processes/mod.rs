//! The processes of steps, as the worker sees them.
//!
//! On Linux [`Supervised`] hands every spawn to the supervisor process, which answers for whole trees. Elsewhere
//! [`Grouped`] stands in: a process group a step, which escapees survive and a killed worker leaves behind.

mod config;
mod groups;
#[cfg(target_os = "linux")]
mod leftovers;
#[cfg(target_os = "linux")]
mod link;
mod lock;
#[cfg(target_os = "linux")]
mod supervised;

pub use config::SupervisorConfig;
pub use groups::Grouped;
#[cfg(not(target_os = "linux"))]
pub use groups::{Grouped as Supervised, kill_leftovers, kill_supervisor, supervisor_hook};
#[cfg(target_os = "linux")]
pub use leftovers::{kill_leftovers, kill_supervisor};
pub(super) use lock::is_gone;
pub use lock::wait_until_gone;
#[cfg(target_os = "linux")]
pub use supervised::{Supervised, supervisor_hook};
