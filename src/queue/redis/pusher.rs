//! Telling other processes: rings become tasks.

use std::{sync::Arc, time::Duration};

use apalis_core::task::{builder::TaskBuilder, task_id::TaskId};
use apalis_redis::queries::push_tasks;
use tokio_util::sync::CancellationToken;

use super::{RedisQueueConfig, Ring, Rung, promote::promote};
use crate::{
    model::Lane,
    redis_client::{Pause, RedisLink},
};

/// How long the end of a process may wait for what was rung last.
const LAST_WORDS: Duration = Duration::from_secs(1);

pub(super) struct Pusher {
    config: RedisQueueConfig,
    rung: Arc<Rung>,
    /// Tasks pushed so far: every id is new, because apalis drops one that it still knows.
    pushed: u64,
}

impl Pusher {
    pub fn new(config: RedisQueueConfig, rung: Arc<Rung>) -> Pusher {
        Pusher { config, rung, pushed: 0 }
    }

    /// Until `stop` fires, and then what was rung last.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.push_for_ever()).await;
        if self.rung.is_empty() {
            return;
        }
        let last = async {
            let mut link = self.config.server.connect().await?;
            self.push_rung(&mut link).await
        };
        if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, last).await {
            tracing::debug!(%error, "the last wake-ups could not be told");
        }
    }

    async fn push_for_ever(&mut self) {
        let mut pause = Pause::default();
        loop {
            if self.rung.is_empty() {
                // Most processes that only look never ring.
                self.rung.wake.notified().await;
            }
            let error = self.push_until_error(&mut pause).await;
            if !pause.is_told {
                pause.is_told = true;
                tracing::warn!(%error, at = self.config.server.place(), "wake-ups cannot be told to other processes; \
                    they look for runs once a second until then");
            }
            pause.wait().await;
        }
    }

    async fn push_until_error(&mut self, pause: &mut Pause) -> apalis_redis::Error {
        let mut link = match self.config.server.connect().await {
            Ok(link) => link,
            Err(error) => return error.into(),
        };
        loop {
            if let Err(error) = self.push_rung(&mut link).await {
                return error;
            }
            if pause.is_told {
                tracing::info!(at = self.config.server.place(), "wake-ups are told again");
            }
            pause.reset();
            self.rung.wake.notified().await;
        }
    }

    async fn push_rung(&mut self, link: &mut RedisLink) -> Result<(), apalis_redis::Error> {
        let mut lanes = self.rung.take();
        while let Some(lane) = lanes.pop() {
            if let Err(error) = self.push(link, lane).await {
                // They are told over the next connection.
                lanes.into_iter().chain([lane]).for_each(|lane| self.rung.add(lane));
                return Err(error);
            }
        }
        Ok(())
    }

    async fn push(&mut self, link: &mut RedisLink, lane: Lane) -> Result<(), apalis_redis::Error> {
        let queue = self.config.queue(lane);
        self.pushed += 1;
        // A bare number would be read as another type of id and would not be found again.
        let id = TaskId::from_string(format!("r{}:{}", self.config.name, self.pushed));
        let ring = serde_json::to_vec(&Ring { lane }).map_err(apalis_redis::Error::Json)?;
        // Both are on their way before the first is answered: somebody waits at the other end.
        let (tasks, mut behind) = ([TaskBuilder::new(ring).task_id(id).build()], link.clone());
        let (pushed, moved) = tokio::join!(push_tasks(link, &queue, &tasks), promote(&mut behind, &queue));
        pushed?;
        if moved? == 0 {
            // It was the quicker one, because the server had to be taught the other script first.
            promote(link, &queue).await?;
        }
        Ok(())
    }
}
