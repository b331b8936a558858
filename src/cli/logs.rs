//! `opsroom logs RUN`: what the steps of a run wrote, byte for byte.

use super::{
    Context, block_on,
    fault::{Fault, exit},
    live::payload,
    place::Place,
    reading::{self, Range},
    selector,
};
use crate::model::Event;

/// Print what the steps of a run wrote
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom logs @latest
  opsroom logs @latest -f
  opsroom logs @latest --step build --stream stderr
  opsroom logs @latest --output json      the chunks as events, one JSON object a line")]
pub struct Options {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN", default_value = "@latest")]
    run: String,
    /// Only this step
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Only this stream: stdout, stderr, or log (what actions say themselves)
    #[arg(long, value_name = "STREAM", value_parser = ["stdout", "stderr", "log"])]
    stream: Option<String>,
    /// Go on until the run has ended
    #[arg(short, long)]
    follow: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let client = &place.client;
        let run = selector::find(client, &options.run).await?;
        if let Some(step) = &options.step
            && !client.list_steps(run).await?.items.iter().any(|known| known.id == *step)
        {
            return Err(Fault::refused("STEP_NOT_FOUND", format!("run {run} has no step `{step}`"))
                .help(format!("`opsroom show {run}` lists its steps")));
        }
        let range = Range { run, after: 0, follow: options.follow };
        let print = |event: &Event| {
            if event.is_chunk() && wanted(options, event) {
                print(context, event);
            }
        };
        reading::each(context, client, range, print).await?;
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

fn wanted(options: &Options, event: &Event) -> bool {
    let is = |field: &str, wanted: &Option<String>| {
        wanted.as_ref().is_none_or(|wanted| event.data.get(field).and_then(|value| value.as_str()) == Some(wanted))
    };
    is("step", &options.step) && is("stream", &options.stream)
}

fn print(context: &Context, event: &Event) {
    if context.out.is_json() {
        context.out.json(event);
        return;
    }
    let mut bytes = payload(&event.data);
    // What an action says itself is a line without its end.
    if event.data.get("stream").is_some_and(|stream| stream == "log") {
        bytes.push(b'\n');
    }
    context.out.bytes(&bytes);
}
