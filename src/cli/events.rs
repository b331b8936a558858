//! `opsroom events RUN`: everything that happened in a run, in order.

use super::{
    Context, block_on,
    document::{clock_time, printable},
    embedded::Embedded,
    fault::{Fault, exit},
    live::{Watch, payload, sentence},
    selector,
};
use crate::model::{Event, TenantId};

/// Bytes of a chunk that a line shows.
const SHOWN: usize = 120;

/// Print the events of a run in order: state changes and log chunks
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom events @latest
  opsroom events @latest --output json    V2 events, one JSON object a line
  opsroom events 01937c3a --after 120")]
pub struct Options {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN", default_value = "@latest")]
    run: String,
    /// Only events with a sequence above this one
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    after: u64,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let embedded = Embedded::open(&context.config).await?;
        let world = &embedded.world;
        let run = selector::find(&*world.store, &options.run).await?;
        let plan = embedded.runs.view(run).await?.plan;
        // The words of an event depend on what came before it, so text is folded from the start.
        let from = if context.out.is_json() { options.after } else { 0 };
        let mut watch = Watch::new(plan, run, false);
        let mut history = world.history(TenantId::DEFAULT).reader(run, from);
        while let Some(event) = history.next().await? {
            if context.out.is_json() {
                context.out.json(&event);
            } else if let Some(line) = line(&mut watch, &event).filter(|_| event.sequence > options.after) {
                context.out.line(line);
            }
            if context.out.is_closed() {
                break;
            }
        }
        embedded.close().await;
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
