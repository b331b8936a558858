//! Floor 6: the command line. One file a command, beside what they share.
//!
//! `config` reads the environment, `out` prints, `fault` is what goes wrong, `instance` composes the
//! adapters. A command is an `Options` struct and an `execute` function; to add one, write its file and
//! its line in [`Command`]. No rule about runs is here, and nothing that another front end would need.

mod archive;
mod artifacts;
mod bench;
mod cancel;
mod completions;
mod config;
mod doctor;
mod document;
mod events;
mod explain;
mod fault;
mod init;
mod instance;
mod interrupt;
mod leftovers;
mod live;
mod loading;
mod logs;
mod migrate;
mod named;
mod open;
mod out;
mod place;
mod plan;
mod processes;
mod progress;
mod reading;
mod recover;
mod resolve;
mod room;
mod run;
mod runbooks;
mod runs;
mod scheduler;
mod selector;
mod serve;
mod sessions;
mod show;
mod start;
mod summary;
mod up;
mod validate;
mod version;
mod why;
mod worker;
mod workers;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};

use self::{
    config::{Config, Globals, RedisOptions},
    fault::{Fault, io_fault},
    out::{Format, Out},
};

/// Runs runbooks, and shows what became of them.
#[derive(Debug, Parser)]
#[command(
    name = "opsroom",
    version,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "\
First steps:
  opsroom init                        writes runbooks/hello.yaml
  opsroom run runbooks/hello.yaml     runs it
  opsroom show @latest                shows what happened

Runs are kept in OPSROOM_DATA_DIR, or else in the XDG data folder (~/.local/share/opsroom).
Messages go to standard error, results to standard output."
)]
pub struct Cli {
    /// The folder that holds everything [default: OPSROOM_DATA_DIR, else ~/.local/share/opsroom]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The database of a fleet; shown to everybody who lists processes, so it may hold no password [default:
    /// DATABASE_URL, else there is none and the data folder holds everything]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "database_url_file")]
    database_url: Option<String>,
    /// A file with the URL of the database
    #[arg(long, global = true, value_name = "FILE")]
    database_url_file: Option<PathBuf>,
    /// The Redis of a fleet, for quick pick-up and live events; it may hold no password [default: REDIS_URL, else there is
    /// none]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "redis_url_file")]
    redis_url: Option<String>,
    /// A file with the URL of the Redis
    #[arg(long, global = true, value_name = "FILE")]
    redis_url_file: Option<PathBuf>,
    /// Work with this server in place of the data folder [default: OPSROOM_URL, else the data folder]
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// How results are written
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", visible_alias = "format")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Options),
    Serve(serve::Options),
    Worker(Box<worker::Options>),
    Scheduler(scheduler::Options),
    Open(open::Options),
    Run(run::Options),
    Validate(validate::Options),
    Plan(plan::Options),
    Explain(explain::Options),
    Runs(runs::Options),
    Why(why::Options),
    Sessions(sessions::Options),
    Workers(workers::Options),
    Artifacts(artifacts::Options),
    Archive(archive::Options),
    Runbooks(runbooks::Options),
    Show(show::Options),
    Logs(logs::Options),
    Events(events::Options),
    Cancel(cancel::Options),
    Resolve(resolve::Options),
    Recover(recover::Options),
    Migrate(migrate::Options),
    Doctor(doctor::Options),
    Bench(bench::Options),
    Init(init::Options),
    Version(version::Options),
    Completions(completions::Options),
}

impl Command {
    /// Refuses `--server` for what works on this machine alone.
    fn check_server(&self, given: bool) -> Result<(), Fault> {
        let name = match self {
            Command::Up(_) => "up",
            Command::Serve(_) => "serve",
            Command::Worker(_) => "worker",
            Command::Scheduler(_) => "scheduler",
            Command::Open(_) => "open",
            Command::Plan(_) => "plan",
            Command::Explain(_) => "explain",
            Command::Recover(_) => "recover",
            Command::Migrate(_) => "migrate",
            Command::Doctor(_) => "doctor",
            Command::Bench(_) => "bench",
            Command::Init(_) => "init",
            Command::Version(_) => "version",
            Command::Completions(_) => "completions",
            _ => return Ok(()),
        };
        if !given {
            return Ok(());
        }
        Err(Fault::refused("USAGE", format!("`opsroom {name}` works on this machine and takes no --server"))
            .help("leave --server away"))
    }

    fn execute(&self, context: &Context) -> Result<u8, Fault> {
        match self {
            Command::Up(options) => up::execute(context, options),
            Command::Serve(options) => serve::execute(context, options),
            Command::Worker(options) => worker::execute(context, options),
            Command::Scheduler(options) => scheduler::execute(context, options),
            Command::Open(options) => open::execute(context, options),
            Command::Run(options) => run::execute(context, options),
            Command::Validate(options) => validate::execute(context, options),
            Command::Plan(options) => plan::execute(context, options),
            Command::Explain(options) => explain::execute(context, options),
            Command::Runs(options) => runs::execute(context, options),
            Command::Why(options) => why::execute(context, options),
            Command::Sessions(options) => sessions::execute(context, options),
            Command::Workers(options) => workers::execute(context, options),
            Command::Artifacts(options) => artifacts::execute(context, options),
            Command::Archive(options) => archive::execute(context, options),
            Command::Runbooks(options) => runbooks::execute(context, options),
            Command::Show(options) => show::execute(context, options),
            Command::Logs(options) => logs::execute(context, options),
            Command::Events(options) => events::execute(context, options),
            Command::Cancel(options) => cancel::execute(context, options),
            Command::Resolve(options) => resolve::execute(context, options),
            Command::Recover(options) => recover::execute(context, options),
            Command::Migrate(options) => migrate::execute(context, options),
            Command::Doctor(options) => doctor::execute(context, options),
            Command::Bench(options) => bench::execute(context, options),
            Command::Init(options) => init::execute(context, options),
            Command::Version(options) => Ok(version::execute(context, options)),
            Command::Completions(options) => Ok(completions::execute(context, options)),
        }
    }
}

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    pub config: Config,
    pub out: Arc<Out>,
}

/// Runs `future` on a runtime of its own. Commands that need none do not pay for one.
fn block_on<T>(future: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    // At least two, so that a view that waits for a slow terminal does not stop the run.
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(|error| io_fault("INTERNAL", "the runtime", &error))?;
    let result = runtime.block_on(future);
    // What still blocks (a read of a terminal) must not hold up the end.
    runtime.shutdown_background();
    result
}

/// The whole program: reads the command line, does what it says, and answers the exit code.
pub fn main() -> ExitCode {
    start::guarded(|| run_with(&std::env::args_os().collect::<Vec<_>>()))
}

fn run_with(arguments: &[OsString]) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return start::usage(&error, arguments),
    };
    let out = Arc::new(Out::new(cli.output));
    let result = Config::read(&Globals {
        data_dir: cli.data_dir.as_deref(),
        server: cli.server.as_deref(),
        database_url: cli.database_url.as_deref(),
        database_url_file: cli.database_url_file.as_deref(),
        redis: RedisOptions { url: cli.redis_url.as_deref(), file: cli.redis_url_file.as_deref() },
    })
    .and_then(|config| {
        cli.command.check_server(cli.server.is_some())?;
        start::logging(&config.log)?;
        for (name, meant) in &config.mistaken {
            tracing::warn!("{name} is not read; {meant} is what sets that");
        }
        let context = Context { config, out: out.clone() };
        cli.command.execute(&context)
    });
    out.flush();
    result.unwrap_or_else(|fault| {
        fault.report(&out);
        fault.exit
    })
}
