//! Live events between processes, over Redis Streams.
//!
//! Each run has one stream, `run:{run_id}:events`, with the ids that the store, SSE and the archive have too. Events
//! go to the readers of this process first, through [`MemoryFeed`], and then to Redis by a task that no run ever
//! waits for ([`publisher`]); the events of other processes come from Redis into the same memory, once for each run
//! however many readers it has ([`reader`]).
//!
//! Redis may lose everything at any time. While it is away readers of this process go on from memory, and readers of
//! others find by `prev` that something is missing, or that the store has changed, and read the store. When it is
//! back, what is newer than the end of each stream is sent again, as far as it is remembered ([`outbox`]).
//!
//! A stream has at most about 10,000 events and is removed a day after the run's end: it is no history.

mod entry;
mod outbox;
mod publisher;
mod reader;
mod recall;
mod script;
mod watch;

use std::sync::{Arc, atomic::AtomicBool};

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    outbox::Outbox,
    publisher::Publisher,
    reader::Reader,
    recall::Recaller,
    watch::{Part, Remote, Watch},
};
use super::MemoryFeed;
use crate::{
    model::{Epoch, Event, RunId, StreamId, TenantId},
    ports::{Announced, Announcements, Feed, Subscription},
    redis_client::RedisServer,
};

/// How live events go through Redis.
#[derive(Debug, Clone)]
pub struct RedisFeedConfig {
    pub server: RedisServer,
    /// Before the name of every key and channel.
    pub prefix: String,
    /// What sets this start of this process apart from every other; letters, digits and `-`.
    pub name: String,
}

impl RedisFeedConfig {
    /// The stream of a run.
    pub fn stream(&self, run: RunId) -> String {
        format!("{}run:{run}:events", self.prefix)
    }

    /// Where it is said that a stream has grown.
    fn run_channel(&self, run: RunId) -> String {
        format!("{}run:{run}:grown", self.prefix)
    }

    /// Where events about runs as wholes are said.
    fn tenant_channel(&self, tenant: TenantId) -> String {
        format!("{}tenant:{tenant}:runs", self.prefix)
    }
}

/// Redis has taken the events of a run up to this one, and has said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    pub run: RunId,
    pub upto: StreamId,
}

/// The live events of all processes on one Redis.
#[derive(Debug)]
pub struct RedisFeed {
    memory: MemoryFeed,
    outbox: Arc<Outbox>,
    watch: Arc<Watch>,
    remote: Arc<Remote>,
    recaller: Recaller,
}

impl RedisFeed {
    /// Starts on `tasks`, without waiting for Redis; ends when `stop` fires, after the last events were sent or two
    /// seconds have passed.
    pub fn start(config: RedisFeedConfig, tasks: &TaskTracker, stop: &CancellationToken) -> RedisFeed {
        RedisFeed::start_with(config, None, tasks, stop)
    }

    /// The same, and `observer` is told of everything that Redis takes: for whoever measures the way there.
    pub fn start_observed(
        config: RedisFeedConfig,
        observer: UnboundedSender<Acknowledged>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> RedisFeed {
        RedisFeed::start_with(config, Some(observer), tasks, stop)
    }

    fn start_with(
        config: RedisFeedConfig,
        observer: Option<UnboundedSender<Acknowledged>>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> RedisFeed {
        let memory = MemoryFeed::new();
        let (outbox, watch, remote) = (Arc::<Outbox>::default(), Arc::<Watch>::default(), Arc::<Remote>::default());
        let publisher = Publisher {
            config: config.clone(),
            outbox: outbox.clone(),
            remote: remote.clone(),
            has_told: AtomicBool::new(false),
            observer,
        };
        tasks.spawn(publisher.run(stop.clone()));
        let recaller = Recaller::new(config.clone());
        let reader = Reader { config, memory: memory.clone(), outbox: outbox.clone(), watch: watch.clone() };
        tasks.spawn(reader.run(stop.clone()));
        RedisFeed { memory, outbox, watch, remote, recaller }
    }
}

#[async_trait]
impl Feed for RedisFeed {
    fn publish(&self, run: RunId, epoch: Epoch, events: &[Arc<Event>]) {
        self.memory.publish(run, epoch, events);
        self.outbox.put(run, epoch, events);
    }

    fn subscribe(&self, run: RunId) -> Box<dyn Subscription> {
        // First the ring, so that nothing that is read for it is lost.
        let inner = self.memory.subscribe(run);
        Box::new(InOrder { inner, last: 0, _part: self.watch.run(run) })
    }

    async fn recall(&self, run: RunId, after: u64, before: StreamId) -> Vec<Arc<Event>> {
        self.recaller.recall(run, after, before).await
    }

    fn close(&self, run: RunId) {
        self.memory.close(run);
        self.outbox.close(run);
    }

    fn is_watched(&self, tenant: TenantId) -> bool {
        self.memory.is_watched(tenant) || self.remote.is_watched(tenant)
    }

    fn announce(&self, tenant: TenantId, events: &[Arc<Event>]) {
        self.memory.announce(tenant, events);
        if self.remote.is_watched(tenant) {
            self.outbox.announce(tenant, events);
        }
    }

    fn subscribe_all(&self, tenant: TenantId) -> Box<dyn Announcements> {
        let inner = self.memory.subscribe_all(tenant);
        Box::new(All { inner, _part: self.watch.tenant(tenant) })
    }
}

/// What was published here comes back from Redis: it is given once.
struct InOrder {
    inner: Box<dyn Subscription>,
    last: u64,
    _part: Part<RunId>,
}

#[async_trait]
impl Subscription for InOrder {
    async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            let event = self.inner.next().await?;
            if event.sequence > self.last {
                self.last = event.sequence;
                return Some(event);
            }
        }
    }
}

struct All {
    inner: Box<dyn Announcements>,
    _part: Part<TenantId>,
}

#[async_trait]
impl Announcements for All {
    async fn next(&mut self) -> Announced {
        self.inner.next().await
    }
}
