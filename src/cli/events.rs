//! `opsroom events RUN`: everything that happened in a run, in order.

use super::{
    Context, block_on,
    document::{clock_time, printable},
    fault::{Fault, exit},
    live::{Watch, payload, sentence, skeleton},
    place::Place,
    reading::{self, Range},
    selector,
};
use crate::model::Event;

/// Bytes of a chunk that a line shows.
const SHOWN: usize = 120;

/// Print the events of a run in order: state changes and log chunks
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom events @latest
  opsroom events @latest -f
  opsroom events @latest --output json    V2 events, one JSON object a line
  opsroom events 01937c3a --after 120")]
pub struct Options {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN", default_value = "@latest")]
    run: String,
    /// Only events with a sequence above this one
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,
    /// Go on until the run has ended
    #[arg(short, long)]
    follow: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let client = &place.client;
        let run = selector::find(client, &options.run).await?;
        let json = context.out.is_json();
        // The words of an event depend on what came before it, so text is folded from the start.
        let range = Range { run, after: if json { options.after } else { 0 }, follow: options.follow };
        let document = client.get_run(run).await?;
        let mut watch = Watch::new(skeleton(&document, &client.list_steps(run).await?.items), run, false);
        let print = |event: &Event| {
            if json {
                context.out.json(event);
            } else if let Some(line) = line(&mut watch, event).filter(|_| event.sequence > options.after) {
                context.out.line(line);
            }
        };
        reading::each(context, client, range, print).await?;
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

/// One line for one event: sequence, time, kind, and what it says.
fn line(watch: &mut Watch, event: &Event) -> Option<String> {
    let news = watch.take(event)?;
    let fact = news.fact.as_ref();
    let said = match fact {
        Some(fact) => sentence(watch, fact, news.at).unwrap_or_else(|| event.data.to_string()),
        None if event.is_chunk() => chunk(event),
        None => note(event),
    };
    Some(format!("{:>6} {} {:<28} {said}", event.sequence, clock_time(event.timestamp), event.event.to_string()))
}

/// The beginning of what a durable event says that is no fact about the run.
fn note(event: &Event) -> String {
    let text = event.data.to_string();
    let more = if text.len() > SHOWN { format!("… ({} bytes)", text.len()) } else { String::new() };
    format!("{}{more}", printable(&text[..text.floor_char_boundary(SHOWN)]))
}

/// The beginning of a chunk, on one line.
fn chunk(event: &Event) -> String {
    let text = |name: &str| event.data.get(name).and_then(|value| value.as_str()).unwrap_or_default();
    let bytes = payload(&event.data);
    let first = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).replace('\n', "⏎");
    let more = if bytes.len() > SHOWN { format!("… ({} bytes)", bytes.len()) } else { String::new() };
    format!("{} {} | {}{more}", text("step"), text("stream"), printable(&first))
}
