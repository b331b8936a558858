//! A ring of events that several readers share.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::Notify;

use crate::model::Event;

/// How much a ring keeps for readers that are behind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub events: usize,
    pub bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    pub state: Mutex<RingState>,
    pub wake: Notify,
}

#[derive(Debug, Default)]
pub(super) struct RingState {
    /// The position of the first event still held.
    first: u64,
    held: VecDeque<Held>,
    bytes: usize,
    pub readers: usize,
    pub closed: bool,
}

#[derive(Debug)]
struct Held {
    event: Arc<Event>,
    bytes: usize,
    /// Readers that have not taken it yet.
    unread: usize,
}

impl RingState {
    /// The position of the next event to come.
    pub fn end(&self) -> u64 {
        self.first + self.held.len() as u64
    }

    pub fn push(&mut self, events: &[Arc<Event>], bounds: Bounds) {
        for event in events {
            let bytes = weight(event);
            self.bytes += bytes;
            self.held.push_back(Held { event: event.clone(), bytes, unread: self.readers });
        }
        while self.held.len() > bounds.events || self.bytes > bounds.bytes {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(held) = self.held.pop_front() {
            self.bytes -= held.bytes;
            self.first += 1;
        }
    }

    /// The event at `next` or the oldest one after it that is still held; moves `next` behind it.
    pub fn take(&mut self, next: &mut u64) -> Option<Arc<Event>> {
        *next = (*next).max(self.first);
        let held = self.held.get_mut(usize::try_from(*next - self.first).ok()?)?;
        held.unread -= 1;
        let event = held.event.clone();
        *next += 1;
        self.drop_read();
        Some(event)
    }

    /// How many events after `next` are gone before they were taken; moves `next` behind them.
    pub fn missed(&self, next: &mut u64) -> u64 {
        let missed = self.first.saturating_sub(*next);
        *next += missed;
        missed
    }

    /// How much is held: events and bytes.
    #[cfg(test)]
    pub fn held(&self) -> (usize, usize) {
        (self.held.len(), self.bytes)
    }

    pub fn leave(&mut self, next: u64) {
        self.readers -= 1;
        let behind = usize::try_from(next.saturating_sub(self.first)).unwrap_or(usize::MAX);
        for held in self.held.iter_mut().skip(behind) {
            held.unread -= 1;
        }
        self.drop_read();
    }

    fn drop_read(&mut self) {
        while self.held.front().is_some_and(|held| held.unread == 0) {
            self.drop_first();
        }
    }
}

/// About how much memory an event holds. The texts of chunks are what counts, and they are near the top.
pub(super) fn weight(event: &Event) -> usize {
    fn strings(value: &Value, depth: u32) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(items) if depth > 0 => items.iter().map(|item| strings(item, depth - 1) + 32).sum(),
            Value::Object(map) if depth > 0 => {
                map.iter().map(|(key, value)| key.len() + strings(value, depth - 1) + 64).sum()
            }
            _ => 0,
        }
    }
    256 + strings(&event.data, 3)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks, so a poisoned one is still consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
