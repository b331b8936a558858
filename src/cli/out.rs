//! The only place that prints.
//!
//! Results go to standard output, messages to standard error. Colours follow the terminal and `NO_COLOR`.
//! Once the reader of standard output is gone (`| head -1`) nothing more is written, and the command ends
//! with the code that it would have ended with anyway.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anstream::AutoStream;
use serde::Serialize;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON document, or JSON Lines for streams.
    Json,
}

/// The two output streams of the process.
pub struct Out {
    pub format: Format,
    stdout: Mutex<AutoStream<io::Stdout>>,
    stderr: Mutex<AutoStream<io::Stderr>>,
    /// Nobody reads standard output any more.
    closed: AtomicBool,
    /// Messages so far, for views that paint: a message moves what is on the terminal.
    messages: AtomicU64,
}

impl std::fmt::Debug for Out {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Out").field("format", &self.format).finish_non_exhaustive()
    }
}

impl Out {
    pub fn new(format: Format) -> Out {
        Out {
            format,
            stdout: Mutex::new(AutoStream::auto(io::stdout())),
            stderr: Mutex::new(AutoStream::auto(io::stderr())),
            closed: AtomicBool::new(false),
            messages: AtomicU64::new(0),
        }
    }

    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether nobody reads standard output any more, so that a pure reader may stop.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether standard output is a terminal that can be painted on.
    pub fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    /// Whether standard error shows colours.
    pub fn is_stderr_coloured() -> bool {
        AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never
    }

    /// Whether standard output shows colours.
    pub fn is_coloured() -> bool {
        AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
    }

    /// One line of the result.
    pub fn line(&self, line: impl AsRef<str>) {
        self.raw(format!("{}\n", line.as_ref()).as_bytes());
    }

    /// The result, or one item of it, as JSON on a line of its own.
    pub fn json(&self, value: &impl Serialize) {
        let text = serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        // Escape codes inside strings are escaped, so there is nothing to remove.
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Text with escape codes, flushed at once; colours are removed where they are not wanted.
    pub fn raw(&self, bytes: &[u8]) {
        if self.is_closed() {
            return;
        }
        let mut stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        self.note(&written);
    }

    /// Bytes as they are: what a step wrote, to a file or another program.
    pub fn bytes(&self, bytes: &[u8]) {
        if !self.is_closed() {
            let mut stdout = io::stdout().lock();
            self.note(&stdout.write_all(bytes));
        }
    }

    /// Writes out what is buffered.
    pub fn flush(&self) {
        self.note(&io::stdout().flush());
    }

    /// A message for the person at the terminal.
    pub fn message(&self, line: impl AsRef<str>) {
        let mut stderr = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody is left to tell.
        let _ = writeln!(stderr, "{}", line.as_ref());
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// How many messages there were.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    fn note(&self, written: &io::Result<()>) {
        if written.is_err() {
            // A closed pipe, or a full disk behind a redirection: more output makes neither better.
            self.closed.store(true, Ordering::Relaxed);
        }
    }
}
