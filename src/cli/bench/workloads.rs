//! The workloads.

use std::{
    fmt::Write as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::fs::statfs;

use super::{
    BenchError, floor,
    ground::Ground,
    rig::Rig,
    stats::{median, percentile, rounded},
    steps::{Kind, Options, PerStep, Report},
};
use crate::{
    actions::{Deps, catalog},
    cli::config::RedisConfig,
    model::{StepStatus, TenantId},
    ports::{RunFilter, Store},
    runbook::{Plan, compile},
};

/// `statfs` says this of a memory file system (`linux/magic.h`).
const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Runs of the throughput workload, and how many are submitted at once.
const RUNS: usize = 1_000;
const BATCH: usize = 100;

/// Commits of the floor, before and after the workload each.
const FLOOR: usize = 100;

pub(super) fn is_tmpfs(dir: &Path) -> Result<bool, BenchError> {
    let kind = statfs(dir).map_err(std::io::Error::from)?.f_type;
    Ok(i128::from(kind) == i128::from(TMPFS_MAGIC))
}

/// Measures a workload with files in `dir` and rows in `ground`.
pub(super) async fn measure(
    kind: Kind,
    args: &Options,
    dir: &Path,
    ground: &mut Ground,
    deps: &Deps,
    redis: Option<&RedisConfig>,
) -> Result<Report, BenchError> {
    if is_tmpfs(dir)? {
        return Err(BenchError::Tmpfs(dir.to_owned()));
    }
    let slots = if kind == Kind::Throughput { 256 } else { 4 };
    let plan = Arc::new(plan(kind, args)?);
    let steps = plan.steps.len();
    let process = (kind == Kind::Spawn).then_some(floor::spawn as fn() -> _);
    let mut floors = ground.floors(FLOOR, process).await?;
    let before = ground.counts().await?;
    let rows = ground.open().await?;
    let mut rig = Rig::start(dir, &rows, deps, slots, redis)?;
    // The first run fills caches and pages; its time is nobody's.
    rig.once(&plan).await?;
    let samples = sample(kind, args, &mut rig, &plan).await?;
    rig.stop().await;
    let statements = rows.statements();
    rows.close().await?;
    let after = ground.counts().await?;
    floors.extend(ground.floors(FLOOR, process).await?);
    let runs = 1 + samples.len() * if kind == Kind::Throughput { RUNS } else { 1 };
    let rows = ground.open().await?;
    let (steps_recorded, events_recorded) = recorded(&*rows.store(), runs, steps).await?;
    rows.close().await?;

    let floor = median(&floors).unwrap_or_default();
    let middle = median(&samples).unwrap_or_default();
    let apart = if kind == Kind::Spawn { Some(apart(ground).await?) } else { None };
    let per_second = match kind {
        Kind::Throughput => Some((RUNS * steps) as f64 / (middle / 1_000.0)),
        Kind::Pickup => None,
        _ => Some(steps as f64 / (middle / 1_000.0)),
    };
    Ok(Report {
        workload: name(kind),
        store: ground.name(),
        redis: redis.is_some(),
        samples: samples.len(),
        median_ms: Some(rounded(middle)),
        p50_ms: percentile(&samples, 0.5).map(rounded),
        p95_ms: percentile(&samples, 0.95).map(rounded),
        p99_ms: percentile(&samples, 0.99).map(rounded),
        steps_per_s: per_second.map(f64::round),
        floor_ms: Some(rounded(floor)),
        floor_apart_ms: apart.map(rounded),
        ratio: floors_of(kind, steps).map(|floors| rounded(middle / (floor * floors))),
        per_step: PerStep::between(before, after, statements, steps_recorded),
        steps_recorded,
        events_recorded,
    })
}

/// How many floors a workload is compared with: its steps, and the end of a chain.
fn floors_of(kind: Kind, steps: usize) -> Option<f64> {
    match kind {
        Kind::Chain => Some((steps + 1) as f64),
        Kind::Spawn => Some(steps as f64),
        _ => None,
    }
}

/// A process and a commit, each with others of its kind.
async fn apart(ground: &Ground) -> Result<f64, BenchError> {
    let commits = ground.floors(FLOOR, None).await?;
    let spawns = (0..FLOOR).map(|_| floor::spawn()).collect::<Result<Vec<_>, _>>()?;
    Ok(median(&commits).unwrap_or_default() + median(&spawns).unwrap_or_default())
}

async fn sample(kind: Kind, args: &Options, rig: &mut Rig, plan: &Arc<Plan>) -> Result<Vec<Duration>, BenchError> {
    let mut samples = Vec::new();
    let usual = if kind == Kind::Pickup { 100 } else { 5 };
    for _ in 0..args.samples.unwrap_or(usual) {
        samples.push(match kind {
            Kind::Chain | Kind::Fanout | Kind::Spawn => rig.once(plan).await?,
            Kind::Throughput => throughput(rig, plan).await?,
            Kind::Pickup => {
                // Idle: nothing is under way and no sweep has just run.
                tokio::time::sleep(Duration::from_millis(7)).await;
                rig.pick_up(plan).await?
            }
        });
    }
    Ok(samples)
}

async fn throughput(rig: &mut Rig, plan: &Arc<Plan>) -> Result<Duration, BenchError> {
    let started = Instant::now();
    for _ in 0..RUNS / BATCH {
        rig.submit(plan, BATCH).await?;
    }
    rig.wait(RUNS).await?;
    Ok(started.elapsed())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Chain => "chain",
        Kind::Fanout => "fanout",
        Kind::Throughput => "throughput",
        Kind::Pickup => "pickup",
        Kind::Spawn => "spawn",
    }
}

/// The workload's runbook, written and compiled as a user's would be.
fn plan(kind: Kind, args: &Options) -> Result<Plan, BenchError> {
    let mut yaml = String::from("version: 1\nname: bench\nsteps:\n");
    let assert = "uses: assert, with: {that: true}";
    let program = "run: [/bin/true]";
    let chain = |yaml: &mut String, steps: usize, action: &str| {
        for i in 0..steps {
            let needs = if i == 0 { String::new() } else { format!("needs: [s{}], ", i - 1) };
            // Writing to a string does not fail.
            let _ = writeln!(yaml, "  - {{id: s{i}, {needs}{action}}}");
        }
    };
    let size = |usual: usize| args.size.map_or(usual, |size| size as usize);
    match kind {
        Kind::Chain => chain(&mut yaml, size(40), assert),
        Kind::Spawn => chain(&mut yaml, size(40), program),
        Kind::Throughput => chain(&mut yaml, size(5), assert),
        Kind::Pickup => chain(&mut yaml, 1, assert),
        Kind::Fanout => {
            let width = size(1_000);
            for i in 0..width {
                let _ = writeln!(yaml, "  - {{id: s{i}, {assert}}}");
            }
            let all: Vec<String> = (0..width).map(|i| format!("s{i}")).collect();
            let _ = writeln!(yaml, "  - {{id: join, needs: [{}], {assert}}}", all.join(", "));
        }
    }
    let compiled = compile("bench.yaml", &yaml, &catalog());
    compiled.map(|compiled| compiled.plan).map_err(|problems| BenchError::Compile(format!("{:?}", problems.first())))
}

/// Counts what the store has: every step succeeded, and has its two events.
async fn recorded(store: &dyn Store, runs: usize, steps: usize) -> Result<(u64, u64), BenchError> {
    let (mut found_steps, mut found_events, mut found_runs) = (0_u64, 0_u64, 0_u64);
    let mut filter = RunFilter { limit: 200, ..RunFilter::default() };
    loop {
        let page = store.runs(TenantId::DEFAULT, &filter).await?;
        for run in &page.items {
            found_runs += 1;
            let rows = store.steps(run.id).await?;
            found_steps += rows.iter().filter(|row| row.status == StepStatus::Succeeded).count() as u64;
            let events = store.events(run.id, 0, usize::MAX >> 1).await?;
            found_events +=
                events.iter().filter(|e| matches!(e.kind.action.as_str(), "step_started" | "step_succeeded")).count()
                    as u64;
        }
        filter.before = page.items.last().map(|run| run.id);
        if !page.more {
            break;
        }
    }
    let expected = (runs * steps) as u64;
    for (what, found, expected) in [
        ("runs", found_runs, runs as u64),
        ("steps", found_steps, expected),
        ("events of steps", found_events, 2 * expected),
    ] {
        if found != expected {
            return Err(BenchError::NotRecorded { what, found, expected });
        }
    }
    Ok((found_steps, found_events))
}
