//! `opsroom workers`: who executes runs, and asking one to go.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{
    Context, block_on,
    document::{List, PAGE, human, printable},
    fault::{Fault, exit},
    out::Out,
    place::Place,
    runs::{plain_table, trimmed},
};
use crate::{
    api::{ListWorkersQuery, Worker, WorkerStatus},
    client::Client,
};

/// How often it is looked whether a draining worker has gone.
const LOOK: Duration = Duration::from_millis(500);

/// List the workers, drain one
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  opsroom workers
  opsroom workers drain 01937c3a-...        it takes nothing more, and ends when its runs have ended or gone back
  opsroom workers drain 01937c3a-... --wait"
)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    list: ListOptions,
}

#[derive(Debug, clap::Args)]
struct ListOptions {
    /// At most this many
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the workers, oldest first
    List(ListOptions),
    /// Ask a worker to take nothing more, to finish its runs or hand them back, and to end
    Drain {
        /// A worker: its id, or the beginning of it
        #[arg(value_name = "ID")]
        worker: String,
        /// Wait until it has gone
        #[arg(long)]
        wait: bool,
    },
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let (client, out) = (&place.client, &context.out);
        match &options.command {
            None => list(out, client, &options.list).await?,
            Some(Command::List(options)) => list(out, client, options).await?,
            Some(Command::Drain { worker, wait }) => drain(out, client, find(client, worker).await?, *wait).await?,
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

/// Up to `wanted` workers, and the cursor to more.
async fn workers(client: &Client, wanted: usize) -> Result<(Vec<Worker>, Option<String>), Fault> {
    let (mut query, mut workers) = (ListWorkersQuery::default(), Vec::new());
    loop {
        let left = u32::try_from(wanted - workers.len()).unwrap_or(PAGE);
        query.limit = Some(left.min(PAGE));
        let page = client.list_workers(&query).await?;
        workers.extend(page.items);
        query.cursor = page.next_cursor;
        if query.cursor.is_none() || workers.len() >= wanted {
            return Ok((workers, query.cursor));
        }
    }
}

async fn list(out: &Out, client: &Client, options: &ListOptions) -> Result<(), Fault> {
    let (workers, next) = workers(client, usize::from(options.limit)).await?;
    if out.is_json() {
        out.json(&List { items: &workers, next_cursor: next.as_deref() });
        return Ok(());
    }
    if workers.is_empty() {
        out.message("no workers; `opsroom up` or `opsroom worker` starts one");
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["WORKER", "STATUS", "LANES", "SLOTS", "RUNS", "BEAT", "VERSION", "HOST"]);
    for worker in &workers {
        table.add_row([
            worker.id.to_string(),
            worker.status.to_string(),
            lanes(worker),
            worker.slots.to_string(),
            worker.running.to_string(),
            format!("{} ago", human(Duration::from_millis(worker.beat_age_ms))),
            printable(&worker.version),
            format!("{} ({}){}", printable(&worker.host), worker.pid, labels(worker)),
        ]);
    }
    out.line(trimmed(&table));
    if next.is_some() {
        out.message("there are more: --limit");
    }
    Ok(())
}

fn lanes(worker: &Worker) -> String {
    let lanes: Vec<&str> = worker.lanes.iter().map(|lane| lane.as_str()).collect();
    if lanes.is_empty() { "-".to_owned() } else { lanes.join(",") }
}

/// ` zone=dmz rack=7`
fn labels(worker: &Worker) -> String {
    let pair = |(name, value): (&String, &Value)| printable(&format!(" {name}={}", value.as_str().unwrap_or_default()));
    worker.labels.iter().map(pair).collect()
}

/// The worker that `text` means.
async fn find(client: &Client, text: &str) -> Result<Uuid, Fault> {
    if let Ok(worker) = text.parse() {
        return Ok(worker);
    }
    let (prefix, (workers, _)) = (text.to_ascii_lowercase(), workers(client, usize::MAX).await?);
    let found: Vec<Uuid> = workers
        .iter()
        .map(|worker| worker.id)
        .filter(|id| !prefix.is_empty() && id.to_string().starts_with(&prefix))
        .collect();
    match found.as_slice() {
        [only] => Ok(*only),
        [] => {
            Err(Fault::refused("WORKER_NOT_FOUND", format!("no worker `{text}`")).help("`opsroom workers` lists them"))
        }
        several => {
            Err(Fault::refused("WORKER_AMBIGUOUS", format!("`{text}` begins the ids of {} workers", several.len()))
                .help("give more of it; `opsroom workers` lists them"))
        }
    }
}

async fn drain(out: &Out, client: &Client, worker: Uuid, wait: bool) -> Result<(), Fault> {
    let asked = client.drain_worker(worker).await?;
    if wait {
        while let Some(left) = still_there(client, worker).await? {
            tracing::debug!(%worker, left, "the worker drains");
            tokio::time::sleep(LOOK).await;
        }
    }
    if out.is_json() {
        out.json(&asked);
    } else if wait {
        out.line(format!("worker {worker} has gone"));
    } else {
        out.line(format!("worker {worker} drains; it has {} runs", asked.running));
    }
    Ok(())
}

/// How many runs a worker still has; `None` when it has gone.
async fn still_there(client: &Client, worker: Uuid) -> Result<Option<u64>, Fault> {
    let (workers, _) = workers(client, usize::MAX).await?;
    let mut found = workers.iter().filter(|found| found.id == worker && found.status != WorkerStatus::Expired);
    Ok(found.next().map(|found| found.running))
}
