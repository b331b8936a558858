//! `bench http`: how many steps a second go through the batch route.

use std::time::{Duration, Instant};

use futures::future::try_join_all;
use serde_json::json;

use super::{
    super::{BenchError, stats::median},
    Bench, Measure, Place, Stretch,
    client::Client,
    figures::Figures,
    server::Server,
    work,
};

/// Steps of each run.
const STEPS: u64 = 5;

/// Runs that are started one at a time.
const SINGLE: usize = 200;

/// How often the load generator looks whether all runs have ended.
const LOOK: Duration = Duration::from_millis(2);

/// Runs of five steps submitted in batches over HTTP
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Runs in a sample
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Runs in one request
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    batch: u32,
    /// Connections that share the requests
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// How often; the figures are taken over the samples
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    samples: u16,
    /// Runs under way at once in a lane, as many as in the workload without HTTP
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    slots: u16,
    #[command(flatten)]
    place: Place,
}

impl Measure for Options {
    const NAME: &'static str = "http";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        bench.ground.runbook("noop", &work::chain(5))?;
        let server = Server::start_with(&bench.ground, &["--slots", &self.slots.to_string()]).await?;
        let mut clients = try_join_all((0..self.connections).map(|_| server.client())).await?;
        // The first runs fill caches and pages; their time is nobody's.
        self.sample(&mut clients).await?;
        let mut figures = Figures::new(Self::NAME);
        let stretch = Stretch::begin(&server)?;
        let mut samples = Vec::new();
        for _ in 0..self.samples {
            samples.push(self.sample(&mut clients).await?);
        }
        stretch.end(&server, &mut figures)?;
        let mut client = server.client().await?;
        let single = single(&mut client).await?;
        let runs = (u64::from(self.samples) + 1) * u64::from(self.runs) + SINGLE as u64;
        work::expect(&mut client, runs, STEPS).await?;
        server.stop().await?;
        let alone = self.in_process(bench).await?;

        let middle = median(&samples).unwrap_or_default();
        let per_second = f64::from(self.runs) * STEPS as f64 / (middle / 1_000.0);
        figures.count("samples", u64::from(self.samples));
        figures.number("median_ms", middle);
        figures.number("steps_per_s", per_second.round());
        figures.number("in_process_steps_per_s", alone);
        figures.number("share_of_in_process", per_second / alone.max(1.0));
        figures.spread("submit", &single);
        figures.count("runs_recorded", runs);
        Ok(figures)
    }
}

impl Options {
    /// From the first request to the moment when nothing is left, as a client sees it.
    async fn sample(&self, clients: &mut [Client]) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let batches = self.runs.div_ceil(self.batch);
        let connections = u32::from(self.connections);
        let shares = clients.iter_mut().zip(0..).map(|(client, first)| async move {
            for batch in (first..batches).step_by(connections as usize) {
                let size = self.batch.min(self.runs - batch * self.batch) as usize;
                client.post("/v1/runs/batch", work::batch(std::iter::repeat_n("noop", size))).await?;
            }
            Ok::<(), BenchError>(())
        });
        try_join_all(shares).await?;
        if let Some(client) = clients.first_mut() {
            work::until_idle(client, LOOK).await?;
        }
        Ok(began.elapsed())
    }

    /// The same work without HTTP, in a process of its own.
    async fn in_process(&self, bench: &Bench) -> Result<f64, BenchError> {
        let samples = self.samples.to_string();
        let folder = bench.ground.folder.display().to_string();
        let report = bench.ground.run(&["bench", "throughput", "--samples", &samples, "--dir", &folder]).await?;
        Ok(report["steps_per_s"].as_f64().unwrap_or_default())
    }
}

/// One run after another on the idle server: how long each request takes.
async fn single(client: &mut Client) -> Result<Vec<Duration>, BenchError> {
    let body = json!({ "runbook": "noop" }).to_string();
    let mut samples = Vec::new();
    for _ in 0..SINGLE {
        let began = Instant::now();
        client.post("/v1/runs", body.clone()).await?;
        samples.push(began.elapsed());
        work::until_idle(client, LOOK).await?;
    }
    Ok(samples)
}
