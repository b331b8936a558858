//! `opsroom up`: the whole system in one process on the data folder.

mod drain;
mod loops;
mod probes;
mod services;
mod start;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use serde_json::json;

pub use self::services::nouns;
use self::start::Started;
use super::{
    Context, block_on,
    fault::{Fault, exit},
    interrupt::Interrupts,
    out::Out,
};
use crate::model::Millis;

/// Run the control room: API, page, lanes A to D, and runbooks from a folder
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom up
  opsroom up --listen 127.0.0.1:0 --output json
  opsroom up --listen 0.0.0.0:8484 --key-file /etc/opsroom/key --host ops.example.com

The key is made at the first start, in `api.key` in the data folder; programs send it as `Authorization: Bearer`.
SIGTERM and Ctrl-C stop: no requests are accepted, and the runs under way get the time of --drain. The second
signal ends opsroom at once. Runs that were cut off are taken up by the next start.

Exit codes: 0 stopped and drained, 1 runs were cut off, 2 refused (usage, the folder or the port is in use),
3 a fault of opsroom or of the machine.")]
pub struct Options {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8484")]
    listen: SocketAddr,
    /// The folder of runbooks to follow [default: ./runbooks if it is there, else the shipped ones]
    #[arg(long, value_name = "DIR")]
    runbooks: Option<PathBuf>,
    /// Runs under way at once in each lane
    #[arg(long, value_name = "N", default_value = "16")]
    slots: NonZeroUsize,
    /// How long runs under way may take when it is stopped, as in `30s`
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    drain: Millis,
    /// The file with the key [default: api.key in the data folder]; needed to listen to other machines
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// A name under which the server is reached, besides its addresses and `localhost`; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    if !options.listen.ip().is_loopback() && options.key_file.is_none() {
        return Err(Fault::refused("KEY_FILE_NEEDED", format!("{} is not on this machine alone", options.listen))
            .help("give --key-file FILE with the key of this instance, or listen at 127.0.0.1"));
    }
    block_on(async {
        let mut interrupts = Interrupts::listen()?;
        let mut started = start::start(context, options).await?;
        announce(&context.out, &started);
        let signal = tokio::select! {
            ended = started.drained() => Err(ended),
            signal = interrupts.next() => Ok(signal),
        };
        let code = match signal {
            Err(ended) => ended.map(|()| exit::SUCCESS),
            Ok(signal) => Ok(drain::drain(context, options.drain, &mut started, signal, &mut interrupts).await),
        };
        // Still "once more ends it at once".
        tokio::select! {
            () = started.finish() => code,
            _ = interrupts.next() => std::process::exit(exit::INTERRUPTED.into()),
        }
    })
}

fn announce(out: &Out, started: &Started) {
    let (url, pid) = (&started.url, std::process::id());
    if out.is_json() {
        out.json(&json!({"url": url, "pid": pid}));
        out.flush();
        return;
    }
    out.line(format!("opsroom {} listens at {url} (pid {pid})", env!("CARGO_PKG_VERSION")));
    out.line("");
    out.line("Three things to try:");
    // Whoever reads the link may sign in; a file or a pipe is no person.
    let link = Out::is_terminal().then(|| started.login_link()).flatten();
    match link {
        Some(link) => out.line(format!("  {url}{link}   signs your browser in (once, within 60 seconds)")),
        None => out.line("  opsroom open              opens the page in your browser"),
    }
    out.line("  opsroom run disk-usage    starts a runbook");
    out.line("  opsroom runs              lists what was run");
}
