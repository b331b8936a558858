//! One output stream of a process on its way to the log.
//!
//! Reads in pieces, masks, and sends chunks of at most 64 KiB. Small writes are gathered: the first
//! after a pause for a moment, later ones so that a stream sends about five chunks a second. While the
//! log is behind, nothing is read; the pipe fills and the process waits: memory stays bounded.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    actions::attempt::shortened,
    ports::{LogSink, LogStream, MaskStream},
};

const MAX_CHUNK: usize = 64 << 10;
/// How long the first bytes after a pause wait for more.
const GATHER: Duration = Duration::from_millis(10);
/// The least time between two chunks that are not full.
const INTERVAL: Duration = Duration::from_millis(200);
/// Once the process has ended, a stream that says nothing for so long is held open by a stranger.
const SILENCE: Duration = Duration::from_millis(500);
/// More than any pipe holds: what comes beyond it after the end is a stranger's.
const MAX_AFTER_END: usize = 2 << 20;
/// Of the beginning of a stream, for `result.stdout`.
const HEAD: usize = 64 << 10;
/// Of its end, for the message of a failure.
const TAIL: usize = 4 << 10;

type Reader = Box<dyn AsyncRead + Send + Unpin>;

pub(super) struct Pump {
    log: LogSink,
    stream: LogStream,
    mask: Box<dyn MaskStream>,
    /// Masked, not yet sent.
    pending: Vec<u8>,
    send_at: Option<Instant>,
    last_sent: Option<Instant>,
    captured: Captured,
}

/// What is kept of a stream; masked.
#[derive(Debug, Default)]
pub(super) struct Captured {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Pump {
    pub fn new(log: &LogSink, stream: LogStream) -> Pump {
        let (mask, captured) = (log.mask_stream(), Captured::default());
        Pump { log: log.clone(), stream, mask, pending: Vec::new(), send_at: None, last_sent: None, captured }
    }

    /// Carries everything until the stream ends, or is silent after the process has.
    pub async fn run(mut self, reader: Option<Reader>, ended: &CancellationToken) -> Captured {
        if let Some(reader) = reader {
            self.carry(reader, ended).await;
        }
        let rest = self.mask.finish();
        self.gather(&rest).await;
        let rest = std::mem::take(&mut self.pending);
        self.send(rest).await;
        self.captured
    }

    async fn carry(&mut self, mut reader: Reader, ended: &CancellationToken) {
        let (mut buffer, mut after_end) = (vec![0; 16 << 10], 0);
        while after_end < MAX_AFTER_END {
            let due = self.send_at;
            tokio::select! {
                read = reader.read(&mut buffer) => {
                    // An error is the end too: there is nothing more to be had from it.
                    let Ok(length @ 1..) = read else { return };
                    if ended.is_cancelled() {
                        after_end += length;
                    }
                    let masked = self.mask.push(&buffer[..length]);
                    self.gather(&masked).await;
                }
                () = async { sleep_until(due.unwrap_or_else(Instant::now)).await }, if due.is_some() => {
                    self.send_whole_characters().await;
                }
                () = async { ended.cancelled().await; sleep(SILENCE).await } => return,
            }
        }
    }

    async fn gather(&mut self, masked: &[u8]) {
        self.captured.take(masked);
        self.pending.extend_from_slice(masked);
        while self.pending.len() >= MAX_CHUNK {
            let rest = self.pending.split_off(whole_characters(&self.pending[..MAX_CHUNK]));
            let chunk = std::mem::replace(&mut self.pending, rest);
            self.send(chunk).await;
        }
        if self.send_at.is_none() && !self.pending.is_empty() {
            let gathered = Instant::now() + GATHER;
            self.send_at = Some(self.last_sent.map_or(gathered, |sent| gathered.max(sent + INTERVAL)));
        }
    }

    /// The beginning of a character waits for its end, however long that takes.
    async fn send_whole_characters(&mut self) {
        self.send_at = None;
        let rest = self.pending.split_off(whole_characters(&self.pending));
        let chunk = std::mem::replace(&mut self.pending, rest);
        self.send(chunk).await;
    }

    async fn send(&mut self, chunk: Vec<u8>) {
        if !chunk.is_empty() {
            self.log.bytes(self.stream, chunk).await;
            self.last_sent = Some(Instant::now());
        }
    }
}

/// How many bytes there are before a character that begins at the end and is not complete.
fn whole_characters(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let start = bytes.len() - back;
        let length = match bytes[start] {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        return if length > back { start } else { bytes.len() };
    }
    bytes.len()
}

impl Captured {
    fn take(&mut self, bytes: &[u8]) {
        let room = HEAD - self.head.len();
        self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL)..]);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    /// The beginning of the stream as text, without one newline at its end.
    pub fn text(&self) -> String {
        let whole = if self.head.len() == HEAD { whole_characters(&self.head) } else { self.head.len() };
        let mut text = String::from_utf8_lossy(&self.head[..whole]).into_owned();
        if text.ends_with('\n') {
            text.pop();
        }
        text
    }

    /// The last line that says something, short and without colours.
    pub fn last_line(&self) -> Option<String> {
        let text = plain(&String::from_utf8_lossy(&self.tail));
        let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
        Some(shortened(line, 500))
    }
}

/// The text without terminal sequences and other control characters.
fn plain(text: &str) -> String {
    let (mut plain, mut chars) = (String::with_capacity(text.len()), text.chars());
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.next() == Some('[') => {
                // Ends with its first byte from `@` on.
                let _ = chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
            // A progress bar returns to the beginning of its line; what it wrote before does not matter.
            '\n' | '\r' => plain.push('\n'),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;
    use crate::{actions::testing::World, ports::LogPayload};

    async fn next(world: &mut World) -> String {
        match world.chunks.recv().await.unwrap().payload {
            LogPayload::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
            other => unreachable!("streams are bytes: {other:?}"),
        }
    }

    #[test]
    fn cut_characters_are_found() {
        for (bytes, whole) in [
            (&b"abc"[..], 3),
            ("aä".as_bytes(), 3),
            (&"aä".as_bytes()[..2], 1),
            (&"a€".as_bytes()[..3], 1),
            (&"a😀".as_bytes()[..4], 1),
            ("a😀".as_bytes(), 5),
            (&[0xFF, 0x80, 0x80, 0x80, 0x80][..], 5),
            (b"", 0),
        ] {
            assert_eq!(whole_characters(bytes), whole, "{bytes:?}");
        }
    }

    #[test]
    fn the_last_line_is_plain() {
        let mut captured = Captured::default();
        captured.take(b"first\n\x1b[31;1merror:\x1b[0m no\x07 disk\n\n  \n");
        assert_eq!(captured.last_line().unwrap(), "error: no disk");
        assert_eq!(Captured::default().last_line(), None);
    }

    #[test]
    fn head_and_tail_are_bounded() {
        let mut captured = Captured::default();
        for _ in 0..100 {
            captured.take("ä".repeat(5_000).as_bytes());
        }
        captured.take(b"\nend\n");
        assert!(captured.tail.len() <= TAIL && captured.head.len() <= HEAD);
        assert!(captured.text().chars().all(|c| c == 'ä'));
        assert_eq!(captured.last_line().unwrap(), "end");
    }

    #[tokio::test(start_paused = true)]
    async fn small_writes_are_gathered_and_an_idle_stream_is_flushed() {
        let mut world = World::new();
        let log = world.context(serde_json::Value::Null).log;
        let (mut write, read) = duplex(1 << 16);
        let ended = CancellationToken::new();
        let pump = Pump::new(&log, LogStream::Stdout).run(Some(Box::new(read)), &ended);
        let check = async {
            let start = Instant::now();
            write.write_all(b"one\n").await.unwrap();
            write.write_all(b"two\n").await.unwrap();
            assert_eq!(next(&mut world).await, "one\ntwo\n");
            assert!(start.elapsed() < Duration::from_millis(50), "the first words come at once");
            for _ in 0..10 {
                write.write_all(b".").await.unwrap();
                sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(next(&mut world).await, "..........");
            assert!(start.elapsed() <= Duration::from_millis(215), "{:?}", start.elapsed());
            write.write_all(&"€".as_bytes()[..2]).await.unwrap();
            sleep(Duration::from_secs(1)).await;
            write.write_all(&"€".as_bytes()[2..]).await.unwrap();
            assert_eq!(next(&mut world).await, "€");
            write.write_all(b"pw hunt").await.unwrap();
            assert_eq!(next(&mut world).await, "pw ");
            write.write_all(b"er2.").await.unwrap();
            drop(write);
            assert_eq!(next(&mut world).await, "***.");
        };
        let (captured, ()) = futures::future::join(pump, check).await;
        assert_eq!(captured.text(), "one\ntwo\n..........€pw ***.");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_held_open_by_a_stranger_ends() {
        let world = World::new();
        let log = world.context(serde_json::Value::Null).log;
        let (mut write, read) = duplex(1 << 16);
        write.write_all(b"last words").await.unwrap();
        let ended = CancellationToken::new();
        ended.cancel();
        let captured = Pump::new(&log, LogStream::Stdout).run(Some(Box::new(read)), &ended).await;
        assert_eq!(captured.text(), "last words");
        drop(write);
    }
}
