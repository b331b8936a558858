//! Doorbells between processes, as tasks of apalis-redis.
//!
//! Inside the process a ring takes the short way of [`ChannelQueue`]. For other processes it becomes a task, which
//! exactly one of them takes: one that has somebody waiting for work ([`paced`]). Its handler rings the bell of its
//! own process and succeeds; whoever claims decides. If nobody waits there again soon, the lane had more than that
//! process has room for, and the handler passes the ring on. So a ring costs one claim, however many workers there
//! are, and a thousand runs wake as many workers as they keep busy.
//!
//! A ring may be lost: whoever claims also looks by itself, once a second. So nothing here is ever an error for
//! anybody else, and nobody waits for Redis. Rings that come while one is being told are told together.
//!
//! apalis-redis is a transport here and no more. Retries, delays and results are in the store, and its own forms of
//! them do not know who owns a run; docs/decisions/0013 lists what was found out about it and what is done.

mod garbage;
mod hearing;
mod metered;
mod paced;
mod pickup;
mod promote;
mod pusher;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use apalis_redis::Config;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{hearing::Hearing, pickup::Pickup, pusher::Pusher};
use super::ChannelQueue;
use crate::{
    model::Lane,
    ports::{Doorbell, Queue},
    redis_client::RedisServer,
};

/// A dead process is known by three missing heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(2);
const MISSED_HEARTBEATS: usize = 3;

/// How doorbells go through Redis.
#[derive(Debug, Clone)]
pub struct RedisQueueConfig {
    pub server: RedisServer,
    /// Before the name of every key and channel.
    pub prefix: String,
    /// Lanes for whose rings somebody in this process waits.
    pub lanes: Vec<Lane>,
    /// What sets this start of this process apart from every other; letters, digits and `-`.
    pub name: String,
}

impl RedisQueueConfig {
    /// One queue a lane.
    ///
    /// In a cluster all keys of a queue must be on one node, and apalis-redis writes to `core:apalis:queues:list`
    /// too, whatever the queue: hence the hash tag, which puts every queue beside that key.
    fn queue(&self, lane: Lane) -> Config {
        Config::default()
            .queue(format!("{}opsroom:{{core:apalis:queues:list}}:{lane}", self.prefix))
            .batch_size(1)
            .heartbeat_interval(HEARTBEAT)
            .missed_heartbeats(MISSED_HEARTBEATS)
            .lock_tasks(false)
            .emit_events(false)
            .persist_results(true)
    }

    fn wake_channel(&self, lane: Lane) -> String {
        promote::channel(&self.queue(lane))
    }
}

/// What a task says: that there may be a run to claim in this lane.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Ring {
    lane: Lane,
}

/// The doorbells of all processes on one Redis.
#[derive(Debug)]
pub struct RedisQueue {
    bells: Arc<Bells>,
    rung: Arc<Rung>,
}

/// The bells of this process.
#[derive(Debug, Default)]
struct Bells {
    local: ChannelQueue,
    pickups: [Arc<Pickup>; Lane::ALL.len()],
}

/// Lanes that other processes are to be told of.
#[derive(Debug, Default)]
struct Rung {
    lanes: AtomicU8,
    wake: Notify,
}

impl Rung {
    fn add(&self, lane: Lane) {
        self.lanes.fetch_or(1 << lane as u8, Ordering::SeqCst);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<Lane> {
        let lanes = self.lanes.swap(0, Ordering::SeqCst);
        Lane::ALL.iter().copied().filter(|lane| lanes & (1 << *lane as u8) != 0).collect()
    }

    fn is_empty(&self) -> bool {
        self.lanes.load(Ordering::SeqCst) == 0
    }
}

impl RedisQueue {
    /// Starts on `tasks`, without waiting for Redis; ends when `stop` fires, after the last rings were told or a
    /// second has passed, and the tasks under way are done.
    pub fn start(config: RedisQueueConfig, tasks: &TaskTracker, stop: &CancellationToken) -> RedisQueue {
        let (bells, rung) = (Arc::<Bells>::default(), Arc::<Rung>::default());
        tasks.spawn(Pusher::new(config.clone(), rung.clone()).run(stop.clone()));
        if !config.lanes.is_empty() {
            let hearing = Hearing::new(config.clone(), bells.clone(), rung.clone());
            tasks.spawn(hearing.clone().listen(stop.clone()));
            tasks.spawn(garbage::collect(config.clone(), stop.clone()));
            for lane in config.lanes {
                tasks.spawn(hearing.clone().serve(lane, stop.clone()));
            }
        }
        RedisQueue { bells, rung }
    }
}

impl Queue for RedisQueue {
    fn ring(&self, lane: Lane) {
        self.bells.local.ring(lane);
        self.rung.add(lane);
    }

    fn listen(&self, lane: Lane) -> Box<dyn Doorbell> {
        let pickup = self.bells.pickups[lane as usize].clone();
        Box::new(Listener { bell: self.bells.local.listen(lane), pickup })
    }
}

struct Listener {
    bell: Box<dyn Doorbell>,
    pickup: Arc<Pickup>,
}

#[async_trait]
impl Doorbell for Listener {
    async fn heard(&self) {
        let _waiting = self.pickup.wait();
        self.bell.heard().await;
    }
}
