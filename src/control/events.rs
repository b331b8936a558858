//! The one FIFO of a run's events: sequences in order, and nothing is shown before what precedes it is
//! durable.

use std::{collections::VecDeque, sync::Arc};

use serde_json::{Value, json};

use super::{World, history::weight};

use crate::{
    control::segments::{OpenRun, Segments},
    engine,
    model::{Attempt, Category, Epoch, Event, EventKind, Micros, RunId, StepIx, TenantId},
    ports::{Feed, Note, RunRow, Spool, StoredEvent},
    runbook::Plan,
};

/// Sequences that an epoch may use for chunks beyond the committed head; the next epoch starts after
/// them, so that a sequence is never used twice.
pub(super) const BLOCK: u64 = 1 << 20;

/// Chunks held back behind an uncommitted event, in bytes, before no more are taken.
const HELD_BACK: usize = 4 << 20;

/// Assigns sequences and publishes in order.
pub(super) struct Events {
    run: RunId,
    tenant: TenantId,
    epoch: Epoch,
    next: u64,
    prev: u64,
    stamp: Micros,
    /// The last sequence known to be committed.
    committed: u64,
    waiting: VecDeque<Arc<Event>>,
    waiting_bytes: usize,
    feed: Arc<dyn Feed>,
    spool: Arc<dyn Spool>,
    segments: Segments,
    /// Since the first chunk, where chunks are sent to other machines.
    sending: Option<OpenRun>,
}

impl Events {
    /// Goes on after what earlier epochs have committed and may have published.
    pub(super) fn new(row: &RunRow, world: &World) -> Events {
        let head = row.sequence_head;
        let next = if head == 0 && row.epoch.0 <= 1 { 1 } else { head + BLOCK };
        Events {
            run: row.id,
            tenant: row.tenant,
            epoch: row.epoch,
            next,
            prev: head,
            stamp: row.stamp_head,
            committed: head,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            feed: world.feed.clone(),
            spool: world.spool.clone(),
            segments: world.segments.clone(),
            sending: None,
        }
    }

    /// What a dead owner said between these sequences may be lost; readers are told.
    pub(super) fn dropped(&mut self, (from, to): (u64, u64), now: Micros) -> StoredEvent {
        let kind = EventKind { category: Category::System, action: "dropped".to_owned() };
        self.durable(kind, json!({"from": from, "to": to, "reason": "worker_lost"}), now)
    }

    /// Puts a decided fact into the order; it is shown when [`Events::committed`] has passed it.
    pub(super) fn fact(&mut self, plan: &Plan, event: engine::Event, now: Micros) -> StoredEvent {
        let (kind, data) = event.into_stored(plan);
        self.durable(kind, data, now)
    }

    /// Puts a note of an attempt into the order; it is shown when [`Events::committed`] has passed it.
    pub(super) fn note(&mut self, plan: &Plan, from: (StepIx, Attempt), note: Note, now: Micros) -> StoredEvent {
        let (kind, mut data) = note.into_parts();
        data.insert("step".to_owned(), Value::from(&*plan.step(from.0).id));
        data.insert("attempt".to_owned(), Value::from(from.1));
        self.durable(kind, Value::Object(data), now)
    }

    fn durable(&mut self, kind: EventKind, data: Value, now: Micros) -> StoredEvent {
        let event = self.assign(kind, data, now);
        let stored = StoredEvent {
            sequence: event.sequence,
            prev: event.prev,
            at: event.timestamp,
            kind: event.event.clone(),
            data: event.data.clone(),
        };
        self.waiting.push_back(Arc::new(event));
        stored
    }

    /// Puts a chunk into the order; it is shown at once unless an uncommitted fact precedes it.
    pub(super) fn chunk(&mut self, data: Value, size: usize, now: Micros) {
        let kind = EventKind { category: Category::System, action: "log".to_owned() };
        let event = Arc::new(self.assign(kind, data, now));
        self.waiting.push_back(event);
        self.waiting_bytes += size;
        self.flush();
    }

    fn assign(&mut self, event: EventKind, data: Value, now: Micros) -> Event {
        self.stamp = self.stamp.max(now);
        let sequence = self.next;
        self.next += 1;
        let prev = std::mem::replace(&mut self.prev, sequence);
        Event { run_id: self.run, timestamp: self.stamp, sequence, prev, source: None, event, data }
    }

    /// Everything up to `sequence` is committed.
    pub(super) fn committed(&mut self, sequence: u64) {
        self.committed = self.committed.max(sequence);
        self.flush();
    }

    fn flush(&mut self) {
        let committed = self.committed;
        let ready = self.waiting.iter().take_while(|e| e.is_chunk() || e.sequence <= committed).count();
        if ready == 0 {
            return;
        }
        let batch: Vec<Arc<Event>> = self.waiting.drain(..ready).collect();
        if self.waiting.is_empty() {
            self.waiting_bytes = 0;
        }
        let chunks: Vec<Arc<Event>> = batch.iter().filter(|e| e.is_chunk()).cloned().collect();
        if !chunks.is_empty() {
            self.keep(&chunks);
        }
        self.feed.publish(self.run, self.epoch, &batch);
        self.announce(&batch);
    }

    fn keep(&mut self, chunks: &[Arc<Event>]) {
        if self.sending.is_none() {
            self.sending = self.segments.uploads().map(|uploads| uploads.open(self.run));
        }
        match self.spool.append(self.run, chunks) {
            Ok(()) => {
                if let Some(sending) = &self.sending {
                    sending.appended(chunks.iter().map(|chunk| weight(chunk)).sum());
                }
            }
            Err(error) => {
                tracing::error!(run = %self.run, %error, chunks = chunks.len(), "log chunks could not be kept");
            }
        }
    }

    /// What the batch says of the run as a whole is for readers of all runs too.
    fn announce(&self, batch: &[Arc<Event>]) {
        if self.feed.is_watched(self.tenant) {
            let whole: Vec<Arc<Event>> = batch.iter().filter(|event| event.is_about_run()).cloned().collect();
            self.feed.announce(self.tenant, &whole);
        }
    }

    /// The last assigned sequence: what the next commit stores as the head.
    pub(super) fn head(&self) -> u64 {
        self.prev
    }

    pub(super) fn stamp(&self) -> Micros {
        self.stamp
    }

    /// Whether the chunks since the last commit have used up so much of the epoch's block that the head
    /// must be stored before more are taken.
    pub(super) fn needs_commit(&self) -> bool {
        self.prev.saturating_sub(self.committed) >= BLOCK / 2
    }

    /// Whether there is room for more chunks.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes < HELD_BACK && self.prev.saturating_sub(self.committed) < BLOCK - 1
    }

    /// No more events will come.
    pub(super) fn close(&mut self) {
        self.spool.close(self.run);
        self.sending = None;
        self.feed.close(self.run);
    }
}
