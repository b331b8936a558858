//! `opsroom artifacts`: what runs have left behind.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use tokio::fs::File;

use super::{
    Context, block_on,
    document::{List, artifacts, bytes, date_time, printable},
    fault::{Fault, exit, io_fault},
    out::Out,
    place::Place,
    progress,
    runs::{plain_table, trimmed},
    selector,
};
use crate::{
    api::{Artifact, ArtifactKind, UploadArtifactQuery},
    client::Client,
};

/// List, download and upload what runs have left behind
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom artifacts list @latest
  opsroom artifacts get @latest report.md
  opsroom artifacts get @latest report.md --to - | less
  opsroom artifacts put @latest notes.md")]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the artifacts of a run, by name
    List {
        /// A run: its id, the beginning of it, @latest, or @latest~N
        #[arg(value_name = "RUN", default_value = "@latest")]
        run: String,
    },
    /// Download an artifact; a download that breaks off continues where it stopped
    Get {
        /// A run: its id, the beginning of it, @latest, or @latest~N
        #[arg(value_name = "RUN")]
        run: String,
        /// The artifact's name
        #[arg(value_name = "NAME")]
        name: String,
        /// Where to write it; `-` for standard output [default: the last part of its name, here]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Add a file to a run; an artifact of the same name is replaced
    Put {
        /// A run: its id, the beginning of it, @latest, or @latest~N
        #[arg(value_name = "RUN")]
        run: String,
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The artifact's name [default: the file's]
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// file, markdown, json or link [default: told from the name]
        #[arg(long, value_name = "KIND")]
        kind: Option<ArtifactKind>,
    },
}

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    block_on(async {
        let place = Place::open(context).await?;
        let (client, out) = (&place.client, &context.out);
        match &options.command {
            Command::List { run } => list(out, client, run).await?,
            Command::Get { run, name, to, force } => {
                let artifact = find(client, run, name).await?;
                get(out, client, &artifact, to.as_deref(), *force).await?;
            }
            Command::Put { run, file, name, kind } => put(out, client, run, file, (name.as_deref(), *kind)).await?,
        }
        place.close().await;
        Ok(())
    })?;
    Ok(exit::SUCCESS)
}

async fn list(out: &Out, client: &Client, run: &str) -> Result<(), Fault> {
    let run = selector::find(client, run).await?;
    let found = artifacts(client, run).await?;
    if out.is_json() {
        out.json(&List { items: &found, next_cursor: None });
        return Ok(());
    }
    if found.is_empty() {
        out.message(format!("run {run} has left nothing behind"));
        return Ok(());
    }
    let mut table = plain_table();
    table.set_header(["NAME", "KIND", "SIZE", "STEP", "CREATED", "DIGEST"]);
    for artifact in &found {
        table.add_row([
            printable(&artifact.name),
            artifact.kind.to_string(),
            bytes(artifact.size),
            artifact.step.as_deref().map(printable).unwrap_or_default(),
            date_time(artifact.created_at),
            artifact.digest.short(),
        ]);
    }
    out.line(trimmed(&table));
    Ok(())
}

async fn find(client: &Client, run: &str, name: &str) -> Result<Artifact, Fault> {
    let run = selector::find(client, run).await?;
    let found = artifacts(client, run).await?;
    found.into_iter().find(|artifact| artifact.name == name).ok_or_else(|| {
        Fault::refused("ARTIFACT_NOT_FOUND", format!("run {run} has no artifact `{name}`"))
            .help(format!("`opsroom artifacts list {run}` lists what there is"))
    })
}

async fn get(out: &Out, client: &Client, artifact: &Artifact, to: Option<&Path>, force: bool) -> Result<(), Fault> {
    if to == Some(Path::new("-")) {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(|error| unusable(Path::new("-"), &error))?;
        return match client.download_artifact(artifact, &mut File::from(std::fs::File::from(stdout)), |_| {}).await {
            // Whoever read it has had enough.
            Err(crate::client::ClientError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => Ok(done?),
        };
    }
    let last = artifact.name.rsplit('/').next().unwrap_or_default();
    let file = to.map_or_else(|| PathBuf::from(last), Path::to_owned);
    if !force && file.exists() {
        return Err(Fault::refused("FILE_EXISTS", format!("`{}` exists", file.display()))
            .help("give another file with --to, or --force"));
    }
    let bar = progress::transfer(&artifact.name, artifact.size);
    // Beside its place, so that the file is there whole or not at all.
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = folder.join(format!(".{}.part", artifact.id));
    let written = download(client, artifact, &part, &bar).await;
    bar.finish_and_clear();
    let placed = written.and_then(|()| std::fs::rename(&part, &file).map_err(|error| unusable(&file, &error)));
    if placed.is_err() {
        // It may not have been made.
        let _ = std::fs::remove_file(&part);
    }
    placed?;
    if out.is_json() {
        out.json(artifact);
    } else {
        out.line(format!("{} ({})", file.display(), bytes(artifact.size)));
    }
    Ok(())
}

async fn download(
    client: &Client,
    artifact: &Artifact,
    part: &Path,
    bar: &indicatif::ProgressBar,
) -> Result<(), Fault> {
    let mut into = File::create(part).await.map_err(|error| unusable(part, &error))?;
    client.download_artifact(artifact, &mut into, |received| bar.set_position(received)).await?;
    into.sync_all().await.map_err(|error| unusable(part, &error))
}

async fn put(
    out: &Out,
    client: &Client,
    run: &str,
    file: &Path,
    (name, kind): (Option<&str>, Option<ArtifactKind>),
) -> Result<(), Fault> {
    let run = selector::find(client, run).await?;
    let own = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.map(str::to_owned).or(own).ok_or_else(|| {
        Fault::refused("BAD_NAME", format!("`{}` has no name", file.display())).help("give one with --name")
    })?;
    let size = std::fs::metadata(file).map_err(|error| unusable(file, &error))?.len();
    let bar = progress::transfer(&name, size);
    let shown = bar.clone();
    let query = UploadArtifactQuery { name, kind };
    let stored = client.upload_artifact(run, &query, file, move |sent| shown.set_position(sent)).await;
    bar.finish_and_clear();
    let stored = stored?;
    if out.is_json() {
        out.json(&stored);
    } else {
        out.line(format!("{} ({}) of run {run}", printable(&stored.name), bytes(stored.size)));
    }
    Ok(())
}

fn unusable(file: &Path, error: &io::Error) -> Fault {
    io_fault("FILE_UNUSABLE", &format!("`{}`", file.display()), error).help("check the path and its permissions")
}
