//! `bench history`: a page of a run's events over HTTP, while the run is under way and after its end.
//!
//! The run emits its events and then waits until it is let go, so the same page is read from the rows of a live run,
//! from those of an ended one as long as it is not archived, and from the archive.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    super::BenchError,
    Bench, Measure, Place, Stretch,
    client::Client,
    figures::Figures,
    server::{Ground, Server},
    work,
};

/// How long the run may take to emit, and the archive to be made.
const PATIENCE: Duration = Duration::from_mins(2);
const LOOK: Duration = Duration::from_millis(50);

/// 1,000 events of a run in one page, while it is under way and from its archive
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Events of the page; the API gives no more than 1,000 at once
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    events: u32,
    /// How often the page is asked for while the run is under way, and again when it is archived
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    samples: u32,
    #[command(flatten)]
    place: Place,
}

impl Measure for Options {
    const NAME: &'static str = "history";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        let gate = bench.ground.folder.join("let-go");
        let wait = json!(["/bin/sh", "-c", "until [ -e \"$0\" ]; do sleep 0.05; done", gate]);
        bench.ground.runbook("talks", &format!(
            "steps:\n  - {{id: emit, uses: events.emit, with: {{count: {}, bytes: 200}}}}\n  - {{id: stay, needs: [emit], run: {wait}}}\n",
            self.events,
        ))?;
        let server = Server::start(&bench.ground).await?;
        let mut client = server.client().await?;
        let run = work::start(&mut client, "talks", json!({})).await?;
        let path = format!("/v1/runs/{run}/events?limit={}", self.events);
        let mut figures = Figures::new(Self::NAME);

        until_follows(&mut client, &path).await?;
        let live = self.ask(&server, &mut client, &path, "live", &mut figures).await?;
        let document = client.get(&format!("/v1/runs/{run}")).await?;
        if document["ended_at"].is_string() {
            return Err(BenchError::Broken(format!("the run had ended before it was let go: {document}")));
        }
        fs::write(&gate, "")?;
        work::until_ended(&mut client, &run).await?;
        until_archived(&bench.ground, &run).await?;
        let archived = self.ask(&server, &mut client, &path, "archived", &mut figures).await?;
        if live != archived {
            return Err(BenchError::Broken("the archive has other events than the run had".to_owned()));
        }
        server.stop().await?;
        let worst = figures.get("live_p95_ms").max(figures.get("archived_p95_ms"));
        figures.number("p95_ms", worst);
        figures.count("events", u64::from(self.events));
        Ok(figures)
    }
}

impl Options {
    /// Asks for the page again and again, and answers its events; every answer must have all of them.
    async fn ask(
        &self,
        server: &Server,
        client: &mut Client,
        path: &str,
        name: &str,
        figures: &mut Figures,
    ) -> Result<Value, BenchError> {
        // The first answer fills caches; its time is nobody's.
        let events = client.get(path).await?["events"].take();
        check(&events, u64::from(self.events))?;
        let stretch = Stretch::begin(server)?;
        let (mut samples, mut bytes) = (Vec::new(), 0);
        let mut bodies = Vec::new();
        for _ in 0..self.samples {
            let asked = Instant::now();
            let (status, body) = client.get_bytes(path).await?;
            samples.push(asked.elapsed());
            if status != 200 {
                return Err(BenchError::Broken(format!("GET {path} answered {status}")));
            }
            bytes = body.len();
            bodies.push(body);
        }
        let mut cores = Figures::default();
        stretch.end(server, &mut cores)?;
        for body in bodies {
            let page: Value = serde_json::from_slice(&body)
                .map_err(|error| BenchError::Unreadable { what: path.to_owned(), why: error.to_string() })?;
            if page["events"] != events {
                return Err(BenchError::Broken(format!("GET {path} gave other events than before")));
            }
        }
        figures.spread(name, &samples);
        figures.number(&format!("{name}_server_cores"), cores.get("server_cores"));
        figures.count(&format!("{name}_bytes"), bytes as u64);
        Ok(events)
    }
}

/// So many events, none missing and in order.
fn check(events: &Value, expected: u64) -> Result<(), BenchError> {
    let events = events.as_array().map(Vec::as_slice).unwrap_or_default();
    let found = events.len() as u64;
    if found != expected {
        return Err(BenchError::NotRecorded { what: "events in the page", found, expected });
    }
    match events.windows(2).find(|pair| pair[1]["prev"] != pair[0]["sequence"]) {
        Some(pair) => Err(BenchError::Broken(format!("{} does not follow {}", pair[1], pair[0]))),
        None => Ok(()),
    }
}

/// Waits until the page is full and something follows it.
async fn until_follows(client: &mut Client, path: &str) -> Result<(), BenchError> {
    let deadline = Instant::now() + PATIENCE;
    while client.get(path).await?["has_more"] != true {
        if Instant::now() > deadline {
            return Err(BenchError::TooLong("the events of the run".to_owned()));
        }
        sleep(LOOK).await;
    }
    Ok(())
}

/// Waits until the archive is there, and every byte of it is what it should be.
async fn until_archived(ground: &Ground, run: &str) -> Result<(), BenchError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut verify = ground.command();
        let output = verify.args(["archive", "verify", run, "--data-dir"]).arg(ground.data()).output().await?;
        if output.status.success() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(BenchError::TooLong(format!("the archive of run {run} ({})", said.trim())));
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_whole_and_in_order() {
        let event = |sequence: u64| json!({ "sequence": sequence, "prev": sequence - 1 });
        assert!(check(&json!([event(1), event(2)]), 2).is_ok());
        assert!(check(&json!([event(1), event(2)]), 3).is_err());
        assert!(check(&json!([event(1), event(3)]), 2).is_err());
    }
}
