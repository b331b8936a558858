//! `bench subscribers`: many follow one run, some of them without ever reading.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpSocket, time::sleep};

use super::{
    super::{BenchError, stats::percentile},
    Bench, Measure, Place, Stretch,
    client::{Client, Events, Target},
    figures::Figures,
    server::Server,
    work,
};
use crate::{ports::Clock, system::SystemClock};

/// Events of the run in a second.
const PER_SECOND: u64 = 20;

/// The length of the text in each of them: what is not read must not fit into the kernel's buffers.
const BYTES: u64 = 4_096;

/// The receive buffer of those who do not read.
const SMALL_BUFFER: u32 = 4_096;

const PROBE: Duration = Duration::from_millis(20);

/// 1,000 subscribers of one run, 100 of which never read
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 900, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    readers: u32,
    /// Subscribers that never read what they are sent
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    stuck: u32,
    /// How long the run speaks, at 20 events of 4 KiB a second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
    #[command(flatten)]
    place: Place,
}

/// What the readers share.
#[derive(Default)]
struct Audience {
    /// Events from this moment on count, in milliseconds: before it some were still connecting.
    since: Cell<i64>,
    connected: Cell<u32>,
    delays: RefCell<Vec<Duration>>,
    ended: Cell<bool>,
    most_memory: Cell<u64>,
}

impl Measure for Options {
    const NAME: &'static str = "subscribers";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        let events = self.seconds * PER_SECOND;
        let every = 1_000 / PER_SECOND;
        let emit = format!("uses: events.emit, with: {{count: {events}, bytes: {BYTES}, every: {every}ms}}");
        bench.ground.runbook("speak", &format!("steps:\n  - {{id: emit, {emit}}}\n"))?;
        let server = Server::start(&bench.ground).await?;
        let mut figures = Figures::new(Self::NAME);
        // Without subscribers: how long the run takes, how fast the API is, and how much memory it needs.
        let (alone, probes) = self.round(&server, 0, 0).await?;
        figures.count("alone_duration_ms", alone.duration);
        figures.spread("alone_api", &probes);
        let before = server.usage()?;
        let stretch = Stretch::begin(&server)?;
        let (crowd, probes) = self.round(&server, self.readers, self.stuck).await?;
        stretch.end(&server, &mut figures)?;
        figures.spread("api", &probes);
        figures.spread("", &crowd.delays);
        figures.count("duration_ms", crowd.duration);
        figures.number("duration_ratio", crowd.duration as f64 / alone.duration.max(1) as f64);
        let api = |name: &str| figures.get(name);
        let slower = api("api_p99_ms") / api("alone_api_p99_ms").max(0.001);
        figures.number("api_p99_ratio", slower);
        let everyone = u64::from(self.readers + self.stuck).max(1);
        let growth = crowd.most_memory.saturating_sub(before.resident);
        figures.number("kib_each", growth as f64 / everyone as f64 / 1_024.0);
        figures.count("deliveries", crowd.delays.len() as u64);
        server.stop().await?;
        Ok(figures)
    }
}

/// One run and its audience.
struct Round {
    /// Milliseconds, as the server tells.
    duration: u64,
    delays: Vec<Duration>,
    most_memory: u64,
}

impl Options {
    async fn round(&self, server: &Server, readers: u32, stuck: u32) -> Result<(Round, Vec<Duration>), BenchError> {
        let mut client = server.client().await?;
        let run = work::start(&mut client, "speak", json!({})).await?;
        let path = format!("/v1/runs/{run}/events/stream");
        let audience = Audience::default();
        let reading = try_join_all((0..readers).map(|_| read(&server.target, &path, &audience)));
        let (stuck, counts, probes, memory, document) = tokio::join!(
            try_join_all((0..stuck).map(|_| never_read(&server.target, &path))),
            reading,
            probes(server, &run, &audience),
            watch(server, readers, &audience),
            ended(&mut client, &run, &audience),
        );
        let (_stuck, counts, probes, document) = (stuck?, counts?, probes?, document?);
        memory?;
        let durable = durable_events(&mut client, &run).await?;
        if let Some(count) = counts.iter().find(|count| **count != durable) {
            return Err(BenchError::NotRecorded { what: "events at a reader", found: *count, expected: durable });
        }
        let duration = document["duration_ms"].as_u64().unwrap_or_default();
        let delays = audience.delays.take();
        let most_memory = audience.most_memory.get();
        if readers > 0 && percentile(&delays, 0.5).is_none() {
            return Err(BenchError::TooLong("connecting the subscribers".to_owned()));
        }
        Ok((Round { duration, delays, most_memory }, probes))
    }
}

/// Follows the run to its end, and answers how many durable events there were.
async fn read(target: &Target, path: &str, audience: &Audience) -> Result<u64, BenchError> {
    let mut events = Events::open(target, path, None).await?;
    audience.connected.set(audience.connected.get() + 1);
    let (mut count, mut last) = (0, 0);
    loop {
        let now = SystemClock.now().0;
        while let Some(message) = events.next() {
            if message.is_close() {
                return Ok(count);
            }
            let Some(id) = message.id else { continue };
            if id.sequence <= last {
                return Err(BenchError::Broken(format!("a subscriber was given {} after {last}", id.sequence)));
            }
            last = id.sequence;
            count += u64::from(!message.is_chunk());
            let since = audience.since.get();
            if since > 0 && id.millis >= since {
                let delay = u64::try_from(now - id.millis * 1_000).unwrap_or(0);
                audience.delays.borrow_mut().push(Duration::from_micros(delay));
            }
        }
        if !events.wait().await? {
            return Err(BenchError::Broken("the stream of a subscriber ended without `close`".to_owned()));
        }
    }
}

/// Asks for the stream and never reads a byte of it. The connection is open until it is dropped.
async fn never_read(target: &Target, path: &str) -> Result<tokio::net::TcpStream, BenchError> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(SMALL_BUFFER)?;
    let mut stream = socket.connect(target.address).await?;
    let (host, key) = (target.address, &target.key);
    let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

async fn probes(server: &Server, run: &str, audience: &Audience) -> Result<Vec<Duration>, BenchError> {
    let mut client = server.client().await?;
    work::probe(&mut client, &format!("/v1/runs/{run}"), PROBE, || audience.ended.get()).await
}

/// Waits for everyone to be connected, and keeps the most memory that the server has had.
async fn watch(server: &Server, readers: u32, audience: &Audience) -> Result<(), BenchError> {
    let began = Instant::now();
    while !audience.ended.get() {
        if audience.since.get() == 0 && audience.connected.get() == readers && began.elapsed() > PROBE {
            audience.since.set(SystemClock.now().0 / 1_000 + 1);
        }
        audience.most_memory.set(audience.most_memory.get().max(server.usage()?.resident));
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn ended(client: &mut Client, run: &str, audience: &Audience) -> Result<serde_json::Value, BenchError> {
    let document = work::until_ended(client, run).await;
    audience.ended.set(true);
    document
}

/// Durable events in the history of a run.
async fn durable_events(client: &mut Client, run: &str) -> Result<u64, BenchError> {
    Ok(work::history(client, run).await?.len() as u64)
}
