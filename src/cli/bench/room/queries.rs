//! `bench queries`: reads on a store with a million runs, while others run.

use std::{
    cell::Cell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::Value;
use tokio::time::{interval, sleep};

use super::{
    super::BenchError, Bench, Measure, Place, Stretch, client::Client, figures::Figures, server::Server, work,
};
use crate::{
    model::Micros,
    ports::{Clock, Ids},
    system::{RandomIds, SystemClock},
};

/// Steps of each run that is executed meanwhile, and how often some are started.
const STEPS: u32 = 5;
const TICK: Duration = Duration::from_millis(100);

/// Places in time from which runs are drawn, and how many from each.
const PLACES: i64 = 500;
const EACH: i64 = 20;

/// How often each filter is asked, over so many connections.
const ASKED: usize = 200;
const LISTERS: usize = 4;

/// Reads by many clients on a store full of ended runs, while others run
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Ended runs in the store
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    runs: u32,
    /// Clients that ask for the status of random runs, each as soon as it has its answer
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    clients: u32,
    /// Steps that are executed in a second meanwhile
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(0..=20_000))]
    steps: u32,
    /// How long the clients ask
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How long a client waits between an answer and its next question, in milliseconds
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000))]
    rest: u64,
    #[command(flatten)]
    place: Place,
}

impl Measure for Options {
    const NAME: &'static str = "queries";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        bench.ground.runbook("noop", &work::chain(STEPS as usize))?;
        bench.progress(format!("seeding {} runs", self.runs));
        let began = Instant::now();
        bench.ground.run(&["bench", "seed", "--runs", &self.runs.to_string()]).await?;
        let mut figures = Figures::new(Self::NAME);
        figures.number("seed_s", began.elapsed().as_secs_f64());
        let server = Server::start(&bench.ground).await?;
        figures.millis("ready_ms", server.ready_after);
        let sampled = sampled(&mut server.client().await?).await?;
        bench.progress(format!("{} runs drawn; {} clients ask", sampled.len(), self.clients));

        // Both while runs are executed: first the clients, then the lists.
        let stop = Cell::new(false);
        let measured = async {
            let stretch = Stretch::begin(&server)?;
            let status = self.ask(&server, &sampled).await?;
            stretch.end(&server, &mut figures)?;
            bench.progress("lists");
            let lists = lists(&server, &sampled).await;
            stop.set(true);
            Ok::<_, BenchError>((status, lists?))
        };
        let (started, measured) = tokio::join!(self.keep_running(&server, &stop), measured);
        let ((status, lists), (started, lasted)) = (measured?, started?);
        work::until_idle(&mut server.client().await?, TICK).await?;
        figures.number("executed_steps_per_s", (started * u64::from(STEPS)) as f64 / lasted.as_secs_f64());
        figures.count("status_queries", status.len() as u64);
        figures.number("status_per_s", (status.len() as f64 / self.seconds as f64).round());
        figures.spread("status", &status);
        let (mut worst, mut together) = (0.0_f64, 0.0_f64);
        for (filter, samples) in &lists {
            figures.spread(&format!("list_{filter}"), samples);
            let slowest = if filter.starts_with(TOGETHER) { &mut together } else { &mut worst };
            *slowest = slowest.max(figures.get(&format!("list_{filter}_p99_ms")));
        }
        figures.number("list_worst_p99_ms", worst);
        figures.number("list_together_worst_p99_ms", together);
        figures.mebibytes("resident_mib", server.usage()?.resident);
        server.stop().await?;
        Ok(figures)
    }
}

impl Options {
    async fn ask(&self, server: &Server, sampled: &[Value]) -> Result<Vec<Duration>, BenchError> {
        let samples = try_join_all((0..self.clients as usize).map(|number| self.one(server, sampled, number))).await?;
        Ok(samples.concat())
    }

    /// One client, which begins at its own place among the runs.
    async fn one(&self, server: &Server, sampled: &[Value], number: usize) -> Result<Vec<Duration>, BenchError> {
        let (began, span) = (Instant::now(), Duration::from_secs(self.seconds));
        let mut client = server.client().await?;
        let mut samples = Vec::new();
        let mut at = number * 7_919;
        while began.elapsed() < span {
            // A stride without a common factor visits the sample in no order that the store has.
            at = (at + 4_099) % sampled.len();
            let path = format!("/v1/runs/{}", text(&sampled[at], "id"));
            let asked = Instant::now();
            let (status, _) = client.get_bytes(&path).await?;
            samples.push(asked.elapsed());
            if status != 200 {
                return Err(BenchError::Broken(format!("GET {path} answered {status}")));
            }
            if self.rest > 0 {
                sleep(Duration::from_millis(self.rest)).await;
            }
        }
        Ok(samples)
    }

    /// Starts runs at an even pace until `stop`, and answers how many, in what time.
    async fn keep_running(&self, server: &Server, stop: &Cell<bool>) -> Result<(u64, Duration), BenchError> {
        let mut client = server.client().await?;
        let batch = self.steps / STEPS / 10;
        let (began, mut started) = (Instant::now(), 0);
        let mut ticks = interval(TICK);
        while !stop.get() {
            ticks.tick().await;
            if batch > 0 {
                client.post("/v1/runs/batch", work::batch(std::iter::repeat_n("noop", batch as usize))).await?;
                started += u64::from(batch);
            }
        }
        Ok((started, began.elapsed()))
    }
}

/// Runs from all over the store: some from before each of many places in time.
async fn sampled(client: &mut Client) -> Result<Vec<Value>, BenchError> {
    let now = SystemClock.now().0;
    let oldest = now - reach(client, now).await?;
    let mut runs = Vec::new();
    for place in 1..=PLACES {
        let until = oldest + (now - oldest) / PLACES * place;
        runs.extend(before(client, until, EACH).await?);
    }
    // Neighbours in time should not be neighbours here; ids end in random bits.
    runs.sort_by_cached_key(|run| text(run, "id").chars().rev().collect::<String>());
    runs.dedup_by_key(|run| text(run, "id").to_owned());
    if runs.is_empty() { Err(BenchError::Broken("the seeded store has no runs".to_owned())) } else { Ok(runs) }
}

/// How far back runs go, within a factor of two, in microseconds.
async fn reach(client: &mut Client, now: i64) -> Result<i64, BenchError> {
    let mut reach = 1_000_000;
    while !before(client, now - reach, 1).await?.is_empty() {
        reach *= 2;
    }
    Ok(reach)
}

async fn before(client: &mut Client, until: i64, limit: i64) -> Result<Vec<Value>, BenchError> {
    let until = encoded(&Micros(until).to_string());
    let mut page = client.get(&format!("/v1/runs?limit={limit}&until={until}")).await?;
    Ok(page["items"].as_array_mut().map(std::mem::take).unwrap_or_default())
}

/// How long each filter takes, with values of runs that there are.
async fn lists(server: &Server, sampled: &[Value]) -> Result<BTreeMap<&'static str, Vec<Duration>>, BenchError> {
    let mut found = BTreeMap::new();
    for (name, filter) in FILTERS {
        let clients = (0..LISTERS).map(|lister| async move {
            let mut client = server.client().await?;
            let mut samples = Vec::new();
            for asked in 0..ASKED / LISTERS {
                let run = &sampled[(asked * LISTERS + lister) * 31 % sampled.len()];
                let path = format!("/v1/runs?{}", filter(run));
                let began = Instant::now();
                client.get(&path).await?;
                samples.push(began.elapsed());
            }
            Ok::<_, BenchError>(samples)
        });
        found.insert(*name, try_join_all(clients).await?.concat());
    }
    Ok(found)
}

type Filter = fn(&Value) -> String;

/// What the names of several filters at once begin with.
const TOGETHER: &str = "together";

/// Every filter of the list, some that find nothing, and some together.
const FILTERS: &[(&str, Filter)] = &[
    ("all", |_| String::new()),
    ("status", |run| format!("status={}", text(run, "status"))),
    ("status_live", |_| "status=queued&status=claimed&status=running".to_owned()),
    ("status_ended", |_| "status=failed&status=cancelled&status=timed_out".to_owned()),
    ("lane", |run| format!("lane={}", text(run, "lane"))),
    ("runbook", |run| format!("runbook={}", encoded(text(run, "runbook")))),
    ("runbook_none", |_| "runbook=no-such-runbook".to_owned()),
    ("session", |run| match run["session_id"].as_str() {
        Some(session) => format!("session={session}"),
        None => format!("session={}", RandomIds.run_id()),
    }),
    ("label", |run| {
        label(run)
            .map_or("label=none".to_owned(), |(name, value)| format!("label={}", encoded(&format!("{name}={value}"))))
    }),
    ("label_name", |run| label(run).map_or("label=none".to_owned(), |(name, _)| format!("label={}", encoded(&name)))),
    ("trigger", |run| format!("trigger={}", text(&run["trigger"], "kind"))),
    ("actor", |run| format!("actor={}", encoded(text(&run["trigger"], "actor")))),
    ("actor_none", |_| "actor=nobody-of-this-name".to_owned()),
    ("since", |run| format!("since={}", encoded(text(run, "created_at")))),
    ("until", |run| format!("until={}", encoded(text(run, "created_at")))),
    ("text_id", |run| format!("text={}", text(run, "id").chars().take(13).collect::<String>())),
    ("text_runbook", |run| {
        format!("text={}", encoded(&text(run, "runbook").chars().skip(1).take(6).collect::<String>()))
    }),
    ("text_none", |_| "text=nothing-is-called-so".to_owned()),
    ("together", |run| {
        let (runbook, lane) = (encoded(text(run, "runbook")), text(run, "lane"));
        format!(
            "status={}&lane={lane}&runbook={runbook}&until={}",
            text(run, "status"),
            encoded(text(run, "created_at"))
        )
    }),
    ("together_rare", |run| format!("status=timed_out&trigger=webhook&runbook={}", encoded(text(run, "runbook")))),
];

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_default()
}

fn label(run: &Value) -> Option<(String, String)> {
    let (name, value) = run["labels"].as_object()?.iter().next()?;
    Some((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
