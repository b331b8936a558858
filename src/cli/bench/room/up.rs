//! `bench up`: from the start of the process to ready, and what it uses while nothing happens.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{
    super::{BenchError, stats::percentile},
    Bench, Measure, Place,
    figures::Figures,
    server::Server,
    usage::resident_of_children,
    work,
};

/// How long the server rests before its memory counts.
const REST: Duration = Duration::from_secs(5);

/// `up` from its start to ready, and what it uses while idle
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How often it is started, each time on an empty folder
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    samples: u16,
    /// For how many seconds the processor time of the idle server is counted
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    idle: u64,
    #[command(flatten)]
    place: Place,
}

impl Measure for Options {
    const NAME: &'static str = "up";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        let ground = &bench.ground;
        ground.runbook("noop", &work::chain(5))?;
        let mut ready = Vec::new();
        for _ in 1..self.samples {
            let server = Server::start(ground).await?;
            ready.push(server.ready_after);
            server.stop().await?;
            std::fs::remove_dir_all(ground.data())?;
        }
        let server = Server::start(ground).await?;
        ready.push(server.ready_after);
        sleep(REST).await;
        let before = server.usage()?;
        let began = Instant::now();
        sleep(Duration::from_secs(self.idle)).await;
        let after = server.usage()?;
        let mut figures = Figures::new(Self::NAME);
        figures.count("samples", ready.len() as u64);
        figures.number("ready_ms", percentile(&ready, 0.5).unwrap_or_default());
        figures.number("ready_max_ms", percentile(&ready, 1.0).unwrap_or_default());
        figures.mebibytes("resident_mib", before.resident);
        figures.mebibytes("children_mib", resident_of_children(server.pid));
        if server.worker != server.pid {
            figures.mebibytes("worker_resident_mib", server.worker_usage()?.resident);
            figures.mebibytes("worker_children_mib", resident_of_children(server.worker));
        }
        figures.number("idle_cores", after.cores_since(&before, began.elapsed()));
        figures.count("threads", after.threads);
        figures.count("files", after.files);
        server.stop().await?;
        Ok(figures)
    }
}
