//! What the parts of a process are told on the command line, the same in every command that has them.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use crate::{
    model::{Lane, Millis},
    worker::LaneConfig,
};

/// The API and the page.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerOptions {
    /// Where to listen; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8484")]
    pub listen: SocketAddr,
    /// The file with the key [default: api.key in the data folder]; needed to listen to other machines
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// A name under which the server is reached, besides its addresses and `localhost`; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    pub hosts: Vec<String>,
}

/// Health and figures of a process that has no API.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusOptions {
    /// Where to answer /healthz, /readyz and /metrics; port 0 is any free one [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The file with the key that /metrics asks other machines for [default: OPSROOM_KEY_FILE]
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// The lanes.
#[derive(Debug, Clone, clap::Args)]
pub struct WorkerOptions {
    /// The lanes to take runs from, with commas between
    #[arg(long, value_name = "LANES", value_delimiter = ',', default_value = "A,B,C,D")]
    pub lanes: Vec<Lane>,
    /// Runs under way at once in each lane
    #[arg(long, value_name = "N", default_value = "16")]
    pub slots: NonZeroUsize,
    /// A label of this worker, as in `zone=dmz`; may be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
}

impl WorkerOptions {
    pub fn lanes(&self) -> LaneConfig {
        let lanes = Lane::ALL.iter().copied().filter(|lane| self.lanes.contains(lane)).collect();
        LaneConfig { lanes, slots: self.slots.get() }
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        self.labels.iter().cloned().collect()
    }
}

/// The sweeps, and what else has to be done once for all processes.
#[derive(Debug, Clone, clap::Args)]
pub struct SchedulerOptions {
    /// The folder of runbooks to follow [default: ./runbooks if it is there, else the shipped ones]
    #[arg(long, value_name = "DIR")]
    pub runbooks: Option<PathBuf>,
}

/// How a process that works on a database begins and ends.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct FleetOptions {
    /// How long to wait for a database that cannot be reached at the start, as in `60s`
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    pub wait: Millis,
    /// How long runs under way may take when it is stopped; then they go back to their lanes
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub drain_timeout: Millis,
}

/// What one process does. At least one part is there.
#[derive(Debug, Clone)]
pub struct Parts {
    pub server: Option<ServerOptions>,
    /// Without a server.
    pub status: Option<StatusOptions>,
    pub worker: Option<WorkerOptions>,
    /// Ends when nothing is left to claim.
    pub until_idle: bool,
    pub scheduler: Option<SchedulerOptions>,
    pub wait: Millis,
    pub drain_timeout: Millis,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        return Err("a name has up to 64 letters, digits, `.`, `_`, `-` and `/`".to_owned());
    }
    if value.len() > 256 || value.chars().any(char::is_control) {
        return Err("a value has up to 256 bytes and no control characters".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_names_with_values() {
        assert_eq!(label("zone=dmz"), Ok(("zone".to_owned(), "dmz".to_owned())));
        assert_eq!(label("a/b=x=y"), Ok(("a/b".to_owned(), "x=y".to_owned())));
        assert_eq!(label("empty="), Ok(("empty".to_owned(), String::new())));
        for bad in ["zone", "=x", "a b=x", "a=\n"] {
            assert!(label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lanes_are_served_once_each_and_in_order() {
        let slots = NonZeroUsize::MIN;
        let options = WorkerOptions { lanes: vec![Lane::D, Lane::A, Lane::D], slots, labels: Vec::new() };
        assert_eq!(options.lanes().lanes, [Lane::A, Lane::D]);
    }
}
