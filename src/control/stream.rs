//! Following a run: what has happened after a cursor, then what happens, each event once and in order.
//!
//! The readers of one run in one process share a ring of its last events ([`ring`]), which one task fills from
//! the feed, from history where the feed has a gap, and by looking at the store every 250 ms for what other
//! processes write ([`pump`]). A reader holds a cursor and nothing else: while it is behind the ring it reads
//! history, a little at a time. An event is rendered once, however many readers it has.

mod changes;
mod pump;
mod ring;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use changes::{Change, Changes};
pub use ring::Shown;

use self::ring::{Live, Taken};
use super::{History, HistoryError, HistoryReader};
use crate::{
    model::{RunId, RunStatus},
    ports::Feed,
};

/// What a stream gives.
#[derive(Debug, Clone)]
pub enum Item {
    Event(Arc<Shown>),
    /// The run has ended like this, and everything was given.
    End(RunStatus),
    /// This process is stopping; the stream can be resumed elsewhere or later.
    Stopped,
}

/// The streams of one process. Cheap to clone.
#[derive(Clone)]
pub struct Streams {
    shared: Arc<Shared>,
}

struct Shared {
    history: History,
    feed: Arc<dyn Feed>,
    /// Runs that have a ring.
    live: Mutex<HashMap<RunId, Arc<Live>>>,
    /// Rises whenever it is time to look at the store; see [`pump::look`].
    looks: watch::Sender<pump::Look>,
    /// The same, for readers of all runs.
    changes: watch::Sender<pump::Look>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("live", &self.shared.live().len()).finish_non_exhaustive()
    }
}

impl Streams {
    /// Starts on `tasks`; ends, and with it every stream, when `stop` fires.
    pub fn start(history: History, feed: Arc<dyn Feed>, tasks: &TaskTracker, stop: CancellationToken) -> Streams {
        let (looks, changes) = (watch::Sender::default(), watch::Sender::default());
        let (live, tasks) = (Mutex::default(), tasks.clone());
        let shared = Arc::new(Shared { history, feed, live, looks, changes, tasks, stop });
        shared.tasks.spawn(pump::look(shared.clone()));
        Streams { shared }
    }

    /// Where the streams begin.
    pub fn history(&self) -> &History {
        &self.shared.history
    }

    /// The events of a run with a sequence above `after`, as they are and as they come.
    pub async fn open(&self, run: RunId, after: u64) -> Result<EventStream, HistoryError> {
        let mut stream = EventStream { shared: self.shared.clone(), run, at: after, mode: Mode::Ended(None) };
        if !stream.joins(None) {
            stream.mode = stream.past().await?;
        }
        Ok(stream)
    }
}

impl Shared {
    fn live(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Live>>> {
        // No code that can panic runs under this lock.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader of one run. Dropping a call of [`EventStream::next`] loses nothing.
pub struct EventStream {
    shared: Arc<Shared>,
    run: RunId,
    /// The sequence of the last event given.
    at: u64,
    mode: Mode,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("run", &self.run).field("at", &self.at).finish_non_exhaustive()
    }
}

enum Mode {
    Past(Box<Past>),
    Live(Joined),
    Ended(Option<RunStatus>),
}

/// A pass over history.
struct Past {
    reader: HistoryReader,
    /// How the run had ended before the pass began.
    ended: Option<RunStatus>,
    /// Where the ring began before the pass began: whatever precedes it is in history by now, or is lost.
    base: Option<u64>,
}

/// A part in a ring; the last one to leave takes the ring with it.
struct Joined {
    shared: Arc<Shared>,
    live: Arc<Live>,
    news: watch::Receiver<u64>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        let mut all = self.shared.live();
        if self.live.leave() == 0 {
            self.live.stop();
            if all.get(&self.live.run).is_some_and(|live| Arc::ptr_eq(live, &self.live)) {
                all.remove(&self.live.run);
            }
        }
    }
}

impl EventStream {
    /// The sequence of the last event given.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next event. After the end it says the end again.
    pub async fn next(&mut self) -> Result<Item, HistoryError> {
        let stop = self.shared.stop.clone();
        stop.run_until_cancelled(self.advance()).await.unwrap_or(Ok(Item::Stopped))
    }

    async fn advance(&mut self) -> Result<Item, HistoryError> {
        loop {
            let item = match &mut self.mode {
                Mode::Past(_) => self.next_of_past().await?,
                Mode::Live(_) => self.next_of_live().await?,
                Mode::Ended(None) => {
                    self.mode = self.past().await?;
                    None
                }
                Mode::Ended(Some(status)) => Some(Item::End(*status)),
            };
            if let Some(item) = item {
                return Ok(item);
            }
        }
    }

    async fn past(&self) -> Result<Mode, HistoryError> {
        let base = self.shared.live().get(&self.run).map(|live| live.base());
        let row = self.shared.history.row(self.run).await?;
        let ended = row.status.is_ended().then_some(row.status);
        let reader = self.shared.history.reader(self.run, self.at);
        Ok(Mode::Past(Box::new(Past { reader, ended, base })))
    }

    async fn next_of_past(&mut self) -> Result<Option<Item>, HistoryError> {
        let Mode::Past(past) = &mut self.mode else { return Ok(None) };
        if let Some(event) = past.reader.next().await? {
            self.at = event.sequence;
            return Ok(Some(Item::Event(Arc::new(Shown::new(Arc::new(event))))));
        }
        let (ended, base) = (past.ended, past.base);
        if ended.is_some() {
            self.mode = Mode::Ended(ended);
            return Ok(None);
        }
        // A ring may only begin at an event, and nobody vouches for the cursor of a client.
        let begin = self.shared.history.last_until(self.run, self.at).await?;
        // What the ring began after is neither before the cursor nor in history: it is lost.
        self.at = self.at.max(base.unwrap_or(0));
        if !self.joins(Some(begin)) {
            self.mode = self.past().await?;
        }
        Ok(None)
    }

    /// Goes over to the run's ring if it reaches back to the cursor. Where there is none, one is begun after the
    /// sequence `begin`.
    fn joins(&mut self, begin: Option<u64>) -> bool {
        let mut all = self.shared.live();
        let live = match (all.get(&self.run), begin) {
            (Some(live), _) => live.clone(),
            (None, Some(begin)) => {
                let live = Arc::new(Live::new(self.run, begin, self.shared.stop.child_token()));
                all.insert(self.run, live.clone());
                self.shared.tasks.spawn(pump::pump(self.shared.clone(), live.clone()));
                live
            }
            (None, None) => return false,
        };
        if live.base() > self.at {
            return false;
        }
        let news = live.join();
        drop(all);
        self.mode = Mode::Live(Joined { shared: self.shared.clone(), live, news });
        true
    }

    async fn next_of_live(&mut self) -> Result<Option<Item>, HistoryError> {
        let Mode::Live(joined) = &mut self.mode else { return Ok(None) };
        joined.news.mark_unchanged();
        match joined.live.take(self.at) {
            Taken::Event(shown) => {
                self.at = shown.event().sequence;
                Ok(Some(Item::Event(shown)))
            }
            Taken::Behind => {
                self.mode = self.past().await?;
                Ok(None)
            }
            Taken::Ended(status) => {
                self.mode = Mode::Ended(Some(status));
                Ok(None)
            }
            Taken::Nothing => {
                // The sender lives as long as our part in the ring.
                let _ = joined.news.changed().await;
                Ok(None)
            }
        }
    }
}
