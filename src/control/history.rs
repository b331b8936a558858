//! What has happened in a run: durable events from the store and chunks from the spool and from segments, merged by
//! sequence.
//!
//! A chunk is kept only after the facts before it are committed, and a fact may be committed a moment before
//! the chunks that precede it are kept. `prev` tells: an event whose `prev` was not given is read again, for a
//! short while if it is young, and only then taken as what it is: the sign that something was lost.

mod page;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

pub(super) use page::weight;
pub use page::{EventPage, EventRange, RangeError, parse_cursor};

use serde_json::json;

use super::{
    archive::{ArchiveError, ArchiveReader, Archives},
    segments::{SegmentError, Segments},
};
use crate::{
    model::{Category, Event, EventKind, Micros, RunId, TenantId},
    ports::{Clock, Feed, RunRow, Spool, Store, StoreError, StoredEvent},
};

/// Events read at once from either place, at first and at most: it grows while they are small.
const FIRST_PAGE: usize = 16;
const MAX_PAGE: usize = 256;

/// Of what was read at once only this many bytes are held, or one event: a reader that waits costs little.
const HELD: usize = 24 << 10;

/// Of chunks that the feed recalls, about so many bytes are held.
const RECALLED: usize = 4 << 20;

/// What comes before an event of this age has been written, or never will be.
const YOUNG: Duration = Duration::from_secs(5);

/// The same for chunks that another machine sends every few seconds.
const LATE: Duration = Duration::from_secs(9);

/// How long to wait before each repetition where something is missing before a young event.
const PATIENCE_MILLIS: [u64; 11] = [0, 1, 2, 5, 10, 30, 80, 150, 300, 500, 1_000];

/// Why the events of a run cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("no run {0}")]
    NotFound(RunId),
    /// There may have been such a run; it would be gone by now.
    #[error("run {0} was so long ago that it would have been removed")]
    Expired(RunId),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(ArchiveError),
    #[error("the logs of run {run} cannot be read: {error}")]
    Spool { run: RunId, error: io::Error },
    #[error("the logs of run {run} cannot be read: {error}")]
    Segments { run: RunId, error: SegmentError },
}

/// Reads the events of one tenant's runs. Cheap to clone.
#[derive(Clone)]
pub struct History {
    tenant: TenantId,
    store: Arc<dyn Store>,
    spool: Arc<dyn Spool>,
    clock: Arc<dyn Clock>,
    archives: Archives,
    segments: Segments,
    /// What remembers chunks of other machines that are in no segment yet.
    feed: Option<Arc<dyn Feed>>,
    /// How long ended runs are kept.
    kept: Duration,
}

/// How long ended runs are kept where nothing else is said.
pub const KEPT: Duration = Duration::from_hours(90 * 24);

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

impl History {
    pub fn new(tenant: TenantId, store: Arc<dyn Store>, spool: Arc<dyn Spool>, clock: Arc<dyn Clock>) -> History {
        let (archives, segments) = <(Archives, Segments)>::default();
        History { tenant, store, spool, clock, archives, segments, feed: None, kept: KEPT }
    }

    /// Reads the events of archived runs from their archives.
    #[must_use]
    pub fn with_archives(self, archives: Archives) -> History {
        History { archives, ..self }
    }

    /// Reads chunks that other machines have sent, too.
    #[must_use]
    pub fn with_segments(self, segments: Segments) -> History {
        History { segments, ..self }
    }

    /// Asks the feed for chunks that have not been stored yet.
    #[must_use]
    pub fn with_feed(self, feed: Arc<dyn Feed>) -> History {
        History { feed: Some(feed), ..self }
    }

    /// Reads only rows and chunks.
    pub(super) fn without_archives(self) -> History {
        self.with_archives(Archives::default())
    }

    /// With the time for which ended runs are kept: an unknown run that is older has expired.
    #[must_use]
    pub fn keeping(self, kept: Duration) -> History {
        History { kept, ..self }
    }

    /// The run as it is stored; one of another tenant does not exist.
    pub async fn row(&self, run: RunId) -> Result<RunRow, HistoryError> {
        let row = self.store.run(run).await?.filter(|row| row.tenant == self.tenant);
        row.ok_or_else(|| if self.has_expired(run) { HistoryError::Expired(run) } else { HistoryError::NotFound(run) })
    }

    /// Whether a run of this id, which says when it was created, would be gone by now.
    fn has_expired(&self, run: RunId) -> bool {
        let created = run.0.get_timestamp().map(|at| at.to_unix());
        created
            .and_then(|(seconds, _)| i64::try_from(seconds).ok())
            .is_some_and(|seconds| self.clock.now().since(Micros(seconds.saturating_mul(1_000_000))) > self.kept)
    }

    /// Reads the events with a sequence above `after`.
    pub fn reader(&self, run: RunId, after: u64) -> HistoryReader {
        HistoryReader {
            history: self.clone(),
            run,
            at: after,
            only_chunks: false,
            is_patient: true,
            dropped: false,
            archive: Archive::Unknown,
            has_looked: false,
            durable: Source::default(),
            chunks: Source::default(),
            missing: None,
        }
    }

    /// Reads what the steps wrote, without the durable events.
    pub fn chunks(&self, run: RunId, after: u64) -> HistoryReader {
        HistoryReader { only_chunks: true, ..self.reader(run, after) }
    }

    pub(super) fn reads_segments(&self) -> bool {
        self.segments.is_on()
    }

    pub(super) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    async fn read_durable(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<Event>, HistoryError> {
        let rows = self.store.events(run, after, limit).await?;
        Ok(rows.into_iter().map(|row| event(run, row)).collect())
    }

    async fn read_chunks(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<Event>, HistoryError> {
        let spool = self.spool.clone();
        let read = tokio::task::spawn_blocking(move || spool.read(run, after, limit)).await;
        let here = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        let here = here.map_err(|error| HistoryError::Spool { run, error })?;
        if !self.segments.is_on() {
            return Ok(here);
        }
        // After the spool: what has left it meanwhile is in a segment by now.
        let sent = self.segments.read(run, after, limit).await;
        let sent = sent.map_err(|error| HistoryError::Segments { run, error })?;
        Ok(merge(here, sent, limit))
    }

    /// The bytes of the run's kept chunks, to notice new ones cheaply.
    pub(super) fn chunk_bytes(&self, run: RunId) -> u64 {
        self.spool.size(run).unwrap_or(0)
    }
}

/// One of the two places.
struct Source {
    page: VecDeque<Event>,
    /// There is nothing beyond the page.
    done: bool,
    /// How many events to read next.
    ask: usize,
}

impl Default for Source {
    fn default() -> Source {
        Source { page: VecDeque::new(), done: false, ask: FIRST_PAGE }
    }
}

impl Source {
    fn fill(&mut self, mut events: Vec<Event>) {
        self.done = events.len() < self.ask;
        let mut bytes = 0;
        let fits = |event: &Event| {
            bytes += weight(event);
            bytes <= HELD
        };
        let held = events.iter().map(fits).take_while(|fits| *fits).count().max(1);
        if held < events.len() {
            // What was read in vain this time is not asked for the next time.
            self.ask = held;
            self.done = false;
            events.truncate(held);
        } else {
            self.ask = (self.ask * 2).min(MAX_PAGE);
        }
        self.page = events.into();
    }

    /// Takes events as they come from an archive: no page that is asked for, and none is the end.
    fn fill_last(&mut self, events: Vec<Event>) {
        let is_last = events.is_empty();
        self.fill(events);
        self.done = is_last;
    }

    fn start_over(&mut self) {
        self.page.clear();
        self.done = false;
    }

    fn wants_more(&self) -> bool {
        self.page.is_empty() && !self.done
    }
}

/// Whether the events are in an archive.
enum Archive {
    /// Not, as far as was looked.
    Unknown,
    Open(Box<ArchiveReader>),
    /// They should be, but it cannot be read: rows are, as long as there are any.
    Broken {
        error: Option<ArchiveError>,
        last_sequence: u64,
    },
}

/// Reads one run's events in order, page by page, so that memory stays bounded.
#[expect(clippy::struct_excessive_bools, reason = "how it reads, and what it has met: independent of each other")]
pub struct HistoryReader {
    history: History,
    run: RunId,
    /// The sequence of the last event given.
    at: u64,
    only_chunks: bool,
    /// Whether it waits for what is late.
    is_patient: bool,
    /// Whether something was missing.
    dropped: bool,
    archive: Archive,
    /// Whether an archive was looked for before the first read.
    has_looked: bool,
    durable: Source,
    chunks: Source,
    /// The event before which something is missing, and how often it was read again.
    missing: Option<(u64, usize)>,
}

impl std::fmt::Debug for HistoryReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryReader").field("run", &self.run).field("at", &self.at).finish_non_exhaustive()
    }
}

impl HistoryReader {
    /// Goes to another place in the run, and answers the first event there, whatever is missing before it.
    async fn first_after(&mut self, after: u64) -> Result<Option<Event>, HistoryError> {
        self.at = after;
        self.start_over();
        (self.durable.ask, self.chunks.ask) = (1, 1);
        self.fill().await?;
        Ok(self.take())
    }

    /// Takes what is late for lost, without waiting.
    #[must_use]
    pub(super) fn impatient(self) -> HistoryReader {
        HistoryReader { is_patient: false, ..self }
    }

    /// Whether something was missing so far.
    pub(super) fn has_dropped(&self) -> bool {
        self.dropped
    }

    /// The sequence of the last event given.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next event; `None` after the last one that is there now. Asked again it looks again.
    pub async fn next(&mut self) -> Result<Option<Event>, HistoryError> {
        loop {
            self.fill().await?;
            let Some(event) = self.first() else {
                self.start_over();
                // The run may have been archived meanwhile, and its chunks and rows deleted.
                if self.finds_archive().await? {
                    continue;
                }
                return self.end();
            };
            let is_certain = self.only_chunks || matches!(self.archive, Archive::Open(_));
            let (sequence, is_missing) = (event.sequence, !is_certain && event.prev > self.at);
            if is_missing && self.recalls().await {
                continue;
            }
            if is_missing && (self.finds_archive().await? || self.reads_again().await) {
                self.start_over();
                continue;
            }
            self.missing = None;
            if is_missing {
                self.dropped = true;
                if self.history.segments.is_on() {
                    return Ok(self.told_dropped());
                }
            }
            self.at = sequence;
            let event = self.take();
            if self.only_chunks && event.as_ref().is_some_and(|event| !event.is_chunk()) {
                continue;
            }
            return Ok(event);
        }
    }

    /// What was lost before the first event in hand, as an event: it has the place of the last one that is missing.
    fn told_dropped(&mut self) -> Option<Event> {
        let told = dropped_before(self.first()?, self.at);
        self.at = told.sequence;
        Some(told)
    }

    /// Whether the feed still knows chunks that are missing before the first event: they are next then.
    async fn recalls(&mut self) -> bool {
        let Some(feed) = self.history.feed.clone() else { return false };
        let Some(before) = self.first().map(Event::id) else { return false };
        if self.chunks.page.iter().map(weight).sum::<usize>() > RECALLED {
            return false;
        }
        let recalled = feed.recall(self.run, self.at, before).await;
        let chunks: Vec<&Arc<Event>> = recalled.iter().filter(|event| event.is_chunk()).collect();
        for chunk in chunks.iter().rev() {
            self.chunks.page.push_front(Event::clone(chunk));
        }
        !chunks.is_empty()
    }

    /// Goes over to the run's archive, if there is one now.
    async fn finds_archive(&mut self) -> Result<bool, HistoryError> {
        if !matches!(self.archive, Archive::Unknown) {
            return Ok(false);
        }
        let Some(row) = self.history.archives.find(self.run).await? else { return Ok(false) };
        match self.history.archives.open(&row).await {
            Ok(reader) => self.archive = Archive::Open(Box::new(reader)),
            Err(error) => self.breaks(error, row.last_sequence),
        }
        Ok(true)
    }

    fn breaks(&mut self, error: ArchiveError, last_sequence: u64) {
        tracing::error!(run = %self.run, %error, "an archive cannot be read; what is in the store is shown");
        self.archive = Archive::Broken { error: Some(error), last_sequence };
    }

    /// Nothing more: which is a fault where an archive has more and cannot be read.
    fn end(&mut self) -> Result<Option<Event>, HistoryError> {
        match &mut self.archive {
            Archive::Broken { error, last_sequence } if self.at < *last_sequence => {
                error.take().map_or(Ok(None), |error| Err(HistoryError::Archive(error)))
            }
            _ => Ok(None),
        }
    }

    /// What is in hand goes; the next event is read anew after the last one given.
    fn start_over(&mut self) {
        self.durable.start_over();
        self.chunks.start_over();
    }

    /// Chunks before facts: then every fact before the last chunk of the page is there to be read.
    async fn fill(&mut self) -> Result<(), HistoryError> {
        if !std::mem::replace(&mut self.has_looked, true) {
            self.finds_archive().await?;
        }
        if let Archive::Open(archive) = &self.archive {
            if self.durable.wants_more() {
                match archive.read(self.at).await {
                    Ok(events) => self.durable.fill_last(events),
                    Err(error) => {
                        let last_sequence = archive.last_sequence();
                        self.breaks(error, last_sequence);
                        return Box::pin(self.fill()).await;
                    }
                }
            }
            return Ok(());
        }
        if self.chunks.wants_more() {
            let chunks = self.history.read_chunks(self.run, self.at, self.chunks.ask).await?;
            self.chunks.fill(chunks);
            self.durable.done = false;
        }
        if self.durable.wants_more() && !self.only_chunks {
            let events = self.history.read_durable(self.run, self.at, self.durable.ask).await?;
            self.durable.fill(events);
        }
        Ok(())
    }

    fn chunk_first(&self) -> bool {
        match (self.durable.page.front(), self.chunks.page.front()) {
            (Some(durable), Some(chunk)) => chunk.sequence < durable.sequence,
            (durable, _) => durable.is_none(),
        }
    }

    fn first(&self) -> Option<&Event> {
        if self.chunk_first() { self.chunks.page.front() } else { self.durable.page.front() }
    }

    fn take(&mut self) -> Option<Event> {
        if self.chunk_first() { self.chunks.page.pop_front() } else { self.durable.page.pop_front() }
    }

    /// Something is missing before the first event: whether to read again, after a wait.
    async fn reads_again(&mut self) -> bool {
        let Some((sequence, at)) = self.first().map(|event| (event.sequence, event.timestamp)) else { return false };
        let tries = self.missing.filter(|(of, _)| *of == sequence).map_or(0, |(_, tries)| tries);
        let sends = self.history.segments.is_on();
        let is_young = self.is_patient && self.history.clock.now().since(at) < if sends { LATE } else { YOUNG };
        let wait = PATIENCE_MILLIS.get(tries).copied().or(sends.then_some(500));
        let Some(wait) = wait.filter(|_| is_young || tries == 0) else { return false };
        self.missing = Some((sequence, tries + 1));
        if wait > 0 {
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
        true
    }
}

/// What is missing between the sequence `at` and an event, as an event: it has the place of the last one.
pub(super) fn dropped_before(next: &Event, at: u64) -> Event {
    Event {
        run_id: next.run_id,
        timestamp: next.timestamp,
        sequence: next.prev,
        prev: at,
        source: None,
        event: EventKind { category: Category::System, action: "dropped".to_owned() },
        data: json!({"from": at + 1, "to": next.prev}),
    }
}

/// What two places have of the same chunks: those up to where one of them may have more.
fn merge(one: Vec<Event>, other: Vec<Event>, limit: usize) -> Vec<Event> {
    let end = |events: &[Event]| events.last().filter(|_| events.len() >= limit).map(|event| event.sequence);
    let end = [end(&one), end(&other)].into_iter().flatten().min().unwrap_or(u64::MAX);
    let mut events = one;
    events.extend(other);
    events.retain(|event| event.sequence <= end);
    events.sort_by_key(|event| event.sequence);
    events.dedup_by_key(|event| event.sequence);
    events.truncate(limit);
    events
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
