//! What a worker's spool has goes to the artifact store: every 5 s, at once where a run has a MiB, and when a run parks
//! or ends. Nothing waits for it: not a run, not its end.
//!
//! The file is complete before its segments are recorded, they are recorded before the spool forgets them. A crash
//! leaves the spool, which the next worker of the machine takes over, and perhaps a file that nothing is recorded in.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{FOLDER, SegmentError, format};
use crate::{
    control::history::weight,
    model::{Digest, Event, Micros, RunId, WorkerId},
    ports::{Artifacts, Clock, SegmentRow, SegmentStore, Spool},
};

/// How often what is new is sent.
const EVERY: Duration = Duration::from_secs(5);
/// What a run has more of is sent at once; also the size of a segment before it is packed.
const MUCH: usize = 1 << 20;
/// A file that is larger gets no more segments.
const FILE: usize = 16 << 20;
/// Chunks that are read from the spool at once.
const PAGE: usize = 256;
/// After a failure; twice as long after each that follows, up to the longest.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(16);
/// How long the end of a worker waits for what is not sent yet.
const LAST: Duration = Duration::from_secs(15);

/// Sends the chunks of one worker. Cheap to clone.
#[derive(Clone)]
pub struct Uploads {
    shared: Arc<Shared>,
}

struct Shared {
    worker: WorkerId,
    index: Arc<dyn SegmentStore>,
    artifacts: Arc<dyn Artifacts>,
    spool: Arc<dyn Spool>,
    clock: Arc<dyn Clock>,
    runs: Mutex<HashMap<RunId, Pending>>,
    /// Something is not to wait for the next turn.
    urgent: Notify,
    files: AtomicU64,
}

/// What is known of a run whose spool has something.
#[derive(Debug, Default)]
struct Pending {
    /// Owners that may still append.
    open: u32,
    /// About how many bytes were not sent.
    bytes: usize,
    /// Rises with every append.
    appends: u64,
    /// The last sequence that was sent.
    sent: u64,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploads").field("runs", &self.shared.runs().len()).finish_non_exhaustive()
    }
}

/// An owner that may append to the run's spool. Dropped, what is left is sent at once.
#[derive(Debug)]
pub struct OpenRun {
    uploads: Uploads,
    run: RunId,
}

impl OpenRun {
    pub(in crate::control) fn appended(&self, bytes: usize) {
        let mut runs = self.uploads.shared.runs();
        let pending = runs.entry(self.run).or_default();
        pending.appends += 1;
        let before = pending.bytes;
        pending.bytes += bytes.max(1);
        if before < MUCH && pending.bytes >= MUCH {
            self.uploads.shared.urgent.notify_one();
        }
    }
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        if let Some(pending) = self.uploads.shared.runs().get_mut(&self.run) {
            pending.open = pending.open.saturating_sub(1);
        }
        self.uploads.shared.urgent.notify_one();
    }
}

/// Which runs are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    All,
    /// Those that nobody appends to any more, and those with much.
    Urgent,
}

impl Uploads {
    /// `spool` is this worker's alone.
    pub fn new(
        worker: WorkerId,
        index: Arc<dyn SegmentStore>,
        artifacts: Arc<dyn Artifacts>,
        spool: Arc<dyn Spool>,
        clock: Arc<dyn Clock>,
    ) -> Uploads {
        let (runs, urgent, files) = <(Mutex<_>, Notify, AtomicU64)>::default();
        Uploads { shared: Arc::new(Shared { worker, index, artifacts, spool, clock, runs, urgent, files }) }
    }

    /// Before the first append to a run's spool.
    pub(in crate::control) fn open(&self, run: RunId) -> OpenRun {
        self.shared.runs().entry(run).or_default().open += 1;
        OpenRun { uploads: self.clone(), run }
    }

    /// Sends what there is and what comes, until `stop` fires; then what is left, for a while. Owners are done by then.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = PAUSE;
        loop {
            let due = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => Due::All,
                () = self.shared.urgent.notified() => Due::Urgent,
            };
            if self.shared.send(due).await {
                pause = PAUSE;
            } else {
                let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                // What was urgent still is.
                self.shared.urgent.notify_one();
            }
        }
        if tokio::time::timeout(LAST, self.finish()).await.is_err() {
            tracing::error!("logs of runs could not be stored; they stay in this worker's spool for the next one here");
        }
    }

    /// Sends everything that there is now. For the end of a worker, and tests.
    pub async fn finish(&self) {
        while !self.shared.send(Due::All).await {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends what a dead worker has left in its spool and removes it there.
    pub async fn take_over(&self, spool: Arc<dyn Spool>) -> Result<(), SegmentError> {
        let left = spool.clone();
        for run in blocking(move || left.runs(usize::MAX)).await? {
            let mut sent = Vec::new();
            let mut after = 0;
            loop {
                let rows = self.shared.index.segments(run, after, PAGE).await?;
                after = rows.last().map_or(after, |row| row.last_sequence);
                sent.extend(rows.iter().map(|row| (row.first_sequence, row.last_sequence)));
                if rows.len() < PAGE {
                    break;
                }
            }
            self.send_left(&spool, run, &sent).await?;
            let left = spool.clone();
            blocking(move || left.remove(run)).await?;
        }
        Ok(())
    }

    async fn send_left(&self, spool: &Arc<dyn Spool>, run: RunId, sent: &[(u64, u64)]) -> Result<(), SegmentError> {
        let mut after = 0;
        loop {
            let left = spool.clone();
            let page = blocking(move || read_much(&*left, run, after)).await?;
            let Some(last) = page.last().map(|event| event.sequence) else { return Ok(()) };
            after = last;
            let is_sent = |event: &Event| sent.iter().any(|(first, last)| (*first..=*last).contains(&event.sequence));
            let unsent: Vec<Event> = page.into_iter().filter(|event| !is_sent(event)).collect();
            if !unsent.is_empty() {
                let mut pack = Pack::default();
                pack.add(run, &unsent)?;
                self.shared.store(pack).await?;
            }
        }
    }
}

impl Shared {
    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, Pending>> {
        // No code that can panic runs under this lock.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn due(&self, due: Due) -> Vec<Wanted> {
        let runs = self.runs();
        let is_due = |pending: &Pending| due == Due::All || pending.open == 0 || pending.bytes >= MUCH;
        runs.iter()
            .filter(|(_, pending)| (pending.bytes > 0 || pending.open == 0) && is_due(pending))
            .map(|(run, Pending { sent, appends, bytes, .. })| Wanted {
                run: *run,
                after: *sent,
                appends: *appends,
                bytes: *bytes,
            })
            .collect()
    }

    /// Answers whether all that was due is stored now.
    async fn send(self: &Arc<Shared>, due: Due) -> bool {
        let mut runs = self.due(due);
        while !runs.is_empty() {
            match self.send_some(&runs).await {
                Ok(done) => {
                    runs.drain(..done);
                    // One that did not fit goes on after what was stored of it.
                    let known = self.runs();
                    for wanted in &mut runs {
                        wanted.after = known.get(&wanted.run).map_or(wanted.after, |pending| pending.sent);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, runs = runs.len(), "logs of runs could not be stored; trying again");
                    return false;
                }
            }
        }
        true
    }

    /// Sends the first of these runs, as many as fit into one file; answers how many were sent to their end.
    async fn send_some(self: &Arc<Shared>, runs: &[Wanted]) -> Result<usize, SegmentError> {
        let (spool, wanted) = (self.spool.clone(), runs.to_vec());
        let (pack, done) = blocking(move || gather(&*spool, &wanted)).await?;
        let parts: Vec<(RunId, u64)> = pack.parts.iter().map(|part| (part.run, part.last)).collect();
        if !pack.bytes.is_empty() {
            self.store(pack).await?;
        }
        let (shared, covered) = (self.clone(), runs[..done].to_vec());
        let noted = move || {
            shared.sent(&parts, &covered);
            Ok(())
        };
        blocking(noted).await?;
        Ok(done)
    }

    async fn store(&self, pack: Pack) -> Result<(), SegmentError> {
        let now = self.clock.now();
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        let name = format!("{FOLDER}/{:016}-{}-{number}", now.0, self.worker);
        let mut writer = self.artifacts.begin(&name).await?;
        writer.write(Bytes::from(pack.bytes)).await?;
        writer.finish().await?;
        let row = |part: Part| SegmentRow {
            run: part.run,
            first_sequence: part.first,
            last_sequence: part.last,
            artifact: name.clone(),
            position: part.position,
            size: part.size,
            digest: part.digest,
            at: now,
        };
        let rows: Vec<SegmentRow> = pack.parts.into_iter().map(row).collect();
        Ok(self.index.put_segments(&rows).await?)
    }

    /// Notes what was stored, and removes the spools of runs that are complete and that nobody appends to.
    fn sent(&self, parts: &[(RunId, u64)], covered: &[Wanted]) {
        let mut runs = self.runs();
        for (run, last) in parts {
            if let Some(pending) = runs.get_mut(run) {
                pending.sent = pending.sent.max(*last);
            }
        }
        for Wanted { run, appends, bytes, .. } in covered {
            let Some(pending) = runs.get_mut(run) else { continue };
            // What was appended since then stays due.
            pending.bytes = pending.bytes.saturating_sub(*bytes);
            if pending.open == 0 && pending.appends == *appends {
                runs.remove(run);
                // Under the lock: whoever opens the run now waits, and then begins a new spool.
                if let Err(error) = self.spool.remove(*run) {
                    tracing::warn!(%run, %error, "the stored logs of a run could not be removed from the spool");
                }
            }
        }
    }
}

/// A run to be sent: the last sequence that was sent, and what was known of its spool when that was decided.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    run: RunId,
    after: u64,
    appends: u64,
    bytes: usize,
}

/// A file of segments.
#[derive(Default)]
struct Pack {
    bytes: Vec<u8>,
    parts: Vec<Part>,
}

struct Part {
    run: RunId,
    first: u64,
    last: u64,
    position: u64,
    size: u64,
    digest: Digest,
}

impl Pack {
    fn add(&mut self, run: RunId, events: &[Event]) -> io::Result<()> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
        let packed = format::pack(events)?;
        self.parts.push(Part {
            run,
            first: first.sequence,
            last: last.sequence,
            position: self.bytes.len() as u64,
            size: packed.len() as u64,
            digest: Digest::of(&packed),
        });
        self.bytes.extend_from_slice(&packed);
        Ok(())
    }
}

/// Reads what these runs have, until the file is full; answers how many were read to their end.
fn gather(spool: &dyn Spool, runs: &[Wanted]) -> io::Result<(Pack, usize)> {
    let mut pack = Pack::default();
    for (done, wanted) in runs.iter().enumerate() {
        let mut after = wanted.after;
        loop {
            if pack.bytes.len() >= FILE {
                return Ok((pack, done));
            }
            let events = read_much(spool, wanted.run, after)?;
            let Some(last) = events.last() else { break };
            after = last.sequence;
            pack.add(wanted.run, &events)?;
        }
    }
    Ok((pack, runs.len()))
}

/// Chunks after a sequence, about [`MUCH`].
fn read_much(spool: &dyn Spool, run: RunId, mut after: u64) -> io::Result<Vec<Event>> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < MUCH {
        let page = spool.read(run, after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        let is_last = page.len() < PAGE;
        bytes += page.iter().map(weight).sum::<usize>();
        events.extend(page);
        if is_last {
            break;
        }
    }
    Ok(events)
}

/// When the file of this name was written.
pub(super) fn written_at(name: &str) -> Option<Micros> {
    name.strip_prefix(FOLDER)?.strip_prefix('/')?.split('-').next()?.parse().ok().map(Micros)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, SegmentError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or_else(|error| Err(io::Error::other(error)))?)
}
