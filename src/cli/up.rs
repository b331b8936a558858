//! `opsroom up`: the whole system in one process on the data folder.

use super::{
    Context,
    fault::Fault,
    room::{
        self, Parts,
        options::{SchedulerOptions, ServerOptions, WorkerOptions},
    },
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
SIGTERM and Ctrl-C stop: no requests are accepted, and the runs under way get the time of
--drain-timeout. The second signal ends opsroom at once. Runs that were cut off are taken up by the next start.

Exit codes: 0 stopped and drained, 1 runs were cut off, 2 refused (usage, the folder or the port is in use),
3 a fault of opsroom or of the machine.")]
pub struct Options {
    #[command(flatten)]
    server: ServerOptions,
    #[command(flatten)]
    worker: WorkerOptions,
    #[command(flatten)]
    scheduler: SchedulerOptions,
    /// How long runs under way may take when it is stopped, as in `30s`
    #[arg(long, alias = "drain", value_name = "DURATION", default_value = "30s")]
    drain_timeout: Millis,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let parts = Parts {
        server: Some(options.server.clone()),
        status: None,
        worker: Some(options.worker.clone()),
        until_idle: false,
        scheduler: Some(options.scheduler.clone()),
        wait: Millis::seconds(0),
        drain_timeout: options.drain_timeout,
    };
    // The data folder is what it is for, whatever database the environment names.
    let mut config = context.config.clone();
    config.database = None;
    let context = Context { config, out: context.out.clone() };
    room::run(&context, &parts, room::announce_up)
}
