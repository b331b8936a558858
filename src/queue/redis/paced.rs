//! When apalis-redis looks for a task.
//!
//! Its own strategies look after a fixed time or at every chance. This one looks when a promotion was announced
//! (pub/sub), every half second beneath that, and after each task; and only while somebody in this process waits for
//! work, so that a task is left for a process that does. Heartbeats and acknowledgements go on meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use apalis_core::{
    backend::{Backend, BackendConfig, WireFormatBackend},
    worker::context::WorkerContext,
};
use apalis_redis::RedisStorage;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{Ring, metered::Metered, pickup::Pickup};

/// How often it looks though nothing was announced.
const TICK: Duration = Duration::from_millis(500);

type Storage = RedisStorage<Ring, Metered>;

pub(super) struct Paced {
    storage: Storage,
    pickup: Arc<Pickup>,
    /// Commands of the storage that are under way: then it is polled, whatever the reason.
    under_way: Arc<AtomicUsize>,
    tick: Interval,
    /// There may be a task.
    is_due: bool,
    was_waited: bool,
}

impl Paced {
    pub fn new(storage: Storage, pickup: Arc<Pickup>, under_way: Arc<AtomicUsize>) -> Paced {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Paced { storage, pickup, under_way, tick, is_due: true, was_waited: false }
    }

    /// Leaves a waker armed in any case.
    fn may_look(&mut self, cx: &mut Context<'_>) -> bool {
        self.pickup.register(cx.waker());
        while self.tick.poll_tick(cx).is_ready() {
            self.is_due = true;
        }
        self.is_due |= self.pickup.take_news();
        let is_waited = self.pickup.is_waited();
        // What came meanwhile was left alone.
        self.is_due |= is_waited && !self.was_waited;
        self.was_waited = is_waited;
        is_waited && self.is_due
    }

    fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) > 0
    }
}

impl Backend for Paced {
    type Task = <Storage as Backend>::Task;
    type Error = <Storage as Backend>::Error;

    fn poll_ready(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        self.storage.poll_ready(cx, worker)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Self::Task, Self::Error>>> {
        let may_look = self.may_look(cx);
        if !may_look && !self.is_under_way() {
            return Poll::Pending;
        }
        if may_look && !self.is_under_way() {
            self.is_due = false;
        }
        let next = self.storage.poll_next(cx, worker);
        // Where one was, another one may be.
        self.is_due |= next.is_ready();
        next
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, worker: &WorkerContext) -> Poll<Result<(), Self::Error>> {
        self.storage.poll_close(cx, worker)
    }
}

impl BackendConfig for Paced {
    type Args = <Storage as BackendConfig>::Args;
    type Id = <Storage as BackendConfig>::Id;
    type Kind = <Storage as BackendConfig>::Kind;
    type Config = <Storage as BackendConfig>::Config;
    type Layer = <Storage as BackendConfig>::Layer;

    fn config(&self) -> &Self::Config {
        self.storage.config()
    }

    fn middleware(&mut self, worker: &mut WorkerContext) -> Self::Layer {
        self.storage.middleware(worker)
    }
}

impl WireFormatBackend for Paced {
    type Codec = <Storage as WireFormatBackend>::Codec;
    type Compact = <Storage as WireFormatBackend>::Compact;

    fn codec(&self) -> &Self::Codec {
        self.storage.codec()
    }
}
