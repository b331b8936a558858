//! The last events of a run that is being watched, shared by all its readers in this process.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    control::history,
    model::{Event, RunId, RunStatus},
};

/// A thousand-wide fan-out fits, and so do some dozens of full log chunks.
const MAX_EVENTS: usize = 2_048;
const MAX_BYTES: usize = 4 << 20;

/// An event, and the form in which it is sent, made once.
#[derive(Debug)]
pub struct Shown {
    event: Arc<Event>,
    rendered: OnceLock<Bytes>,
}

impl Shown {
    pub fn new(event: Arc<Event>) -> Shown {
        Shown { event, rendered: OnceLock::new() }
    }

    pub fn event(&self) -> &Arc<Event> {
        &self.event
    }

    /// What `render` makes of the event; it is asked once, so there is one form in a process.
    pub fn rendered(&self, render: impl FnOnce(&Event) -> Bytes) -> Bytes {
        self.rendered.get_or_init(|| render(&self.event)).clone()
    }
}

/// What is in the ring after a cursor.
pub(super) enum Taken {
    Event(Arc<Shown>),
    /// The ring begins after the cursor: what is between is in history.
    Behind,
    Nothing,
    Ended(RunStatus),
}

/// The ring of one run.
pub(super) struct Live {
    pub(super) run: RunId,
    ring: Mutex<Ring>,
    /// Counts the changes of the ring.
    news: watch::Sender<u64>,
    stop: CancellationToken,
}

struct Ring {
    /// Everything after this sequence, up to the last event held, is held.
    base: u64,
    held: VecDeque<(Arc<Shown>, usize)>,
    bytes: usize,
    readers: usize,
    ended: Option<RunStatus>,
}

impl Live {
    /// A ring that begins after `base`.
    pub(super) fn new(run: RunId, base: u64, stop: CancellationToken) -> Live {
        let ring = Ring { base, held: VecDeque::new(), bytes: 0, readers: 0, ended: None };
        Live { run, ring: Mutex::new(ring), news: watch::Sender::new(0), stop }
    }

    pub(super) fn base(&self) -> u64 {
        self.ring().base
    }

    pub(super) fn join(&self) -> watch::Receiver<u64> {
        self.ring().readers += 1;
        self.news.subscribe()
    }

    /// Answers how many readers are left.
    pub(super) fn leave(&self) -> usize {
        let mut ring = self.ring();
        ring.readers -= 1;
        ring.readers
    }

    /// Ends the task that fills the ring.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    pub(super) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    /// The next event after the sequence `at`.
    pub(super) fn take(&self, at: u64) -> Taken {
        let ring = self.ring();
        if ring.base > at {
            return Taken::Behind;
        }
        let next = ring.held.partition_point(|(shown, _)| shown.event.sequence <= at);
        match (ring.held.get(next), ring.ended) {
            (Some((shown, _)), _) => Taken::Event(shown.clone()),
            (None, Some(status)) => Taken::Ended(status),
            (None, None) => Taken::Nothing,
        }
    }

    /// Appends an event; its sequence is above all before it.
    pub(super) fn push(&self, event: Arc<Event>) {
        let bytes = history::weight(&event);
        let mut ring = self.ring();
        ring.bytes += bytes;
        ring.held.push_back((Arc::new(Shown::new(event)), bytes));
        while ring.held.len() > MAX_EVENTS || (ring.bytes > MAX_BYTES && ring.held.len() > 1) {
            let Some((dropped, bytes)) = ring.held.pop_front() else { break };
            ring.bytes -= bytes;
            ring.base = dropped.event.sequence;
        }
        drop(ring);
        self.news.send_modify(|count| *count += 1);
    }

    /// Nothing more will come.
    pub(super) fn end(&self, status: RunStatus) {
        self.ring().ended = Some(status);
        self.news.send_modify(|count| *count += 1);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        // No code that can panic runs under this lock.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
