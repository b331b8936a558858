//! `opsroom archive`: the archives of ended runs.

use clap::Subcommand;
use serde_json::json;

use super::{
    Context, block_on,
    fault::{Fault, exit},
    instance::Instance,
    place::Place,
    selector,
};
use crate::{
    control::ArchiveError,
    model::{RunId, TenantId},
    ports::RunFilter,
};

/// Runs of a list that are read at once.
const PAGE: usize = 500;

/// Check the archives of ended runs
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Verify(Verify),
}

/// Check that archives are what was made at the end of their runs
///
/// Reads every byte, and follows the chain of hashes over the events: whatever was changed, removed or moved since is
/// found. Works on the data folder, or on the database and the artifact store of a fleet. Ends with 1 if one is damaged.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom archive verify @latest
  opsroom archive verify --all
  opsroom archive verify --all --output json      one JSON object a run")]
struct Verify {
    /// A run: its id, the beginning of it, @latest, or @latest~N
    #[arg(value_name = "RUN", required_unless_present = "all", conflicts_with = "all")]
    run: Option<String>,
    /// Every run that is archived
    #[arg(long)]
    all: bool,
}

/// What was found.
#[derive(Debug, Default)]
struct Count {
    good: u64,
    bad: u64,
    /// Not archived yet.
    passed_over: u64,
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let Verb::Verify(verify) = &options.verb;
    let count = block_on(async {
        let place = Place::open(context).await?;
        let Some(instance) = place.instance() else {
            return Err(Fault::refused("USAGE", "archives are checked where they are, not through a server")
                .help("leave --server and OPSROOM_URL away; DATABASE_URL names the database of a fleet"));
        };
        let mut count = Count::default();
        match &verify.run {
            Some(run) => {
                let run = selector::find(&place.client, run).await?;
                check(context, instance, run, &mut count).await?;
                if count.passed_over > 0 {
                    return Err(Fault::refused("NOT_ARCHIVED", format!("run {run} is not archived"))
                        .help("a run is archived a moment after its end, by `opsroom up` or `opsroom scheduler`"));
                }
            }
            None => all(context, instance, &mut count).await?,
        }
        place.close().await;
        Ok(count)
    })?;
    if verify.all && !context.out.is_json() {
        let Count { good, bad, passed_over } = count;
        context.out.line(format!("{good} good, {bad} damaged, {passed_over} not archived"));
    }
    Ok(if count.bad == 0 { exit::SUCCESS } else { exit::FAILED })
}

async fn all(context: &Context, instance: &Instance, count: &mut Count) -> Result<(), Fault> {
    let mut filter = RunFilter { limit: PAGE, ..RunFilter::default() };
    loop {
        let page = instance.world.store.runs(TenantId::DEFAULT, &filter).await?;
        for run in &page.items {
            check(context, instance, run.id, count).await?;
        }
        match page.items.last() {
            Some(last) if page.more => filter.before = Some(last.id),
            _ => return Ok(()),
        }
    }
}

async fn check(context: &Context, instance: &Instance, run: RunId, count: &mut Count) -> Result<(), Fault> {
    let (events, error) = match instance.world.archives.verify(run).await {
        Ok(events) => (events, None),
        Err(ArchiveError::NotArchived(_)) => {
            count.passed_over += 1;
            return Ok(());
        }
        Err(ArchiveError::Store(error)) => return Err(error.into()),
        // An artifact store that does not answer says nothing about an archive.
        Err(ArchiveError::Artifacts { error, .. }) if error.is_passing() => {
            return Err(Fault::internal(error.code(), error.to_string())
                .help("check the artifact store (OPSROOM_ARTIFACTS_URL), then try again"));
        }
        Err(error) => (0, Some(error.to_string())),
    };
    if error.is_some() {
        count.bad += 1
    } else {
        count.good += 1
    }
    if context.out.is_json() {
        context.out.json(&json!({"run": run, "events": events, "good": error.is_none(), "error": error}));
    } else {
        context.out.line(match error {
            None => format!("{run}: good, {events} events"),
            Some(error) => format!("{run}: DAMAGED: {error}"),
        });
    }
    Ok(())
}
