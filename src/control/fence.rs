//! The fence of a worker: it beats for its lease, and stops the worker before anybody else may take its runs.
//!
//! - The lease counts from the *sending* of a beat that was answered well, in `CLOCK_BOOTTIME`; in the store it counts
//!   from a later moment. So here it is over first, by at least the kill budget, in which the supervisor ends every
//!   tree. The supervisor is told the same deadline with each good beat and keeps it by itself, also while this process
//!   is stopped.
//! - Once over it stays over: nothing begins, nothing is committed, and the process goes on as another worker, under a
//!   new id. An answer that comes after the deadline does not count, whatever it says.
//! - Each beat has a timeout and is repeated until the deadline; a beat that is carried out late only prolongs the lease
//!   in the store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    model::WorkerId,
    ports::{Beat, BootTime, Gate, Processes, Store, StoreError, StoreTime, WorkerRow},
};

/// How often a worker tries to be registered: a database may be slow while a whole fleet starts.
const REGISTERINGS: u32 = 6;

/// How a worker keeps its lease. All spans are real time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseConfig {
    /// How long a worker counts as living after a beat.
    pub lease: Duration,
    /// From one good beat to the next.
    pub interval: Duration,
    /// A beat that has no answer by then has failed.
    pub timeout: Duration,
    /// From a failed beat to the next.
    pub retry: Duration,
    /// Within this time everything of the worker is ended; it stops so long before the lease is over.
    pub budget: Duration,
}

impl Default for LeaseConfig {
    fn default() -> LeaseConfig {
        LeaseConfig::of(Duration::from_secs(10))
    }
}

/// The spans of a lease do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two intervals, a timeout and the kill budget ({needed:?}) do not fit into a lease of {lease:?}")]
pub struct LeaseTooShort {
    needed: Duration,
    lease: Duration,
}

impl LeaseConfig {
    /// The usual proportions: with a lease of 10 s a beat every 3 s, answered within 2 s, repeated after 500 ms, and
    /// 1 s to end everything.
    pub fn of(lease: Duration) -> LeaseConfig {
        LeaseConfig { lease, interval: lease * 3 / 10, timeout: lease / 5, retry: lease / 20, budget: lease / 10 }
    }

    /// One beat may fail, and the next one still comes in time.
    pub fn checked(self) -> Result<LeaseConfig, LeaseTooShort> {
        let LeaseConfig { lease, interval, timeout, budget, .. } = self;
        let needed = interval * 2 + timeout + budget;
        if needed < lease { Ok(self) } else { Err(LeaseTooShort { needed, lease }) }
    }
}

/// What a fence asks of the store.
#[async_trait]
pub trait Beats: Send + Sync + 'static {
    async fn register(&self, worker: &WorkerRow, lease: Duration) -> Result<Beat, StoreError>;

    async fn beat(&self, worker: WorkerId, lease: Duration) -> Result<Beat, StoreError>;
}

#[async_trait]
impl Beats for Arc<dyn Store> {
    async fn register(&self, worker: &WorkerRow, lease: Duration) -> Result<Beat, StoreError> {
        self.register_worker(worker, Some(lease)).await
    }

    async fn beat(&self, worker: WorkerId, lease: Duration) -> Result<Beat, StoreError> {
        (**self).beat(worker, Some(lease)).await
    }
}

/// What a fence is made of.
pub struct Heart<S = Arc<dyn Store>> {
    pub store: S,
    /// Registered by the fence.
    pub worker: WorkerRow,
    pub config: LeaseConfig,
    pub boot: Arc<dyn BootTime>,
    /// Is told the time in the store with each beat.
    pub time: Arc<dyn StoreTime>,
    /// Are told the deadline with each good beat.
    pub processes: Arc<dyn Processes>,
}

impl<S> std::fmt::Debug for Heart<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Heart").field("worker", &self.worker).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    #[error(transparent)]
    Config(#[from] LeaseTooShort),
    #[error("the worker could not be registered: {0}")]
    Store(#[from] StoreError),
    #[error("the worker could not be registered within {0:?}")]
    TimedOut(Duration),
    #[error("worker {0} is known and has lost its lease")]
    Lost(WorkerId),
}

/// The worker has lost its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker has lost its lease")]
pub struct Lost;

/// The fence of one worker. Cheap to clone. By default there is none: the worker lives by a lock.
#[derive(Clone, Default)]
pub struct Fence {
    shared: Option<Arc<Shared>>,
}

struct Shared {
    worker: WorkerId,
    boot: Arc<dyn BootTime>,
    /// Microseconds since boot; until then things may begin.
    until: AtomicU64,
    lost: CancellationToken,
    draining: CancellationToken,
}

impl std::fmt::Debug for Fence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lost = self.shared.as_ref().map(|shared| shared.lost.is_cancelled());
        f.debug_struct("Fence").field("lost", &lost).finish_non_exhaustive()
    }
}

impl<S: Beats> Heart<S> {
    /// Registers the worker, again while the store is busy or slow; answers when that was sent, and the answer.
    ///
    /// A try without an answer may have been carried out. When its lease is over the worker may be dead for others, and
    /// forgotten; registered again under the same id it would live, and its runs would be taken by who still thinks it
    /// dead. So nothing is tried, and no answer is believed, for longer than the lease of the first try.
    async fn register(&self) -> Result<(Duration, Beat), FenceError> {
        let Heart { store, worker, config, boot, .. } = self;
        let LeaseConfig { lease, timeout, retry, budget, .. } = *config;
        let (first, mut tries) = (boot.since_boot(), 1);
        let is_late = |tries| tries > 1 && boot.since_boot().saturating_sub(first) + budget > lease;
        loop {
            let sent = boot.since_boot();
            if is_late(tries) {
                return Err(FenceError::TimedOut(sent.saturating_sub(first)));
            }
            let answer = tokio::time::timeout(timeout, store.register(worker, lease)).await;
            let error = match answer {
                Ok(Ok(_)) if is_late(tries) => FenceError::TimedOut(timeout),
                Ok(Ok(answer)) => return Ok((sent, answer)),
                Ok(Err(error)) if !error.is_passing() => return Err(error.into()),
                Ok(Err(error)) => FenceError::Store(error),
                Err(_) => FenceError::TimedOut(timeout),
            };
            if tries >= REGISTERINGS {
                return Err(error);
            }
            tracing::warn!(worker = %worker.id, %error, tries, "the worker is registered again");
            tokio::time::sleep(retry).await;
            tries += 1;
        }
    }
}

impl Fence {
    /// Registers the worker and beats for it on `tasks` until it is lost or `stop` fires.
    pub async fn start<S: Beats>(
        heart: Heart<S>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Result<Fence, FenceError> {
        let (fence, pulse) = Fence::open(heart).await?;
        let (watching, beating) = (pulse.watch(), pulse.beat());
        let (stop_watching, stop_beating) = (stop.clone(), stop.clone());
        tasks.spawn(async move { stop_beating.run_until_cancelled(beating).await });
        tasks.spawn(async move { stop_watching.run_until_cancelled(watching).await });
        Ok(fence)
    }

    /// Registers the worker. The fence holds as long as somebody beats and watches.
    pub(crate) async fn open<S: Beats>(heart: Heart<S>) -> Result<(Fence, Pulse<S>), FenceError> {
        heart.config.checked()?;
        let (sent, answer) = heart.register().await?;
        let Heart { worker, boot, .. } = &heart;
        let Beat::Held { draining, now } = answer else { return Err(FenceError::Lost(worker.id)) };
        let until = heart.deadline(sent);
        let shared = Arc::new(Shared {
            worker: worker.id,
            boot: boot.clone(),
            until: AtomicU64::new(micros(until)),
            lost: CancellationToken::new(),
            draining: CancellationToken::new(),
        });
        heart.time.told(now, sent, boot.since_boot());
        heart.processes.extend(until);
        if draining {
            shared.draining.cancel();
        }
        Ok((Fence { shared: Some(shared.clone()) }, Pulse { heart, shared }))
    }

    /// To be asked right before anything begins or is committed.
    pub fn check(&self) -> Result<(), Lost> {
        self.shared.as_ref().map_or(Ok(()), |shared| shared.check())
    }

    /// Waits until the lease is lost; for ever where there is none.
    pub async fn lost(&self) {
        match &self.shared {
            Some(shared) => shared.lost.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// Waits until somebody asks the worker to drain; for ever where there is no lease.
    pub async fn draining(&self) {
        match &self.shared {
            Some(shared) => shared.draining.cancelled().await,
            None => std::future::pending().await,
        }
    }

    /// The same question for those who begin things.
    pub fn gate(&self) -> Gate {
        match self.shared.clone() {
            Some(shared) => Gate::new(move || shared.check().is_ok()),
            None => Gate::default(),
        }
    }
}

/// What keeps the fence of a worker: both parts go on for as long as it lives.
pub(crate) struct Pulse<S = Arc<dyn Store>> {
    heart: Heart<S>,
    shared: Arc<Shared>,
}

impl<S: Beats> Pulse<S> {
    /// Beats until the lease is lost.
    pub(crate) async fn beat(self) {
        self.heart.beat(self.shared).await;
    }

    /// Notices that the lease is over although no beat comes back.
    pub(crate) fn watch(&self) -> impl Future<Output = ()> + Send + 'static {
        watch(self.shared.clone())
    }
}

impl<S: Beats> Heart<S> {
    /// When a lease that a beat sent then has won is over here.
    fn deadline(&self, sent: Duration) -> Duration {
        sent + self.config.lease.saturating_sub(self.config.budget)
    }

    async fn beat(self, shared: Arc<Shared>) {
        let LeaseConfig { interval, retry, .. } = self.config;
        let mut wait = interval;
        while shared.lost.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = if self.beat_once(&shared).await { interval } else { retry };
        }
    }

    /// Whether the beat was answered.
    async fn beat_once(&self, shared: &Shared) -> bool {
        let LeaseConfig { lease, timeout, .. } = self.config;
        let sent = self.boot.since_boot();
        let beat = self.store.beat(shared.worker, lease);
        match tokio::time::timeout(timeout, beat).await {
            Ok(Ok(Beat::Held { now, draining })) => {
                self.time.told(now, sent, self.boot.since_boot());
                if shared.prolong(self.deadline(sent)) {
                    self.processes.extend(self.deadline(sent));
                }
                if draining {
                    shared.draining.cancel();
                }
                true
            }
            Ok(Ok(Beat::Lost)) => {
                shared.lose("the store says so");
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(worker = %shared.worker, %error, "a heartbeat failed; trying again");
                false
            }
            Err(_) => {
                tracing::warn!(worker = %shared.worker, ?timeout, "a heartbeat was not answered; trying again");
                false
            }
        }
    }
}

async fn watch(shared: Arc<Shared>) {
    while shared.check().is_ok() {
        let until = Duration::from_micros(shared.until.load(Ordering::SeqCst));
        let left = until.saturating_sub(shared.boot.since_boot());
        shared.lost.run_until_cancelled(tokio::time::sleep(left)).await;
    }
}

impl Shared {
    fn check(&self) -> Result<(), Lost> {
        if self.lost.is_cancelled() {
            return Err(Lost);
        }
        if micros(self.boot.since_boot()) >= self.until.load(Ordering::SeqCst) {
            self.lose("no heartbeat was answered in time");
            return Err(Lost);
        }
        Ok(())
    }

    /// Whether there was something to prolong: a lease that was over before is lost, and so is one that was
    /// prolonged from too long ago.
    fn prolong(&self, until: Duration) -> bool {
        self.check().is_ok() && {
            self.until.fetch_max(micros(until), Ordering::SeqCst);
            self.check().is_ok()
        }
    }

    fn lose(&self, why: &str) {
        if !self.lost.is_cancelled() {
            tracing::error!(
                code = "LEASE_LOST", worker = %self.worker, why,
                "the worker has lost its lease: its steps are ended, and its runs are for others"
            );
            self.lost.cancel();
        }
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
