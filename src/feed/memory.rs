//! The feed of one process.
//!
//! Each watched run has one ring of events that all its readers share; an event is freed when the last
//! reader has taken it. A ring is bounded by count and by bytes: the oldest events go first, a reader
//! that was behind them goes on after the hole and sees it by `prev`. A run that nobody watches has no
//! ring, and publishing to it is one atomic load.
//!
//! Subscribing to a run after its `close` gives a feed that never speaks: readers replay from the store
//! after they subscribed, and see there that the run has ended.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use super::{
    ring::{Bounds, Ring, lock},
    tenants::Tenants,
};
use crate::{
    model::{Epoch, Event, RunId, TenantId},
    ports::{Announcements, Feed, Subscription},
};

/// Live events inside one process.
#[derive(Debug, Clone)]
pub struct MemoryFeed {
    shared: Arc<Shared>,
    tenants: Tenants,
}

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    /// How many runs have a ring; read without the lock on the hot path.
    watched: AtomicUsize,
    rings: Mutex<HashMap<RunId, Arc<Ring>>>,
}

impl MemoryFeed {
    /// A thousand-wide fan-out fits, and so do some hundred full log chunks.
    pub const MAX_EVENTS: usize = 8_192;
    pub const MAX_BYTES: usize = 8 << 20;

    pub fn new() -> MemoryFeed {
        MemoryFeed::bounded(MemoryFeed::MAX_EVENTS, MemoryFeed::MAX_BYTES)
    }

    /// A feed that keeps at most so much per run, and per tenant, for readers that are behind.
    pub fn bounded(max_events: usize, max_bytes: usize) -> MemoryFeed {
        let bounds = Bounds { events: max_events, bytes: max_bytes };
        let (watched, rings) = (AtomicUsize::new(0), Mutex::default());
        MemoryFeed { shared: Arc::new(Shared { bounds, watched, rings }), tenants: Tenants::new(bounds) }
    }
}

impl Default for MemoryFeed {
    fn default() -> MemoryFeed {
        MemoryFeed::new()
    }
}

impl Feed for MemoryFeed {
    fn publish(&self, run: RunId, _: Epoch, events: &[Arc<Event>]) {
        if self.shared.watched.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(ring) = lock(&self.shared.rings).get(&run).cloned() else { return };
        lock(&ring.state).push(events, self.shared.bounds);
        ring.wake.notify_waiters();
    }

    fn subscribe(&self, run: RunId) -> Box<dyn Subscription> {
        let mut rings = lock(&self.shared.rings);
        let ring = rings.entry(run).or_default().clone();
        self.shared.watched.store(rings.len(), Ordering::SeqCst);
        // Still under the map's lock, so that a leaving reader cannot remove the ring in between.
        let next = {
            let mut state = lock(&ring.state);
            state.readers += 1;
            state.end()
        };
        Box::new(Reader { shared: self.shared.clone(), run, ring, next })
    }

    fn close(&self, run: RunId) {
        let ring = {
            let mut rings = lock(&self.shared.rings);
            let ring = rings.remove(&run);
            self.shared.watched.store(rings.len(), Ordering::SeqCst);
            ring
        };
        if let Some(ring) = ring {
            lock(&ring.state).closed = true;
            ring.wake.notify_waiters();
        }
    }

    fn is_watched(&self, tenant: TenantId) -> bool {
        self.tenants.is_watched(tenant)
    }

    fn announce(&self, tenant: TenantId, events: &[Arc<Event>]) {
        self.tenants.announce(tenant, events);
    }

    fn subscribe_all(&self, tenant: TenantId) -> Box<dyn Announcements> {
        self.tenants.subscribe(tenant)
    }
}

struct Reader {
    shared: Arc<Shared>,
    run: RunId,
    ring: Arc<Ring>,
    next: u64,
}

#[async_trait]
impl Subscription for Reader {
    async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            let wake = self.ring.wake.notified();
            tokio::pin!(wake);
            wake.as_mut().enable();
            {
                let mut state = lock(&self.ring.state);
                match state.take(&mut self.next) {
                    Some(event) => return Some(event),
                    None if state.closed => return None,
                    None => {}
                }
            }
            wake.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut rings = lock(&self.shared.rings);
        let mut state = lock(&self.ring.state);
        state.leave(self.next);
        let ours = rings.get(&self.run).is_some_and(|ring| Arc::ptr_eq(ring, &self.ring));
        if ours && state.readers == 0 {
            rings.remove(&self.run);
            self.shared.watched.store(rings.len(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Category, EventKind, Micros};

    const RUN: RunId = RunId(Uuid::from_u128(7));

    fn event(sequence: u64, text: &str) -> Arc<Event> {
        Arc::new(Event {
            run_id: RUN,
            timestamp: Micros(0),
            sequence,
            prev: sequence.saturating_sub(1),
            source: None,
            event: EventKind { category: Category::System, action: "log".into() },
            data: json!({ "text": text }),
        })
    }

    fn drain(reader: &mut Box<dyn Subscription>) -> Vec<u64> {
        let mut seen = Vec::new();
        while let Some(Some(event)) = reader.next().now_or_never() {
            seen.push(event.sequence);
        }
        seen
    }

    #[tokio::test]
    async fn readers_get_what_comes_after_they_subscribed() {
        let feed = MemoryFeed::new();
        feed.publish(RUN, Epoch(1), &[event(1, "")]);
        let mut early = feed.subscribe(RUN);
        feed.publish(RUN, Epoch(1), &[event(2, ""), event(3, "")]);
        let mut late = feed.subscribe(RUN);
        feed.publish(RUN, Epoch(1), &[event(4, "")]);
        assert_eq!(drain(&mut early), [2, 3, 4]);
        assert_eq!(drain(&mut late), [4]);
    }

    #[tokio::test]
    async fn a_slow_reader_skips_and_does_not_hold_up_others() {
        let feed = MemoryFeed::bounded(2, usize::MAX);
        let (mut slow, mut fast) = (feed.subscribe(RUN), feed.subscribe(RUN));
        for sequence in 1..=5 {
            feed.publish(RUN, Epoch(1), &[event(sequence, "")]);
            assert_eq!(drain(&mut fast), [sequence]);
        }
        assert_eq!(drain(&mut slow), [4, 5]);
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_freed_when_read() {
        let feed = MemoryFeed::bounded(usize::MAX, 100_000);
        let mut reader = feed.subscribe(RUN);
        let text = "x".repeat(30_000);
        for sequence in 1..=10 {
            feed.publish(RUN, Epoch(1), &[event(sequence, &text)]);
        }
        assert_eq!(drain(&mut reader), [8, 9, 10]);
        let rings = lock(&feed.shared.rings);
        let state = lock(&rings[&RUN].state);
        assert_eq!(state.held(), (0, 0));
    }

    #[tokio::test]
    async fn closing_ends_subscriptions_after_what_was_published() {
        let feed = MemoryFeed::new();
        let mut reader = feed.subscribe(RUN);
        feed.publish(RUN, Epoch(1), &[event(1, "")]);
        feed.close(RUN);
        assert_eq!(reader.next().await.map(|e| e.sequence), Some(1));
        assert!(reader.next().await.is_none());
    }

    #[tokio::test]
    async fn closing_wakes_a_waiting_reader() {
        let feed = MemoryFeed::new();
        let mut reader = feed.subscribe(RUN);
        let mut next = reader.next();
        assert!((&mut next).now_or_never().is_none());
        feed.close(RUN);
        assert!(next.await.is_none());
    }

    #[tokio::test]
    async fn leaving_readers_leave_nothing_behind() {
        let feed = MemoryFeed::new();
        let (first, mut second) = (feed.subscribe(RUN), feed.subscribe(RUN));
        feed.publish(RUN, Epoch(1), &[event(1, ""), event(2, "")]);
        drop(first);
        assert_eq!(drain(&mut second), [1, 2]);
        assert_eq!(lock(&lock(&feed.shared.rings)[&RUN].state).held(), (0, 0));
        drop(second);
        assert!(lock(&feed.shared.rings).is_empty());
        assert_eq!(feed.shared.watched.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_reader_of_a_closed_run_does_not_remove_its_successor() {
        let feed = MemoryFeed::new();
        let old = feed.subscribe(RUN);
        feed.close(RUN);
        let mut new = feed.subscribe(RUN);
        drop(old);
        feed.publish(RUN, Epoch(1), &[event(9, "")]);
        assert_eq!(drain(&mut new), [9]);
    }
}
