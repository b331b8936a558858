//! What happens to runs as wholes, over all runs of a tenant, for whoever shows a list of them.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use super::{Shared, Streams, pump::Look};
use crate::{
    model::{Event, TenantId},
    ports::{Announced, Announcements},
};

/// Changes of other processes are told at most this often.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// What a reader of all runs is given.
#[derive(Debug, Clone)]
pub enum Change {
    /// Something may have been missed: what is true now is in the lists.
    Sync,
    Event(Arc<Event>),
    /// This process is stopping.
    Stopped,
}

/// A reader of all runs. Its first word is [`Change::Sync`].
pub struct Changes {
    shared: Arc<Shared>,
    announced: Box<dyn Announcements>,
    looks: watch::Receiver<Look>,
    /// What the store said when this reader was last in step with it.
    mark: Option<i64>,
    synced: Option<Instant>,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes").finish_non_exhaustive()
    }
}

impl Streams {
    /// The changes from now on.
    pub fn changes(&self, tenant: TenantId) -> Changes {
        let announced = self.shared.feed.subscribe_all(tenant);
        // That somebody listens makes the store be looked at.
        let looks = self.shared.changes.subscribe();
        Changes { shared: self.shared.clone(), announced, looks, mark: None, synced: None }
    }
}

impl Changes {
    pub async fn next(&mut self) -> Change {
        let stop = self.shared.stop.clone();
        stop.run_until_cancelled(self.advance()).await.unwrap_or(Change::Stopped)
    }

    async fn advance(&mut self) -> Change {
        if self.synced.is_none() {
            return self.sync();
        }
        loop {
            let due = self.synced.map(|at| at + SYNC_EVERY);
            tokio::select! {
                biased;
                announced = self.announced.next() => return match announced {
                    Announced::Event(event) => Change::Event(event),
                    Announced::Missed(_) => self.sync(),
                },
                // Another process has written; at once, or as soon as it may be told again.
                _ = self.looks.changed() => {
                    let mark = self.looks.borrow_and_update().mark;
                    if self.mark.is_none() {
                        self.mark = Some(mark);
                    }
                    if self.mark != Some(mark) && due.is_none_or(|due| due <= Instant::now()) {
                        self.mark = Some(mark);
                        return self.sync();
                    }
                }
            }
        }
    }

    fn sync(&mut self) -> Change {
        self.synced = Some(Instant::now());
        Change::Sync
    }
}
