//! Floor 4: doorbells between those who make runs claimable and those who claim them.

mod channel;

pub use channel::ChannelQueue;
