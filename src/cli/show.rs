//! `opsroom show RUN`: one run with its steps, why it waits, and how to go on.

use super::{
    Context, block_on,
    document::{RunDocument, date_time, duration, failure_of, human, printable, step_duration},
    embedded::Embedded,
    fault::{Fault, exit},
    runs::{plain_table, status_word, trimmed},
    selector, summary,
};
use crate::{
    control::RunView,
    model::{Micros, StepStatus},
    ports::Artifacts,
    runbook::Phase,
};

/// Show one run: its steps, durations, errors, and how to resolve what it waits for
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom show @latest
  opsroom show @latest~2
  opsroom show 01937c3a-5b --output json")]
pub struct Options {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN", default_value = "@latest")]
    run: String,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let embedded = Embedded::open(&context.config).await?;
        let run = selector::find(&*embedded.world.store, &options.run).await?;
        let view = embedded.runs.view(run).await?;
        let artifacts = embedded.artifacts.list(&run.to_string()).await.unwrap_or_default();
        let now = embedded.world.clock.now();
        if context.out.is_json() {
            context.out.json(&RunDocument::whole(&view, artifacts, now));
        } else {
            let dead = embedded.dead_workers(&context.config).await?;
            let orphaned = view.row.claimed_by.is_some_and(|owner| dead.contains(&owner));
            text(context, &view, &artifacts, orphaned, now);
        }
        embedded.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

fn text(context: &Context, view: &RunView, artifacts: &[String], orphaned: bool, now: Micros) {
    let out = &context.out;
    for (name, value) in header(view, now) {
        out.line(format!("{:<10} {value}", format!("{name}:")));
    }
    if let Some(error) = &view.row.error {
        out.line(format!("{:<10} {}", "error:", printable(&error.to_string())));
    }
    out.line("");
    out.line(steps(view, now));
    for line in summary::waiting(view) {
        out.line(line);
    }
    if orphaned {
        out.line("\nthe process that ran it is dead: `opsroom recover` goes on with it");
    }
    if !artifacts.is_empty() {
        let folder = context.config.data.artifacts();
        out.line("\nartifacts:");
        for key in artifacts {
            out.line(format!("  {}", folder.join(key).display()));
        }
    }
}

fn header(view: &RunView, now: Micros) -> Vec<(&'static str, String)> {
    let row = &view.row;
    let mut header = vec![
        ("run", row.id.to_string()),
        ("runbook", row.runbook.to_string()),
        ("status", status_word(row)),
        ("created", format!("{} by {} ({})", date_time(row.created_at), row.trigger.actor, row.trigger.kind)),
    ];
    if let Some(taken) = duration(row, now) {
        header.push(("took", human(taken)));
    }
    if row.recoveries > 0 {
        header.push(("recovered", format!("{} times", row.recoveries)));
    }
    if !row.params.is_empty() {
        let param = |(name, value): (&String, &serde_json::Value)| format!("{name}={value}");
        header.push(("params", row.params.iter().map(param).collect::<Vec<_>>().join(" ")));
    }
    header.push(("plan", row.plan.short()));
    header
}

fn steps(view: &RunView, now: Micros) -> String {
    let mut table = plain_table();
    table.set_header(["STEP", "USES", "STATUS", "ATTEMPTS", "TOOK", "ERROR"]);
    for (planned, record) in view.plan.steps.iter().zip(view.run.steps()) {
        let status = record.state.status();
        let uncalled = planned.phase != Phase::Body && record.attempt == 0;
        if uncalled && matches!(status, StepStatus::Skipped | StepStatus::Pending | StepStatus::Cancelled) {
            continue;
        }
        let error = failure_of(record).map(|failure| printable(&failure.to_string())).unwrap_or_default();
        table.add_row([
            planned.id.to_string(),
            planned.uses.to_string(),
            status.to_string(),
            record.attempt.to_string(),
            step_duration(record, now).map(human).unwrap_or_default(),
            error,
        ]);
    }
    trimmed(&table)
}
