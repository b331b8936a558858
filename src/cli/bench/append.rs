//! `bench append`: from the publication of an event to the answer of Redis that its stream has it.
//!
//! Events go the way that those of runs go, through [`RedisFeed`], at an even rate. Whoever publishes never waits, so
//! a Redis that is too slow shows in the times and in the rate, and not in fewer events. Afterwards the streams are
//! read: every event must be there, once and in order.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use redis::streams::StreamRangeReply;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    super::{
        Context, block_on,
        config::RedisConfig,
        fault::{Fault, exit},
    },
    BenchError,
    figures::Figures,
    ground::{clear_redis, own_redis},
};
use crate::{
    feed::{Acknowledged, RedisFeed, RedisFeedConfig},
    model::{Category, Epoch, Event, EventKind, RunId, StreamId},
    ports::{Clock, Feed, Ids},
    system::{RandomIds, SystemClock},
};

/// A stream keeps about this many events, so a measurement that has more of them takes more runs.
const STREAM: u64 = 10_000;

/// How long the last events may be under way before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plain appends of the floor.
const FLOOR: usize = 500;

/// Entries read at once.
const PAGE: usize = 1_000;

/// From an event to the answer of Redis that the stream of its run has it (needs a Redis, but no database)
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Events in a second, evenly
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    rate: u32,
    /// How long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Runs that take turns; more of them if their streams could not keep all events
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: u32,
    /// The length of the text in each event
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    bytes: u32,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let Some(given) = &context.config.redis else {
        return Err(Fault::refused("NO_REDIS", "`bench append` measures a Redis, and none is named")
            .help("set REDIS_URL, or give --redis-url redis://HOST:6379"));
    };
    let own = own_redis(given);
    let measured = block_on(async {
        let measured = measure(&own, options).await;
        clear_redis(&own).await;
        Ok(measured?)
    });
    let figures = measured?;
    if context.out.is_json() {
        context.out.json(figures.to_json());
    } else {
        context.out.line(figures.to_text());
    }
    Ok(exit::SUCCESS)
}

async fn measure(own: &RedisConfig, options: &Options) -> Result<Figures, BenchError> {
    let mut figures = Figures::new("append");
    figures.spread("floor", &floor(own, options.bytes as usize).await?);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let config = RedisFeedConfig {
        server: own.server.clone(),
        prefix: own.prefix.clone(),
        name: RandomIds.worker_id().to_string(),
    };
    let (observer, told) = mpsc::unbounded_channel();
    let feed = RedisFeed::start_observed(config.clone(), observer, &tasks, &stop);
    let mut load = Load::new(options, feed, told);
    // The first event waits for the connection; its time is nobody's.
    load.publish();
    load.settle_all().await?;
    load.samples.clear();
    let measured = load.sustain(options.rate).await;
    let expected: Vec<(RunId, u64)> = load.runs.iter().map(|run| (run.id, run.published)).collect();
    drop(load.feed);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let took = measured?;
    let samples = load.samples;
    figures.spread("", &samples);
    figures.number("rate", samples.len() as f64 / took.as_secs_f64());
    figures.number("published_rate", samples.len() as f64 / load.publishing.as_secs_f64());
    figures.count("runs", expected.len() as u64);
    figures.count("events", samples.len() as u64);
    // One more of them warmed up.
    figures.count("events_recorded", recorded(own, &config, &expected).await? - 1);
    Ok(figures)
}

/// One of the runs that speak.
struct Speaker {
    id: RunId,
    published: u64,
    /// What Redis has not acknowledged yet, oldest first.
    under_way: VecDeque<(u64, Instant)>,
}

struct Load {
    feed: RedisFeed,
    told: mpsc::UnboundedReceiver<Acknowledged>,
    runs: Vec<Speaker>,
    places: HashMap<RunId, usize>,
    text: String,
    /// How many are to be published, after the one that warms up.
    total: u64,
    published: u64,
    under_way: u64,
    samples: Vec<Duration>,
    /// From the first event to the call that published the last one.
    publishing: Duration,
}

impl Load {
    fn new(options: &Options, feed: RedisFeed, told: mpsc::UnboundedReceiver<Acknowledged>) -> Load {
        let total = u64::from(options.rate) * u64::from(options.seconds);
        let runs = u64::from(options.runs).max((total + 1).div_ceil(STREAM));
        let new = |_| Speaker { id: RandomIds.run_id(), published: 0, under_way: VecDeque::new() };
        let runs: Vec<Speaker> = (0..runs).map(new).collect();
        let places = runs.iter().enumerate().map(|(place, run)| (run.id, place)).collect();
        let text = "x".repeat(options.bytes as usize);
        let (published, under_way, publishing) = (0, 0, Duration::ZERO);
        Load { feed, told, runs, places, text, total, published, under_way, samples: Vec::new(), publishing }
    }

    /// The next event, of the run whose turn it is.
    fn publish(&mut self) {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of runs")]
        let turn = (self.published % self.runs.len() as u64) as usize;
        let run = &mut self.runs[turn];
        run.published += 1;
        let event = event(run.id, run.published, &self.text);
        run.under_way.push_back((run.published, Instant::now()));
        self.feed.publish(run.id, Epoch(1), &[Arc::new(event)]);
        self.published += 1;
        self.under_way += 1;
    }

    /// Takes an acknowledgement, which may be for several events.
    fn settle(&mut self, Acknowledged { run, upto }: Acknowledged) {
        let Some(place) = self.places.get(&run) else { return };
        let under_way = &mut self.runs[*place].under_way;
        while let Some((_, begun)) = under_way.pop_front_if(|(sequence, _)| *sequence <= upto.sequence) {
            self.samples.push(begun.elapsed());
            self.under_way -= 1;
        }
    }

    async fn settle_all(&mut self) -> Result<(), BenchError> {
        while self.under_way > 0 {
            let late = || BenchError::TooLong(format!("{} events that Redis has not acknowledged", self.under_way));
            let told = timeout(PATIENCE, self.told.recv()).await.map_err(|_| late())?.ok_or_else(late)?;
            self.settle(told);
        }
        Ok(())
    }

    /// Publishes everything at an even rate, and answers how long it took until Redis had it all.
    async fn sustain(&mut self, rate: u32) -> Result<Duration, BenchError> {
        let mut tick = interval(Duration::from_millis(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (began, mut done) = (Instant::now(), 0);
        while done < self.total {
            tokio::select! {
                biased;
                told = self.told.recv() => {
                    self.settle(told.ok_or_else(|| BenchError::Broken("the feed has ended".to_owned()))?);
                }
                _ = tick.tick() => {
                    let due = began.elapsed().as_micros() * u128::from(rate) / 1_000_000;
                    // What the machine has kept it from is made up for at once.
                    while done < self.total && u128::from(done) < due {
                        self.publish();
                        done += 1;
                    }
                }
            }
        }
        self.publishing = began.elapsed();
        self.settle_all().await?;
        Ok(began.elapsed())
    }
}

fn event(run_id: RunId, sequence: u64, text: &str) -> Event {
    Event {
        run_id,
        timestamp: SystemClock.now(),
        sequence,
        prev: sequence - 1,
        source: None,
        event: EventKind { category: Category::Dispatch, action: "emitted".to_owned() },
        data: json!({ "n": sequence, "text": text }),
    }
}

/// Plain appends, one after another over one connection, each answered before the next: what no way can be faster than.
async fn floor(own: &RedisConfig, bytes: usize) -> Result<Vec<Duration>, BenchError> {
    let (mut link, key, text) = (own.server.connect().await?, format!("{}floor", own.prefix), "x".repeat(bytes));
    let mut samples = Vec::with_capacity(FLOOR);
    for _ in 0..FLOOR {
        let began = Instant::now();
        redis::Cmd::xadd(&key, "*", &[("data", &text)]).query_async::<String>(&mut link).await?;
        samples.push(began.elapsed());
    }
    Ok(samples)
}

/// Reads every stream, and answers how many events there are: all of them, once and in order.
async fn recorded(own: &RedisConfig, config: &RedisFeedConfig, expected: &[(RunId, u64)]) -> Result<u64, BenchError> {
    let mut link = own.server.connect().await?;
    let mut all = 0;
    for (run, expected) in expected {
        let (stream, mut from, mut found) = (config.stream(*run), "-".to_owned(), 0);
        loop {
            let ask = redis::Cmd::xrange_count(&stream, &from, "+", PAGE);
            let page: StreamRangeReply = ask.query_async(&mut link).await?;
            for entry in &page.ids {
                let sequence = entry.id.parse::<StreamId>().map_or(0, |id| id.sequence);
                if sequence != found + 1 {
                    return Err(BenchError::Broken(format!("the stream of {run} has {sequence} after {found}")));
                }
                found = sequence;
            }
            let Some(last) = page.ids.last() else { break };
            from = format!("({}", last.id);
        }
        if found != *expected {
            return Err(BenchError::NotRecorded { what: "events in a stream", found, expected: *expected });
        }
        all += found;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_acknowledgement_is_for_all_before_it_and_runs_take_turns() {
        let options = Options { rate: 5_000, seconds: 10, runs: 2, bytes: 3 };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let server = crate::redis_client::RedisServer::from_url("redis://127.0.0.1:1").unwrap();
        let config = RedisFeedConfig { server, prefix: String::new(), name: "test".to_owned() };
        let (observer, told) = mpsc::unbounded_channel();
        let mut load = Load::new(&options, RedisFeed::start_observed(config, observer, &tasks, &stop), told);
        assert_eq!((load.runs.len(), load.total), (6, 50_000), "no stream has more than it keeps");
        for _ in 0..13 {
            load.publish();
        }
        let first = load.runs[0].id;
        assert_eq!((load.runs[0].published, load.runs[1].published), (3, 2));
        load.settle(Acknowledged { run: first, upto: StreamId { millis: 0, sequence: 2 } });
        assert_eq!((load.samples.len(), load.under_way, load.runs[0].under_way.len()), (2, 11, 1));
        load.settle(Acknowledged { run: RandomIds.run_id(), upto: StreamId { millis: 0, sequence: 9 } });
        assert_eq!(load.under_way, 11, "another run's");
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
