//! Server-sent events out of a stream of bytes, without copies.

use crate::model::StreamId;

/// One message. Only what the workloads look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub id: Option<StreamId>,
    pub event: &'a str,
    pub data: &'a str,
}

impl Message<'_> {
    /// A piece of a log, which is no row of the history.
    pub fn is_chunk(&self) -> bool {
        self.event == "system.log"
    }

    /// The server has nothing more to say.
    pub fn is_close(&self) -> bool {
        self.event == "close"
    }
}

/// Bytes that have come, of which the part before `start` has been read.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    start: usize,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > 64 << 10 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message. Comments and blocks without data are passed over.
    pub fn next(&mut self) -> Option<Message<'_>> {
        loop {
            let rest = self.bytes.get(self.start..)?;
            let length = rest.windows(2).position(|pair| pair == b"\n\n")?;
            let block = self.start..self.start + length;
            self.start += length + 2;
            if has_data(&self.bytes[block.clone()]) {
                return message(&self.bytes[block]);
            }
        }
    }
}

fn has_data(block: &[u8]) -> bool {
    block.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"data") || line.starts_with(b"event"))
}

/// What the server sends: one line a field, and never a carriage return.
fn message(block: &[u8]) -> Option<Message<'_>> {
    let mut message = Message { id: None, event: "message", data: "" };
    for line in std::str::from_utf8(block).ok()?.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => message.id = value.parse().ok(),
            "event" => message.event = value,
            "data" => message.data = value,
            _ => {}
        }
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_however_the_bytes_are_cut() {
        let text = ": hello\n\nid: 12-3\nevent: lifecycle.run_started\ndata: {\"a\":1}\n\n: beat\n\nevent: close\ndata: {}\n\n";
        for cut in 1..text.len() {
            let mut frames = Frames::default();
            let mut seen = Vec::new();
            for part in text.as_bytes().chunks(cut) {
                frames.push(part);
                while let Some(message) = frames.next() {
                    seen.push((message.id, message.event.to_owned(), message.data.to_owned()));
                }
            }
            let id = Some(StreamId { millis: 12, sequence: 3 });
            let first = (id, "lifecycle.run_started".to_owned(), "{\"a\":1}".to_owned());
            assert_eq!(seen, [first, (None, "close".to_owned(), "{}".to_owned())], "cut every {cut} bytes");
        }
    }
}
