//! Floor 4: live events for whoever is watching a run.

mod memory;
mod redis;
mod ring;
mod tenants;

pub use self::{
    memory::MemoryFeed,
    redis::{Acknowledged, RedisFeed, RedisFeedConfig},
};
