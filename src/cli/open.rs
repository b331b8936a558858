//! `opsroom open`: opens the page of the running server in a browser, signed in.

use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;
use serde_json::json;

use super::{
    Context, block_on,
    fault::{Fault, exit, io_fault},
    out::Out,
};
use crate::system::{UpInfo, UpLock, read_key, tls};

/// Open the page of the running `opsroom up` in a browser
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks the server of the data folder for a link that signs a browser in, once, within 60 seconds. Without a browser
the link is printed, if standard output is a terminal or --output json is given.

Examples:
  opsroom open
  opsroom open --output json")]
pub struct Options {}

/// What the server answers.
#[derive(Debug, Deserialize)]
struct Link {
    url: String,
    expires_at: String,
}

pub fn execute(context: &Context, _: &Options) -> Result<u8, Fault> {
    let folder = &context.config.data.folder;
    let holder = UpLock::holder(folder).ok_or_else(|| {
        Fault::refused("NO_SERVER", format!("no server holds the data folder `{}`", folder.display()))
            .help("start one with `opsroom up`, or name its folder with --data-dir")
    })?;
    let link = block_on(ask(&holder))?;
    let opened = context.config.has_display && open(folder, &link.url);
    let out = &context.out;
    if out.is_json() {
        out.json(&json!({"url": link.url, "expires_at": link.expires_at, "opened": opened}));
    } else if opened {
        out.line(format!("opened {} in the browser", holder.url));
    } else if Out::is_terminal() {
        out.line(link.url);
        out.message("the link signs a browser in, once, within 60 seconds");
    } else {
        return Err(Fault::refused("NO_BROWSER", "there is no browser to open, and no terminal to print the link to")
            .help("run it in a terminal, or with --output json"));
    }
    Ok(exit::SUCCESS)
}

async fn ask(holder: &UpInfo) -> Result<Link, Fault> {
    let key = read_key(&holder.key_file)
        .map_err(|error| io_fault("KEY_UNUSABLE", &format!("the key file `{}`", holder.key_file.display()), &error))?;
    let unreachable = |error: reqwest::Error| {
        Fault::internal("SERVER_UNREACHABLE", format!("the server at {} (pid {}): {error}", holder.url, holder.pid))
            .help("it may be starting or stopping; try again")
    };
    tls::install();
    let client = reqwest::Client::builder().no_proxy().build().map_err(unreachable)?;
    let request = client.post(format!("{}/v1/login-links", holder.url)).bearer_auth(key.expose());
    let response = request.send().await.and_then(reqwest::Response::error_for_status).map_err(unreachable)?;
    response.json().await.map_err(unreachable)
}

/// Through a page that only this user can read: on a command line everybody would see the link.
fn open(folder: &Path, url: &str) -> bool {
    let page = match write_page(folder, url) {
        Ok(page) => page,
        Err(error) => {
            tracing::warn!(%error, "the page that leads to the link could not be written");
            return false;
        }
    };
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = Command::new(program);
    command.arg(page).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn write_page(folder: &Path, url: &str) -> std::io::Result<PathBuf> {
    let path = folder.join("open.html");
    let _ = std::fs::remove_file(&path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    // The link is of our own making: letters, digits and `:/?=_-.[]`.
    writeln!(file, "<!doctype html><meta http-equiv=\"refresh\" content=\"0; url={url}\"><title>opsroom</title>")?;
    Ok(path)
}
