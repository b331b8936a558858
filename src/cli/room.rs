//! A process of the control room: a server, a worker, a scheduler, or any of them together.
//!
//! `up` is all of them on a data folder; `serve`, `worker` and `scheduler` work on a database.

mod crew;
mod door;
mod drain;
mod loops;
pub mod options;
mod probes;
mod services;
mod start;

use serde_json::{Value, json};

use self::start::Started;
pub use self::{options::Parts, services::nouns};
use super::{
    Context, block_on,
    fault::{Fault, exit},
    interrupt::Interrupts,
    out::Out,
};

/// Runs the parts until they are told to stop, or have nothing more to do; answers the exit code.
pub fn run(context: &Context, parts: &Parts, announce: fn(&Out, &Started)) -> Result<u8, Fault> {
    block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let started = tokio::select! {
            started = start::start(context, parts) => started,
            // Nothing is under way yet.
            _ = interrupts.next() => return Ok(exit::INTERRUPTED),
        };
        let mut started = started?;
        if context.out.is_json() {
            context.out.json(&document(&started));
            context.out.flush();
        } else {
            announce(&context.out, &started);
        }
        let asked = started.asked();
        let why = tokio::select! {
            ended = started.ended() => Err(ended),
            signal = interrupts.next() => Ok(format!("{signal}: stopping; once more ends opsroom at once")),
            () = asked.cancelled() => Ok("asked to end: stopping; a signal ends opsroom at once".to_owned()),
        };
        let code = match why {
            Err(ended) => ended.map(|()| exit::SUCCESS),
            Ok(why) => Ok(drain::drain(context, parts.drain_timeout, &mut started, &why, &mut interrupts).await),
        };
        // Still "once more ends it at once".
        tokio::select! {
            () = started.finish() => code,
            _ = interrupts.next() => std::process::exit(exit::INTERRUPTED.into()),
        }
    })
}

/// Refuses where no database is named.
pub fn needs_database(context: &Context, command: &str) -> Result<(), Fault> {
    if context.config.database.is_some() {
        return Ok(());
    }
    Err(Fault::refused("DATABASE_NEEDED", format!("`opsroom {command}` works on a database, and none is named")).help(
        "set DATABASE_URL or give --database-url-file; `opsroom up` runs everything on a data folder, without a database",
    ))
}

/// What programs are told.
fn document(started: &Started) -> Value {
    let mut document = json!({});
    if let Some(url) = &started.url {
        document["url"] = json!(url);
    }
    document["pid"] = json!(std::process::id());
    if let Some(crew) = &started.crew {
        document["worker"] = json!(crew.id());
    }
    document
}

/// What people are told by `up`.
pub fn announce_up(out: &Out, started: &Started) {
    announce_server(out, started);
    out.line("");
    out.line("Three things to try:");
    // Whoever reads the link may sign in; a file or a pipe is no person.
    let link = Out::is_terminal().then(|| started.login_link()).flatten();
    match (link, &started.url) {
        (Some(link), Some(url)) => out.line(format!("  {url}{link}   signs your browser in (once, within 60 seconds)")),
        _ => out.line("  opsroom open              opens the page in your browser"),
    }
    out.line("  opsroom run disk-usage    starts a runbook");
    out.line("  opsroom runs              lists what was run");
}

/// What people are told by the commands of a fleet: a line for each part.
pub fn announce_parts(out: &Out, started: &Started) {
    announce_server(out, started);
    if let Some(crew) = &started.crew {
        out.line(format!("worker {} takes runs from {}", crew.id(), started.instance.ledger.place()));
    }
    if started.schedules {
        out.line(format!("the scheduler looks after {}", started.instance.ledger.place()));
    }
    let link = Out::is_terminal().then(|| started.login_link()).flatten();
    if let (Some(link), Some(url)) = (link, &started.url) {
        out.line(format!("{url}{link} signs your browser in (once, within 60 seconds)"));
    }
}

fn announce_server(out: &Out, started: &Started) {
    if let Some(url) = &started.url {
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        out.line(format!("opsroom {version} listens at {url} (pid {pid})"));
    }
}
