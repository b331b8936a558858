//! `opsroom bench`: what a step costs, and what the control room bears, on this machine, on a real disk.
//!
//! [`steps`] measures in this process, without a server. [`room`] starts a real `opsroom up` and drives it
//! over HTTP from this process. [`append`] measures the way of events into Redis.

mod append;
mod figures;
mod floor;
mod ground;
mod rig;
mod room;
mod seed;
mod stats;
mod steps;
mod workloads;

use std::path::PathBuf;

use clap::Subcommand;

use super::{Context, fault::Fault};

/// Measure what steps and the control room cost on this machine
///
/// The workloads of steps run on a database of their own, several times, and compare with a floor taken in
/// the same run: one durable commit of one row, and for `spawn` also one plain process. The workloads of
/// the room start `opsroom up` on a data folder of their own, and stop it.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom bench chain
  opsroom bench throughput --output json
  opsroom bench pickup --samples 200 --dir /var/tmp/bench
  opsroom bench pickup --database-url postgres://db/ops --redis-url redis://redis
  opsroom bench append --redis-url redis://redis
  opsroom bench http
  opsroom bench queries --runs 100000")]
pub struct Options {
    #[command(subcommand)]
    workload: Workload,
}

#[derive(Debug, Clone, Subcommand)]
enum Workload {
    /// 40 `assert` steps, each needing the one before
    Chain(steps::Options),
    /// 1,000 `assert` steps at once, and one that needs them all
    Fanout(steps::Options),
    /// 1,000 runs of five steps, submitted in batches
    Throughput(steps::Options),
    /// From the submit call to the body of the first step, on an idle system
    Pickup(steps::Options),
    /// A chain of 40 processes (`/bin/true`)
    Spawn(steps::Options),
    Append(append::Options),
    Seed(seed::Options),
    Up(room::up::Options),
    Http(room::http::Options),
    Sse(room::sse::Options),
    Subscribers(room::subscribers::Options),
    Resume(room::resume::Options),
    History(room::history::Options),
    Queries(room::queries::Options),
    Soak(room::soak::Options),
    Slowloris(room::slowloris::Options),
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    match &options.workload {
        Workload::Chain(options) => steps::execute(context, steps::Kind::Chain, options),
        Workload::Fanout(options) => steps::execute(context, steps::Kind::Fanout, options),
        Workload::Throughput(options) => steps::execute(context, steps::Kind::Throughput, options),
        Workload::Pickup(options) => steps::execute(context, steps::Kind::Pickup, options),
        Workload::Spawn(options) => steps::execute(context, steps::Kind::Spawn, options),
        Workload::Append(options) => append::execute(context, options),
        Workload::Seed(options) => seed::execute(context, options),
        Workload::Up(options) => room::execute(context, options),
        Workload::Http(options) => room::execute(context, options),
        Workload::Sse(options) => room::execute(context, options),
        Workload::Subscribers(options) => room::execute(context, options),
        Workload::Resume(options) => room::execute(context, options),
        Workload::History(options) => room::execute(context, options),
        Workload::Queries(options) => room::execute(context, options),
        Workload::Soak(options) => room::execute(context, options),
        Workload::Slowloris(options) => room::execute(context, options),
    }
}

impl From<BenchError> for Fault {
    fn from(error: BenchError) -> Fault {
        match error {
            BenchError::Store(error) => error.into(),
            BenchError::Tmpfs(_) => Fault::refused("BENCH_TMPFS", error.to_string()),
            other => Fault::internal("BENCH_FAILED", other.to_string()),
        }
    }
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
    Submit(#[from] crate::control::SubmitError),
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server did not start, or not as it should.
    #[error("`opsroom up` {what}{log}")]
    Server { what: String, log: String },
    #[error("{method} {path} answered {status}: {body}")]
    Answer { method: &'static str, path: String, status: u16, body: String },
    #[error("the connection to the server: {0}")]
    Http(#[from] hyper::Error),
    #[error("{what}: {why}")]
    Unreadable { what: String, why: String },
    /// What the workload is about did not hold: an event twice, a run that was harmed.
    #[error("{0}")]
    Broken(String),
    #[error("{0} took too long")]
    TooLong(String),
}
