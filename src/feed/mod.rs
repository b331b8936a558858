//! Floor 4: live events for whoever is watching a run.

mod memory;
mod ring;
mod tenants;

pub use memory::MemoryFeed;
