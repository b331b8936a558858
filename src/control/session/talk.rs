//! What the attempts of a session say meanwhile: chunks for readers, and notes that are durable.

use super::{CHUNKS, Session};
use crate::{
    control::said,
    ports::{LogChunk, LogPayload},
};

impl Session {
    /// What an attempt said precedes its end: it is in the channel by now. No more than the channel holds,
    /// because another attempt may go on talking for ever.
    pub(super) fn drain_chunks(&mut self) {
        for _ in 0..CHUNKS {
            let Ok(chunk) = self.chunks.try_recv() else { return };
            self.chunk(chunk);
        }
    }

    /// Something was said, and perhaps more.
    pub(super) fn hear(&mut self, first: LogChunk) {
        self.chunk(first);
        for _ in 0..CHUNKS {
            if !self.events.has_room() || !self.draft.has_room() {
                return;
            }
            let Ok(chunk) = self.chunks.try_recv() else { return };
            self.chunk(chunk);
        }
    }

    pub(super) fn chunk(&mut self, chunk: LogChunk) {
        let now = self.now();
        let LogChunk { step, attempt, stream, payload } = chunk;
        let place = (step, attempt, stream);
        match payload {
            LogPayload::Bytes(bytes) => {
                let size = bytes.len();
                self.events.chunk(said::bytes(&self.plan, place, bytes), size, now);
            }
            LogPayload::Record { level, text, fields } => {
                let size = text.len();
                self.events.chunk(said::record(&self.plan, place, level, &text, fields), size, now);
            }
            LogPayload::Note { note, .. } => {
                self.draft.notes += 1;
                self.draft.note_bytes += note.size();
                let stored = self.events.note(&self.plan, (step, attempt), note, now);
                self.draft.events.push(stored);
            }
        }
    }
}
