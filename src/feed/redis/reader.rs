//! The way from Redis to the memory of this process.
//!
//! One connection hears which streams have grown, another one reads them; a stream is read once, however many
//! readers there are. A message that was lost is made up for every second.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, StreamExt, future::join_all};
use redis::{ErrorKind, Msg, RedisError, RedisResult, aio::PubSubSink, streams::StreamRangeReply};
use tokio_util::sync::CancellationToken;

use super::{
    RedisFeedConfig, entry,
    outbox::{Outbox, ends_run},
    watch::Watch,
};
use crate::{
    feed::MemoryFeed,
    model::{Epoch, Event, RunId, StreamId, TenantId},
    ports::Feed,
    redis_client::{Pause, RedisLink},
};

/// How often every watched stream is looked at though it was not said to have grown.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an answer of the connection that listens may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Entries read at once.
const PAGE: usize = 256;
/// How far back a reader begins, for what was published while it subscribed.
const TAIL: usize = 64;

pub(super) struct Reader {
    pub config: RedisFeedConfig,
    pub memory: MemoryFeed,
    pub outbox: Arc<Outbox>,
    pub watch: Arc<Watch>,
}

/// What one connection listens to.
#[derive(Default)]
struct Heard {
    runs: HashMap<String, RunId>,
    tenants: HashMap<String, TenantId>,
    /// Where each stream was read to; `None` before it was read.
    at: HashMap<RunId, Option<StreamId>>,
}

impl Reader {
    pub async fn run(self, stop: CancellationToken) {
        stop.run_until_cancelled(self.read_for_ever()).await;
    }

    async fn read_for_ever(&self) {
        let mut pause = Pause::default();
        // Streams are read on from where they were read to when the connection was lost.
        let mut heard = Heard::default();
        loop {
            while self.watch.is_empty() {
                self.watch.changed.notified().await;
            }
            let Err(error) = self.read_until_error(&mut heard, &mut pause).await;
            if !std::mem::replace(&mut pause.is_told, true) {
                tracing::warn!(%error, at = self.config.server.place(),
                    "live events of other processes cannot be heard; the store is read until then");
            }
            pause.wait().await;
        }
    }

    async fn read_until_error(&self, heard: &mut Heard, pause: &mut Pause) -> RedisResult<std::convert::Infallible> {
        let link = self.config.server.connect().await?;
        let (mut sink, mut messages) = self.config.server.listen().await?.split();
        (heard.runs, heard.tenants) = (HashMap::new(), HashMap::new());
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut grown = self.listen_to_what_is_watched(&mut sink, heard).await?;
            tokio::select! {
                biased;
                message = messages.next(), if grown.is_empty() => {
                    let message = message.ok_or_else(late)?;
                    self.take(&message, heard, &mut grown);
                    while let Some(Some(message)) = messages.next().now_or_never() {
                        self.take(&message, heard, &mut grown);
                    }
                }
                _ = look.tick(), if grown.is_empty() => {
                    // A connection can be dead without a sign.
                    let answer = tokio::time::timeout(PATIENCE, sink.ping::<redis::Value>()).await;
                    answer.unwrap_or_else(|_| Err(late()))?;
                    grown.extend(heard.at.keys());
                }
                () = self.watch.changed.notified(), if grown.is_empty() => {}
                () = std::future::ready(()), if !grown.is_empty() => {}
            }
            self.read_all(&link, heard, grown).await?;
            pause.reset();
        }
    }

    /// Answers whose streams are new and have to be read.
    async fn listen_to_what_is_watched(&self, sink: &mut PubSubSink, heard: &mut Heard) -> RedisResult<HashSet<RunId>> {
        let runs: HashMap<String, RunId> =
            self.watch.runs().into_iter().map(|run| (self.config.run_channel(run), run)).collect();
        let tenants: HashMap<String, TenantId> =
            self.watch.tenants().into_iter().map(|tenant| (self.config.tenant_channel(tenant), tenant)).collect();
        let new_runs: Vec<&String> = runs.keys().filter(|channel| !heard.runs.contains_key(*channel)).collect();
        let new_tenants = tenants.keys().filter(|channel| !heard.tenants.contains_key(*channel));
        let new: Vec<&String> = new_tenants.chain(new_runs.iter().copied()).collect();
        let gone_runs = heard.runs.keys().filter(|channel| !runs.contains_key(*channel));
        let gone_tenants = heard.tenants.keys().filter(|channel| !tenants.contains_key(*channel));
        let gone: Vec<&String> = gone_runs.chain(gone_tenants).collect();
        let changing = async {
            if !new.is_empty() {
                sink.subscribe(&new).await?;
            }
            if !gone.is_empty() {
                sink.unsubscribe(&gone).await?;
            }
            Ok(())
        };
        tokio::time::timeout(PATIENCE, changing).await.unwrap_or_else(|_| Err(late()))?;
        let grown = new_runs.iter().filter_map(|channel| runs.get(*channel).copied()).collect();
        let watched: HashSet<RunId> = runs.values().copied().collect();
        heard.at.retain(|run, _| watched.contains(run));
        for run in watched {
            heard.at.entry(run).or_default();
        }
        (heard.runs, heard.tenants) = (runs, tenants);
        Ok(grown)
    }

    fn take(&self, message: &Msg, heard: &Heard, grown: &mut HashSet<RunId>) {
        let channel = message.get_channel_name();
        if let Some(run) = heard.runs.get(channel) {
            grown.insert(*run);
        } else if let Some(tenant) = heard.tenants.get(channel) {
            let said = std::str::from_utf8(message.get_payload_bytes()).unwrap_or_default();
            let Some((name, event)) = said.split_once('\n') else { return };
            // What it said itself was announced already.
            if name != self.config.name
                && let Ok(event) = serde_json::from_str::<Event>(event)
            {
                self.memory.announce(*tenant, &[Arc::new(event)]);
            }
        }
    }

    async fn read_all(&self, link: &RedisLink, heard: &mut Heard, grown: HashSet<RunId>) -> RedisResult<()> {
        // What this process writes it need not read.
        let runs: Vec<RunId> = grown.into_iter().filter(|run| !self.outbox.owns(*run)).collect();
        let reads = runs.iter().map(|run| self.read(link.clone(), *run, heard.at.get(run).copied().flatten()));
        for (run, end) in runs.iter().zip(join_all(reads).await) {
            heard.at.insert(*run, Some(end?));
        }
        Ok(())
    }

    /// Reads a stream to its end, and answers where that is.
    async fn read(&self, mut link: RedisLink, run: RunId, at: Option<StreamId>) -> RedisResult<StreamId> {
        let stream = self.config.stream(run);
        let Some(mut at) = at else {
            let mut tail: StreamRangeReply =
                redis::Cmd::xrevrange_count(&stream, "+", "-", TAIL).query_async(&mut link).await?;
            tail.ids.reverse();
            return Ok(self.show(run, tail).unwrap_or(StreamId { millis: 0, sequence: 0 }));
        };
        loop {
            let page: StreamRangeReply =
                redis::Cmd::xrange_count(&stream, format!("({at}"), "+", PAGE).query_async(&mut link).await?;
            let is_full = page.ids.len() == PAGE;
            at = self.show(run, page).unwrap_or(at);
            if !is_full {
                return Ok(at);
            }
        }
    }

    /// Gives entries to the readers, and answers the id of the last one.
    fn show(&self, run: RunId, page: StreamRangeReply) -> Option<StreamId> {
        let last = page.ids.last()?.id.parse().ok();
        let events = entry::events(page);
        // Epochs matter to who writes only.
        self.memory.publish(run, Epoch::default(), &events);
        if events.last().is_some_and(|event| ends_run(event)) {
            self.memory.close(run);
        }
        last
    }
}

fn late() -> RedisError {
    RedisError::from((ErrorKind::Io, "no answer"))
}
