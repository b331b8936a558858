//! Pages of a run's events, by range of ids.

use super::{History, HistoryError};
use crate::model::{Event, RunId, StreamId};

/// A page ends before it would be larger than this, so that a page of large chunks stays bounded.
const MAX_BYTES: usize = 8 << 20;

/// The highest sequence that SQL can count.
const LAST: u64 = i64::MAX.cast_unsigned();

/// The text is not an event id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an event id: write <milliseconds>-<sequence>, <milliseconds>, `-` for the first or `+` for the last"
)]
pub struct RangeError(pub String);

/// Ids between which events are wanted, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRange {
    pub start: StreamId,
    pub end: StreamId,
}

impl EventRange {
    const FIRST: StreamId = StreamId { millis: i64::MIN, sequence: 0 };
    const LAST: StreamId = StreamId { millis: i64::MAX, sequence: u64::MAX };
    /// Everything.
    pub const ALL: EventRange = EventRange { start: EventRange::FIRST, end: EventRange::LAST };

    /// A range as clients write it; what is absent is no bound. An id without a sequence stands for the whole
    /// millisecond.
    pub fn parse(start: Option<&str>, end: Option<&str>) -> Result<EventRange, RangeError> {
        Ok(EventRange {
            start: start.map_or(Ok(EventRange::FIRST), |text| parse(text, 0))?,
            end: end.map_or(Ok(EventRange::LAST), |text| parse(text, u64::MAX))?,
        })
    }
}

/// The id of the last event that a reader has; one without a sequence stands for the whole millisecond.
pub fn parse_cursor(text: &str) -> Result<StreamId, RangeError> {
    parse(text, u64::MAX - 1).ok().filter(|id| id.millis >= 0).ok_or_else(|| RangeError(text.to_owned()))
}

fn parse(text: &str, sequence: u64) -> Result<StreamId, RangeError> {
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let id = match text {
        "-" => Some(EventRange::FIRST),
        "+" => Some(EventRange::LAST),
        _ if !text.split('-').all(digits) => None,
        _ if text.contains('-') => text.parse().ok(),
        _ => text.parse().ok().map(|millis| StreamId { millis, sequence }),
    };
    id.ok_or_else(|| RangeError(text.to_owned()))
}

/// A page of a run's events.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    pub events: Vec<Event>,
    /// The first event after the page: where the next one starts. `None` on the last page.
    pub next: Option<StreamId>,
}

impl History {
    /// At most `limit` events (at least one) of the range, in order. Costs the same wherever in the run it is.
    pub async fn page(&self, run: RunId, range: EventRange, limit: usize) -> Result<EventPage, HistoryError> {
        let after = self.before(run, range.start).await?;
        let mut reader = self.reader(run, after);
        let mut page = EventPage { events: Vec::new(), next: None };
        let mut bytes = 0;
        while let Some(event) = reader.next().await?.filter(|event| event.id() <= range.end) {
            bytes += weight(&event);
            if page.events.len() == limit || (bytes > MAX_BYTES && !page.events.is_empty()) {
                page.next = Some(event.id());
                break;
            }
            page.events.push(event);
        }
        Ok(page)
    }

    /// The sequence after which a reader goes on that has everything up to `id`.
    pub async fn cursor(&self, run: RunId, id: StreamId) -> Result<u64, HistoryError> {
        let known = self.reader(run, 0).first_after(id.sequence.saturating_sub(1).min(LAST)).await?;
        if known.is_some_and(|event| event.id() == id) {
            return Ok(id.sequence);
        }
        self.before(run, StreamId { sequence: id.sequence.saturating_add(1), ..id }).await
    }

    /// The sequence after which the first event is that is not before `id`. Sequences and times rise together, so
    /// a good id is found at once and any other by bisection.
    async fn before(&self, run: RunId, id: StreamId) -> Result<u64, HistoryError> {
        if id <= (StreamId { millis: 0, sequence: 0 }) {
            return Ok(0);
        }
        let mut reader = self.reader(run, 0);
        let guess = id.sequence.saturating_sub(1).min(LAST);
        if id.sequence > 0 && reader.first_after(guess).await?.is_some_and(|event| event.id() == id) {
            return Ok(guess);
        }
        let (mut low, mut high) = (0, LAST);
        while low < high {
            let middle = low + (high - low) / 2;
            match reader.first_after(middle).await? {
                // The first event beyond the middle is too early, and so is all before it.
                Some(event) if event.id() < id => low = event.sequence,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// The last sequence up to `at` that an event has; 0 without any.
    pub(in crate::control) async fn last_until(&self, run: RunId, at: u64) -> Result<u64, HistoryError> {
        let mut reader = self.reader(run, 0);
        let (mut low, mut high) = (0, at.min(LAST));
        // The usual cursor is an event's.
        let mut middle = high;
        while low < high {
            match reader.first_after(middle - 1).await? {
                Some(event) if event.sequence <= high => low = event.sequence,
                _ => high = middle - 1,
            }
            middle = low + (high - low).div_ceil(2);
        }
        Ok(low)
    }
}

/// About how many bytes an event has as JSON; what can be large is text.
pub(in crate::control) fn weight(event: &Event) -> usize {
    fn of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::String(text) => text.len() + 2,
            serde_json::Value::Array(items) => items.iter().map(|item| of(item) + 1).sum::<usize>() + 2,
            serde_json::Value::Object(map) => {
                map.iter().map(|(key, value)| key.len() + of(value) + 4).sum::<usize>() + 2
            }
            _ => 8,
        }
    }
    220 + of(&event.data)
}
