//! `opsroom doctor`: whether everything is as it should be, and what to do where it is not.

mod redis;

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt};

use serde_json::json;

use super::{
    Context, block_on,
    config::Config,
    fault::{Fault, exit},
    instance::{Files, Instance},
};
use crate::{
    ports::{Artifacts, Probe},
    store::{Finding, Level, examine_postgres, examine_sqlite},
    system::{FlockLiveness, SystemClock},
};

/// Check the database, the Redis, the data folder and the artifact store, and say what to do about what is wrong
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Works on the database of DATABASE_URL, --database-url or --database-url-file, else on the data folder, and looks at the
Redis of a fleet (REDIS_URL, --redis-url or --redis-url-file). Changes nothing.
Each line is `ok`, `warn` or `fail`, a stable code, and what was found.

Exit codes: 0 nothing failed, 1 something did.

Examples:
  opsroom doctor
  opsroom doctor --deep --output json")]
pub struct Options {
    /// Also look through all rows: runs have owners, events are in order, ended runs have ended steps, archives their files
    #[arg(long)]
    deep: bool,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let findings = block_on(async { Ok(examine(&context.config, options.deep).await) })?;
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if context.out.is_json() {
        context.out.json(&json!({"level": worst, "findings": findings}));
    } else {
        for finding in &findings {
            context.out.line(line(finding));
        }
    }
    Ok(if worst == Level::Fail { exit::FAILED } else { exit::SUCCESS })
}

async fn examine(config: &Config, deep: bool) -> Vec<Finding> {
    let mut findings = vec![folder(config)];
    let files = match Files::open(config) {
        Ok(files) => {
            findings.push(artifacts(&*files.probe).await);
            Some(files)
        }
        Err(fault) => {
            let fix = fault.help.unwrap_or_else(|| "check OPSROOM_ARTIFACTS_URL and the data folder".to_owned());
            findings.push(Finding::fail("ARTIFACTS_STORE", fault.message, fix));
            None
        }
    };
    let artifacts = files.as_ref().map(|files| files.artifacts.clone()).filter(|_| deep);
    findings.extend(rows(config, artifacts.as_deref()).await);
    match (&config.redis, &config.database) {
        (Some(_), None) => findings.push(redis::unused()),
        (Some(named), Some(_)) => findings.extend(redis::examine(named).await),
        (None, _) => {}
    }
    if deep && config.database.is_none() {
        findings.extend(owners(config, &findings).await);
    }
    if let Some(files) = files {
        files.close().await;
    }
    findings
}

/// What is in the database.
async fn rows(config: &Config, deep: Option<&dyn Artifacts>) -> Vec<Finding> {
    if let Some(database) = &config.database {
        return examine_postgres(&database.postgres, &SystemClock, deep).await;
    }
    let file = config.data.database();
    if !file.exists() {
        return vec![Finding::ok("DB_REACHABLE", "there is no database yet; the first run makes it")];
    }
    examine_sqlite(&file, deep).await
}

/// Whether this user may write into the data folder.
fn folder(config: &Config) -> Finding {
    let shown = config.data.folder.display();
    let tried = Instance::create_folder(config).map_err(|fault| fault.message).and_then(|()| {
        let probe = config.data.folder.join(format!(".doctor-{}", std::process::id()));
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe);
        made.and_then(|file| file.sync_all())
            .and(std::fs::remove_file(&probe))
            .map_err(|error: io::Error| error.to_string())
    });
    match tried {
        Ok(()) => Finding::ok("DATA_FOLDER", format!("the data folder `{shown}` can be written")),
        Err(why) => Finding::fail(
            "DATA_FOLDER",
            format!("the data folder `{shown}` cannot be written: {why}"),
            "make it writable for this user, or name another one with --data-dir or OPSROOM_DATA_DIR",
        ),
    }
}

async fn artifacts(store: &dyn Probe) -> Finding {
    match store.probe().await {
        Ok(()) => Finding::ok("ARTIFACTS_STORE", "the artifact store can be written"),
        Err(unready) => Finding::fail(
            "ARTIFACTS_STORE",
            unready.to_string(),
            "check OPSROOM_ARTIFACTS_URL and its credentials, or the data folder's `artifacts`",
        ),
    }
}

/// On a data folder locks tell who is alive, not rows.
async fn owners(config: &Config, so_far: &[Finding]) -> Option<Finding> {
    if !config.data.database().exists() || so_far.iter().any(|finding| finding.level == Level::Fail) {
        return None;
    }
    let instance = Instance::open(config).await.ok()?;
    let owners = instance.world.store.owners().await;
    let mut dead = Vec::new();
    for worker in FlockLiveness::new(config.data.workers(), []).dead(&owners.unwrap_or_default()) {
        let owned = instance.world.store.owned(worker).await.unwrap_or_default();
        dead.extend(owned.into_iter().map(|(run, _)| run.to_string()));
    }
    instance.close().await;
    let first = dead.first()?;
    let what = format!("runs were left behind by processes that died ({}): {first}", dead.len());
    Some(Finding::fail("DEEP_LEFT_BEHIND", what, "`opsroom recover` finishes them"))
}

fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Ok => "\x1b[32mok  \x1b[0m",
        Level::Warn => "\x1b[33mwarn\x1b[0m",
        Level::Fail => "\x1b[31mfail\x1b[0m",
    };
    let fix = finding.fix.as_ref().map(|fix| format!("\n      → {fix}")).unwrap_or_default();
    format!("{level}  {:<16}  {}{fix}", finding.code, finding.what)
}
