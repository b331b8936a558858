//! `opsroom bench`: what a step costs, on this machine, on a real disk.
//!
//! Every workload is compiled YAML that goes through queue, apalis worker, owner, committer and a SQLite
//! file. A ratio compares with a floor taken in the same run, because disks differ and change. Afterwards
//! rows and events are counted, so that no figure stands for work that was not recorded.

mod floor;
mod rig;
mod stats;
mod workloads;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

pub use workloads::run;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    pub workload: Workload,
    /// How often; the figures are medians over the samples.
    #[arg(long, default_value_t = 5)]
    pub samples: usize,
    /// Steps of a chain, or width of a fan-out.
    #[arg(long)]
    pub size: Option<usize>,
    /// Where the database is put; must be on a real disk. Default: a folder of its own in the data folder.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// 40 `assert` steps, each needing the one before.
    Chain,
    /// 1,000 `assert` steps at once, and one that needs them all.
    Fanout,
    /// 1,000 runs of five steps, submitted in batches.
    Throughput,
    /// From the submit call to the body of the first step, on an idle system.
    Pickup,
    /// A chain of 40 processes (`/bin/true`).
    Spawn,
}

/// One measurement. `null` where a figure does not apply.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub workload: &'static str,
    pub store: &'static str,
    pub samples: usize,
    pub median_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub steps_per_s: Option<f64>,
    /// One durable one-row commit; for `spawn` that and one process.
    pub floor_ms: Option<f64>,
    /// `median_ms` over as many floors as the workload has steps (and one more for the end of a chain).
    pub ratio: Option<f64>,
    /// Steps and durable events found in the store afterwards.
    pub steps_recorded: u64,
    pub events_recorded: u64,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("{0} is on a memory file system, where a sync costs nothing: use --dir on a real disk")]
    Tmpfs(PathBuf),
    #[error("the runbook of the workload does not compile: {0}")]
    Compile(String),
    #[error("a run ended as {0}, not succeeded")]
    NotSucceeded(String),
    #[error("the store has {found} {what}, not {expected}: the figures would be wrong")]
    NotRecorded { what: &'static str, found: u64, expected: u64 },
    #[error(transparent)]
    Store(#[from] crate::ports::StoreError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
