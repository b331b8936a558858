//! The archives of ended runs: all events of a run, compressed and chained by hashes, in the artifact store.
//!
//! [`Archiver`] makes them, [`Archives`] reads and checks them. The form is told in [`format`].

mod archiver;
mod format;

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

pub use archiver::Archiver;
pub use format::Damage;

use self::format::{Chain, Index};
use crate::{
    model::{Digest, Event, RunId},
    ports::{ArchiveRow, ArchiveStore, ArtifactError, ArtifactReader, Artifacts, StoreError},
};

/// Read at once to find an index.
const TAIL: u64 = 8 << 10;

/// Read at once to check a digest.
const PIECE: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("run {0} is not archived")]
    NotArchived(RunId),
    #[error("the archive of run {run} is damaged: {damage}")]
    Damaged { run: RunId, damage: Damage },
    #[error("the archive of run {run}: {error}")]
    Artifacts { run: RunId, error: ArtifactError },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads archives. Without a store of them there are none. Cheap to clone.
#[derive(Clone, Default)]
pub struct Archives {
    places: Option<(Arc<dyn ArchiveStore>, Arc<dyn Artifacts>)>,
}

impl std::fmt::Debug for Archives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archives").finish_non_exhaustive()
    }
}

impl Archives {
    pub fn new(index: Arc<dyn ArchiveStore>, artifacts: Arc<dyn Artifacts>) -> Archives {
        Archives { places: Some((index, artifacts)) }
    }

    /// The archive of a run, if it has one.
    pub(super) async fn find(&self, run: RunId) -> Result<Option<ArchiveRow>, StoreError> {
        match &self.places {
            Some((index, _)) => index.archive(run).await,
            None => Ok(None),
        }
    }

    /// Opens an archive that was found.
    pub(super) async fn open(&self, row: &ArchiveRow) -> Result<ArchiveReader, ArchiveError> {
        let run = row.run;
        let (_, artifacts) = self.places.as_ref().ok_or(ArchiveError::NotArchived(run))?;
        let opened = artifacts.open(&row.artifact).await;
        let file = opened.map_err(|error| ArchiveError::Artifacts { run, error })?;
        let index = read_index(&*file, row).await?;
        Ok(ArchiveReader { row: row.clone(), file, index })
    }

    /// Checks that a run's archive is what was made at the run's end: that no event was changed, removed or moved.
    /// Answers how many events it has.
    pub async fn verify(&self, run: RunId) -> Result<u64, ArchiveError> {
        let row = self.find(run).await?.ok_or(ArchiveError::NotArchived(run))?;
        let reader = self.open(&row).await?;
        let damaged = |damage| ArchiveError::Damaged { run, damage };
        if reader.digest().await? != row.digest {
            return Err(damaged(Damage::Digest));
        }
        let mut chain = Chain::new(run);
        for frame in 0..reader.index.frames.len() {
            chain.follow(&reader.lines(frame).await?).map_err(damaged)?;
        }
        let is_whole = chain.head == row.head && chain.events == row.events && reader.index.head == row.head;
        if is_whole { Ok(chain.events) } else { Err(damaged(Damage::Head)) }
    }
}

async fn read_index(file: &dyn ArtifactReader, row: &ArchiveRow) -> Result<Index, ArchiveError> {
    let mut wanted = TAIL.min(row.size);
    loop {
        let tail = read(file, row, row.size - wanted, usize::try_from(wanted).unwrap_or(usize::MAX)).await?;
        match format::index(&tail) {
            Ok(index) => return Ok(index),
            Err(Ok(more)) if (wanted..=row.size).contains(&(more as u64)) && more as u64 > wanted => {
                wanted = more as u64;
            }
            Err(_) => return Err(ArchiveError::Damaged { run: row.run, damage: Damage::Index }),
        }
    }
}

/// Bytes of an archive, which is a part of its file.
async fn read(
    file: &dyn ArtifactReader,
    row: &ArchiveRow,
    at: u64,
    length: usize,
) -> Result<bytes::Bytes, ArchiveError> {
    let left = usize::try_from(row.size.saturating_sub(at)).unwrap_or(usize::MAX);
    let read = file.read_at(row.position.saturating_add(at), length.min(left)).await;
    read.map_err(|error| ArchiveError::Artifacts { run: row.run, error })
}

/// An open archive.
pub(super) struct ArchiveReader {
    row: ArchiveRow,
    file: Box<dyn ArtifactReader>,
    index: Index,
}

impl ArchiveReader {
    pub(super) fn last_sequence(&self) -> u64 {
        self.row.last_sequence
    }

    /// Events with a sequence above `after`, those of one frame: at least one, unless there are none.
    pub(super) async fn read(&self, after: u64) -> Result<Vec<Event>, ArchiveError> {
        let frame = self.index.frames.partition_point(|frame| frame.2 <= after);
        if frame == self.index.frames.len() {
            return Ok(Vec::new());
        }
        let lines = self.lines(frame).await?;
        let events = format::events(&lines).filter(|event| event.as_ref().is_none_or(|event| event.sequence > after));
        let damaged = || ArchiveError::Damaged { run: self.row.run, damage: Damage::Frame(self.index.frames[frame].0) };
        let events: Option<Vec<Event>> = events.collect();
        events.filter(|events| !events.is_empty()).ok_or_else(damaged)
    }

    async fn lines(&self, frame: usize) -> Result<Vec<u8>, ArchiveError> {
        let format::Frame(position, size, _) = self.index.frames[frame];
        let packed = read(&*self.file, &self.row, position, size).await?;
        format::unpack(&packed, position).map_err(|damage| ArchiveError::Damaged { run: self.row.run, damage })
    }

    async fn digest(&self) -> Result<Digest, ArchiveError> {
        let (mut hasher, mut at) = (Sha256::new(), 0);
        while at < self.row.size {
            let piece = read(&*self.file, &self.row, at, PIECE).await?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            at += piece.len() as u64;
        }
        Ok(Digest(hasher.finalize().into()))
    }
}
