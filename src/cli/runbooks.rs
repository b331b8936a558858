//! `opsroom runbooks`: the runbooks of this data folder, and what is wrong with their files.

use std::{path::Path, sync::Arc, time::Duration};

use super::{
    Context, block_on,
    document::{date_time, printable},
    embedded::Embedded,
    fault::{Fault, exit},
    named::FOLDER,
    out::Out,
    runs::{plain_table, trimmed},
};
use crate::{
    api,
    control::{RunbookSync, RunbookView, RunbooksError},
    http::runbooks::{runbook_document, version_document},
    model::TenantId,
    ports::{Page, RunbookVersionRow},
    runbook::{diagnostic, to_text},
    system::NotifiedFolder,
};

/// List runbooks, and show their versions and sources
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  opsroom runbooks
  opsroom runbooks show deploy
  opsroom runbooks versions deploy --output json
  opsroom runbooks source deploy@3 > deploy.yaml

Files of ./runbooks that are not valid are shown with what is wrong; nothing is stored here. `opsroom up` stores
a version for every file that is saved, `opsroom run NAME` runs the latest one."
)]
pub struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// At most this many
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    limit: u16,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show a runbook: its latest version, its params, and what is wrong with its file
    Show {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Print the text of a version, byte for byte
    Source {
        /// A name, or a name and a version: deploy@3
        #[arg(value_name = "NAME[@N]")]
        name: String,
    },
    /// List the versions of a runbook, newest first
    Versions {
        #[arg(value_name = "NAME")]
        name: String,
        /// At most this many
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        limit: u16,
    },
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let embedded = Embedded::open(&context.config).await?;
        let done = match &options.command {
            None => list(&context.out, &embedded, options.limit.into()).await,
            Some(Command::Show { name }) => show(&context.out, &embedded, name).await,
            Some(Command::Source { name }) => source(&context.out, &embedded, name).await,
            Some(Command::Versions { name, limit }) => versions(&context.out, &embedded, name, (*limit).into()).await,
        };
        embedded.close().await;
        done
    })?;
    Ok(exit::SUCCESS)
}

async fn list(out: &Out, embedded: &Embedded, limit: usize) -> Result<(), Fault> {
    look(embedded).await?;
    let page = embedded.runbooks.list(TenantId::DEFAULT, None, limit).await?;
    if out.is_json() {
        let items = page.items.iter().map(runbook_document).collect();
        // The command has no cursor: `--limit` takes more.
        out.json(&api::RunbookList { items, next_cursor: None });
        return Ok(());
    }
    if page.items.is_empty() {
        out.message("no runbooks are stored; `opsroom up` stores those of ./runbooks");
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["RUNBOOK", "VERSION", "UPDATED", "FROM", "PROBLEM"]);
    for view in &page.items {
        table.add_row(row(view));
    }
    out.line(trimmed(&table));
    if page.more {
        out.message("there are more: --limit");
    }
    Ok(())
}

fn row(view: &RunbookView) -> [String; 5] {
    let latest = view.latest.as_ref().map(|latest| &latest.row);
    [
        view.name.to_string(),
        latest.map_or_else(|| "-".to_owned(), |row| row.version.to_string()),
        latest.map(|row| date_time(row.created_at)).unwrap_or_default(),
        latest.map(|row| printable(&row.origin)).unwrap_or_default(),
        view.problem
            .as_ref()
            .and_then(|problem| problem.diagnostics.first())
            .map(ToString::to_string)
            .unwrap_or_default(),
    ]
}

async fn show(out: &Out, embedded: &Embedded, name: &str) -> Result<(), Fault> {
    look(embedded).await?;
    let view = embedded.runbooks.view(TenantId::DEFAULT, name).await?;
    let document = runbook_document(&view);
    if out.is_json() {
        out.json(&document);
        return Ok(());
    }
    out.line(heading(&document));
    if let Some(latest) = &view.latest {
        out.line(format!("  from {}, {}", printable(&latest.row.origin), date_time(latest.row.created_at)));
        out.line(format!("  plan {}", latest.row.plan));
        out.line(format!("  lane {}, {} steps", latest.plan.lane, latest.plan.steps.len()));
    }
    for param in &document.params {
        out.line(format!("  param {}", param_line(param)));
    }
    if let Some(problem) = &view.problem {
        out.line(format!("\n{} since {}:", printable(&problem.file), date_time(problem.since)));
        out.line(diagnostic::to_text(&problem.diagnostics, &problem.text, Out::is_coloured()));
    }
    Ok(())
}

fn heading(document: &api::Runbook) -> String {
    let version = match document.version {
        0 => "no version yet".to_owned(),
        number => format!("version {number}"),
    };
    let description = document.description.as_ref().map(|text| format!(": {}", printable(text))).unwrap_or_default();
    format!("{} ({version}){description}", document.name)
}

fn param_line(param: &api::Param) -> String {
    let kind = param.schema.get("type").map(to_text).unwrap_or_default();
    let default = match &param.default {
        Some(default) => format!(", default {default}"),
        None if param.required => ", required".to_owned(),
        None => String::new(),
    };
    let description = param.description.as_ref().map(|text| format!(": {}", printable(text))).unwrap_or_default();
    format!("{} ({kind}{default}){description}", param.name)
}

async fn source(out: &Out, embedded: &Embedded, given: &str) -> Result<(), Fault> {
    let (name, version) = match given.split_once('@') {
        None => (given, embedded.runbooks.latest(TenantId::DEFAULT, given).await?.row.version),
        Some((name, number)) => {
            let bad = || Fault::refused("BAD_VERSION", format!("`{number}` is not a version")).help("write NAME@3");
            (name, number.parse().map_err(|_| bad())?)
        }
    };
    let (row, text) = embedded.runbooks.source(TenantId::DEFAULT, name, version).await?;
    if out.is_json() {
        out.json(
            &serde_json::json!({"runbook": row.name, "version": row.version, "digest": row.digest, "source": text}),
        );
    } else {
        out.bytes(text.as_bytes());
    }
    Ok(())
}

async fn versions(out: &Out, embedded: &Embedded, name: &str, limit: usize) -> Result<(), Fault> {
    let Page { items, more } = embedded.runbooks.versions(TenantId::DEFAULT, name, None, limit).await?;
    if out.is_json() {
        let items = items.iter().map(version_document).collect();
        out.json(&api::RunbookVersionList { items, next_cursor: None });
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["VERSION", "CREATED", "FROM", "DIGEST"]);
    for RunbookVersionRow { version, created_at, origin, digest, .. } in &items {
        table.add_row([version.to_string(), date_time(*created_at), printable(origin), digest.short()]);
    }
    out.line(trimmed(&table));
    if more {
        out.message("there are more: --limit");
    }
    Ok(())
}

/// Finds what is wrong with the files of `./runbooks`, if that is there.
async fn look(embedded: &Embedded) -> Result<(), Fault> {
    if !Path::new(FOLDER).is_dir() {
        return Ok(());
    }
    let mut sync =
        RunbookSync::new(embedded.runbooks.clone(), Arc::new(NotifiedFolder::new(FOLDER)), TenantId::DEFAULT);
    sync.look().await?;
    // A file that was just saved has to come to rest first.
    tokio::time::sleep(Duration::from_millis(60)).await;
    sync.look().await?;
    Ok(())
}

impl From<RunbooksError> for Fault {
    fn from(error: RunbooksError) -> Fault {
        let message = error.to_string();
        match error {
            RunbooksError::NotFound(_) => Fault::refused("RUNBOOK_NOT_FOUND", message)
                .help("`opsroom runbooks` lists the runbooks of this data folder"),
            RunbooksError::NoSuchVersion { name, .. } => Fault::refused("RUNBOOK_NOT_FOUND", message)
                .help(format!("`opsroom runbooks versions {name}` lists its versions")),
            RunbooksError::Invalid(found) | RunbooksError::NameMismatch(found) => {
                Fault::refused("RUNBOOK_INVALID", message).detail("diagnostics", diagnostic::to_json(&found))
            }
            RunbooksError::UnnamedFiles(_) => Fault::refused("RUNBOOK_INVALID", message),
            RunbooksError::Plan(error) => crate::control::OwnError::from(error).into(),
            RunbooksError::Bundle(error) => error.into(),
            RunbooksError::Store(error) => error.into(),
            RunbooksError::Panicked => Fault::internal("INTERNAL", message).help("please report it"),
        }
    }
}
