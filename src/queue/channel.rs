//! Doorbells inside one process.
//!
//! A ring is a number that only grows; a listener remembers the last one it has heard. So a ring that
//! comes while nobody waits is not lost, any number of listeners hear the same ring, and a thousand
//! rings before the next `heard` are one.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::{
    model::Lane,
    ports::{Doorbell, Queue},
};

/// The doorbells of all lanes of one process.
#[derive(Debug, Default)]
pub struct ChannelQueue {
    lanes: [Arc<Bell>; Lane::ALL.len()],
}

#[derive(Debug, Default)]
struct Bell {
    rings: AtomicU64,
    wake: Notify,
}

impl ChannelQueue {
    pub fn new() -> ChannelQueue {
        ChannelQueue::default()
    }
}

impl Queue for ChannelQueue {
    fn ring(&self, lane: Lane) {
        let bell = &self.lanes[lane as usize];
        bell.rings.fetch_add(1, Ordering::SeqCst);
        bell.wake.notify_waiters();
    }

    fn listen(&self, lane: Lane) -> Box<dyn Doorbell> {
        let bell = self.lanes[lane as usize].clone();
        let heard = AtomicU64::new(bell.rings.load(Ordering::SeqCst));
        Box::new(Listener { bell, heard })
    }
}

#[derive(Debug)]
struct Listener {
    bell: Arc<Bell>,
    heard: AtomicU64,
}

#[async_trait]
impl Doorbell for Listener {
    async fn heard(&self) {
        loop {
            let wake = self.bell.wake.notified();
            tokio::pin!(wake);
            // Listening before looking: a ring between the two wakes us.
            wake.as_mut().enable();
            let rings = self.bell.rings.load(Ordering::SeqCst);
            if self.heard.swap(rings, Ordering::SeqCst) != rings {
                return;
            }
            wake.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::join_all};

    use super::*;

    #[tokio::test]
    async fn a_ring_before_hearing_is_remembered_once() {
        let queue = ChannelQueue::new();
        let bell = queue.listen(Lane::B);
        queue.ring(Lane::B);
        queue.ring(Lane::B);
        bell.heard().await;
        assert!(bell.heard().now_or_never().is_none(), "two rings are one");
    }

    #[tokio::test]
    async fn lanes_do_not_hear_each_other() {
        let queue = ChannelQueue::new();
        let bell = queue.listen(Lane::A);
        queue.ring(Lane::B);
        assert!(bell.heard().now_or_never().is_none());
        queue.ring(Lane::A);
        bell.heard().await;
    }

    #[tokio::test]
    async fn every_listener_hears_a_ring_that_comes_while_it_waits() {
        let queue = ChannelQueue::new();
        let bells: Vec<_> = (0..3).map(|_| queue.listen(Lane::A)).collect();
        let mut all = Box::pin(join_all(bells.iter().map(|bell| bell.heard())));
        assert!((&mut all).now_or_never().is_none(), "all wait");
        queue.ring(Lane::A);
        all.await;
    }

    #[tokio::test]
    async fn giving_up_the_wait_loses_nothing() {
        let queue = ChannelQueue::new();
        let bell = queue.listen(Lane::A);
        assert!(bell.heard().now_or_never().is_none());
        queue.ring(Lane::A);
        assert!(bell.heard().now_or_never().is_some());
    }
}
