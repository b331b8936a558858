//! `opsroom why RUN`: why a run is where it is, what it waits for, and what can be done.

use super::{
    Context, block_on,
    document::{date_time, printable},
    fault::{Fault, exit},
    place::Place,
    selector,
};
use crate::api::Why;

/// Say why a run is where it is, what it waits for, and what moves it on
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom why @latest
  opsroom why 01937c3a --output json")]
pub struct Options {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN", default_value = "@latest")]
    run: String,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let run = selector::find(&place.client, &options.run).await?;
        let why = place.client.explain_run(run).await?;
        if context.out.is_json() {
            context.out.json(&why);
        } else {
            for line in text(&why) {
                context.out.line(line);
            }
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

fn text(why: &Why) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", why.status, printable(&why.summary))];
    if let Some(position) = why.position {
        lines.push(format!("  place in the queue: {position}"));
    }
    if let Some(at) = why.wake_at {
        lines.push(format!("  goes on at: {}", date_time(at)));
    }
    for blocker in &why.blockers {
        let step = blocker.step.as_ref().map(|step| format!("{step}: ")).unwrap_or_default();
        let since = blocker.since.map(|at| format!(" (since {})", date_time(at))).unwrap_or_default();
        lines.push(format!("  {step}{}{since}", printable(&blocker.detail)));
    }
    if !why.actions.is_empty() {
        lines.push("what can be done:".to_owned());
        lines.extend(why.actions.iter().map(|action| format!("  {}", printable(action))));
    }
    lines
}
