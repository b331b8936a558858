//! Makes the archives of ended runs, many runs to a file: in the background, and never more than half of the time.
//!
//! The file is durable before its archives are recorded, they are recorded before the chunks of their runs are
//! deleted, and rows of events go later still. So at every moment the events of a run are somewhere, whole; what a
//! crash leaves behind twice (a file that nothing is recorded in, chunks of an archived run) goes at the next start.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    ArchiveError,
    format::{self, Packed, Packer},
};
use crate::{
    control::history::{History, HistoryError, event},
    model::{Event, Micros, Millis, RunId},
    ports::{
        ArchiveRow, ArchiveStore, ArtifactError, ArtifactWriter, Artifacts, Clock, EndedRun, Spool, StoreError,
        StoredEvent,
    },
};

/// Runs in one file.
const BATCH: usize = 256;

/// Small runs that are read together, and how many events; a run with more, or with larger ones, is read on its own.
const TOGETHER: usize = 32;
const EVENTS: usize = 8_192;

/// A file that is larger gets no more runs.
const FILE: u64 = 64 << 20;

/// How often to look for ended runs while there are none.
const PAUSE: Duration = Duration::from_millis(300);

/// And at least how often to try again while the artifact store, or the store, is away.
const LONGEST: Duration = Duration::from_secs(5);

/// The last words of a run may come a moment after its end was committed; until then it waits.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The same for what other machines have to send: they try again while the artifact store is away.
const LAST_SEGMENTS: Duration = Duration::from_mins(10);

/// How long a run waits from one look to the next: while its last words are awaited, when they are late, and where
/// it cannot be read.
const SOON: Millis = Millis::seconds(1);
const LATER: Millis = Millis::seconds(30);
const MUCH_LATER: Millis = Millis::seconds(60);

/// Where archives are among the artifacts; no run has such an id.
const FOLDER: &str = "archives";

/// A file that nothing is recorded in after this time never will be: an hour, in microseconds.
const RECORDED: i64 = 3_600_000_000;

/// Names looked up at once when tidying up.
const SLICE: usize = 500;

#[derive(Debug, thiserror::Error)]
enum ArchivingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error(transparent)]
    History(#[from] HistoryError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// The loop that archives ended runs.
#[derive(Clone)]
pub struct Archiver {
    index: Arc<dyn ArchiveStore>,
    artifacts: Arc<dyn Artifacts>,
    spool: Arc<dyn Spool>,
    clock: Arc<dyn Clock>,
    /// Of rows and chunks, not of archives.
    history: History,
    /// Since when the artifact store can be used, as far as is known.
    usable_since: Arc<AtomicI64>,
}

impl std::fmt::Debug for Archiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archiver").finish_non_exhaustive()
    }
}

/// A file of archives that is being written.
struct Pack {
    writer: Box<dyn ArtifactWriter>,
    name: String,
    size: u64,
    rows: Vec<ArchiveRow>,
}

impl Archiver {
    pub fn new(
        index: Arc<dyn ArchiveStore>,
        artifacts: Arc<dyn Artifacts>,
        spool: Arc<dyn Spool>,
        clock: Arc<dyn Clock>,
        history: History,
    ) -> Archiver {
        let usable_since = Arc::new(AtomicI64::new(clock.now().0));
        Archiver { index, artifacts, spool, clock, history: history.without_archives(), usable_since }
    }

    /// Archives what has ended and what ends, until `stop` fires.
    pub async fn run(self, stop: CancellationToken) {
        if let Err(error) = self.tidy().await {
            tracing::warn!(%error, "leftovers of archiving could not be removed; the next start tries again");
        }
        let (mut waiting, mut patience) = (HashMap::new(), PAUSE);
        loop {
            let begin = Instant::now();
            let pause = match self.batch(&mut waiting).await {
                Ok(archived) => {
                    patience = PAUSE;
                    if archived > 0 { begin.elapsed().min(PAUSE) } else { PAUSE }
                }
                Err(error) => {
                    tracing::warn!(%error, "ended runs could not be archived; trying again");
                    self.usable_since.store(self.clock.now().0, Ordering::Relaxed);
                    patience = (2 * patience).min(LONGEST);
                    patience
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Archives everything that has ended; answers how many runs. For tests and for whoever waits.
    pub async fn catch_up(&self) -> Result<usize, ArchiveError> {
        let (mut waiting, mut total) = (HashMap::new(), 0);
        loop {
            match self.batch(&mut waiting).await {
                Ok(0) => return Ok(total),
                Ok(archived) => total += archived,
                Err(ArchivingError::Store(error)) => return Err(error.into()),
                Err(error) => return Err(ArchiveError::Store(StoreError::Unavailable(error.to_string()))),
            }
        }
    }

    /// Archives some runs, in one file; answers how many. `waiting`: runs that are not to be tried before a time.
    async fn batch(&self, waiting: &mut HashMap<RunId, Micros>) -> Result<usize, ArchivingError> {
        let now = self.clock.now();
        waiting.retain(|_, until| *until > now);
        let mut ended = self.index.unarchived(BATCH + waiting.len()).await?;
        ended.retain(|run| !waiting.contains_key(&run.run));
        let Some(first) = ended.first() else { return Ok(0) };
        let name = format!("{FOLDER}/{}-{}", first.run, now.0);
        let mut pack = Pack { writer: self.artifacts.begin(&name).await?, name, size: 0, rows: Vec::new() };
        let (quiet, talkative) = self.split(&ended).await?;
        let small = match self.small(&mut pack, &quiet).await {
            // One of them cannot be read: each on its own, so that the others are archived.
            Err(ArchivingError::Store(StoreError::Corrupt { .. })) => HashSet::new(),
            looked_at => looked_at?,
        };
        let rest = quiet.iter().filter(|run| !small.contains(&run.run));
        let mut unreadable = HashSet::new();
        for run in rest.chain(&talkative) {
            if pack.size > FILE {
                break;
            }
            match self.large(&mut pack, run).await {
                // What was written of it is passed over; a run that cannot be read must not keep the others.
                Err(ArchivingError::History(error)) => {
                    tracing::error!(run = %run.run, %error, "the run cannot be archived; tried again in a minute");
                    unreadable.insert(run.run);
                }
                packed => packed?,
            }
        }
        let complete: HashSet<RunId> = pack.rows.iter().map(|row| row.run).collect();
        for run in ended.iter().filter(|run| !complete.contains(&run.run)) {
            let pause = match now.since(run.ended_at) {
                _ if unreadable.contains(&run.run) => MUCH_LATER,
                age if age > LAST_WORDS => LATER,
                _ => SOON,
            };
            waiting.insert(run.run, now.plus(pause));
        }
        self.record(pack).await?;
        self.forget(talkative.iter().map(|run| run.run).filter(|run| complete.contains(run)).collect()).await?;
        Ok(complete.len())
    }

    /// Runs without chunks, and runs with.
    async fn split(&self, ended: &[EndedRun]) -> Result<(Vec<EndedRun>, Vec<EndedRun>), ArchivingError> {
        let (spool, ended) = (self.spool.clone(), ended.to_vec());
        blocking(move || Ok(ended.into_iter().partition(|run| spool.size(run.run).is_ok_and(|size| size == 0)))).await
    }

    /// Packs runs whose events are only rows, and few; answers those that were looked at.
    async fn small(&self, pack: &mut Pack, runs: &[EndedRun]) -> Result<HashSet<RunId>, ArchivingError> {
        let (mut rest, mut looked_at) = (runs, HashSet::new());
        while !rest.is_empty() && pack.size <= FILE {
            let together = &rest[..rest.len().min(TOGETHER)];
            let ids: Vec<RunId> = together.iter().map(|run| run.run).collect();
            let rows = self.index.events_of(&ids, EVENTS).await?;
            // The first that was left out is too large for this.
            rest = &rest[(rows.len() + usize::from(rows.len() < together.len())).min(rest.len())..];
            self.pack_rows(pack, together, rows, &mut looked_at).await?;
        }
        Ok(looked_at)
    }

    async fn pack_rows(
        &self,
        pack: &mut Pack,
        runs: &[EndedRun],
        mut rows: Vec<(RunId, Vec<StoredEvent>)>,
        looked_at: &mut HashSet<RunId>,
    ) -> Result<(), ArchivingError> {
        let now = self.clock.now();
        let heads: HashMap<RunId, &EndedRun> = runs.iter().map(|run| (run.run, run)).collect();
        if self.history.reads_segments() {
            // What is missing between rows may be in segments.
            rows.retain(|(run, events)| heads.get(run).is_some_and(|run| is_complete(run, events)));
        }
        looked_at.extend(rows.iter().map(|(run, _)| *run));
        rows.retain(|(run, events)| {
            heads.get(run).is_some_and(|run| is_complete(run, events) || self.is_late(run, now))
        });
        let packed = blocking(move || pack_all(rows)).await?;
        let mut bytes = Vec::new();
        for (run, archive, packed) in packed {
            bytes.extend_from_slice(&archive);
            pack.note(run, packed, now);
        }
        Ok(pack.writer.write(bytes.into()).await?)
    }

    /// Packs one run, a piece at a time.
    async fn large(&self, pack: &mut Pack, run: &EndedRun) -> Result<(), ArchivingError> {
        let mut reader = self.history.reader(run.run, 0).impatient();
        let mut compressor = format::compressor()?;
        let mut packer = Packer::new(run.run, &mut compressor);
        let (position, mut last, mut whole) = (pack.size, 0, true);
        while let Some(event) = reader.next().await? {
            // The last fact may be there before chunks that waited for an earlier one.
            whole &= event.prev <= last;
            last = event.sequence;
            packer.push(&event)?;
            let ready = packer.take();
            if !ready.is_empty() {
                pack.append(ready).await?;
            }
        }
        let (rest, packed) = packer.finish()?;
        pack.append(rest).await?;
        let now = self.clock.now();
        // What was written of a run that has more to say is passed over.
        whole &= !reader.has_dropped();
        if (whole && last == run.sequence_head) || self.is_late(run, now) {
            pack.rows.push(row(run.run, &pack.name, position, packed, now));
        }
        Ok(())
    }

    /// Whether what is still missing will not come any more.
    fn is_late(&self, run: &EndedRun, now: Micros) -> bool {
        if self.history.reads_segments() {
            let usable = Micros(self.usable_since.load(Ordering::Relaxed));
            now.since(run.ended_at.max(usable)) > LAST_SEGMENTS
        } else {
            now.since(run.ended_at) > LAST_WORDS
        }
    }

    async fn record(&self, pack: Pack) -> Result<(), ArchivingError> {
        if !pack.rows.is_empty() {
            pack.writer.finish().await?;
            self.index.record_archives(&pack.rows).await?;
        }
        Ok(())
    }

    /// Deletes the chunks of archived runs.
    async fn forget(&self, runs: Vec<RunId>) -> Result<(), ArchivingError> {
        let spool = self.spool.clone();
        blocking(move || runs.into_iter().try_for_each(|run| spool.remove(run))).await
    }

    /// Removes what a crash has left behind.
    async fn tidy(&self) -> Result<(), ArchivingError> {
        let now = self.clock.now();
        for names in self.artifacts.list(FOLDER).await?.chunks(SLICE) {
            // A young one may be another archiver's, complete and about to be recorded.
            let names: Vec<String> = names.iter().filter(|name| is_old(name, now)).cloned().collect();
            for name in self.index.unknown_packs(&names).await? {
                self.artifacts.delete(&name).await?;
            }
        }
        let spool = self.spool.clone();
        let runs = blocking(move || spool.runs(usize::MAX)).await?;
        for runs in runs.chunks(SLICE) {
            self.forget(self.index.settled(runs).await?).await?;
        }
        Ok(())
    }
}

/// Whether a file, by the time in its name, was begun so long ago that nobody is about to record it.
fn is_old(name: &str, now: Micros) -> bool {
    let begun = name.rsplit_once('-').and_then(|(_, at)| at.parse().ok());
    begun.is_none_or(|at: i64| at < now.0.saturating_sub(RECORDED))
}

impl Pack {
    async fn append(&mut self, bytes: Vec<u8>) -> Result<(), ArchivingError> {
        self.size += bytes.len() as u64;
        Ok(self.writer.write(bytes.into()).await?)
    }

    /// The archive of a run comes next in the file.
    fn note(&mut self, run: RunId, packed: Packed, now: Micros) {
        self.rows.push(row(run, &self.name, self.size, packed, now));
        self.size += packed.size;
    }
}

fn row(run: RunId, artifact: &str, position: u64, packed: Packed, at: Micros) -> ArchiveRow {
    let Packed { size, digest, head, events, last_sequence } = packed;
    ArchiveRow { run, artifact: artifact.to_owned(), position, size, digest, head, events, last_sequence, at }
}

/// Whether nothing is missing between the events, and after them.
fn is_complete(run: &EndedRun, events: &[StoredEvent]) -> bool {
    let mut last = 0;
    events.iter().all(|event| event.prev <= std::mem::replace(&mut last, event.sequence)) && last == run.sequence_head
}

fn pack_all(runs: Vec<(RunId, Vec<StoredEvent>)>) -> io::Result<Vec<(RunId, Vec<u8>, Packed)>> {
    let mut compressor = format::compressor()?;
    let pack = |(run, events): (RunId, Vec<StoredEvent>)| {
        let mut packer = Packer::new(run, &mut compressor);
        let mut archive = Vec::new();
        for stored in events {
            let event: Event = event(run, stored);
            packer.push(&event)?;
            archive.extend(packer.take());
        }
        let (rest, packed) = packer.finish()?;
        archive.extend(rest);
        Ok((run, archive, packed))
    };
    runs.into_iter().map(pack).collect()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ArchivingError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or_else(|error| Err(io::Error::other(error)))?)
}
