//! `opsroom cancel RUN`: asks a run to stop, whoever executes it.

use super::{
    Context, block_on,
    fault::{Fault, exit},
    place::Place,
    selector,
};
use crate::api::CancelRun;

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
        let place = Place::open(context).await?;
        let run = selector::find(&place.client, &options.run).await?;
        let reason = (!options.reason.is_empty()).then(|| options.reason.clone());
        let told = place.client.cancel_run(run, &CancelRun { reason, force: options.force }).await?;
        let driven = place.is_driven(&context.config, run).await?;
        if context.out.is_json() {
            context.out.json(&told);
        } else {
            context.out.line(format!("run {run} was asked to stop"));
        }
        if !driven {
            context.out.message("no process executes it now: `opsroom recover` carries the cancel out");
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}
