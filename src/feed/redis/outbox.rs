//! What is on its way to Redis, and what may have to go there again.
//!
//! It is bounded. When it is full chunks of logs are not taken any more, and when it is overfull nothing is: readers
//! see by `prev` that something is missing, and the store has it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::{
    super::ring::{lock, weight},
    script::{Appended, newer},
};
use crate::model::{Category, Epoch, Event, RunId, StreamId, TenantId};

/// From here on no chunks are taken, in bytes.
const FULL: usize = 16 << 20;
/// From here on nothing is taken.
const OVERFULL: usize = 32 << 20;
/// What is remembered of a run after it was sent, for a Redis that loses it.
const REMEMBERED_EVENTS: usize = 1_024;
const REMEMBERED_BYTES: usize = 512 << 10;
/// What is remembered of all runs.
const REMEMBERED: usize = 32 << 20;
/// One call of the script.
const BATCH_EVENTS: usize = 256;
const BATCH_BYTES: usize = 1 << 20;
/// Calls under way at once.
const BATCHES: usize = 128;
/// Announcements that wait.
const ANNOUNCEMENTS: usize = 4_096;

const NOWHERE: StreamId = StreamId { millis: 0, sequence: 0 };

/// Events of one run that go into its stream together.
#[derive(Debug)]
pub(super) struct Batch {
    pub run: RunId,
    pub epoch: Epoch,
    /// The stream is known to have reached this id.
    pub after: StreamId,
    pub events: Vec<Arc<Event>>,
    /// The run has ended with them.
    pub is_last: bool,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    pub filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    runs: HashMap<RunId, Pending>,
    /// Runs with something to send, each once.
    due: VecDeque<RunId>,
    announcements: VecDeque<(TenantId, Arc<Event>)>,
    waiting_bytes: usize,
    remembered_bytes: usize,
}

#[derive(Debug)]
struct Pending {
    epoch: Epoch,
    waiting: VecDeque<Arc<Event>>,
    /// Sent, oldest first.
    sent: VecDeque<Arc<Event>>,
    sent_bytes: usize,
    /// Where the stream ends, as far as it is known.
    head: StreamId,
    is_due: bool,
    /// A batch is under way: the next one waits for it.
    is_sending: bool,
    is_closed: bool,
}

impl Pending {
    fn new(epoch: Epoch) -> Pending {
        Pending {
            epoch,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            sent_bytes: 0,
            head: NOWHERE,
            is_due: false,
            is_sending: false,
            is_closed: false,
        }
    }

    fn batch(&self, run: RunId) -> Batch {
        let mut bytes = 0;
        let fitting = self.waiting.iter().take(BATCH_EVENTS).take_while(|event| {
            let fits = bytes == 0 || bytes + weight(event) <= BATCH_BYTES;
            bytes += weight(event);
            fits
        });
        let events: Vec<Arc<Event>> = fitting.cloned().collect();
        let is_last = events.last().is_some_and(|event| ends_run(event));
        Batch { run, epoch: self.epoch, after: self.head, events, is_last }
    }
}

/// Whether nothing follows in the run.
pub(super) fn ends_run(event: &Event) -> bool {
    event.event.category == Category::Lifecycle && event.event.action == "run_finished"
}

impl State {
    fn make_due(&mut self, run: RunId) {
        if let Some(pending) = self.runs.get_mut(&run)
            && !pending.is_due
            && !pending.is_sending
        {
            pending.is_due = true;
            self.due.push_back(run);
        }
    }

    fn put(&mut self, run: RunId, epoch: Epoch, events: &[Arc<Event>]) {
        let pending = self.runs.entry(run).or_insert_with(|| Pending::new(epoch));
        pending.epoch = pending.epoch.max(epoch);
        pending.is_closed = false;
        for event in events {
            if self.waiting_bytes >= OVERFULL || (self.waiting_bytes >= FULL && event.is_chunk()) {
                continue;
            }
            self.waiting_bytes += weight(event);
            pending.waiting.push_back(event.clone());
        }
        self.make_due(run);
    }

    fn settle(&mut self, batch: &Batch, appended: Option<&Appended>) {
        let Some(pending) = self.runs.get_mut(&batch.run) else { return };
        pending.is_sending = false;
        match appended {
            Some(Appended::Upto(head)) => {
                pending.head = *head;
                let count = batch.events.len().min(pending.waiting.len());
                for event in pending.waiting.drain(..count) {
                    let bytes = weight(&event);
                    self.waiting_bytes -= bytes;
                    self.remembered_bytes += bytes;
                    pending.sent_bytes += bytes;
                    pending.sent.push_back(event);
                }
                let limit = if self.remembered_bytes > REMEMBERED { 0 } else { REMEMBERED_BYTES };
                while pending.sent_bytes > limit || pending.sent.len() > REMEMBERED_EVENTS {
                    let Some(event) = pending.sent.pop_front() else { break };
                    pending.sent_bytes -= weight(&event);
                    self.remembered_bytes -= weight(&event);
                }
            }
            Some(Appended::Behind(head)) => {
                pending.head = *head;
                let again: VecDeque<Arc<Event>> = newer(pending.sent.iter(), *head).cloned().collect();
                self.remembered_bytes -= pending.sent_bytes;
                self.waiting_bytes += again.iter().map(|event| weight(event)).sum::<usize>();
                (pending.sent, pending.sent_bytes) = (VecDeque::new(), 0);
                let waiting = std::mem::replace(&mut pending.waiting, again);
                pending.waiting.extend(waiting);
            }
            Some(Appended::Fenced) => pending.is_closed = true,
            None => {}
        }
        let is_fenced = appended == Some(&Appended::Fenced);
        if is_fenced || (pending.is_closed && pending.waiting.is_empty()) {
            self.forget(batch.run);
        } else if !pending.waiting.is_empty() {
            self.make_due(batch.run);
        }
    }

    fn forget(&mut self, run: RunId) {
        if let Some(gone) = self.runs.remove(&run) {
            self.waiting_bytes -= gone.waiting.iter().map(|event| weight(event)).sum::<usize>();
            self.remembered_bytes -= gone.sent_bytes;
        }
    }
}

impl Outbox {
    pub fn put(&self, run: RunId, epoch: Epoch, events: &[Arc<Event>]) {
        lock(&self.state).put(run, epoch, events);
        self.filled.notify_one();
    }

    /// Nothing more comes for the run from this process, for now.
    pub fn close(&self, run: RunId) {
        let mut state = lock(&self.state);
        let Some(pending) = state.runs.get_mut(&run) else { return };
        pending.is_closed = true;
        if pending.waiting.is_empty() && !pending.is_sending {
            state.forget(run);
        }
    }

    /// Whether this process publishes the run's events.
    pub fn owns(&self, run: RunId) -> bool {
        lock(&self.state).runs.get(&run).is_some_and(|pending| !pending.is_closed)
    }

    pub fn announce(&self, tenant: TenantId, events: &[Arc<Event>]) {
        let mut state = lock(&self.state);
        let room = ANNOUNCEMENTS.saturating_sub(state.announcements.len());
        state.announcements.extend(events.iter().take(room).map(|event| (tenant, event.clone())));
        drop(state);
        self.filled.notify_one();
    }

    pub fn take_announcements(&self) -> Vec<(TenantId, Arc<Event>)> {
        lock(&self.state).announcements.drain(..).collect()
    }

    /// What is to be sent now; each batch is to be settled.
    pub fn take(&self) -> Vec<Batch> {
        let mut state = lock(&self.state);
        let mut batches = Vec::new();
        while batches.len() < BATCHES
            && let Some(run) = state.due.pop_front()
        {
            // It may have been forgotten since.
            if let Some(pending) = state.runs.get_mut(&run) {
                pending.is_due = false;
                pending.is_sending = true;
                batches.push(pending.batch(run));
            }
        }
        batches
    }

    /// What became of a batch; `None` if that is not known.
    pub fn settle(&self, batch: &Batch, appended: Option<&Appended>) {
        lock(&self.state).settle(batch, appended);
    }

    /// Makes every run compare what it has sent with its stream.
    pub fn check_all(&self) {
        let mut state = lock(&self.state);
        let runs: Vec<RunId> = state.runs.keys().copied().collect();
        for run in runs {
            state.make_due(run);
        }
        // Announcements are for now, and what was announced meanwhile is not now.
        state.announcements.clear();
    }

    pub fn is_empty(&self) -> bool {
        let state = lock(&self.state);
        state.due.is_empty() && state.announcements.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::model::{EventKind, Micros};

    const RUN: RunId = RunId(Uuid::from_u128(7));

    fn event(sequence: u64, category: Category, action: &str, size: usize) -> Arc<Event> {
        Arc::new(Event {
            run_id: RUN,
            timestamp: Micros(1_000),
            sequence,
            prev: sequence - 1,
            source: None,
            event: EventKind { category, action: action.into() },
            data: json!({ "text": "x".repeat(size) }),
        })
    }

    fn fact(sequence: u64) -> Arc<Event> {
        event(sequence, Category::Lifecycle, "step_started", 0)
    }

    fn sequences(batch: &Batch) -> Vec<u64> {
        batch.events.iter().map(|event| event.sequence).collect()
    }

    fn sent(outbox: &Outbox) -> Vec<u64> {
        let batch = outbox.take().remove(0);
        let head = batch.events.last().map_or(batch.after, |event| event.id());
        outbox.settle(&batch, Some(&Appended::Upto(head)));
        sequences(&batch)
    }

    #[test]
    fn one_batch_of_a_run_is_under_way_and_a_lost_answer_sends_it_again() {
        let outbox = Outbox::default();
        outbox.put(RUN, Epoch(1), &[fact(1), fact(2)]);
        let batch = outbox.take().remove(0);
        outbox.put(RUN, Epoch(1), &[fact(3)]);
        assert!(outbox.take().is_empty());
        outbox.settle(&batch, None);
        assert_eq!(sent(&outbox), [1, 2, 3]);
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn what_a_stream_has_lost_is_sent_again() {
        let outbox = Outbox::default();
        outbox.put(RUN, Epoch(1), &[fact(1), fact(2), fact(3)]);
        sent(&outbox);
        outbox.put(RUN, Epoch(1), &[fact(4)]);
        let batch = outbox.take().remove(0);
        assert_eq!(batch.after, fact(3).id());
        outbox.settle(&batch, Some(&Appended::Behind(fact(1).id())));
        assert_eq!(sent(&outbox), [2, 3, 4]);
        outbox.check_all();
        assert_eq!(sent(&outbox), [0; 0], "an empty batch compares");
    }

    #[test]
    fn chunks_are_left_out_first_and_a_full_box_frees_itself() {
        let outbox = Outbox::default();
        let chunks: Vec<_> = (1..=400).map(|n| event(n, Category::System, "log", 64 << 10)).collect();
        outbox.put(RUN, Epoch(1), &chunks);
        outbox.put(RUN, Epoch(1), &[fact(401)]);
        let mut all = Vec::new();
        while !outbox.is_empty() {
            all.extend(sent(&outbox));
        }
        assert!(all.len() < 300, "{}", all.len());
        assert_eq!(all.last(), Some(&401));
        outbox.close(RUN);
        let state = lock(&outbox.state);
        assert_eq!((state.waiting_bytes, state.remembered_bytes, state.runs.len()), (0, 0, 0));
    }

    #[test]
    fn a_closed_run_goes_when_its_last_event_has_gone() {
        let outbox = Outbox::default();
        outbox.put(RUN, Epoch(1), &[event(1, Category::Lifecycle, "run_finished", 0)]);
        outbox.close(RUN);
        assert!(!outbox.owns(RUN));
        let batch = outbox.take().remove(0);
        assert!(batch.is_last);
        outbox.settle(&batch, Some(&Appended::Upto(fact(1).id())));
        assert!(lock(&outbox.state).runs.is_empty());
    }

    #[test]
    fn a_fenced_writer_is_forgotten() {
        let outbox = Outbox::default();
        outbox.put(RUN, Epoch(1), &[fact(1)]);
        let batch = outbox.take().remove(0);
        outbox.settle(&batch, Some(&Appended::Fenced));
        let state = lock(&outbox.state);
        assert_eq!((state.runs.len(), state.waiting_bytes), (0, 0));
    }
}
