//! `opsroom runs`: the runs of this data folder, newest first.

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::{
    Context, block_on,
    document::{RunDocument, date_time, duration, human},
    embedded::Embedded,
    fault::{Fault, exit},
};
use crate::{
    model::{Micros, RunStatus, TenantId},
    ports::{Page, RunFilter, RunRow},
};

/// List runs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom runs --status failed --status timed_out
  opsroom runs --runbook disk-usage --limit 5 --output json")]
pub struct Options {
    /// Only runs of this status: queued, claimed, running, succeeded, failed, cancelled, timed_out
    #[arg(long, value_name = "STATUS")]
    status: Vec<RunStatus>,
    /// Only runs of this runbook
    #[arg(long, value_name = "NAME")]
    runbook: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    runs: Vec<RunDocument<'a>>,
    /// Whether there are older ones.
    more: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let embedded = Embedded::open(&context.config).await?;
        let filter = RunFilter {
            status: options.status.clone(),
            runbook: options.runbook.clone(),
            limit: options.limit.into(),
            ..RunFilter::default()
        };
        let page = embedded.world.store.runs(TenantId::DEFAULT, &filter).await?;
        show(context, &page, embedded.world.clock.now());
        embedded.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

fn show(context: &Context, page: &Page<RunRow>, now: Micros) {
    let out = &context.out;
    if out.is_json() {
        let runs = page.items.iter().map(|row| RunDocument::new(row, now)).collect();
        out.json(&Document { runs, more: page.more });
        return;
    }
    if page.items.is_empty() {
        out.message("no runs; `opsroom run FILE` makes one");
        return;
    }
    let mut table = plain_table();
    table.set_header(["RUN", "RUNBOOK", "STATUS", "STEPS", "CREATED", "TOOK"]);
    for row in &page.items {
        table.add_row([
            row.id.to_string(),
            row.runbook.to_string(),
            status_word(row),
            row.steps_total.to_string(),
            date_time(row.created_at),
            duration(row, now).map(human).unwrap_or_default(),
        ]);
    }
    out.line(trimmed(&table));
    if page.more {
        out.message("there are more: --limit");
    }
}

/// The status, and what a queued run waits for.
pub fn status_word(row: &RunRow) -> String {
    match row.waiting_on {
        Some(waiting_on) => format!("{}: {waiting_on}", row.status),
        None => row.status.to_string(),
    }
}

/// A table of columns, without lines, as wide as it needs to be.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The table's text, without the padding of its edges.
pub fn trimmed(table: &Table) -> String {
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}
