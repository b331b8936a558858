//! Floor 4: live events for whoever is watching a run.

mod memory;

pub use memory::MemoryFeed;
