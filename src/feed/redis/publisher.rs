//! The way from the outbox to Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use redis::{RedisError, RedisResult};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::{
    Acknowledged, RedisFeedConfig,
    outbox::{Batch, Outbox},
    script::{Appended, append},
    watch::Remote,
};
use crate::{
    model::{Event, TenantId},
    redis_client::{Pause, RedisLink},
};

/// How often it is asked who watches all runs.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long the end of a process may wait for the last events.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) struct Publisher {
    pub config: RedisFeedConfig,
    pub outbox: Arc<Outbox>,
    pub remote: Arc<Remote>,
    /// That a stream is spoilt was said.
    pub has_told: AtomicBool,
    /// Who is told what Redis has taken.
    pub observer: Option<UnboundedSender<Acknowledged>>,
}

impl Publisher {
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.publish_for_ever()).await;
        if self.outbox.is_empty() {
            return;
        }
        let last = async {
            let link = self.config.server.connect().await?;
            // What was under way has no answer.
            self.outbox.check_all();
            while !self.outbox.is_empty() {
                self.send(&link).await?;
            }
            RedisResult::Ok(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, last).await {
            tracing::debug!(%error, "the last events could not be sent");
        }
    }

    async fn publish_for_ever(&self) {
        let mut pause = Pause::default();
        loop {
            if self.outbox.is_empty() {
                self.outbox.filled.notified().await;
            }
            let Err(error) = self.publish_until_error(&mut pause).await;
            for tenant in self.remote.tenants() {
                self.remote.set(tenant, false);
            }
            if !std::mem::replace(&mut pause.is_told, true) {
                tracing::warn!(%error, at = self.config.server.place(),
                    "live events cannot be sent; other processes read the store until then");
            }
            pause.wait().await;
        }
    }

    async fn publish_until_error(&self, pause: &mut Pause) -> RedisResult<std::convert::Infallible> {
        let mut link = self.config.server.connect().await?;
        // Whatever happened meanwhile: it may have come back with less than it had.
        self.outbox.check_all();
        let mut asking = tokio::time::interval(ASK_EVERY);
        asking.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_empty = self.outbox.is_empty();
            tokio::select! {
                biased;
                _ = asking.tick() => self.ask_who_watches(&mut link).await?,
                () = std::future::ready(()), if !is_empty => {
                    self.send(&link).await?;
                    if pause.is_told {
                        tracing::info!(at = self.config.server.place(), "live events are sent again");
                    }
                    pause.reset();
                }
                () = self.outbox.filled.notified(), if is_empty => {}
            }
        }
    }

    /// Sends what is there, pipelined.
    async fn send(&self, link: &RedisLink) -> RedisResult<()> {
        let announcements = self.outbox.take_announcements();
        let announcing = join_all(announcements.iter().map(|(tenant, event)| self.announce(link, *tenant, event)));
        let batches = self.outbox.take();
        let sending = join_all(batches.iter().map(|batch| append(&self.config, link.clone(), batch)));
        let (announced, sent) = futures::join!(announcing, sending);
        let mut failed = announced.into_iter().find_map(Result::err);
        for (batch, appended) in batches.iter().zip(sent) {
            let appended = match appended {
                Err(error) if is_spoilt(&error) => {
                    self.tell_spoilt(batch, &error);
                    Ok(Appended::Fenced)
                }
                appended => appended,
            };
            self.tell_observer(batch, &appended);
            self.outbox.settle(batch, appended.as_ref().ok());
            failed = failed.or(appended.err());
        }
        match failed {
            // What was not sent waits in the outbox again.
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn tell_observer(&self, batch: &Batch, appended: &RedisResult<Appended>) {
        if let (Some(observer), Ok(Appended::Upto(upto))) = (&self.observer, appended) {
            // One that does not listen any more misses nothing.
            let _ = observer.send(Acknowledged { run: batch.run, upto: *upto });
        }
    }

    fn tell_spoilt(&self, batch: &Batch, error: &RedisError) {
        // Once for a process: it comes again with every event.
        if !self.has_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(run = %batch.run, %error, "the stream of a run cannot be appended to; it is left alone");
        }
    }

    async fn announce(&self, link: &RedisLink, tenant: TenantId, event: &Event) -> RedisResult<()> {
        let Ok(event) = serde_json::to_string(event) else { return Ok(()) };
        let said = format!("{}\n{event}", self.config.name);
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.config.tenant_channel(tenant)).arg(said);
        publish.query_async(&mut link.clone()).await
    }

    async fn ask_who_watches(&self, link: &mut RedisLink) -> RedisResult<()> {
        for tenant in self.remote.tenants() {
            // A node of a cluster knows only of those who listen at itself.
            let watching = if self.config.server.is_cluster() {
                1
            } else {
                let mut ask = redis::cmd("PUBSUB");
                ask.arg("NUMSUB").arg(self.config.tenant_channel(tenant));
                let (_, count): (String, u64) = ask.query_async(link).await?;
                count
            };
            self.remote.set(tenant, watching > 0);
        }
        Ok(())
    }
}

/// Whether this one stream is at fault: somebody has put something else there, or has cut it. Waiting would not help,
/// and must not hold up the others.
fn is_spoilt(error: &RedisError) -> bool {
    let passes = ["OOM", "READONLY", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "BUSY"];
    match error.code() {
        Some("WRONGTYPE") => true,
        // Older servers call every error of a script so.
        Some("ERR") => error.detail().is_some_and(|detail| !passes.iter().any(|word| detail.contains(word))),
        _ => false,
    }
}
