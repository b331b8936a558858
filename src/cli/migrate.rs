//! `opsroom migrate`: the schema of the database, up to this build and back.

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    Context, block_on,
    config::Config,
    fault::{Fault, exit},
    instance::Instance,
    runs::{plain_table, trimmed},
};
use crate::{
    store::{MigrationState, PgSchema, SqliteSchema, SqliteStore},
    system::{FlockLiveness, UpLock},
};

/// Bring the schema of the database up to this build, or back
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Works on the database of DATABASE_URL, --database-url or --database-url-file, else on the data folder. `up` may be run
at any time and by several processes at once: each migration is one transaction, applied by one of them. Servers of the
build before go on working: a migration only adds what they do not know. `serve`, `worker` and `scheduler` apply what is
missing when they start, if their role may; with `migrate up` before, their role need not own the schema.

Examples:
  opsroom migrate status
  DATABASE_URL=postgres://admin@db/ops opsroom migrate up
  opsroom migrate down --to 8")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Apply what is missing
    Up,
    /// Take migrations back, with all data that only they hold
    Down {
        /// Down to this version; by default one step
        #[arg(long, value_name = "VERSION")]
        to: Option<usize>,
        /// Also while workers are alive
        #[arg(long)]
        force: bool,
    },
    /// List the migrations, and which are applied
    Status,
}

/// A database whose schema can be changed.
enum Schema {
    Server(PgSchema),
    Folder(SqliteSchema),
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let mut schema = Schema::open(&context.config, matches!(options.command, Command::Up)).await?;
        let done = match options.command {
            Command::Up => up(context, &mut schema).await,
            Command::Down { to, force } => down(context, &mut schema, to, force).await,
            Command::Status => status(context, &mut schema).await,
        };
        schema.close().await;
        done
    })?;
    Ok(exit::SUCCESS)
}

impl Schema {
    /// `make`: a data folder without a database gets an empty one of the first version.
    async fn open(config: &Config, make: bool) -> Result<Schema, Fault> {
        if let Some(database) = &config.database {
            return Ok(Schema::Server(PgSchema::open(&database.postgres).await?));
        }
        let file = config.data.database();
        if !file.exists() {
            if !make {
                let message = format!("there is no database in the data folder `{}`", config.data.folder.display());
                return Err(Fault::refused("NO_DATABASE", message)
                    .help("`opsroom migrate up` makes one; DATABASE_URL names one on a server"));
            }
            Instance::create_folder(config)?;
            SqliteStore::open(&file).await?.close().await?;
        }
        Ok(Schema::Folder(SqliteSchema::open(&file).await?))
    }

    async fn status(&mut self) -> Result<Vec<MigrationState>, Fault> {
        Ok(match self {
            Schema::Server(schema) => schema.status().await?,
            Schema::Folder(schema) => schema.status().await?,
        })
    }

    async fn version(&mut self) -> Result<usize, Fault> {
        Ok(self.status().await?.iter().filter(|state| state.applied).count())
    }

    async fn step_up(&mut self) -> Result<Option<&'static str>, Fault> {
        Ok(match self {
            Schema::Server(schema) => schema.step_up().await?,
            Schema::Folder(schema) => schema.step_up().await?,
        })
    }

    async fn step_down(&mut self) -> Result<Option<&'static str>, Fault> {
        Ok(match self {
            Schema::Server(schema) => schema.step_down().await?,
            Schema::Folder(schema) => schema.step_down().await?,
        })
    }

    /// Who works on it now.
    async fn live_workers(&mut self, config: &Config) -> Result<Vec<String>, Fault> {
        match self {
            Schema::Server(schema) => Ok(schema.live_workers().await?),
            Schema::Folder(_) => {
                let server = UpLock::holder(&config.data.folder);
                let server = server.map(|info| format!("opsroom up (pid {})", info.pid));
                let locks = FlockLiveness::new(config.data.workers(), []);
                let known = locks.known().unwrap_or_default();
                let dead = locks.dead(&known);
                let alive = known.iter().filter(|worker| !dead.contains(worker));
                Ok(server.into_iter().chain(alive.map(|worker| format!("worker {worker}"))).collect())
            }
        }
    }

    async fn close(self) {
        match self {
            Schema::Server(schema) => schema.close().await,
            Schema::Folder(schema) => schema.close().await,
        }
    }
}

async fn up(context: &Context, schema: &mut Schema) -> Result<(), Fault> {
    let from = schema.version().await?;
    let mut done = Vec::new();
    loop {
        let began = Instant::now();
        let Some(name) = schema.step_up().await? else { break };
        done.push(note(context, "applied", name, began));
    }
    tell(context, from, schema.version().await?, &done);
    Ok(())
}

async fn down(context: &Context, schema: &mut Schema, to: Option<usize>, force: bool) -> Result<(), Fault> {
    let from = schema.version().await?;
    let to = to.unwrap_or_else(|| from.saturating_sub(1));
    if to > from {
        return Err(Fault::refused("USAGE", format!("the schema is version {from}, which is before {to}"))
            .help("`opsroom migrate up` goes on to the newest"));
    }
    if !force && to < from {
        let alive = schema.live_workers(&context.config).await?;
        if !alive.is_empty() {
            let message = format!("workers are alive: {}", alive.join(", "));
            return Err(Fault::refused("WORKERS_ALIVE", message)
                .help("stop them first; --force changes the schema under them, and their runs fail"));
        }
    }
    let mut done = Vec::new();
    for _ in to..from {
        let began = Instant::now();
        let Some(name) = schema.step_down().await? else { break };
        done.push(note(context, "took back", name, began));
    }
    tell(context, from, schema.version().await?, &done);
    Ok(())
}

fn note(context: &Context, did: &str, name: &str, began: Instant) -> Value {
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    context.out.message(format!("{did} {name} ({millis} ms)"));
    json!({"name": name, "ms": millis})
}

fn tell(context: &Context, from: usize, to: usize, done: &[Value]) {
    if context.out.is_json() {
        context.out.json(&json!({"from": from, "to": to, "migrations": done}));
    } else if from == to {
        context.out.line(format!("the schema is version {to}; there was nothing to do"));
    } else {
        context.out.line(format!("the schema is version {to}; it was {from}"));
    }
}

async fn status(context: &Context, schema: &mut Schema) -> Result<(), Fault> {
    let states = schema.status().await?;
    let version = states.iter().filter(|state| state.applied).count();
    if context.out.is_json() {
        let migrations: Vec<Value> = states
            .iter()
            .map(|state| json!({"version": state.version, "name": state.name, "applied": state.applied}))
            .collect();
        context.out.json(&json!({"version": version, "wanted": states.len(), "migrations": migrations}));
        return Ok(());
    }
    let mut table = plain_table();
    for state in &states {
        table.add_row([state.name, if state.applied { "applied" } else { "missing" }]);
    }
    context.out.line(trimmed(&table));
    if version < states.len() {
        context.out.message("`opsroom migrate up` applies what is missing");
    }
    Ok(())
}
