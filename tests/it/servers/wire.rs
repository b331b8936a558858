//! As much of PostgreSQL's protocol as it takes to know which statement an answer belongs to.

use std::collections::HashMap;

/// What ends an answer outside of a transaction: ready for the next statement, and idle. By then the statement is
/// committed.
const COMMITTED: &[u8] = b"Z\0\0\0\x05I";

/// Reads along with what a client sends on one connection.
#[derive(Default)]
pub(super) struct Requests {
    /// What was sent and is not a whole message yet.
    rest: Vec<u8>,
    is_started: bool,
    prepared: HashMap<Vec<u8>, String>,
    /// What the last execution was of.
    pub(super) last: String,
}

impl Requests {
    pub(super) fn read(&mut self, piece: &[u8]) {
        self.rest.extend_from_slice(piece);
        loop {
            // The first message has no letter.
            let head = usize::from(self.is_started);
            let Some(length) = self.rest.get(head..head + 4) else { return };
            let end = head + u32::from_be_bytes(length.try_into().unwrap()) as usize;
            if self.rest.len() < end {
                return;
            }
            let message: Vec<u8> = self.rest.drain(..end).collect();
            if self.is_started {
                self.take(message[0], &message[5..]);
            }
            self.is_started = true;
        }
    }

    fn take(&mut self, kind: u8, body: &[u8]) {
        let mut words = body.split(|byte| *byte == 0);
        let mut word = || words.next().unwrap_or_default().to_vec();
        match kind {
            b'P' => {
                let (name, sql) = (word(), word());
                self.prepared.insert(name, String::from_utf8_lossy(&sql).into_owned());
                // Its answer only says how it could be called.
                self.last.clear();
            }
            b'B' => {
                let (_portal, name) = (word(), word());
                self.last = self.prepared.get(&name).cloned().unwrap_or_default();
            }
            b'Q' => self.last = String::from_utf8_lossy(&word()).into_owned(),
            _ => {}
        }
    }
}

/// Whether a piece of an answer is the last one of a statement that is committed.
pub(super) fn is_committed(piece: &[u8]) -> bool {
    piece.ends_with(COMMITTED)
}
