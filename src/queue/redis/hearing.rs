//! Hearing other processes: tasks become rings.
//!
//! Each lane is an apalis worker. Whatever goes wrong in one ends it (an answer that is late, a flushed server, an
//! acknowledgement of a task that was taken away), so it is started again, with a new name, over a new connection.
//! Runs are not touched by that: they execute elsewhere.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use apalis::prelude::{BoxDynError, Data, WorkerBuilder, WorkerBuilderExt, WorkerContext, WorkerError};
use apalis_redis::RedisStorage;
use futures::{FutureExt, StreamExt};
use redis::aio::ConnectionLike;
use tokio_util::sync::CancellationToken;

use super::{
    Bells, RedisQueueConfig, Ring, Rung, garbage::collect_from, metered::Metered, paced::Paced, promote::promote,
};
use crate::{model::Lane, ports::Queue, redis_client::Pause};

/// If nobody waits for work again so long after a ring, there may be more than fits in here.
const PASS_ON: Duration = Duration::from_millis(20);

/// How long the end of a process waits for tasks under way.
const DRAIN: Duration = Duration::from_secs(3);

/// How often the connection for announcements is tried, and how long an answer may take.
const CALL_EVERY: Duration = Duration::from_secs(5);

/// A worker that lasted so long did not fail at once.
const LASTED: Duration = Duration::from_secs(10);

/// How long Redis remembers the name of a worker that has died.
const REMEMBERED: i64 = 86_400;

#[derive(Debug, Clone)]
pub(super) struct Hearing {
    config: RedisQueueConfig,
    bells: Arc<Bells>,
    rung: Arc<Rung>,
}

impl Hearing {
    pub fn new(config: RedisQueueConfig, bells: Arc<Bells>, rung: Arc<Rung>) -> Hearing {
        Hearing { config, bells, rung }
    }

    /// Takes the tasks of a lane until `stop` fires.
    pub async fn serve(self, lane: Lane, stop: CancellationToken) {
        let mut pause = Pause::default();
        let mut starts = 0_u64;
        while !stop.is_cancelled() {
            starts += 1;
            let begun = tokio::time::Instant::now();
            let session = self.session(lane, starts, stop.clone());
            let error = match AssertUnwindSafe(session).catch_unwind().await {
                Ok(Ok(())) if stop.is_cancelled() => return,
                Ok(Ok(())) => "it ended".to_owned(),
                Ok(Err(error)) => error,
                Err(_) => "it panicked".to_owned(),
            };
            if begun.elapsed() > LASTED {
                pause.reset();
            }
            if !std::mem::replace(&mut pause.is_told, true) {
                tracing::warn!(%lane, error, at = self.config.server.place(),
                    "wake-ups of other processes cannot be heard; runs are looked for once a second until then");
            }
            stop.run_until_cancelled(pause.wait()).await;
        }
    }

    /// One apalis worker, to its end.
    async fn session(&self, lane: Lane, start: u64, stop: CancellationToken) -> Result<(), String> {
        let connecting = stop.run_until_cancelled(self.config.server.connect()).await;
        let Some(link) = connecting else { return Ok(()) };
        let mut link = link.map_err(|error| error.to_string())?;
        let queue = self.config.queue(lane);
        let name = format!("{lane}-{}-{start}", self.config.name);
        // Before the worker looks for the first time: it could not move what may have piled up.
        promote(&mut link, &queue).await.map_err(|error| error.to_string())?;
        let record = format!("{}:workers:metadata:{name}", queue.queue.as_ref());
        forgotten_some_day(&mut link, &record).await.map_err(|error| error.to_string())?;
        let metered = Metered::new(link.clone());
        let under_way = metered.under_way();
        let storage = RedisStorage::<Ring, Metered>::new(metered).with_config(queue.clone());
        let pickup = self.bells.pickups[lane as usize].clone();
        let worker = WorkerBuilder::new(name.as_str())
            .backend(Paced::new(storage, pickup, under_way))
            .concurrency(1)
            .data(self.clone())
            .catch_panic()
            .build(heard);
        let ended = worker.run_with_ctx(move |worker| until_stopped(worker, stop.clone())).await;
        if ended.is_err() {
            // Where that cannot be done the tasks come back, and so does this.
            let _: Result<(), _> = collect_from(&mut link, &queue, &name).await;
        }
        let _: Result<(), _> = redis::cmd("UNLINK").arg(&record).query_async(&mut link).await;
        ended.map_err(|error| error.to_string())
    }

    /// Hears announcements until `stop` fires, and tells the workers to look.
    pub async fn listen(self, stop: CancellationToken) {
        let mut pause = Pause::default();
        let listening = async {
            loop {
                // The workers look twice a second meanwhile, and what is wrong they say.
                let Err(error) = self.listen_until_error(&mut pause).await;
                tracing::debug!(%error, "announcements cannot be heard; trying again");
                pause.wait().await;
            }
        };
        stop.run_until_cancelled(listening).await;
    }

    async fn listen_until_error(&self, pause: &mut Pause) -> redis::RedisResult<std::convert::Infallible> {
        let (mut sink, mut heard) = self.config.server.listen().await?.split();
        for lane in &self.config.lanes {
            sink.subscribe(self.config.wake_channel(*lane)).await?;
        }
        pause.reset();
        // Something may have been missed.
        self.config.lanes.iter().for_each(|lane| self.bells.pickups[*lane as usize].tell());
        let channels: Vec<_> = self.config.lanes.iter().map(|lane| (*lane, self.config.wake_channel(*lane))).collect();
        let late = || redis::RedisError::from((redis::ErrorKind::Io, "no answer"));
        let mut call = tokio::time::interval(CALL_EVERY);
        loop {
            tokio::select! {
                message = heard.next() => {
                    let message = message.ok_or_else(late)?;
                    let told = channels.iter().filter(|(_, channel)| channel == message.get_channel_name());
                    told.for_each(|(lane, _)| self.bells.pickups[*lane as usize].tell());
                }
                // A connection can be dead without a sign.
                _ = call.tick() => {
                    let answer = tokio::time::timeout(CALL_EVERY, sink.ping::<redis::Value>()).await;
                    answer.unwrap_or_else(|_| Err(late()))?;
                }
            }
        }
    }
}

/// Makes sure that the record of a worker goes even if the worker cannot remove it.
async fn forgotten_some_day(link: &mut impl ConnectionLike, record: &str) -> redis::RedisResult<()> {
    let mut commands = redis::pipe();
    commands.hset(record, "backend_name", "RedisStorage").ignore();
    commands.expire(record, REMEMBERED).ignore();
    commands.query_async(link).await
}

/// The handler of every task. It always succeeds for apalis: what becomes of runs is in the store.
async fn heard(ring: Ring, hearing: Data<Hearing>) -> Result<(), BoxDynError> {
    let pickup = &hearing.bells.pickups[ring.lane as usize];
    let before = pickup.begun();
    hearing.bells.local.ring(ring.lane);
    if !pickup.begins_after(before, PASS_ON).await {
        hearing.rung.add(ring.lane);
    }
    Ok(())
}

/// Stops a worker in order: first nothing more is fetched, then what runs ends, then the worker. Stopping at once
/// would hang.
async fn until_stopped(worker: WorkerContext, stop: CancellationToken) -> Result<(), WorkerError> {
    stop.cancelled().await;
    worker.pause()?;
    let idle = async {
        while worker.has_pending_tasks() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Acknowledgements are sent with the next turn.
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let _ = tokio::time::timeout(DRAIN, idle).await;
    worker.stop()
}
