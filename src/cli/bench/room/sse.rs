//! `bench sse`: from the moment an event happens to the moment another process has read it.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    super::BenchError,
    Bench, Measure, Place, Stretch,
    client::{Events, Target},
    figures::Figures,
    server::Server,
    work,
};
use crate::{ports::Clock, system::SystemClock};

/// Time between two events of the run.
const PACE: &str = "5ms";

/// From an event to a client that follows the run in another process
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Durable events, and as many lines that a process writes
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    events: u32,
    #[command(flatten)]
    place: Place,
}

impl Measure for Options {
    const NAME: &'static str = "sse";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        bench.ground.runbook("events", &format!(
            "steps:\n  - {{id: settle, uses: wait, with: {{for: 500ms}}}}\n  - {{id: emit, needs: [settle], uses: events.emit, with: {{count: {}, bytes: 200, every: {PACE}}}}}\n",
            self.events,
        ))?;
        // The process says itself when it wrote a line: the clock of the machine, in microseconds.
        bench.ground.runbook("lines", &format!(
            "steps:\n  - {{id: settle, uses: wait, with: {{for: 500ms}}}}\n  - id: talk\n    needs: [settle]\n    env: {{LC_ALL: C}}\n    run: |\n      for ((i = 0; i < {}; i++)); do echo \"$EPOCHREALTIME\"; sleep 0.005; done\n",
            self.events,
        ))?;
        let server = Server::start(&bench.ground).await?;
        let mut client = server.client().await?;
        let mut figures = Figures::new(Self::NAME);
        let stretch = Stretch::begin(&server)?;
        let run = work::start(&mut client, "events", json!({})).await?;
        let durable = follow(&server.target, &run, "dispatch.emitted", |stamp, _| vec![stamp]).await?;
        stretch.end(&server, &mut figures)?;
        let run = work::start(&mut client, "lines", json!({})).await?;
        let lines = follow(&server.target, &run, "system.log", |_, data| stamps(data)).await?;
        server.stop().await?;
        for (what, found) in [("events", &durable), ("lines", &lines)] {
            let (found, expected) = (found.len() as u64, u64::from(self.events));
            if found != expected {
                return Err(BenchError::NotRecorded { what, found, expected });
            }
        }
        figures.spread("", &durable);
        figures.spread("line", &lines);
        figures.count("events", durable.len() as u64);
        Ok(figures)
    }
}

/// Follows a run to its end, and answers how long each thing was under way. `sent` tells from a message's
/// time and data when it was sent, in microseconds.
async fn follow(
    target: &Target,
    run: &str,
    kind: &str,
    sent: impl Fn(i64, &str) -> Vec<i64>,
) -> Result<Vec<Duration>, BenchError> {
    let mut events = Events::open(target, &format!("/v1/runs/{run}/events/stream"), None).await?;
    let mut samples = Vec::new();
    loop {
        while let Some(message) = events.next() {
            if message.is_close() {
                return Ok(samples);
            }
            let now = SystemClock.now().0;
            if message.event == kind {
                let stamp = message.id.map_or(0, |id| id.millis * 1_000);
                let under_way = |sent: i64| Duration::from_micros(u64::try_from(now - sent).unwrap_or(0));
                samples.extend(sent(stamp, message.data).into_iter().map(under_way));
            }
        }
        if !events.wait().await? {
            return Err(BenchError::Broken(format!("the stream of run {run} ended without `close`")));
        }
    }
}

/// The times that a process wrote, `seconds.microseconds` a line.
fn stamps(data: &str) -> Vec<i64> {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    let text = event["data"]["text"].as_str().unwrap_or_default();
    text.lines().filter_map(|line| line.replace('.', "").parse().ok()).collect()
}
