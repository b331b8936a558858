//! Reading back what a stream has before an event, for readers that come late.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use redis::{RedisResult, streams::StreamRangeReply};
use tokio::time::Instant;

use super::{
    super::ring::{lock, weight},
    RedisFeedConfig, entry,
};
use crate::{
    model::{Event, RunId, StreamId},
    redis_client::RedisLink,
};

/// A reader that waits for longer had better read the store.
const PATIENCE: Duration = Duration::from_millis(500);
/// After a failure nobody waits for this long.
const AWAY: Duration = Duration::from_secs(2);
/// Entries read at once.
const PAGE: usize = 256;
/// What is recalled at most.
const EVENTS: usize = 2_048;
const BYTES: usize = 4 << 20;

/// A connection for it, made when somebody asks.
#[derive(Debug)]
pub(super) struct Recaller {
    config: RedisFeedConfig,
    link: Mutex<Link>,
}

#[derive(Debug)]
enum Link {
    None,
    Open(RedisLink),
    /// Not before then.
    Away(Instant),
}

impl Recaller {
    pub fn new(config: RedisFeedConfig) -> Recaller {
        Recaller { config, link: Mutex::new(Link::None) }
    }

    pub async fn recall(&self, run: RunId, after: u64, before: StreamId) -> Vec<Arc<Event>> {
        if matches!(*lock(&self.link), Link::Away(until) if Instant::now() < until) {
            return Vec::new();
        }
        match tokio::time::timeout(PATIENCE, self.read(run, after, before)).await {
            Ok(Ok(events)) => events,
            failed => {
                tracing::debug!(%run, ?failed, "what a run has said lately cannot be read; the store is");
                *lock(&self.link) = Link::Away(Instant::now() + AWAY);
                Vec::new()
            }
        }
    }

    async fn link(&self) -> RedisResult<RedisLink> {
        if let Link::Open(link) = &*lock(&self.link) {
            return Ok(link.clone());
        }
        let link = self.config.server.connect().await?;
        *lock(&self.link) = Link::Open(link.clone());
        Ok(link)
    }

    async fn read(&self, run: RunId, after: u64, before: StreamId) -> RedisResult<Vec<Arc<Event>>> {
        let (mut link, stream) = (self.link().await?, self.config.stream(run));
        let (mut found, mut bytes, mut end) = (Vec::new(), 0, before);
        loop {
            let ask = redis::Cmd::xrevrange_count(&stream, format!("({end}"), "-", PAGE);
            let page: StreamRangeReply = ask.query_async(&mut link).await?;
            let is_last = page.ids.len() < PAGE;
            let events = entry::events(page);
            let Some(first) = events.last() else { break };
            end = first.id();
            let is_before = end.sequence <= after;
            bytes += events.iter().map(|event| weight(event)).sum::<usize>();
            found.extend(events.into_iter().filter(|event| event.sequence > after));
            if is_last || is_before || found.len() >= EVENTS || bytes > BYTES {
                break;
            }
        }
        found.reverse();
        Ok(found)
    }
}
