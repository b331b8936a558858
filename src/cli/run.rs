//! `opsroom run FILE|NAME`: executes a runbook in this process, or on a server.
//!
//! A file is executed here. A name goes to the server that was named, else to the one that holds the data folder,
//! else it is executed here too.

mod here;
mod server;
mod show;

use std::path::PathBuf;

use uuid::Uuid;

use super::{
    Context,
    document::Whole,
    fault::{Fault, exit},
    live::Watch,
    loading::ParamOptions,
    named::Target,
    place::{self, Place},
    summary,
};
use crate::model::{Lane, RunStatus};

/// Run a runbook: a file here and now, a stored one by its name
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom run runbooks/disk-usage.yaml
  opsroom run deploy.yaml -p env=prod -p 'hosts=[\"a\",\"b\"]'
  opsroom run deploy.yaml --params-file prod.yaml --output json
  opsroom run deploy --label ticket=OPS-7 --detach        on the server that is up
  opsroom run deploy@3 --server http://ops:8484

A name is run by the server of --server or OPSROOM_URL, else by the `opsroom up` of the data folder, else here. With
DATABASE_URL and no server, too, it is this command that executes the run, and not the workers of the database.

Exit codes: 0 succeeded, 1 failed or timed out, 2 refused (runbook, params, usage),
3 a fault of opsroom or of the machine, 130 cancelled by a signal.
Ctrl-C cancels: on_cancel and finally are run. The second cancels those too, the third ends opsroom itself.")]
pub struct Options {
    /// A runbook file, `-` for standard input, or the name of a runbook (deploy, deploy@3)
    #[arg(value_name = "FILE|NAME")]
    file: PathBuf,
    #[command(flatten)]
    params: ParamOptions,
    /// The session that it belongs to
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    /// The lane, in place of the runbook's: A, B, C, D
    #[arg(long, value_name = "LANE")]
    lane: Option<Lane>,
    /// The priority, in place of the runbook's: -100 to 100, higher ones first
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i32).range(-100..=100))]
    priority: Option<i32>,
    /// A label besides the runbook's; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Print the id and do not wait (needs a server)
    #[arg(short, long)]
    detach: bool,
    /// Show nothing while it runs; only errors
    #[arg(short, long)]
    quiet: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let config = &context.config;
    let target = Target::name(&options.file);
    if config.server.url.is_some() {
        let (name, version) = target.ok_or_else(|| not_stored(options))?;
        return super::block_on(async {
            let place = Place::open(context).await?;
            server::run(context, options, &place.client, server::Wanted { name: &name, version }).await
        });
    }
    if let Some((name, version)) = target.filter(|_| !options.file.is_file())
        && let Some(client) = place::holder(config)?
    {
        let wanted = server::Wanted { name: &name, version };
        match super::block_on(server::run(context, options, &client, wanted)) {
            // It may still be a file here, or come with the program.
            Err(fault) if fault.code == "RUNBOOK_NOT_FOUND" && !options.detach => {}
            done => return done,
        }
    }
    if options.detach {
        let help = match &config.database {
            Some(_) => "name a server of the fleet with --server: its workers execute the run; or leave --detach away",
            None => "start one with `opsroom up`, name one with --server, or leave --detach away; files are run here",
        };
        let message = "without a server nobody executes the run when this command is gone";
        return Err(Fault::refused("NO_SERVER", message).help(help));
    }
    here::run(context, options)
}

fn not_stored(options: &Options) -> Fault {
    let file = options.file.display();
    Fault::refused("NOT_STORED", format!("a server runs stored runbooks, by their names; `{file}` is a file"))
        .help(format!("store it there first, with the same --server: `opsroom runbooks put {file}`"))
}

/// Tells how the run ended.
fn report(context: &Context, options: &Options, whole: &Whole, watch: &Watch) {
    if context.out.is_json() {
        context.out.json(&whole.to_json());
        return;
    }
    for line in summary::of_run(whole, watch) {
        if !options.quiet {
            context.out.line(line);
        } else if whole.run.status != RunStatus::Succeeded {
            context.out.message(line);
        }
    }
}

/// The exit code of a run that has ended.
fn code(status: RunStatus, interrupted: bool) -> u8 {
    match status {
        RunStatus::Succeeded => exit::SUCCESS,
        RunStatus::Cancelled if interrupted => exit::INTERRUPTED,
        _ => exit::FAILED,
    }
}
