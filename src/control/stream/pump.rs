//! What fills the ring of a run: the feed of this process, history where the feed has a gap, and history again
//! when another process may have written.

use std::{sync::Arc, time::Duration};

use super::{Shared, ring::Live};
use crate::{
    control::{HistoryError, history::dropped_before},
    model::{Event, RunStatus},
    ports::Subscription,
};

/// How often the store is asked whether another process has written.
const LOOK: Duration = Duration::from_millis(250);

/// When to look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// What the store said last; see [`crate::ports::Store::change_mark`].
    pub(super) mark: i64,
    turn: u64,
}

/// Looks at the store for all runs that are watched, until the end of the streams.
pub(super) async fn look(shared: Arc<Shared>) {
    let store = shared.history.store().clone();
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shared.stop.run_until_cancelled(every.tick()).await.is_some() {
        if shared.live().is_empty() && shared.changes.receiver_count() == 0 {
            continue;
        }
        match store.change_mark().await {
            Ok(mark) => {
                let look = Look { mark, turn: shared.looks.borrow().turn + 1 };
                shared.looks.send_replace(look);
                shared.changes.send_replace(look);
            }
            Err(error) => tracing::warn!(%error, "changes of other processes cannot be seen; looking again"),
        }
    }
}

/// Fills a ring until the run has ended or nobody reads it.
pub(super) async fn pump(shared: Arc<Shared>, live: Arc<Live>) {
    let stopped = live.stopped().clone();
    let status = stopped.run_until_cancelled(Pump::new(shared.clone(), live.clone()).run()).await;
    let Some(status) = status else { return };
    let mut all = shared.live();
    // Whoever comes now reads the run from history.
    if all.get(&live.run).is_some_and(|found| Arc::ptr_eq(found, &live)) {
        all.remove(&live.run);
    }
    drop(all);
    live.end(status);
}

struct Pump {
    shared: Arc<Shared>,
    live: Arc<Live>,
    /// The sequence of the last event in the ring.
    at: u64,
    /// How many bytes of chunks there were when history was read last.
    chunk_bytes: u64,
    mark: i64,
}

impl Pump {
    fn new(shared: Arc<Shared>, live: Arc<Live>) -> Pump {
        let at = live.base();
        Pump { shared, live, at, chunk_bytes: 0, mark: 0 }
    }

    /// Answers how the run ended.
    async fn run(mut self) -> RunStatus {
        loop {
            // First the feed, then history: so nothing falls between them.
            let mut feed = self.shared.feed.subscribe(self.live.run);
            match self.follow(&mut *feed).await {
                Ok(Some(status)) => return status,
                // An owner has given the run up, or ended it: history knows.
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(run = %self.live.run, %error, "a run cannot be followed; trying again");
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }

    /// Follows until the feed ends; `Some` when the run has ended.
    async fn follow(&mut self, feed: &mut dyn Subscription) -> Result<Option<RunStatus>, HistoryError> {
        let mut looks = self.shared.looks.subscribe();
        self.mark = looks.borrow_and_update().mark;
        if let Some(status) = self.read_history().await? {
            return Ok(Some(status));
        }
        loop {
            tokio::select! {
                biased;
                event = feed.next() => match event {
                    Some(event) => self.take(event).await?,
                    None => return Ok(None),
                },
                _ = looks.changed() => {
                    let look = *looks.borrow_and_update();
                    if self.has_changed(look)
                        && let Some(status) = self.read_history().await?
                    {
                        return Ok(Some(status));
                    }
                }
            }
        }
    }

    fn has_changed(&mut self, look: Look) -> bool {
        let is_marked = std::mem::replace(&mut self.mark, look.mark) != look.mark;
        is_marked || self.shared.history.chunk_bytes(self.live.run) != self.chunk_bytes
    }

    /// Takes in what history has after the ring; `Some` when the run has ended and that was all.
    async fn read_history(&mut self) -> Result<Option<RunStatus>, HistoryError> {
        let (history, run) = (self.shared.history.clone(), self.live.run);
        // Before the events: if it had ended by then, they are all there.
        let row = history.row(run).await?;
        self.chunk_bytes = history.chunk_bytes(run);
        self.read_until(u64::MAX).await?;
        Ok(row.status.is_ended().then_some(row.status))
    }

    async fn take(&mut self, event: Arc<Event>) -> Result<(), HistoryError> {
        if self.misses_before(&event) {
            // We were too slow, or have come late. First what another machine has said and not stored yet.
            for recalled in self.shared.feed.recall(self.live.run, self.at, event.id()).await {
                self.link(recalled).await?;
            }
        }
        self.link(event).await
    }

    fn misses_before(&self, event: &Event) -> bool {
        event.sequence > self.at && event.prev > self.at
    }

    /// Takes in an event after what history has before it.
    async fn link(&mut self, event: Arc<Event>) -> Result<(), HistoryError> {
        if self.misses_before(&event) {
            self.read_until(event.sequence).await?;
        }
        if self.misses_before(&event) && self.shared.history.reads_segments() {
            // Whoever reads the run again later may find it; whoever reads now is told.
            self.push(Arc::new(dropped_before(&event, self.at)));
        }
        self.push(event);
        Ok(())
    }

    /// Takes in the events of history before `end`.
    async fn read_until(&mut self, end: u64) -> Result<(), HistoryError> {
        let mut reader = self.shared.history.reader(self.live.run, self.at);
        while let Some(event) = reader.next().await?.filter(|event| event.sequence < end) {
            self.push(Arc::new(event));
        }
        Ok(())
    }

    fn push(&mut self, event: Arc<Event>) {
        if event.sequence > self.at {
            self.at = event.sequence;
            self.live.push(event);
        }
    }
}
