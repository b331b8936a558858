//! `bench resume`: a long run that is read with many interruptions, and once across the death of the server.

use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{super::BenchError, Bench, Measure, Place, client::Events, figures::Figures, server::Server, work};

/// Lines of output beside the events.
const LINES: u64 = 20_000;

/// Events that the run that is interrupted says at its end, and the time between two of them: the reader,
/// which may be behind, has half of them to catch up before the server is killed.
const SLOW: u64 = 400;
const PACE: &str = "20ms";

/// A long run read with random reconnects, plainly and across a kill of the server
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Durable events of the run
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    events: u32,
    /// How often the reader hangs up at a random point and comes back with Last-Event-ID
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    reconnects: u32,
    /// What the random points are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    place: Place,
}

impl Measure for Options {
    const NAME: &'static str = "resume";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        runbooks(bench, u64::from(self.events))?;
        let mut figures = Figures::new(Self::NAME);
        for (name, kill) in [("plain", false), ("killed", true)] {
            let reader = self.round(bench, name, kill, &mut figures).await?;
            figures.count(&format!("{name}_durable"), reader.durable.len() as u64);
            figures.count(&format!("{name}_reconnects"), reader.reconnects);
            figures.count(&format!("{name}_lost_chunks"), reader.gaps.len() as u64);
            figures.number(&format!("{name}_growth_mib"), reader.growth as f64 / f64::from(1 << 20));
        }
        let growth = figures.get("plain_growth_mib").max(figures.get("killed_growth_mib"));
        figures.number("growth_mib", growth);
        Ok(figures)
    }
}

impl Options {
    /// One run, read to its end and compared with its history.
    async fn round(&self, bench: &Bench, name: &str, kill: bool, figures: &mut Figures) -> Result<Reader, BenchError> {
        let events = u64::from(self.events);
        let mut server = Server::start(&bench.ground).await?;
        let run = work::start(&mut server.client().await?, name, json!({})).await?;
        let mut reader = Reader::new(&run, self.seed + u64::from(kill));
        let began = Instant::now();
        let gap = events / u64::from(self.reconnects);
        let kill_after = kill.then_some(events - SLOW / 2);
        server = reader.read(bench, server, gap, kill_after).await?;
        figures.number(&format!("{name}_s"), began.elapsed().as_secs_f64());
        let mut client = server.client().await?;
        let document = work::until_ended(&mut client, &run).await?;
        if kill && document["recoveries"] == 0 {
            return Err(BenchError::Broken("the run had ended before the server was killed".to_owned()));
        }
        reader.check(&work::history(&mut client, &run).await?, kill)?;
        server.stop().await?;
        Ok(reader)
    }
}

/// `plain` speaks as fast as it can; `killed` says its last events slowly, so that it is under way for a while.
fn runbooks(bench: &Bench, events: u64) -> Result<(), BenchError> {
    let talk = format!("  - {{id: talk, effect: idempotent, run: [seq, \"1\", \"{LINES}\"]}}\n");
    let emit = |count| format!("uses: events.emit, with: {{bytes: 100, count: {count}");
    let (all, fast, slow) = (emit(events), emit(events - SLOW), emit(SLOW));
    bench.ground.runbook("plain", &format!("steps:\n  - {{id: emit, {all}}}}}\n{talk}"))?;
    let slowly = format!("  - {{id: slowly, needs: [emit], {slow}, every: {PACE}}}}}\n");
    bench.ground.runbook("killed", &format!("steps:\n  - {{id: emit, {fast}}}}}\n{slowly}{talk}"))
}

/// The parts of an event that prove that nothing is missing.
#[derive(Deserialize)]
struct Links {
    sequence: u64,
    prev: u64,
}

struct Reader {
    path: String,
    random: u64,
    /// The id of the last message.
    after: Option<String>,
    last: u64,
    durable: Vec<u64>,
    /// The output of the step that writes lines.
    text: String,
    /// Where a chunk was missing: the sequences around it.
    gaps: Vec<(u64, u64)>,
    reconnects: u64,
    /// Memory above that of the server when it was ready, in bytes.
    growth: u64,
}

impl Reader {
    fn new(run: &str, seed: u64) -> Reader {
        Reader {
            path: format!("/v1/runs/{run}/events/stream"),
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            after: None,
            last: 0,
            durable: Vec::new(),
            text: String::new(),
            gaps: Vec::new(),
            reconnects: 0,
            growth: 0,
        }
    }

    /// Reads to the end, hanging up after a random number of messages around `gap`; the server is killed
    /// once after `kill` durable events. Answers the server that was there at the end.
    async fn read(
        &mut self,
        bench: &Bench,
        mut server: Server,
        gap: u64,
        mut kill: Option<u64>,
    ) -> Result<Server, BenchError> {
        let mut least = server.usage()?.resident;
        loop {
            let messages = 1 + self.draw(2 * gap);
            if self.some(&server, messages, kill, &mut least).await? {
                return Ok(server);
            }
            if kill.is_some_and(|after| self.durable.len() as u64 >= after) {
                kill = None;
                server.kill().await?;
                server = Server::start(&bench.ground).await?;
                least = server.usage()?.resident;
            }
            self.reconnects += 1;
        }
    }

    /// Connects and takes up to this many messages. True at the end of the run.
    async fn some(
        &mut self,
        server: &Server,
        messages: u64,
        kill: Option<u64>,
        least: &mut u64,
    ) -> Result<bool, BenchError> {
        let mut events = Events::open(&server.target, &self.path, self.after.as_deref()).await?;
        let mut left = messages;
        let mut waits = 0_u32;
        loop {
            while let Some(message) = events.next() {
                if message.is_close() {
                    return Ok(true);
                }
                let Some(id) = message.id else { continue };
                self.take(message.is_chunk(), message.data)?;
                self.after = Some(id.to_string());
                left -= 1;
                if left == 0 || kill.is_some_and(|after| self.durable.len() as u64 >= after) {
                    return Ok(false);
                }
            }
            if waits.is_multiple_of(64) {
                self.growth = self.growth.max(server.usage()?.resident.saturating_sub(*least));
            }
            waits += 1;
            if !events.wait().await? {
                return Err(BenchError::Broken(format!("{} ended without `close`", self.path)));
            }
        }
    }

    fn take(&mut self, chunk: bool, data: &str) -> Result<(), BenchError> {
        let unreadable =
            |why: serde_json::Error| BenchError::Unreadable { what: data.to_owned(), why: why.to_string() };
        let Links { sequence, prev } = serde_json::from_str(data).map_err(unreadable)?;
        if sequence <= self.last {
            return Err(BenchError::Broken(format!("event {sequence} came after {}", self.last)));
        }
        if prev > self.last {
            self.gaps.push((self.last, sequence));
        }
        self.last = sequence;
        if chunk {
            let event: Value = serde_json::from_str(data).map_err(unreadable)?;
            self.text += event["data"]["text"].as_str().unwrap_or_default();
        } else {
            self.durable.push(sequence);
        }
        Ok(())
    }

    /// What was read is the history; chunks are complete too, unless the server was killed.
    fn check(&self, history: &[u64], killed: bool) -> Result<(), BenchError> {
        if self.durable != history {
            let first = self.durable.iter().zip(history).position(|(read, kept)| read != kept);
            let (read, kept) = (self.durable.len(), history.len());
            return Err(BenchError::Broken(format!(
                "{read} durable events were read and {kept} are in the history; they differ from the {first:?}th on"
            )));
        }
        if killed {
            return Ok(());
        }
        if let Some((before, after)) = self.gaps.first() {
            return Err(BenchError::Broken(format!("something is missing between {before} and {after}")));
        }
        let expected = (1..=LINES).map(|line| line.to_string());
        if self.text.lines().eq(expected) {
            Ok(())
        } else {
            Err(BenchError::Broken("the log is not complete".to_owned()))
        }
    }

    /// A number below `bound`, by xorshift.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % bound.max(1)
    }
}
