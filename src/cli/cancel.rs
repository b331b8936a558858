//! `opsroom cancel RUN`: asks a run to stop, whoever executes it.

use serde_json::json;

use super::{
    Context, block_on,
    embedded::Embedded,
    fault::{Fault, exit},
    selector,
};

/// Cancel a run: its on_cancel and finally are still run
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom cancel @latest --reason 'wrong hosts'
  opsroom cancel @latest --force")]
pub struct Options {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN")]
    run: String,
    /// End handlers and `always()` steps too
    #[arg(long)]
    force: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let embedded = Embedded::open(&context.config).await?;
        let run = selector::find(&*embedded.world.store, &options.run).await?;
        embedded.runs.cancel(run, &context.config.actor, &options.reason, options.force).await?;
        let driven = is_driven(context, &embedded, run).await?;
        if context.out.is_json() {
            context.out.json(&json!({"run": run, "cancel_requested": true, "force": options.force}));
        } else {
            context.out.line(format!("run {run} was asked to stop"));
        }
        if !driven {
            context.out.message("no process executes it now: `opsroom recover` carries the cancel out");
        }
        embedded.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

/// Whether a living process owns the run.
pub async fn is_driven(context: &Context, embedded: &Embedded, run: crate::model::RunId) -> Result<bool, Fault> {
    let dead = embedded.dead_workers(&context.config).await?;
    let row = embedded.world.store.run(run).await?;
    Ok(row.and_then(|row| row.claimed_by).is_some_and(|owner| !dead.contains(&owner)))
}
