//! The one integration binary: real processes, real files, the real command line.

#[cfg(test)]
mod architecture;
#[cfg(test)]
mod artifacts;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod control;
#[cfg(test)]
mod events;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod faults;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod fleet;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod fleet_faults;
#[cfg(test)]
mod generated;
#[cfg(test)]
mod machines;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod processes;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod redis;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod room;
#[cfg(test)]
mod servers;
#[cfg(test)]
mod specification;
#[cfg(test)]
mod store;
#[cfg(test)]
mod substitutions;
