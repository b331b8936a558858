//! Announcements: what happens to runs as wholes, for readers of all runs of a tenant.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use super::ring::{Bounds, Ring, lock};
use crate::{
    model::{Event, TenantId},
    ports::{Announced, Announcements},
};

/// One ring for each tenant that somebody watches.
#[derive(Debug, Clone)]
pub(super) struct Tenants {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bounds: Bounds,
    /// How many tenants have a ring; read without the lock on the hot path.
    watched: AtomicUsize,
    rings: Mutex<HashMap<TenantId, Arc<Ring>>>,
}

impl Tenants {
    pub(super) fn new(bounds: Bounds) -> Tenants {
        Tenants { shared: Arc::new(Shared { bounds, watched: AtomicUsize::new(0), rings: Mutex::default() }) }
    }

    pub(super) fn is_watched(&self, tenant: TenantId) -> bool {
        self.shared.watched.load(Ordering::SeqCst) > 0 && lock(&self.shared.rings).contains_key(&tenant)
    }

    pub(super) fn announce(&self, tenant: TenantId, events: &[Arc<Event>]) {
        if self.shared.watched.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(ring) = lock(&self.shared.rings).get(&tenant).cloned() else { return };
        lock(&ring.state).push(events, self.shared.bounds);
        ring.wake.notify_waiters();
    }

    pub(super) fn subscribe(&self, tenant: TenantId) -> Box<dyn Announcements> {
        let mut rings = lock(&self.shared.rings);
        let ring = rings.entry(tenant).or_default().clone();
        self.shared.watched.store(rings.len(), Ordering::SeqCst);
        // Still under the map's lock, so that a leaving reader cannot remove the ring in between.
        let next = {
            let mut state = lock(&ring.state);
            state.readers += 1;
            state.end()
        };
        Box::new(Reader { shared: self.shared.clone(), tenant, ring, next })
    }
}

struct Reader {
    shared: Arc<Shared>,
    tenant: TenantId,
    ring: Arc<Ring>,
    next: u64,
}

#[async_trait]
impl Announcements for Reader {
    async fn next(&mut self) -> Announced {
        loop {
            let wake = self.ring.wake.notified();
            tokio::pin!(wake);
            wake.as_mut().enable();
            {
                let mut state = lock(&self.ring.state);
                let missed = state.missed(&mut self.next);
                if missed > 0 {
                    return Announced::Missed(missed);
                }
                if let Some(event) = state.take(&mut self.next) {
                    return Announced::Event(event);
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
        if state.readers == 0 {
            rings.remove(&self.tenant);
            self.shared.watched.store(rings.len(), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Category, EventKind, Micros, RunId};

    const OTHER: TenantId = TenantId(Uuid::from_u128(9));

    fn event(sequence: u64) -> Arc<Event> {
        Arc::new(Event {
            run_id: RunId(Uuid::from_u128(7)),
            timestamp: Micros(0),
            sequence,
            prev: 0,
            source: None,
            event: EventKind { category: Category::Lifecycle, action: "run_started".into() },
            data: Value::Null,
        })
    }

    fn drain(reader: &mut Box<dyn Announcements>) -> Vec<Result<u64, u64>> {
        std::iter::from_fn(|| reader.next().now_or_never())
            .map(|announced| match announced {
                Announced::Event(event) => Ok(event.sequence),
                Announced::Missed(count) => Err(count),
            })
            .collect()
    }

    fn tenants(events: usize) -> Tenants {
        Tenants::new(Bounds { events, bytes: usize::MAX })
    }

    #[test]
    fn readers_of_a_tenant_get_what_is_announced_for_it() {
        let tenants = tenants(10);
        assert!(!tenants.is_watched(TenantId::DEFAULT));
        tenants.announce(TenantId::DEFAULT, &[event(1)]);
        let mut reader = tenants.subscribe(TenantId::DEFAULT);
        assert!(tenants.is_watched(TenantId::DEFAULT) && !tenants.is_watched(OTHER));
        tenants.announce(OTHER, &[event(2)]);
        tenants.announce(TenantId::DEFAULT, &[event(3), event(4)]);
        assert_eq!(drain(&mut reader), [Ok(3), Ok(4)]);
    }

    #[test]
    fn a_slow_reader_is_told_how_much_it_missed_and_others_miss_nothing() {
        let tenants = tenants(2);
        let (mut slow, mut fast) = (tenants.subscribe(TenantId::DEFAULT), tenants.subscribe(TenantId::DEFAULT));
        for sequence in 1..=5 {
            tenants.announce(TenantId::DEFAULT, &[event(sequence)]);
            assert_eq!(drain(&mut fast), [Ok(sequence)]);
        }
        assert_eq!(drain(&mut slow), [Err(3), Ok(4), Ok(5)]);
        tenants.announce(TenantId::DEFAULT, &[event(6)]);
        assert_eq!(drain(&mut slow), [Ok(6)]);
    }

    #[test]
    fn leaving_readers_leave_nothing_behind() {
        let tenants = tenants(10);
        let (first, mut second) = (tenants.subscribe(TenantId::DEFAULT), tenants.subscribe(TenantId::DEFAULT));
        tenants.announce(TenantId::DEFAULT, &[event(1)]);
        drop(first);
        assert_eq!(drain(&mut second), [Ok(1)]);
        assert_eq!(lock(&lock(&tenants.shared.rings)[&TenantId::DEFAULT].state).held(), (0, 0));
        drop(second);
        assert!(!tenants.is_watched(TenantId::DEFAULT) && lock(&tenants.shared.rings).is_empty());
    }

    #[tokio::test]
    async fn an_announcement_wakes_a_waiting_reader() {
        let tenants = tenants(10);
        let mut reader = tenants.subscribe(TenantId::DEFAULT);
        let mut next = reader.next();
        assert!((&mut next).now_or_never().is_none());
        tenants.announce(TenantId::DEFAULT, &[event(1)]);
        assert!(matches!(next.await, Announced::Event(_)));
    }
}
