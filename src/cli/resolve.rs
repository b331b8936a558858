//! `opsroom resolve RUN STEP VERDICT`: a person says what became of a step whose worker died.

use super::{
    Context, block_on,
    fault::{Fault, exit},
    place::Place,
    selector,
};
use crate::api::{ResolveStep, ResolveStepVerdict};

/// Say what became of a step whose outcome is unknown
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A step with `effect: at_most_once` whose worker died while it ran is not run again by itself. Look what it
did, then say so; `opsroom recover` goes on with the run.

Examples:
  opsroom resolve @latest deploy succeeded --note 'version 7 is live'
  opsroom resolve @latest deploy retry")]
pub struct Options {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN")]
    run: String,
    /// The step
    #[arg(value_name = "STEP")]
    step: String,
    /// retry: run it again; succeeded, failed: that is how it ended
    #[arg(value_name = "VERDICT")]
    verdict: Verdict,
    /// How you know, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Verdict {
    Retry,
    Succeeded,
    Failed,
}

impl From<Verdict> for ResolveStepVerdict {
    fn from(verdict: Verdict) -> ResolveStepVerdict {
        match verdict {
            Verdict::Retry => ResolveStepVerdict::Retry,
            Verdict::Succeeded => ResolveStepVerdict::Succeeded,
            Verdict::Failed => ResolveStepVerdict::Failed,
        }
    }
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let verdict = ResolveStepVerdict::from(options.verdict);
    block_on(async {
        let place = Place::open(context).await?;
        let run = selector::find(&place.client, &options.run).await?;
        let note = (!options.note.is_empty()).then(|| options.note.clone());
        let told = place.client.resolve_step(run, &options.step, &ResolveStep { verdict, note }).await?;
        let driven = place.is_driven(&context.config, run).await?;
        if context.out.is_json() {
            context.out.json(&told);
        } else {
            context.out.line(format!("step `{}` of run {run}: {verdict}", options.step));
        }
        if !driven {
            context.out.message("`opsroom recover` goes on with the run");
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}
