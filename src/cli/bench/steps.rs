//! The workloads of steps: in this process, without a server.
//!
//! Every one is compiled YAML that goes through queue, apalis worker, owner, committer and store: a SQLite
//! file, or a database of a PostgreSQL server. A ratio compares with a floor taken in the same run, because disks differ and change. Afterwards
//! rows and events are counted, so that no figure stands for work that was not recorded.

use std::{path::PathBuf, sync::Arc};

use serde::Serialize;
use tokio::task::JoinSet;

use super::{
    super::{
        Context, block_on,
        fault::{Fault, exit},
        processes::LazyProcesses,
    },
    BenchError,
    ground::{Ground, clear_redis, own_redis},
    stats::rounded,
    workloads,
};
use crate::{
    actions::Deps,
    ports::Ids,
    store::PgCounts,
    system::{FolderArtifacts, FolderWorkspaces, RandomIds, supervisor_lock},
};

/// What all of them may be told.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// How often; the figures are taken over the samples [default: 5, pickup 100]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub samples: Option<u16>,
    /// Steps of a chain or a run, or the width of a fan-out
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=19_000))]
    pub size: Option<u32>,
    /// A folder on a real disk, made and removed [default: in the data folder]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub fn execute(context: &Context, kind: Kind, options: &Options) -> Result<u8, Fault> {
    let config = &context.config;
    let id = RandomIds.worker_id();
    // Steps work in it, wherever their supervisor is.
    let dir = options.dir.as_deref().map_or_else(|| Ok(config.data.folder.clone()), std::path::absolute);
    let dir = dir.map_err(|error| Fault::from(BenchError::Io(error)))?.join(format!("bench-{id}"));
    let redis = config.redis.as_ref().filter(|_| config.database.is_some()).map(own_redis);
    let measured = block_on(async {
        let unusable = |error: std::io::Error| Fault::from(BenchError::Io(error));
        std::fs::create_dir_all(&dir).map_err(unusable)?;
        let artifacts = FolderArtifacts::new(dir.join("artifacts")).map_err(unusable)?;
        let processes = Arc::new(LazyProcesses::new(id, supervisor_lock(&dir, id), config.processes.at_once));
        let deps = Deps {
            processes: processes.clone(),
            artifacts: Arc::new(artifacts),
            workspaces: Arc::new(FolderWorkspaces::with_spares(&dir)),
            base_env: config.processes.base_env.clone(),
            http: Arc::new(config.http.to_config()),
        };
        let mut ground = Ground::make(&dir, config.database.as_ref().map(|database| &database.postgres)).await?;
        let mut task = JoinSet::new();
        let (options, place, redis) = (options.clone(), dir.clone(), redis.clone());
        // As a service would: on a thread of the runtime, not on the one that waits for it.
        task.spawn(async move {
            let measured = workloads::measure(kind, &options, &place, &mut ground, &deps, redis.as_ref()).await;
            ground.remove().await;
            if let Some(redis) = &redis {
                clear_redis(redis).await;
            }
            measured
        });
        let measured = task.join_next().await;
        processes.stop().await;
        match measured {
            Some(Ok(measured)) => measured.map_err(Fault::from),
            _ => Err(Fault::internal("INTERNAL", "the workload panicked")),
        }
    });
    if let Err(error) = std::fs::remove_dir_all(&dir) {
        tracing::warn!(%error, dir = %dir.display(), "the folder of the benchmark could not be removed");
    }
    let report = measured?;
    if context.out.is_json() {
        context.out.json(&report);
    } else {
        context.out.line(report.to_text());
    }
    Ok(exit::SUCCESS)
}

/// Which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Chain,
    Fanout,
    Throughput,
    Pickup,
    Spawn,
}

/// One measurement. `null` where a figure does not apply.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub workload: &'static str,
    pub store: &'static str,
    /// Whether runs were rung for through Redis; else they took the short way inside the process.
    pub redis: bool,
    pub samples: usize,
    pub median_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub steps_per_s: Option<f64>,
    /// One durable one-row commit; for `spawn` one process and then that, in turn, as a chain has them.
    pub floor_ms: Option<f64>,
    /// For `spawn`, the same two, but each in a loop of its own, which finds the caches warm: less than a chain can take.
    pub floor_apart_ms: Option<f64>,
    /// `median_ms` over as many floors as the workload has steps (and one more for the end of a chain).
    pub ratio: Option<f64>,
    /// What a step cost the server, runs and their beginnings and ends included.
    pub per_step: Option<PerStep>,
    /// Steps and durable events found in the store afterwards.
    pub steps_recorded: u64,
    pub events_recorded: u64,
}

/// What a server had to do, divided by the number of steps.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct PerStep {
    /// Sent by this process.
    pub statements: f64,
    /// Transactions that the server has committed, those that only read included.
    pub commits: f64,
    /// Rows inserted, updated and deleted.
    pub rows_written: f64,
    /// Bytes of the write-ahead log of the whole server.
    pub wal_bytes: f64,
}

impl PerStep {
    pub(super) fn between(
        before: Option<PgCounts>,
        after: Option<PgCounts>,
        statements: Option<u64>,
        steps: u64,
    ) -> Option<PerStep> {
        let (before, after) = (before?, after?);
        let each = |count: u64| rounded(count as f64 / steps.max(1) as f64);
        Some(PerStep {
            statements: each(statements?),
            commits: each(after.commits.saturating_sub(before.commits)),
            rows_written: each(after.rows_written.saturating_sub(before.rows_written)),
            wal_bytes: each(after.wal_bytes.saturating_sub(before.wal_bytes)).round(),
        })
    }
}

impl Report {
    fn to_text(&self) -> String {
        let number = |value: Option<f64>, unit: &str| value.map_or("-".to_owned(), |value| format!("{value}{unit}"));
        let per_step = self.per_step.map_or(String::new(), |step| {
            format!(
                "\n  a step: {} statements, {} commits, {} rows, {} bytes of log",
                step.statements, step.commits, step.rows_written, step.wal_bytes
            )
        });
        let apart =
            self.floor_apart_ms.map_or(String::new(), |apart| format!(" ({apart} ms each in a loop of its own)"));
        format!(
            "{} on {}{}, {} samples\n  median {}  p95 {}  p99 {}\n  steps per second {}\n  floor {}{apart}  ratio {}{per_step}\n  recorded: {} steps, {} events",
            self.workload,
            self.store,
            if self.redis { " and Redis" } else { "" },
            self.samples,
            number(self.median_ms, " ms"),
            number(self.p95_ms, " ms"),
            number(self.p99_ms, " ms"),
            number(self.steps_per_s, ""),
            number(self.floor_ms, " ms"),
            number(self.ratio, ""),
            self.steps_recorded,
            self.events_recorded,
        )
    }
}
