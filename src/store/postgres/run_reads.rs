//! Reads of single runs, gathered: while some are under way the next ones wait, and are then asked for together.
//!
//! A statement costs the server far more than a row does, and clients that poll the status of their runs are many.
//! There is no timer: a read that meets no other is sent at once. A statement is sent after the last of its reads was
//! asked for, so each sees everything that was committed before it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use super::{
    arguments::arguments,
    link::Link,
    records::{RunRecord, decode},
    rows::id_of,
};
use crate::{
    model::RunId,
    ports::{RunRow, StoreError},
};

/// So many statements are under way at once: while the server works on one, the next is read or written here.
const TURNS: usize = 2;

/// More runs than this are not asked for in one statement.
const TOGETHER: usize = 64;

type Answer = Result<Option<RunRow>, StoreError>;

#[derive(Debug)]
pub(super) struct RunReads {
    turns: Semaphore,
    waiting: Mutex<Vec<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    run: RunId,
    answer: oneshot::Sender<Answer>,
}

impl RunReads {
    pub(super) fn new() -> RunReads {
        RunReads { turns: Semaphore::new(TURNS), waiting: Mutex::default() }
    }

    /// The row of a run, read on behalf of all who wait by the one whose turn it is.
    pub(super) async fn run(&self, link: &Link, run: RunId) -> Answer {
        loop {
            let (sender, mut answer) = oneshot::channel();
            self.waiting().push(Waiting { run, answer: sender });
            loop {
                tokio::select! {
                    biased;
                    answered = &mut answer => match answered {
                        Ok(answered) => return answered,
                        // Whoever read for us has gone away half-way, as the client of a request may.
                        Err(_) => break,
                    },
                    turn = self.turns.acquire() => {
                        let _turn = turn.map_err(|_| StoreError::Unavailable("the store is closed".to_owned()))?;
                        // Ours is among those that are read, unless there are too many.
                        self.read(link).await;
                    }
                }
            }
        }
    }

    /// Reads the runs that have waited longest, and tells everyone.
    async fn read(&self, link: &Link) {
        let mut asked: HashMap<Uuid, Vec<oneshot::Sender<Answer>>> = HashMap::new();
        {
            let mut waiting = self.waiting();
            // Those who have gone away have no use for an answer.
            waiting.retain(|one| !one.answer.is_closed());
            let together = waiting.len().min(TOGETHER);
            for Waiting { run, answer } in waiting.drain(..together) {
                asked.entry(run.0).or_default().push(answer);
            }
        }
        if asked.is_empty() {
            return;
        }
        let found = rows(link, asked.keys().copied().collect()).await;
        for (id, askers) in asked {
            let answer = match &found {
                Ok(found) => found.get(&id).cloned().transpose(),
                Err(error) => Err(error.clone()),
            };
            for asker in askers {
                // It may have gone away meanwhile.
                let _ = asker.send(answer.clone());
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs that there are. One that cannot be read is not in the way of the others.
async fn rows(link: &Link, ids: Vec<Uuid>) -> Result<HashMap<Uuid, Result<RunRow, StoreError>>, StoreError> {
    let rows = link.rows(include_str!("queries/runs.sql"), arguments!(ids)).await?;
    rows.iter().map(|row| Ok((id_of(row)?, decode::<RunRecord, _>(row)))).collect()
}
