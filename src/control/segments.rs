//! Chunks beyond the machine that wrote them: what steps say goes to the artifact store in segments, so that every
//! machine can read it, and the archive of the run too.
//!
//! [`Uploads`] sends what a worker's spool has, [`Segments`] reads what was sent. A file holds the segments of many
//! runs, because a file and an index row for each short run would cost more than the run. Where one machine is all
//! there is, segments are off and cost nothing.

mod format;
mod uploads;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use uploads::{OpenRun, Uploads};

use super::history::weight;
use crate::{
    model::{Digest, Event, Micros, RunId},
    ports::{ArtifactError, Artifacts, Clock, SegmentRow, SegmentStore, StoreError},
};

/// Where segments are among the artifacts; no run has such an id.
const FOLDER: &str = "segments";

/// Rows of the index that are read at once.
const ROWS: usize = 8;

/// So many bytes of unpacked segments are held for the next reader.
const HELD: usize = 8 << 20;

/// A file of this age in which no segment is recorded was left behind by a crash.
const LEFT_BEHIND: Duration = Duration::from_hours(24);

/// Files that go at once.
const SLICE: usize = 500;

#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error("the chunks of run {run} from {first} on are damaged")]
    Damaged { run: RunId, first: u64 },
    #[error("the spool: {0}")]
    Spool(#[from] std::io::Error),
}

/// Reads segments. Off by default: then there are none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Segments {
    places: Option<Arc<Places>>,
    uploads: Option<Uploads>,
}

struct Places {
    index: Arc<dyn SegmentStore>,
    artifacts: Arc<dyn Artifacts>,
    held: Mutex<Held>,
}

/// Where a segment is, its chunks, and about how many bytes they have.
type HeldSegment = ((String, u64), Arc<[Event]>, usize);

/// The last segments that were read: readers come back for the rest of one.
#[derive(Default)]
struct Held {
    segments: VecDeque<HeldSegment>,
    bytes: usize,
}

impl std::fmt::Debug for Segments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segments").field("on", &self.is_on()).finish_non_exhaustive()
    }
}

impl Segments {
    pub fn new(index: Arc<dyn SegmentStore>, artifacts: Arc<dyn Artifacts>) -> Segments {
        Segments { places: Some(Arc::new(Places { index, artifacts, held: Mutex::default() })), uploads: None }
    }

    /// With a way for the chunks of this process.
    #[must_use]
    pub fn with_uploads(self, uploads: Uploads) -> Segments {
        Segments { uploads: Some(uploads), ..self }
    }

    pub fn is_on(&self) -> bool {
        self.places.is_some()
    }

    pub(super) fn uploads(&self) -> Option<&Uploads> {
        self.uploads.as_ref()
    }

    /// At most `limit` chunks with a sequence above `after`, in order. What is damaged or gone is passed over; whoever
    /// reads sees a gap.
    pub(super) async fn read(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<Event>, SegmentError> {
        let Some(places) = &self.places else { return Ok(Vec::new()) };
        let (mut chunks, mut behind) = (Vec::new(), after);
        while chunks.len() < limit {
            let rows = places.index.segments(run, behind, ROWS).await?;
            let is_last = rows.len() < ROWS;
            for row in rows {
                behind = behind.max(row.last_sequence);
                let events = places.events(&row).await?;
                chunks.extend(events.iter().filter(|event| event.sequence > after).cloned());
                if chunks.len() >= limit {
                    break;
                }
            }
            if is_last {
                break;
            }
        }
        chunks.sort_by_key(|event| event.sequence);
        chunks.dedup_by_key(|event| event.sequence);
        chunks.truncate(limit);
        Ok(chunks)
    }

    /// The last sequence that a segment of the run has; 0 without any.
    pub(super) async fn last_sequence(&self, run: RunId, after: u64) -> Result<u64, StoreError> {
        let Some(places) = &self.places else { return Ok(0) };
        let mut last = after;
        loop {
            let rows = places.index.segments(run, last, SLICE).await?;
            last = rows.iter().map(|row| row.last_sequence).max().unwrap_or(last).max(last);
            if rows.len() < SLICE {
                return Ok(last);
            }
        }
    }

    /// Removes files whose runs are all archived, and what crashes have left behind.
    pub(super) async fn sweep(&self, clock: &dyn Clock) -> Result<(), SegmentError> {
        let Some(places) = &self.places else { return Ok(()) };
        loop {
            let files = places.index.unused_segments(SLICE).await?;
            for file in &files {
                places.artifacts.delete(file).await?;
            }
            places.index.forget_segments(&files).await?;
            if files.len() < SLICE {
                break;
            }
        }
        let limit = i64::try_from(LEFT_BEHIND.as_micros()).unwrap_or(i64::MAX);
        let before = Micros(clock.now().0.saturating_sub(limit));
        let mut old = places.artifacts.list(FOLDER).await?;
        old.retain(|name| uploads::written_at(name).is_some_and(|at| at < before));
        for names in old.chunks(SLICE) {
            for name in places.index.unknown_segments(names).await? {
                places.artifacts.delete(&name).await?;
            }
        }
        Ok(())
    }
}

impl Places {
    fn held(&self) -> MutexGuard<'_, Held> {
        // No code that can panic runs under this lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chunks of a segment; none where it is lost.
    async fn events(&self, row: &SegmentRow) -> Result<Arc<[Event]>, SegmentError> {
        let key = (row.artifact.clone(), row.position);
        if let Some(events) = self.held().get(&key) {
            return Ok(events);
        }
        let events: Arc<[Event]> = match self.fetch(row).await {
            Ok(events) => events.into(),
            Err(error @ (SegmentError::Damaged { .. } | SegmentError::Artifacts(ArtifactError::NotFound(_)))) => {
                tracing::error!(run = %row.run, file = row.artifact, %error, "chunks of a run are lost");
                return Ok(Arc::new([]));
            }
            Err(error) => return Err(error),
        };
        self.held().put(key, events.clone());
        Ok(events)
    }

    async fn fetch(&self, row: &SegmentRow) -> Result<Vec<Event>, SegmentError> {
        let damaged = || SegmentError::Damaged { run: row.run, first: row.first_sequence };
        let file = self.artifacts.open(&row.artifact).await?;
        let length = usize::try_from(row.size).map_err(|_| damaged())?;
        let packed = file.read_at(row.position, length).await?;
        if Digest::of(&packed) != row.digest {
            return Err(damaged());
        }
        let unpacked = tokio::task::spawn_blocking(move || format::unpack(&packed)).await;
        unpacked.ok().flatten().ok_or_else(damaged)
    }
}

impl Held {
    fn get(&mut self, key: &(String, u64)) -> Option<Arc<[Event]>> {
        self.segments.iter().find(|(known, ..)| known == key).map(|(_, events, _)| events.clone())
    }

    fn put(&mut self, key: (String, u64), events: Arc<[Event]>) {
        let bytes = events.iter().map(weight).sum();
        self.bytes += bytes;
        self.segments.push_back((key, events, bytes));
        while self.bytes > HELD
            && let Some((_, _, bytes)) = self.segments.pop_front()
        {
            self.bytes -= bytes;
        }
    }
}
