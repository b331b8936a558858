//! Live events. A feed may lose everything; the store and the spool carry the truth.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{Event, RunId, TenantId};

/// Publishes the events of a run to whoever is watching.
pub trait Feed: Send + Sync {
    /// Offers events in sequence order. Never blocks a run.
    fn publish(&self, run: RunId, events: &[Arc<Event>]);

    /// Everything published after this call, in order, as long as the reader keeps up.
    fn subscribe(&self, run: RunId) -> Box<dyn Subscription>;

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
