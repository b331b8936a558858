//! Live events. A feed may lose everything; the store and the spool carry the truth.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{Epoch, Event, RunId, StreamId, TenantId};

/// Publishes the events of a run to whoever is watching.
#[async_trait]
pub trait Feed: Send + Sync {
    /// Offers events in sequence order, as the owner that the epoch names. Never blocks a run. Between processes,
    /// what an older owner offers after a newer one is refused.
    fn publish(&self, run: RunId, epoch: Epoch, events: &[Arc<Event>]);

    /// Everything published after this call, in order, as long as the reader keeps up. What other processes published
    /// shortly before may come too.
    fn subscribe(&self, run: RunId) -> Box<dyn Subscription>;

    /// What is remembered of the run between the sequence `after` and the event `before`, neither included, in order:
    /// what other machines have said lately and have not stored yet. Best effort, within half a second, and bounded:
    /// the last ones before `before`. A feed inside one process remembers nothing.
    async fn recall(&self, run: RunId, after: u64, before: StreamId) -> Vec<Arc<Event>> {
        let _ = (run, after, before);
        Vec::new()
    }

    /// No more events will come for the run; its subscriptions end.
    fn close(&self, run: RunId);

    /// Whether anybody watches the tenant's runs as wholes. Asked before every announcement: cheap.
    fn is_watched(&self, tenant: TenantId) -> bool;

    /// Offers events about runs as wholes ([`Event::is_about_run`]) to whoever watches all of a tenant's runs.
    /// Never blocks.
    fn announce(&self, tenant: TenantId, events: &[Arc<Event>]);

    /// Everything announced after this call, over all runs of the tenant, as long as the reader keeps up.
    fn subscribe_all(&self, tenant: TenantId) -> Box<dyn Announcements>;
}

/// The reading end of a feed.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; `None` when the feed was closed. A reader that was too slow misses events and
    /// sees it by `prev`.
    async fn next(&mut self) -> Option<Arc<Event>>;
}

/// What a reader of all runs is given.
#[derive(Debug, Clone, PartialEq)]
pub enum Announced {
    /// A run was created (`run_created`, with sequence 0: it is no row of the run's events), or one of its durable
    /// events is about the run as a whole. In the order of each run; runs among each other as they were announced.
    Event(Arc<Event>),
    /// The reader was too slow: so many are gone. What they said is in the store.
    Missed(u64),
}

/// The reading end of all runs of a tenant.
#[async_trait]
pub trait Announcements: Send {
    /// The next one. Never ends; may be dropped at any time.
    async fn next(&mut self) -> Announced;
}
