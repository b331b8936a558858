//! What has happened in a run: durable events from the store and chunks from the spool, merged by sequence.

use std::{collections::VecDeque, sync::Arc};

use super::fault::{Fault, io_fault};
use crate::{
    model::{Event, RunId},
    ports::{Spool, Store, StoredEvent},
};

/// Events read at once from either place. A chunk has up to 64 KiB.
const PAGE: usize = 200;

/// Reads a run's events in order, page by page, so that memory stays bounded.
pub struct History {
    store: Arc<dyn Store>,
    spool: Arc<dyn Spool>,
    run: RunId,
    durable: Source<Event>,
    chunks: Source<Event>,
}

/// One of the two places.
struct Source<T> {
    after: u64,
    page: VecDeque<T>,
    /// There is nothing beyond the page.
    done: bool,
}

impl<T> Source<T> {
    fn new(after: u64) -> Source<T> {
        Source { after, page: VecDeque::new(), done: false }
    }
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("run", &self.run).finish_non_exhaustive()
    }
}

impl History {
    /// The events with a sequence above `after`.
    pub fn new(store: Arc<dyn Store>, spool: Arc<dyn Spool>, run: RunId, after: u64) -> History {
        History { store, spool, run, durable: Source::new(after), chunks: Source::new(after) }
    }

    /// What the steps wrote, without the durable events.
    pub fn chunks(store: Arc<dyn Store>, spool: Arc<dyn Spool>, run: RunId) -> History {
        let mut history = History::new(store, spool, run, 0);
        history.durable.done = true;
        history
    }

    /// The next event; `None` after the last one that is there now.
    pub async fn next(&mut self) -> Result<Option<Event>, Fault> {
        self.fill_durable().await?;
        self.fill_chunks()?;
        let chunk_first = match (self.durable.page.front(), self.chunks.page.front()) {
            (Some(durable), Some(chunk)) => chunk.sequence < durable.sequence,
            (None, _) => true,
            (Some(_), None) => false,
        };
        Ok(if chunk_first { self.chunks.page.pop_front() } else { self.durable.page.pop_front() })
    }

    async fn fill_durable(&mut self) -> Result<(), Fault> {
        let source = &mut self.durable;
        if !source.page.is_empty() || source.done {
            return Ok(());
        }
        let rows = self.store.events(self.run, source.after, PAGE).await?;
        source.done = rows.len() < PAGE;
        source.after = rows.last().map_or(source.after, |row| row.sequence);
        let run = self.run;
        source.page = rows.into_iter().map(|row| event(run, row)).collect();
        Ok(())
    }

    fn fill_chunks(&mut self) -> Result<(), Fault> {
        let source = &mut self.chunks;
        if !source.page.is_empty() || source.done {
            return Ok(());
        }
        let chunks = self
            .spool
            .read(self.run, source.after, PAGE)
            .map_err(|error| io_fault("SPOOL_UNREADABLE", "the logs of the run", &error))?;
        source.done = chunks.len() < PAGE;
        source.after = chunks.last().map_or(source.after, |chunk| chunk.sequence);
        source.page = chunks.into();
        Ok(())
    }
}

/// The V2 event that a stored one is.
pub fn event(run: RunId, row: StoredEvent) -> Event {
    Event {
        run_id: run,
        timestamp: row.at,
        sequence: row.sequence,
        prev: row.prev,
        source: None,
        event: row.kind,
        data: row.data,
    }
}
