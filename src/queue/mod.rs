//! Floor 4: doorbells between those who make runs claimable and those who claim them.

mod channel;
mod notify;

pub use channel::ChannelQueue;
pub use notify::{NotifyConfig, NotifyQueue};
