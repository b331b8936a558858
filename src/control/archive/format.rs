//! The form of an archive: JSON Lines in zstd frames, each line linked to the one before by its hash.
//!
//! A line is `{"hash":"…","event":{…}}`: `hash` is SHA-256 over the hash of the line before (32 bytes; for the first
//! line [`beginning`]) and the bytes of the event as they stand in the line. Frames have about 64 KiB of lines each.
//! Behind them a skippable frame has the index, as JSON, and its length in the last four bytes: where each frame
//! is and which sequence is its last, so that reading from somewhere in the middle costs one frame. To `zstd -d` an
//! archive is the lines, one after another.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::model::{Digest, Event, RunId};

/// Lines of about so many bytes are in one frame.
const FRAME: usize = 64 << 10;
/// Of zstd: the fastest that is better than none by far.
const LEVEL: i32 = 1;
/// Of a skippable frame.
const SKIPPABLE: u32 = 0x184D_2A50;
/// No frame is larger when it is unpacked: the lines of one, and one event that is as large as can be.
const MAX_FRAME: usize = 64 << 20;

/// What precedes the first line of a run in its chain.
pub(super) fn beginning(run: RunId) -> Digest {
    Digest::of(format!("opsroom archive 1 {run}").as_bytes())
}

/// The hash of an event that follows `before`.
fn link(before: Digest, event: &[u8]) -> Digest {
    Digest(Sha256::new().chain_update(before.0).chain_update(event).finalize().into())
}

/// What is at the end of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    pub version: u32,
    pub run: RunId,
    pub head: Digest,
    pub events: u64,
    pub frames: Vec<Frame>,
}

/// One frame: where it begins in the archive, its packed size, and its last sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Frame(pub u64, pub usize, pub u64);

/// Packs the events of one run. What is ready is taken away now and then, so memory stays bounded.
pub(super) struct Packer<'a> {
    compressor: &'a mut zstd::bulk::Compressor<'static>,
    index: Index,
    lines: Vec<u8>,
    last: u64,
    ready: Vec<u8>,
    taken: u64,
    hasher: Sha256,
}

/// What a finished archive is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed {
    pub size: u64,
    pub digest: Digest,
    pub head: Digest,
    pub events: u64,
    pub last_sequence: u64,
}

/// Makes packers; it is reused, because setting it up costs more than packing a small run.
pub(super) fn compressor() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(LEVEL)
}

impl<'a> Packer<'a> {
    pub(super) fn new(run: RunId, compressor: &'a mut zstd::bulk::Compressor<'static>) -> Packer<'a> {
        let index = Index { version: 1, run, head: beginning(run), events: 0, frames: Vec::new() };
        let (lines, ready) = (Vec::new(), Vec::new());
        Packer { compressor, index, lines, last: 0, ready, taken: 0, hasher: Sha256::new() }
    }

    pub(super) fn push(&mut self, event: &Event) -> std::io::Result<()> {
        let json = serde_json::to_vec(event)?;
        self.index.head = link(self.index.head, &json);
        self.index.events += 1;
        self.last = event.sequence;
        self.lines.extend_from_slice(format!("{{\"hash\":\"{}\",\"event\":", self.index.head).as_bytes());
        self.lines.extend_from_slice(&json);
        self.lines.extend_from_slice(b"}\n");
        if self.lines.len() >= FRAME { self.end_frame() } else { Ok(()) }
    }

    /// Takes the bytes that are complete.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let ready = std::mem::take(&mut self.ready);
        self.hasher.update(&ready);
        self.taken += ready.len() as u64;
        ready
    }

    /// The last bytes, and what the whole is.
    pub(super) fn finish(mut self) -> std::io::Result<(Vec<u8>, Packed)> {
        if !self.lines.is_empty() {
            self.end_frame()?;
        }
        let json = serde_json::to_vec(&self.index)?;
        let length = u32::try_from(json.len()).map_err(std::io::Error::other)?;
        self.ready.extend_from_slice(&SKIPPABLE.to_le_bytes());
        self.ready.extend_from_slice(&(length + 4).to_le_bytes());
        self.ready.extend_from_slice(&json);
        self.ready.extend_from_slice(&length.to_le_bytes());
        let bytes = self.take();
        let packed = Packed {
            size: self.taken,
            digest: Digest(self.hasher.finalize().into()),
            head: self.index.head,
            events: self.index.events,
            last_sequence: self.last,
        };
        Ok((bytes, packed))
    }

    fn end_frame(&mut self) -> std::io::Result<()> {
        let packed = self.compressor.compress(&self.lines)?;
        let position = self.taken + self.ready.len() as u64;
        self.index.frames.push(Frame(position, packed.len(), self.last));
        self.ready.extend_from_slice(&packed);
        self.lines.clear();
        Ok(())
    }
}

/// Why bytes are not an archive, or not the one that was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("its bytes are not those that were stored")]
    Digest,
    #[error("its index cannot be read")]
    Index,
    #[error("the frame at byte {0} cannot be unpacked")]
    Frame(u64),
    #[error("line {0} is not a line of an archive")]
    Line(u64),
    #[error("line {0} does not follow the one before: something was changed, removed or moved")]
    Chain(u64),
    #[error("its end is missing")]
    Head,
}

/// The index from the last bytes of an archive. `Err` says how many are needed.
pub(super) fn index(tail: &[u8]) -> Result<Index, Result<usize, Damage>> {
    let Some((rest, length)) = tail.split_last_chunk::<4>() else { return Err(Err(Damage::Index)) };
    let length = u32::from_le_bytes(*length) as usize;
    let Some(begin) = rest.len().checked_sub(length) else { return Err(Ok(length + 4)) };
    serde_json::from_slice(&rest[begin..]).map_err(|_| Err(Damage::Index))
}

/// The lines of a frame that begins at byte `position`.
pub(super) fn unpack(packed: &[u8], position: u64) -> Result<Vec<u8>, Damage> {
    use std::io::Read;
    let mut lines = Vec::new();
    let unpacked = zstd::stream::read::Decoder::with_buffer(packed).and_then(|decoder| {
        // One byte more than there may be tells a frame that is too large.
        decoder.single_frame().take(MAX_FRAME as u64 + 1).read_to_end(&mut lines)
    });
    if unpacked.is_ok() && lines.len() <= MAX_FRAME { Ok(lines) } else { Err(Damage::Frame(position)) }
}

/// The events of unpacked lines.
pub(super) fn events(lines: &[u8]) -> impl Iterator<Item = Option<Event>> {
    #[derive(Deserialize)]
    struct Line {
        event: Event,
    }
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice::<Line>(line).ok().map(|line| line.event))
}

/// Follows a chain line by line.
pub(super) struct Chain {
    pub head: Digest,
    pub events: u64,
}

impl Chain {
    pub(super) fn new(run: RunId) -> Chain {
        Chain { head: beginning(run), events: 0 }
    }

    /// Takes the lines of a frame in.
    pub(super) fn follow(&mut self, lines: &[u8]) -> Result<(), Damage> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Line<'a> {
            hash: Digest,
            #[serde(borrow)]
            event: &'a RawValue,
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.events += 1;
            let line: Line = serde_json::from_slice(line).map_err(|_| Damage::Line(self.events))?;
            self.head = link(self.head, line.event.get().as_bytes());
            if self.head != line.hash {
                return Err(Damage::Chain(self.events));
            }
        }
        Ok(())
    }
}
