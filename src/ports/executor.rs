//! Executors: what does the work of an action.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Mask, MaskStream, Note, SecretValue};
use crate::model::{Attempt, Category, Failure, Micros, RunId, StepIx, Success};

/// Executes the attempts of one action.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Does the work of one attempt. Ends soon after `context.cancel` fires; what it returns then does
    /// not count. `Success::result` is the action's result; `Success::outputs` are values the step set
    /// itself (`$OPSROOM_OUTPUT`), beside those its `outputs:` compute from the result.
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure>;

    /// Until when an attempt has nothing to do but to let time pass. It is not executed then: it succeeds, with no result,
    /// when that time has come, and whoever owns the run until then need not even live. One whose time has come when it
    /// begins, or that has work to do (`None`), is executed.
    fn waits_until(&self, _context: &AttemptContext) -> Result<Option<Micros>, Failure> {
        Ok(None)
    }

    /// Whether the action touches the folders of the run and the attempt, so that they have to exist.
    fn needs_workspace(&self) -> bool {
        true
    }
}

/// The executors of this build, by action.
pub trait Executors: Send + Sync {
    fn get(&self, uses: &str) -> Option<Arc<dyn Executor>>;

    /// Checks rendered `with` against the action's schema.
    fn check(&self, uses: &str, with: &Value) -> Result<(), Failure>;
}

/// All that an executor is given. Everything is rendered; secrets are by name.
pub struct AttemptContext {
    pub run: RunId,
    pub runbook: Arc<str>,
    pub step: Arc<str>,
    pub attempt: Attempt,
    /// When the current try of the step began; it does not move when a lost attempt is repeated.
    pub since: Micros,
    pub now: Micros,
    /// `with`, rendered and checked against the action's schema.
    pub with: Value,
    /// The step's environment, rendered, without secrets.
    pub env: BTreeMap<String, String>,
    /// The secrets that the step lists, by declared name (`ssh_key`, in the environment `SSH_KEY`).
    pub secrets: BTreeMap<String, SecretValue>,
    /// The run's working folder; exists.
    pub workspace: PathBuf,
    /// The attempt's own folder, emptied after it, for `$OPSROOM_OUTPUT` and the like. May hold an empty folder
    /// [`ARTIFACTS`](super::ARTIFACTS).
    pub scratch: PathBuf,
    /// The files that belong to the runbook (`$OPSROOM_FILES`), if it has some; nobody may write to them.
    pub files: Option<PathBuf>,
    /// Fires on cancel, timeout and drain.
    pub cancel: CancellationToken,
    /// From TERM to KILL.
    pub grace: Duration,
    pub log: LogSink,
}

impl std::fmt::Debug for AttemptContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttemptContext")
            .field("run", &self.run)
            .field("step", &self.step)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// Which stream a chunk came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    Stdout,
    Stderr,
    /// What the action itself says.
    Log,
}

impl LogStream {
    pub const fn as_str(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
            LogStream::Log => "log",
        }
    }
}

/// Notes larger than this are large: only [`LARGE_NOTES`] of them are on their way at once.
const LARGE: usize = 64 << 10;

/// With 1 MiB each, 4 MiB.
const LARGE_NOTES: usize = 4;

/// A chunk on its way to the run's event stream, at most 64 KiB; or a note.
#[derive(Debug)]
pub struct LogChunk {
    pub step: StepIx,
    pub attempt: Attempt,
    pub stream: LogStream,
    pub payload: LogPayload,
}

#[derive(Debug)]
pub enum LogPayload {
    /// Masked text or bytes that may not be UTF-8.
    Bytes(Vec<u8>),
    /// A structured line of the `log` action and the like.
    Record { level: &'static str, text: String, fields: Map<String, Value> },
    /// A durable event, masked. `large` is given back when the owner has taken it.
    Note { note: Note, large: Option<OwnedSemaphorePermit> },
}

/// The way of what attempts say to the owner of their run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LogSender {
    chunks: mpsc::Sender<LogChunk>,
    large: Arc<Semaphore>,
}

/// A way with room for so many chunks, and its end.
pub fn log_channel(room: usize) -> (LogSender, mpsc::Receiver<LogChunk>) {
    let (chunks, receiver) = mpsc::channel(room);
    (LogSender { chunks, large: Arc::new(Semaphore::new(LARGE_NOTES)) }, receiver)
}

/// Sends an attempt's chunks to the run's owner, masked. Sending waits while the owner is behind, so
/// memory stays bounded.
#[derive(Clone)]
pub struct LogSink {
    step: StepIx,
    attempt: Attempt,
    mask: Arc<dyn Mask>,
    sender: LogSender,
}

impl std::fmt::Debug for LogSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogSink").field("step", &self.step).field("attempt", &self.attempt).finish_non_exhaustive()
    }
}

impl LogSink {
    pub fn new(step: StepIx, attempt: Attempt, mask: Arc<dyn Mask>, sender: LogSender) -> LogSink {
        LogSink { step, attempt, mask, sender }
    }

    /// The masking of one byte stream; feed every chunk of it through the result before [`LogSink::bytes`].
    pub fn mask_stream(&self) -> Box<dyn MaskStream> {
        self.mask.stream()
    }

    /// Masks a whole text, for results and error messages.
    pub fn mask(&self) -> &dyn Mask {
        &*self.mask
    }

    /// Sends bytes that went through [`LogSink::mask_stream`] already.
    pub async fn bytes(&self, stream: LogStream, bytes: Vec<u8>) {
        self.send(stream, LogPayload::Bytes(bytes)).await;
    }

    /// Sends one line of the action itself; masks it.
    pub async fn record(&self, level: &'static str, text: &str, fields: Map<String, Value>) {
        let mut fields = Value::Object(fields);
        self.mask.json(&mut fields);
        let Value::Object(fields) = fields else { return };
        self.send(LogStream::Log, LogPayload::Record { level, text: self.mask.text(text), fields }).await;
    }

    /// Puts a durable event into the run's stream, masked; see [`Note::new`] for what it may be. Waits while the
    /// owner is behind. It is committed before anybody sees it, and before the attempt's end.
    pub async fn note(&self, category: Category, action: &str, data: Map<String, Value>) -> Result<(), Failure> {
        let mut data = Value::Object(data);
        self.mask.json(&mut data);
        let Value::Object(data) = data else { return Ok(()) };
        let note = Note::new(category, action, data)?;
        // The semaphore is never closed.
        let large = if note.size() > LARGE { self.sender.large.clone().acquire_owned().await.ok() } else { None };
        self.send(LogStream::Log, LogPayload::Note { note, large }).await;
        Ok(())
    }

    async fn send(&self, stream: LogStream, payload: LogPayload) {
        // A closed channel means that the owner is gone; there is nobody left to tell.
        let _ = self.sender.chunks.send(LogChunk { step: self.step, attempt: self.attempt, stream, payload }).await;
    }
}
