//! `opsroom worker`: takes runs from lanes and executes them, on a database.

use super::{
    Context,
    fault::Fault,
    room::{
        self, Parts,
        options::{FleetOptions, SchedulerOptions, StatusOptions, WorkerOptions},
    },
};

/// Take runs from the lanes of a database and execute them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  DATABASE_URL=postgres://ops@db/ops opsroom worker
  opsroom worker --lanes A,B --slots 32 --label zone=dmz --listen 127.0.0.1:9100
  opsroom worker --drain                    executes what waits, then ends (for jobs of a CI)

A worker needs the database, the artifact store (OPSROOM_ARTIFACTS_URL) if there are several machines, and a data
folder for what is under way. SIGTERM and Ctrl-C stop it: nothing more is taken, what was taken and not begun goes
back at once, runs under way get the time of --drain-timeout and then go back interrupted, which is no failure.
The second signal ends it at once.

Exit codes: 0 stopped and drained, 1 runs were cut off, 2 refused, 3 a fault of opsroom, of the machine or the
database.")]
pub struct Options {
    #[command(flatten)]
    worker: WorkerOptions,
    /// End when nothing is left in the lanes that could be taken
    #[arg(long)]
    drain: bool,
    #[command(flatten)]
    status: StatusOptions,
    /// Other parts to run in this process
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    with: Vec<With>,
    #[command(flatten)]
    fleet: FleetOptions,
    #[command(flatten, next_help_heading = "With scheduler")]
    scheduler: SchedulerOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum With {
    Scheduler,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    room::needs_database(context, "worker")?;
    let FleetOptions { wait, drain_timeout } = options.fleet;
    let parts = Parts {
        server: None,
        status: Some(options.status.clone()),
        worker: Some(options.worker.clone()),
        until_idle: options.drain,
        scheduler: options.with.contains(&With::Scheduler).then(|| options.scheduler.clone()),
        wait,
        drain_timeout,
    };
    room::run(context, &parts, room::announce_parts)
}
