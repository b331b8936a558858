//! `opsroom serve`: the API and the page on a database.

use super::{
    Context,
    fault::Fault,
    room::{
        self, Parts,
        options::{FleetOptions, SchedulerOptions, ServerOptions, WorkerOptions},
    },
};

/// Serve the API and the page on a database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  DATABASE_URL=postgres://ops@db/ops opsroom serve
  opsroom serve --database-url-file /etc/opsroom/database --listen 0.0.0.0:8484 --key-file /etc/opsroom/key
  opsroom serve --with worker,scheduler     everything in one process

It executes nothing itself: `opsroom worker` takes the runs, and `opsroom scheduler` looks after them. Any number of
each may run, on any machine that reaches the database.
The key is in the file of --key-file or OPSROOM_KEY_FILE; without either it is made in `api.key` in the data folder,
and the server listens to this machine alone.

Exit codes: 0 stopped and drained, 1 runs were cut off, 2 refused, 3 a fault of opsroom, of the machine or the
database.")]
pub struct Options {
    #[command(flatten)]
    server: ServerOptions,
    /// Other parts to run in this process, with commas between
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    with: Vec<With>,
    #[command(flatten)]
    fleet: FleetOptions,
    #[command(flatten, next_help_heading = "With worker")]
    worker: WorkerOptions,
    #[command(flatten, next_help_heading = "With scheduler")]
    scheduler: SchedulerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum With {
    Worker,
    Scheduler,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    room::needs_database(context, "serve")?;
    let FleetOptions { wait, drain_timeout } = options.fleet;
    let parts = Parts {
        server: Some(options.server.clone()),
        status: None,
        worker: options.with.contains(&With::Worker).then(|| options.worker.clone()),
        until_idle: false,
        scheduler: options.with.contains(&With::Scheduler).then(|| options.scheduler.clone()),
        wait,
        drain_timeout,
    };
    room::run(context, &parts, room::announce_parts)
}
