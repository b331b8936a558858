//! `opsroom runs`: runs, newest first.

use comfy_table::{ContentArrangement, Table, presets};

use super::{
    Context, block_on,
    document::{List, PAGE, date_time, human, printable, status_word},
    fault::{Fault, exit},
    place::Place,
};
use crate::{
    api::{ListRunsQuery, Run, TriggerKind},
    model::{Lane, Micros, RunStatus},
};

/// List runs, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom runs --status failed --status timed_out
  opsroom runs --runbook disk-usage --limit 5 --output json
  opsroom runs --label team=db --since 2026-03-29T00:00:00Z")]
pub struct Options {
    /// Only runs of this status: queued, claimed, running, succeeded, failed, cancelled, timed_out
    #[arg(long, value_name = "STATUS")]
    status: Vec<RunStatus>,
    /// Only runs of this lane: A, B, C, D
    #[arg(long, value_name = "LANE")]
    lane: Option<Lane>,
    /// Only runs of this runbook
    #[arg(long, value_name = "NAME")]
    runbook: Option<String>,
    /// Only runs of this session
    #[arg(long, value_name = "ID")]
    session: Option<uuid::Uuid>,
    /// Only runs with this label; of any value without `=`; may be repeated
    #[arg(long, value_name = "NAME[=VALUE]")]
    label: Vec<String>,
    /// Only runs that were started like this: manual, api, schedule, webhook, git, parent
    #[arg(long, value_name = "KIND")]
    trigger: Option<TriggerKind>,
    /// Only runs that this person or thing started
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// Only runs created at this time or later
    #[arg(long, value_name = "TIME")]
    since: Option<Micros>,
    /// Only runs created before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Micros>,
    /// Only runs with this in the runbook's name, the actor or a label, or at the beginning of the id
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// At most this many
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
    /// Go on where an earlier list ended: its `next_cursor`
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl Options {
    fn query(&self) -> ListRunsQuery {
        ListRunsQuery {
            status: self.status.clone(),
            lane: self.lane,
            runbook: self.runbook.clone(),
            session: self.session,
            label: self.label.clone(),
            trigger: self.trigger,
            actor: self.actor.clone(),
            since: self.since,
            until: self.until,
            text: self.text.clone(),
            limit: None,
            cursor: self.cursor.clone(),
        }
    }
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let mut query = options.query();
        let mut runs = Vec::new();
        // More than a page is asked for page by page.
        let next = loop {
            let left = u32::from(options.limit).saturating_sub(u32::try_from(runs.len()).unwrap_or(u32::MAX));
            query.limit = Some(left.min(PAGE));
            let page = place.client.list_runs(&query).await?;
            runs.extend(page.items);
            query.cursor = page.next_cursor;
            if query.cursor.is_none() || runs.len() >= usize::from(options.limit) {
                break query.cursor;
            }
        };
        show(context, &runs, next.as_deref());
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

fn show(context: &Context, runs: &[Run], next_cursor: Option<&str>) {
    let out = &context.out;
    if out.is_json() {
        out.json(&List { items: runs, next_cursor });
        return;
    }
    if runs.is_empty() {
        out.message("no runs; `opsroom run FILE` makes one");
        return;
    }
    let mut table = plain_table();
    table.set_header(["RUN", "RUNBOOK", "STATUS", "LANE", "STEPS", "CREATED", "TOOK"]);
    for run in runs {
        table.add_row([
            run.id.to_string(),
            printable(&run.runbook),
            status_word(run),
            run.lane.to_string(),
            run.steps_total.to_string(),
            date_time(run.created_at),
            run.duration_ms.map(std::time::Duration::from_millis).map(human).unwrap_or_default(),
        ]);
    }
    out.line(trimmed(&table));
    if next_cursor.is_some() {
        out.message("there are more: --limit");
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
