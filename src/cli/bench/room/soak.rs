//! `bench soak`: very many small runs, and whether the server stays as it was.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    super::BenchError,
    Bench, Measure, Place, Stretch,
    client::Client,
    figures::Figures,
    server::{Ground, Server},
    usage::Usage,
    work,
};

/// Runs in one request, and connections that send them.
const BATCH: u32 = 50;
const CONNECTIONS: u32 = 4;

/// No more runs are started while so many have not ended.
const MOST_LIVE: u64 = 400;

/// How often the server is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs before the server counts as warm; a tenth of them, if there are less.
const WARM: u64 = 10_000;

/// Of a hundred runs: what the others do besides nothing.
const LOGS: u32 = 15;
const ARTIFACTS: u32 = 1;
const EVENTS: u32 = 4;

/// Very many small runs, and whether memory and files stay flat
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    runs: u32,
    /// When it is given up
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    #[command(flatten)]
    place: Place,
}

/// The server after so many runs.
#[derive(Debug, Clone, Copy)]
struct Sample {
    started: u64,
    usage: Usage,
    tasks: Option<u64>,
    store: u64,
}

impl Measure for Options {
    const NAME: &'static str = "soak";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        runbooks(&bench.ground)?;
        let server = Server::start(&bench.ground).await?;
        let mut figures = Figures::new(Self::NAME);
        let progress = Progress::default();
        let began = Instant::now();
        let stretch = Stretch::begin(&server)?;
        let connections = try_join_all((0..CONNECTIONS).map(|number| self.send(&server, number, &progress, began)));
        let sending = async {
            let sent = connections.await;
            let idle = work::until_idle(&mut server.client().await?, Duration::from_millis(100)).await;
            progress.done.set(true);
            sent.and(idle)
        };
        let (sent, watched) = tokio::join!(sending, watch(bench, &server, &progress));
        sent?;
        let elapsed = began.elapsed();
        stretch.end(&server, &mut figures)?;
        let mut samples = watched?;
        // What ended runs leave behind for a moment (connections, processes) is no leak.
        sleep(Duration::from_secs(5)).await;
        let mut client = server.client().await?;
        samples.push(sample(bench, &server, &mut client, progress.started.get()).await?);
        let (found, _) = work::succeeded(&mut client).await?;
        if found != u64::from(self.runs) {
            return Err(BenchError::NotRecorded { what: "runs", found, expected: u64::from(self.runs) });
        }
        server.stop().await?;
        figures.number("seconds", elapsed.as_secs_f64());
        figures.number("runs_per_s", f64::from(self.runs) / elapsed.as_secs_f64());
        figures.count("runs_recorded", found);
        compare(&mut figures, &samples, WARM.min(u64::from(self.runs) / 10));
        Ok(figures)
    }
}

#[derive(Default)]
struct Progress {
    started: Cell<u64>,
    live: Cell<u64>,
    done: Cell<bool>,
}

impl Options {
    async fn send(&self, server: &Server, number: u32, progress: &Progress, began: Instant) -> Result<(), BenchError> {
        let mut client = server.client().await?;
        let limit = Duration::from_secs(self.minutes * 60);
        for batch in (number..self.runs.div_ceil(BATCH)).step_by(CONNECTIONS as usize) {
            if began.elapsed() > limit {
                let started = progress.started.get();
                return Err(BenchError::TooLong(format!("the first {started} of {} runs", self.runs)));
            }
            progress.live.set(work::live(&mut client).await?);
            while progress.live.get() > MOST_LIVE {
                sleep(Duration::from_millis(10)).await;
                progress.live.set(work::live(&mut client).await?);
            }
            let first = batch * BATCH;
            let names = (first..self.runs.min(first + BATCH)).map(kind);
            let count = names.len() as u64;
            client.post("/v1/runs/batch", work::batch(names)).await?;
            progress.started.set(progress.started.get() + count);
        }
        Ok(())
    }
}

/// The runbook of a run.
fn kind(run: u32) -> &'static str {
    match run % 100 {
        n if n < ARTIFACTS => "artifact",
        n if n < ARTIFACTS + EVENTS => "events",
        n if n < ARTIFACTS + EVENTS + LOGS => "logs",
        _ => "noop",
    }
}

fn runbooks(ground: &Ground) -> Result<(), BenchError> {
    ground.runbook("noop", &work::chain(3))?;
    ground.runbook("logs", "steps:\n  - {id: tell, uses: log, with: {message: a line of a log}}\n  - {id: more, needs: [tell], uses: log, with: {message: another, fields: {n: 1}}}\n")?;
    ground.runbook("events", "steps:\n  - {id: emit, uses: events.emit, with: {count: 20, bytes: 100}}\n")?;
    ground.runbook(
        "artifact",
        "steps:\n  - id: make\n    run: |\n      seq 1 100 | tee \"$OPSROOM_ARTIFACTS/numbers.txt\"\n",
    )
}

/// Looks at the server until everything is done.
async fn watch(bench: &Bench, server: &Server, progress: &Progress) -> Result<Vec<Sample>, BenchError> {
    let mut client = server.client().await?;
    let samples = RefCell::new(Vec::new());
    let mut told = 0;
    while !progress.done.get() {
        sleep(LOOK).await;
        let sample = sample(bench, server, &mut client, progress.started.get()).await?;
        if sample.started / WARM > told {
            told = sample.started / WARM;
            let Usage { resident, files, threads, .. } = sample.usage;
            let (mib, store, tasks) = (resident >> 20, sample.store >> 20, sample.tasks.unwrap_or_default());
            bench.progress(format!(
                "{} runs: {mib} MiB, {files} files, {threads} threads, {tasks} tasks, store {store} MiB",
                sample.started
            ));
        }
        samples.borrow_mut().push(sample);
    }
    Ok(samples.into_inner())
}

async fn sample(bench: &Bench, server: &Server, client: &mut Client, started: u64) -> Result<Sample, BenchError> {
    let (status, body) = client.get_bytes("/metrics").await?;
    if status != 200 {
        return Err(BenchError::Broken(format!("GET /metrics answered {status}")));
    }
    let metrics = String::from_utf8_lossy(&body);
    let tasks = metrics.lines().find_map(|line| line.strip_prefix("opsroom_tasks ")?.trim().parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of tasks")]
    let tasks = tasks.map(|tasks| tasks as u64);
    let file = |name| std::fs::metadata(bench.ground.data().join(name)).map_or(0, |file| file.len());
    Ok(Sample { started, usage: server.usage()?, tasks, store: file("opsroom.db") + file("opsroom.db-wal") })
}

/// The server when it was warm and afterwards.
fn compare(figures: &mut Figures, samples: &[Sample], enough: u64) {
    let warm: Vec<&Sample> = samples.iter().filter(|sample| sample.started >= enough).collect();
    let (Some(first), Some(last)) = (warm.first(), samples.last()) else { return };
    let most = |value: fn(&Sample) -> u64| warm.iter().map(|sample| value(sample)).max().unwrap_or_default();
    let resident = |sample: &Sample| sample.usage.resident;
    let early = resident(first).max(1);
    // Caches fill for a while; a leak does not stop.
    let second_half = resident(warm[warm.len() / 2]).max(1);
    figures.mebibytes("warm_mib", early);
    figures.mebibytes("most_mib", most(resident));
    figures.mebibytes("end_mib", last.usage.resident);
    figures.number("memory_ratio", most(resident) as f64 / early as f64);
    figures.number("second_half_ratio", most(resident) as f64 / second_half as f64);
    figures.count("warm_files", first.usage.files);
    figures.count("most_files", most(|sample| sample.usage.files));
    figures.count("end_files", last.usage.files);
    figures.count("warm_threads", first.usage.threads);
    figures.count("end_threads", last.usage.threads);
    if let Some(tasks) = last.tasks {
        figures.count("most_tasks", most(|sample| sample.tasks.unwrap_or_default()));
        figures.count("end_tasks", tasks);
    }
    figures.mebibytes("store_mib", last.store);
    let documents: Vec<Value> =
        warm.iter().step_by(warm.len().div_ceil(10)).map(|s| json!(resident(s) >> 20)).collect();
    figures.text("memory_over_time_mib", &Value::from(documents).to_string());
}
