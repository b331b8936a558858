//! Whether somebody in this process waits for work in a lane, and whether there may be some.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::task::AtomicWaker;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct Pickup {
    /// How many wait.
    waiting: AtomicUsize,
    /// How often somebody has begun to wait.
    begun: AtomicU64,
    begins: Notify,
    /// There may be tasks.
    news: AtomicBool,
    waker: AtomicWaker,
}

/// Somebody waits, until it is dropped.
pub(super) struct Waiting {
    pickup: Arc<Pickup>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.pickup.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Pickup {
    pub fn wait(self: &Arc<Pickup>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.begun.fetch_add(1, Ordering::SeqCst);
        self.begins.notify_waiters();
        self.waker.wake();
        Waiting { pickup: self.clone() }
    }

    pub fn is_waited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// There may be tasks.
    pub fn tell(&self) {
        self.news.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    pub fn take_news(&self) -> bool {
        self.news.swap(false, Ordering::SeqCst)
    }

    /// Who is woken by news and by whoever begins to wait.
    pub fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// Whether somebody begins to wait after `before`, within a time.
    pub async fn begins_after(&self, before: u64, within: Duration) -> bool {
        let begins = async {
            loop {
                let next = self.begins.notified();
                tokio::pin!(next);
                next.as_mut().enable();
                if self.begun() > before {
                    return;
                }
                next.await;
            }
        };
        tokio::time::timeout(within, begins).await.is_ok()
    }
}
