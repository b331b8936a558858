//! Live events. A feed may lose everything; the store and the spool carry the truth.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::{Event, RunId};

/// Publishes the events of a run to whoever is watching.
pub trait Feed: Send + Sync {
    /// Offers events in sequence order. Never blocks a run.
    fn publish(&self, run: RunId, events: &[Arc<Event>]);

    /// Everything published after this call, in order, as long as the reader keeps up.
    fn subscribe(&self, run: RunId) -> Box<dyn Subscription>;

    /// No more events will come for the run; its subscriptions end.
    fn close(&self, run: RunId);
}

/// The reading end of a feed.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; `None` when the feed was closed. A reader that was too slow misses events and
    /// sees it by `prev`.
    async fn next(&mut self) -> Option<Arc<Event>>;
}
