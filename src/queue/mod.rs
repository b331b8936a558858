//! Floor 4: doorbells between those who make runs claimable and those who claim them.

mod channel;
mod notify;
mod redis;

pub use self::{
    channel::ChannelQueue,
    notify::{NotifyConfig, NotifyQueue},
    redis::{RedisQueue, RedisQueueConfig},
};
