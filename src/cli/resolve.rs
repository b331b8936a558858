//! `opsroom resolve RUN STEP VERDICT`: a person says what became of a step whose worker died.

use serde_json::json;

use super::{
    Context, block_on,
    cancel::is_driven,
    embedded::Embedded,
    fault::{Fault, exit},
    selector,
};
use crate::engine;

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

impl From<Verdict> for engine::Verdict {
    fn from(verdict: Verdict) -> engine::Verdict {
        match verdict {
            Verdict::Retry => engine::Verdict::Retry,
            Verdict::Succeeded => engine::Verdict::Succeeded,
            Verdict::Failed => engine::Verdict::Failed,
        }
    }
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let verdict = engine::Verdict::from(options.verdict);
    block_on(async {
        let embedded = Embedded::open(&context.config).await?;
        let run = selector::find(&*embedded.world.store, &options.run).await?;
        embedded.runs.resolve(run, &options.step, verdict, &context.config.actor, &options.note).await?;
        let driven = is_driven(context, &embedded, run).await?;
        if context.out.is_json() {
            context.out.json(&json!({"run": run, "step": options.step, "verdict": verdict}));
        } else {
            context.out.line(format!("step `{}` of run {run}: {}", options.step, verdict.as_str()));
        }
        if !driven {
            context.out.message("`opsroom recover` goes on with the run");
        }
        embedded.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}
