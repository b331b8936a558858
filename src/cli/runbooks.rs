//! `opsroom runbooks`: the runbooks of this data folder, and what is wrong with their files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use base64::Engine as _;

use super::{
    Context, block_on,
    document::{List, PAGE, date_time, printable},
    fault::{Fault, exit},
    loading::{self, Loaded},
    named::FOLDER,
    out::Out,
    place::Place,
    runs::{plain_table, trimmed},
};
use crate::{
    api::{Diagnostic, ListRunbookVersionsQuery, ListRunbooksQuery, Param, Runbook, RunbookSource, RunbookVersion},
    client::Client,
    control::{RunbookSync, RunbooksError},
    model::{Digest, TenantId},
    runbook::{Bundle, diagnostic, to_text},
    system::NotifiedFolder,
};

/// List runbooks, show their versions and sources, store files
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  opsroom runbooks
  opsroom runbooks show deploy
  opsroom runbooks versions deploy --output json
  opsroom runbooks source deploy@3 > deploy.yaml
  opsroom runbooks put deploy.yaml --server http://ops:8484

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
    /// Store a file as a version; the same content makes none
    Put {
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let (client, out) = (&place.client, &context.out);
        match &options.command {
            None => {
                look(&place).await?;
                list(out, client, options.limit.into()).await?;
            }
            Some(Command::Show { name }) => {
                look(&place).await?;
                let runbook = client.get_runbook(name).await?;
                show(out, &runbook, pictured(&place, name).await?);
            }
            Some(Command::Source { name }) => source(out, client, name).await?,
            Some(Command::Versions { name, limit }) => versions(out, client, name, (*limit).into()).await?,
            Some(Command::Put { file }) => put(out, client, file).await?,
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

async fn list(out: &Out, client: &Client, limit: usize) -> Result<(), Fault> {
    let mut query = ListRunbooksQuery::default();
    let mut runbooks: Vec<Runbook> = Vec::new();
    let next = loop {
        query.limit = Some(page(limit - runbooks.len()));
        let found = client.list_runbooks(&query).await?;
        runbooks.extend(found.items);
        query.cursor = found.next_cursor;
        if query.cursor.is_none() || runbooks.len() >= limit {
            break query.cursor;
        }
    };
    if out.is_json() {
        out.json(&List { items: &runbooks, next_cursor: next.as_deref() });
        return Ok(());
    }
    if runbooks.is_empty() {
        out.message("no runbooks are stored; `opsroom up` stores those of ./runbooks");
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["RUNBOOK", "VERSION", "UPDATED", "FROM", "PROBLEM"]);
    for runbook in &runbooks {
        table.add_row(row(runbook));
    }
    out.line(trimmed(&table));
    if next.is_some() {
        out.message("there are more: --limit");
    }
    Ok(())
}

fn page(left: usize) -> u32 {
    u32::try_from(left).unwrap_or(PAGE).min(PAGE)
}

fn row(runbook: &Runbook) -> [String; 5] {
    let problem = runbook.problem.as_ref().and_then(|problem| problem.diagnostics.first());
    [
        runbook.name.clone(),
        if runbook.version == 0 { "-".to_owned() } else { runbook.version.to_string() },
        runbook.updated_at.map(date_time).unwrap_or_default(),
        runbook.origin.as_deref().map(printable).unwrap_or_default(),
        problem.map(diagnostic_line).unwrap_or_default(),
    ]
}

/// The problems of a file with its lines, which only the data folder keeps.
async fn pictured(place: &Place, name: &str) -> Result<Option<String>, Fault> {
    let Some(instance) = place.instance() else { return Ok(None) };
    let problem = instance.runbooks.view(TenantId::DEFAULT, name).await?.problem;
    Ok(problem.map(|problem| diagnostic::to_text(&problem.diagnostics, &problem.text, Out::is_coloured())))
}

fn show(out: &Out, runbook: &Runbook, pictured: Option<String>) {
    if out.is_json() {
        out.json(runbook);
        return;
    }
    out.line(heading(runbook));
    if let (Some(origin), Some(at)) = (&runbook.origin, runbook.updated_at) {
        out.line(format!("  from {}, {}", printable(origin), date_time(at)));
    }
    if let (Some(plan), Some(lane)) = (runbook.plan, runbook.lane) {
        out.line(format!("  plan {plan}"));
        out.line(format!("  lane {lane}, {} steps", runbook.steps_total));
    }
    for param in &runbook.params {
        out.line(format!("  param {}", param_line(param)));
    }
    if let Some(problem) = &runbook.problem {
        out.line(format!("\n{} since {}:", printable(&problem.file), date_time(problem.since)));
        let lines = || problem.diagnostics.iter().map(diagnostic_line).collect::<Vec<_>>().join("\n");
        out.line(pictured.unwrap_or_else(lines));
    }
}

fn heading(runbook: &Runbook) -> String {
    let version = match runbook.version {
        0 => "no version yet".to_owned(),
        number => format!("version {number}"),
    };
    let description = runbook.description.as_ref().map(|text| format!(": {}", printable(text))).unwrap_or_default();
    format!("{} ({version}){description}", runbook.name)
}

fn param_line(param: &Param) -> String {
    let kind = param.schema.get("type").map(to_text).unwrap_or_default();
    let default = match &param.default {
        Some(default) => format!(", default {default}"),
        None if param.required => ", required".to_owned(),
        None => String::new(),
    };
    let description = param.description.as_ref().map(|text| format!(": {}", printable(text))).unwrap_or_default();
    format!("{} ({kind}{default}){description}", param.name)
}

async fn source(out: &Out, client: &Client, given: &str) -> Result<(), Fault> {
    let (name, version) = match given.split_once('@') {
        None => (given, None),
        Some((name, number)) => {
            let bad = || Fault::refused("BAD_VERSION", format!("`{number}` is not a version")).help("write NAME@3");
            (name, Some(number.parse().map_err(|_| bad())?))
        }
    };
    let version = match version {
        Some(version) => version,
        None => client.get_runbook(name).await?.version.try_into().unwrap_or(u32::MAX),
    };
    let text = client.get_runbook_source(name, version).await?;
    if out.is_json() {
        let digest = Digest::of(text.as_bytes());
        out.json(&serde_json::json!({"runbook": name, "version": version, "source_digest": digest, "source": text}));
    } else {
        out.bytes(text.as_bytes());
    }
    Ok(())
}

async fn versions(out: &Out, client: &Client, name: &str, limit: usize) -> Result<(), Fault> {
    let mut query = ListRunbookVersionsQuery::default();
    let mut versions: Vec<RunbookVersion> = Vec::new();
    let next = loop {
        query.limit = Some(page(limit - versions.len()));
        let found = client.list_runbook_versions(name, &query).await?;
        versions.extend(found.items);
        query.cursor = found.next_cursor;
        if query.cursor.is_none() || versions.len() >= limit {
            break query.cursor;
        }
    };
    if out.is_json() {
        out.json(&List { items: &versions, next_cursor: next.as_deref() });
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["VERSION", "CREATED", "FROM", "DIGEST"]);
    for RunbookVersion { version, created_at, origin, digest, .. } in &versions {
        let origin = origin.as_deref().map(printable).unwrap_or_default();
        table.add_row([version.to_string(), date_time(*created_at), origin, digest.short()]);
    }
    out.line(trimmed(&table));
    if next.is_some() {
        out.message("there are more: --limit");
    }
    Ok(())
}

/// Stores a file. It is compiled here first, which shows what is wrong at its place.
async fn put(out: &Out, client: &Client, file: &Path) -> Result<(), Fault> {
    let Loaded { plan, source, bundle, .. } = loading::load(file, out)?;
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let body = source_of(source.to_string(), name, &bundle);
    show(out, &client.put_runbook(&plan.name, &body).await?, None);
    Ok(())
}

/// A runbook with the files that belong to it, as it is sent.
pub fn source_of(source: String, file_name: Option<String>, bundle: &Bundle) -> RunbookSource {
    let base64 = &base64::engine::general_purpose::STANDARD;
    let files = bundle.files.iter().map(|(path, file)| (path.clone(), base64.encode(&file.bytes)));
    RunbookSource { source, file_name, files: (!bundle.is_empty()).then(|| files.collect()) }
}

/// `file:line:column: CODE: message`, as compilers print it.
pub fn diagnostic_line(found: &Diagnostic) -> String {
    let Diagnostic { file, line, column, code, message, .. } = found;
    printable(&format!("{file}:{line}:{column}: {code}: {message}"))
}

/// Finds what is wrong with the files of `./runbooks`, if that is there.
async fn look(place: &Place) -> Result<(), Fault> {
    let Some(instance) = place.instance().filter(|_| Path::new(FOLDER).is_dir()) else { return Ok(()) };
    let mut sync =
        RunbookSync::new(instance.runbooks.clone(), Arc::new(NotifiedFolder::new(FOLDER)), TenantId::DEFAULT);
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
