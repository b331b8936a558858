//! What a step wrote, as bytes.

use std::sync::Arc;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::{History, HistoryError, HistoryReader};
use crate::model::{Attempt, Event, RunId};

/// Pieces of about this size are given.
const PIECE: usize = 64 << 10;

/// What of a run's logs is wanted.
#[derive(Debug, Clone)]
pub struct LogFilter {
    pub step: Arc<str>,
    pub attempt: Option<Attempt>,
    /// `stdout`, `stderr` or `log`.
    pub stream: Option<&'static str>,
}

impl LogFilter {
    fn wants(&self, event: &Event) -> bool {
        let data = &event.data;
        let is = |name: &str, wanted: &str| data.get(name).and_then(Value::as_str) == Some(wanted);
        let attempt = data.get("attempt").and_then(Value::as_u64);
        is("step", &self.step)
            && self.stream.is_none_or(|stream| is("stream", stream))
            && self.attempt.is_none_or(|wanted| attempt == Some(wanted.into()))
    }
}

/// The bytes of a chunk, as they were written; what an action says itself is a line, and gets its end.
pub fn chunk_bytes(data: &Value) -> Vec<u8> {
    let text = data.get("text").and_then(Value::as_str);
    let mut bytes = if let Some(text) = text {
        text.as_bytes().to_vec()
    } else {
        let base64 = data.get("base64").and_then(Value::as_str).unwrap_or_default();
        base64::engine::general_purpose::STANDARD.decode(base64).unwrap_or_default()
    };
    if data.get("stream").is_some_and(|stream| stream == "log") {
        bytes.push(b'\n');
    }
    bytes
}

/// Reads a range of the bytes.
#[derive(Debug)]
pub struct StepLog {
    reader: HistoryReader,
    filter: LogFilter,
    /// Bytes to be passed over, and to be given.
    skip: u64,
    left: u64,
}

impl History {
    /// How many bytes there are.
    pub async fn log_size(&self, run: RunId, filter: &LogFilter) -> Result<u64, HistoryError> {
        let (mut reader, mut size) = (self.chunks(run, 0), 0);
        while let Some(event) = reader.next().await? {
            if filter.wants(&event) {
                size += chunk_bytes(&event.data).len() as u64;
            }
        }
        Ok(size)
    }

    /// Reads `length` bytes from byte `begin` on.
    pub fn log(&self, run: RunId, filter: LogFilter, begin: u64, length: u64) -> StepLog {
        StepLog { reader: self.chunks(run, 0), filter, skip: begin, left: length }
    }
}

impl StepLog {
    /// The next bytes; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HistoryError> {
        let mut piece = BytesMut::new();
        while self.left > 0 && piece.len() < PIECE {
            let Some(event) = self.reader.next().await? else { break };
            if !self.filter.wants(&event) {
                continue;
            }
            let bytes = chunk_bytes(&event.data);
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            let rest = &bytes[skipped..];
            let taken = rest.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= taken as u64;
            piece.extend_from_slice(&rest[..taken]);
        }
        Ok((!piece.is_empty()).then(|| piece.freeze()))
    }
}
