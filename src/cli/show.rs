//! `opsroom show RUN`: one run with its steps, why it waits, and how to go on.

use super::{
    Context, block_on,
    document::{Whole, bytes, date_time, human, printable, status_word},
    fault::{Fault, exit},
    place::Place,
    runs::{plain_table, trimmed},
    selector, summary,
};
use crate::{api, model::StepStatus, runbook::Phase};

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
        let place = Place::open(context).await?;
        let run = selector::find(&place.client, &options.run).await?;
        let whole = Whole::read(&place.client, run).await?;
        if context.out.is_json() {
            context.out.json(&whole.to_json());
        } else {
            let orphaned = whole.run.status.is_owned() && !place.is_driven(&context.config, run).await?;
            text(context, &whole, orphaned);
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

fn text(context: &Context, whole: &Whole, orphaned: bool) {
    let out = &context.out;
    for (name, value) in header(whole) {
        out.line(format!("{:<10} {value}", format!("{name}:")));
    }
    if let Some(error) = &whole.run.error {
        out.line(format!("{:<10} {}", "error:", printable(&error.to_string())));
    }
    out.line("");
    out.line(steps(&whole.steps));
    for line in summary::waiting(whole) {
        out.line(line);
    }
    if orphaned {
        out.line("\nthe process that ran it is dead: `opsroom recover` goes on with it");
    }
    if !whole.artifacts.is_empty() {
        out.line("\nartifacts:");
        for artifact in &whole.artifacts {
            out.line(format!("  {} ({})", printable(&artifact.name), bytes(artifact.size)));
        }
    }
}

fn header(whole: &Whole) -> Vec<(&'static str, String)> {
    let run = &whole.run;
    let version = run.runbook_version.map(|version| format!(" (version {version})")).unwrap_or_default();
    let created = format!("{} by {} ({})", date_time(run.created_at), printable(&run.trigger.actor), run.trigger.kind);
    let mut header = vec![
        ("run", run.id.to_string()),
        ("runbook", format!("{}{version}", printable(&run.runbook))),
        ("status", status_word(run)),
        ("created", created),
    ];
    if let Some(taken) = whole.duration() {
        header.push(("took", human(taken)));
    }
    if run.recoveries > 0 {
        let times = if run.recoveries == 1 { "once".to_owned() } else { format!("{} times", run.recoveries) };
        header.push(("recovered", times));
    }
    if let Some(session) = run.session_id {
        header.push(("session", session.to_string()));
    }
    let pair = |(name, value): (&String, &serde_json::Value)| printable(&format!("{name}={value}"));
    for (name, map) in [("labels", &run.labels), ("params", &run.params)] {
        if !map.is_empty() {
            header.push((name, map.iter().map(pair).collect::<Vec<_>>().join(" ")));
        }
    }
    header.push(("plan", run.plan.short()));
    header
}

fn steps(steps: &[api::Step]) -> String {
    let mut table = plain_table();
    table.set_header(["STEP", "USES", "STATUS", "ATTEMPTS", "TOOK", "ERROR"]);
    for step in steps {
        let uncalled = step.phase != Phase::Body && step.attempts == 0;
        if uncalled && matches!(step.status, StepStatus::Skipped | StepStatus::Pending | StepStatus::Cancelled) {
            continue;
        }
        table.add_row([
            step.id.clone(),
            step.uses.clone(),
            step.status.to_string(),
            step.attempts.to_string(),
            step.duration_ms.map(std::time::Duration::from_millis).map(human).unwrap_or_default(),
            step.error.as_ref().map(|failure| printable(&failure.to_string())).unwrap_or_default(),
        ]);
    }
    trimmed(&table)
}
