//! `opsroom scheduler`: looks after the runs of all workers, on a database.

use super::{
    Context,
    fault::Fault,
    room::{
        self, Parts,
        options::{FleetOptions, SchedulerOptions, StatusOptions},
    },
};

/// Look after the runs of all workers of a database
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  DATABASE_URL=postgres://ops@db/ops opsroom scheduler
  opsroom scheduler --runbooks /srv/runbooks --listen 127.0.0.1:9101

It takes back what dead workers left, wakes what is due, archives and removes what is old, and follows a folder of
runbooks. Run two: whatever they do, they may do at the same time, and the fleet stands still without one when a
worker dies.

Exit codes: 0 stopped, 2 refused, 3 a fault of opsroom, of the machine or the database.")]
pub struct Options {
    #[command(flatten)]
    scheduler: SchedulerOptions,
    #[command(flatten)]
    status: StatusOptions,
    #[command(flatten)]
    fleet: FleetOptions,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    room::needs_database(context, "scheduler")?;
    let FleetOptions { wait, drain_timeout } = options.fleet;
    let parts = Parts {
        server: None,
        status: Some(options.status.clone()),
        worker: None,
        until_idle: false,
        scheduler: Some(options.scheduler.clone()),
        wait,
        drain_timeout,
    };
    room::run(context, &parts, room::announce_parts)
}
