//! The workloads of the control room: a real `opsroom up` in another process, or a fleet of three on a database, driven
//! over HTTP.
//!
//! One thread makes the load, so that on a small machine the server has the rest; how many cores it used
//! itself is among the figures, and near 1.0 it would be the load generator that was measured. Times of
//! events are differences of the wall clock of one machine, in which `timestamp` counts whole milliseconds.

mod client;
mod frames;
pub mod history;
pub mod http;
pub mod queries;
pub mod resume;
mod server;
pub mod slowloris;
pub mod soak;
pub mod sse;
pub mod subscribers;
pub mod up;
mod usage;
mod work;

use std::{path::PathBuf, sync::Arc, time::Instant};

use self::{
    server::{Ground, Server},
    usage::Usage,
};
use super::{
    super::{
        Context,
        fault::{Fault, exit, io_fault},
        out::Out,
    },
    BenchError,
    figures::{self, Figures},
};
use crate::{ports::Ids, system::RandomIds};

/// Where a workload puts its data folder.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// A folder on a real disk, in which one is made and removed [default: beside the program]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// With a database: server, worker and scheduler in one process, in place of three
    #[arg(long)]
    together: bool,
}

/// A workload: what it is called, where it works, and how it measures.
pub trait Measure {
    const NAME: &'static str;

    fn place(&self) -> &Place;

    /// Fails if what the figures are about did not happen.
    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError>;
}

/// What a workload is given.
pub struct Bench {
    pub ground: Ground,
    out: Arc<Out>,
}

impl Bench {
    /// Tells the person at the terminal how it goes.
    pub fn progress(&self, line: impl AsRef<str>) {
        self.out.message(line);
    }
}

pub(super) fn execute(context: &Context, options: &impl Measure) -> Result<u8, Fault> {
    let figures = measured(context, options)?;
    if context.out.is_json() {
        context.out.json(figures.to_json());
    } else {
        context.out.line(figures.to_text());
    }
    Ok(exit::SUCCESS)
}

fn measured<W: Measure>(context: &Context, workload: &W) -> Result<Figures, Fault> {
    let program = std::env::current_exe().map_err(|error| io_fault("INTERNAL", "the program", &error))?;
    let beside = program.parent().map(PathBuf::from).unwrap_or_default();
    let place = workload.place().dir.clone().unwrap_or(beside);
    let name = format!("bench-{}-{}", W::NAME, RandomIds.worker_id());
    let ground = Ground::make(&place, &name, context.config.processes.base_env.clone())?;
    let mut bench = Bench { ground, out: context.out.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| io_fault("INTERNAL", "the runtime", &error))?;
    let figures = runtime.block_on(async {
        if let Some(database) = &context.config.database {
            bench.ground.on_database(&database.postgres, workload.place().together).await?;
            if let Some(redis) = &context.config.redis {
                bench.ground.on_redis(redis);
            }
        }
        let figures = workload.measure(&bench).await;
        bench.ground.clear().await;
        figures
    });
    Ok(figures?)
}

/// Processor time of both sides over a part of a workload.
struct Stretch {
    began: Instant,
    own: Usage,
    server: Usage,
    worker: Usage,
}

impl Stretch {
    fn begin(server: &Server) -> Result<Stretch, BenchError> {
        let (own, worker) = (Usage::own()?, server.worker_usage()?);
        Ok(Stretch { began: Instant::now(), own, server: server.usage()?, worker })
    }

    /// Adds how many cores each side kept busy.
    fn end(&self, server: &Server, figures: &mut Figures) -> Result<(), BenchError> {
        let elapsed = self.began.elapsed();
        figures.number("server_cores", server.usage()?.cores_since(&self.server, elapsed));
        if server.worker != server.pid {
            figures.number("worker_cores", server.worker_usage()?.cores_since(&self.worker, elapsed));
        }
        figures.number("generator_cores", Usage::own()?.cores_since(&self.own, elapsed));
        Ok(())
    }
}
