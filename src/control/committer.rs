//! Group commit: the commits of many owners share one transaction, and so one sync of the disk.
//!
//! There is no timer. While nothing is under way a commit is written at once; while one is, the next
//! batch gathers. So an idle system has the latency of one commit and a busy one its throughput.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::ports::{CommitAnswer, RunCommit, Store, StoreError};

/// More commits than this are not put into one transaction.
const BATCH: usize = 512;

/// More durable events than this are not put into one transaction, unless one commit has more.
const BATCH_EVENTS: usize = 8_192;

/// Batches do not grow beyond this many bytes of notes.
const BATCH_BYTES: usize = 8 << 20;

/// The longest wait between two tries while the store takes nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Why a commit has no answer. The run's owner must stop; another one takes the run up later.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct CommitError(pub String);

/// How a commit is to be handled.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// What the notes among its events weigh, in bytes; everything else is small.
    pub bytes: usize,
    /// Try again while the store is full or cannot be reached, for as long as somebody waits for the answer.
    pub patient: bool,
}

type Answer = Result<CommitAnswer, CommitError>;

struct Request {
    commit: RunCommit,
    terms: Terms,
    answer: oneshot::Sender<Answer>,
}

/// Hands commits to the store in batches. Cheap to clone; it ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Committer {
    requests: mpsc::UnboundedSender<Request>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("run", &self.commit.run).finish_non_exhaustive()
    }
}

impl Committer {
    /// Starts the committer on `tasks`, with `in_flight` batches at once (1 where the store has a single
    /// writer). Every owner has at most one commit waiting, so the queue is bounded by the owners.
    pub fn start(store: &Arc<dyn Store>, in_flight: usize, tasks: &TaskTracker) -> Committer {
        let (committer, writers) = Committer::open(store, in_flight);
        for writer in writers {
            tasks.spawn(writer);
        }
        committer
    }

    /// A committer and those who write for it, one for each batch at once.
    pub(crate) fn open(
        store: &Arc<dyn Store>,
        in_flight: usize,
    ) -> (Committer, Vec<impl Future<Output = ()> + Send + 'static>) {
        let (requests, queue) = mpsc::unbounded_channel();
        let queue = Arc::new(Mutex::new(queue));
        let writers = (0..in_flight.max(1)).map(|_| serve(store.clone(), queue.clone())).collect();
        (Committer { requests }, writers)
    }

    /// Writes one commit, together with whatever else waits.
    pub async fn commit(&self, commit: RunCommit, terms: Terms) -> Answer {
        let (answer, answered) = oneshot::channel();
        let gone = || CommitError("the committer has stopped".to_owned());
        self.requests.send(Request { commit, terms, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

async fn serve(store: Arc<dyn Store>, queue: Arc<Mutex<mpsc::UnboundedReceiver<Request>>>) {
    let mut kept = None;
    loop {
        let Some(batch) = gather(&queue, &mut kept).await else { return };
        // Whatever happens in a store, the commits of others go on.
        let written = AssertUnwindSafe(write(&*store, &batch)).catch_unwind().await;
        let written = written.unwrap_or_else(|_| Err(StoreError::Unavailable("the store panicked".to_owned())));
        let Batch { commits, answers, .. } = batch;
        match written {
            Ok(results) => {
                for (answer, result) in answers.into_iter().zip(results) {
                    // An owner that is gone needs no answer.
                    let _ = answer.send(Ok(result));
                }
            }
            Err(error) => {
                tracing::error!(%error, commits = commits.len(), "the store does not take commits");
                for answer in answers {
                    let _ = answer.send(Err(CommitError(error.to_string())));
                }
            }
        }
    }
}

struct Batch {
    commits: Vec<RunCommit>,
    answers: Vec<oneshot::Sender<Answer>>,
    patient: bool,
}

impl Batch {
    /// Whether nobody waits for an answer any more.
    fn is_forsaken(&self) -> bool {
        self.answers.iter().all(oneshot::Sender::is_closed)
    }
}

/// Everything that waits, up to the limits; waits for the first. `None` when no owner can come any more.
async fn gather(queue: &Mutex<mpsc::UnboundedReceiver<Request>>, kept: &mut Option<Request>) -> Option<Batch> {
    let mut queue = queue.lock().await;
    let first = match kept.take() {
        Some(request) => request,
        None => queue.recv().await?,
    };
    let (mut events, mut bytes) = (first.commit.events.len(), first.terms.bytes);
    let mut batch = Batch { commits: vec![first.commit], answers: vec![first.answer], patient: first.terms.patient };
    while batch.commits.len() < BATCH {
        let Ok(next) = queue.try_recv() else { break };
        events += next.commit.events.len();
        bytes += next.terms.bytes;
        if events > BATCH_EVENTS || bytes > BATCH_BYTES {
            *kept = Some(next);
            break;
        }
        batch.commits.push(next.commit);
        batch.answers.push(next.answer);
        batch.patient |= next.terms.patient;
    }
    Some(batch)
}

/// Writes a batch, again and again while the store is only busy: giving up would lose the runs' work, and repeating
/// a commit is safe. Patient owners wait for longer things too.
async fn write(store: &dyn Store, batch: &Batch) -> Result<Vec<CommitAnswer>, StoreError> {
    let mut wait = Duration::from_millis(5);
    loop {
        let error = match store.commit(&batch.commits).await {
            Err(error) if error.is_passing() => error,
            answer => return answer,
        };
        let commits = batch.commits.len();
        if matches!(error, StoreError::Busy(_)) && !batch.is_forsaken() {
            tracing::warn!(%error, commits, "the store is busy; trying again");
        } else if !batch.patient || batch.is_forsaken() {
            return Err(error);
        } else {
            tracing::error!(%error, commits, "the store takes no commits; trying again until it does");
            wait = wait.max(LONGEST_WAIT / 2);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
