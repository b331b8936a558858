//! The form of a segment: chunks as JSON Lines in one zstd frame.

use std::io::{self, Read as _};

use crate::model::Event;

/// Of zstd: the fastest that is better than none by far.
const LEVEL: i32 = 1;

/// No segment is larger when it is unpacked.
const MAX_UNPACKED: u64 = 64 << 20;

pub(super) fn pack(events: &[Event]) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event)?;
        lines.push(b'\n');
    }
    zstd::bulk::compress(&lines, LEVEL)
}

/// `None` for bytes that are no segment.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<Event>> {
    let mut lines = Vec::new();
    // One byte more than there may be tells a segment that is too large.
    let decoder = zstd::stream::read::Decoder::with_buffer(packed).ok()?;
    decoder.single_frame().take(MAX_UNPACKED + 1).read_to_end(&mut lines).ok()?;
    if lines.len() as u64 > MAX_UNPACKED {
        return None;
    }
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).ok()).collect()
}
