//! Floor 3: connections to Redis or Valkey, for the adapters that use it.
//!
//! Whoever uses a connection makes a new one when it fails: only then is a new master found behind Sentinels, and
//! nothing is ever sent twice unseen. There is no retry in here.

mod facts;
mod link;
mod pause;
mod server;
mod url;

pub use facts::{RedisFacts, StreamWeights};
pub use link::RedisLink;
pub use pause::Pause;
pub use server::RedisServer;
pub use url::BadRedisUrl;
