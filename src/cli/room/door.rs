//! Where a process listens, and who may call.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::net::TcpListener;

use super::options::{Parts, ServerOptions, StatusOptions};
use crate::{
    cli::{
        config::Config,
        fault::{Fault, io_fault},
    },
    http::{access::Access, server},
    ports::Clock,
    system::{SystemClock, UpInfo, UpLock, UpLockError, local_key, raise_descriptor_limit, read_key},
};

/// Somebody who looks who holds the folder keeps it locked for a moment.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Descriptors that are not for connections: the store, spools, processes.
const RESERVED: u64 = 512;

/// A listener, with what is asked of those who call.
pub struct Door {
    pub listener: TcpListener,
    pub url: String,
    /// `None`: whoever is on this machine may look at the figures.
    pub access: Option<Access>,
    key_file: Option<PathBuf>,
}

impl Door {
    /// The door that the parts ask for, if they do.
    pub async fn open(config: &Config, parts: &Parts) -> Result<Option<Door>, Fault> {
        match (&parts.server, &parts.status) {
            (Some(options), _) => Door::of_server(config, options).await.map(Some),
            (None, Some(StatusOptions { listen: Some(listen), key_file })) => {
                let key_file = key_file.clone().or_else(|| config.server.key_file.clone());
                Door::of_status(*listen, key_file).await.map(Some)
            }
            (None, _) => Ok(None),
        }
    }

    async fn of_server(config: &Config, options: &ServerOptions) -> Result<Door, Fault> {
        let given = match &config.database {
            Some(_) => options.key_file.clone().or_else(|| config.server.key_file.clone()),
            None => options.key_file.clone(),
        };
        if given.is_none() && !options.listen.ip().is_loopback() {
            return Err(Fault::refused("KEY_FILE_NEEDED", format!("{} is not on this machine alone", options.listen))
                .help("give --key-file FILE with the key of this instance, or listen at 127.0.0.1"));
        }
        let (listener, url) = listen(options.listen).await?;
        let is_given = given.is_some();
        let key_file = given.unwrap_or_else(|| config.data.key());
        let key = if is_given { read_key(&key_file) } else { local_key(&key_file) };
        let access =
            Access::new(&key.map_err(|error| bad_key(&key_file, &error))?, &options.hosts, Arc::new(SystemClock));
        let sessions = config.data.browser_sessions();
        access.keep_sessions_in(&sessions).map_err(|error| {
            io_fault("DATA_DIR_UNUSABLE", &format!("`{}`", sessions.display()), &error)
                .help("remove the file: browsers sign in again")
        })?;
        Ok(Door { listener, url, access: Some(access), key_file: Some(key_file) })
    }

    async fn of_status(address: SocketAddr, key_file: Option<PathBuf>) -> Result<Door, Fault> {
        if key_file.is_none() && !address.ip().is_loopback() {
            return Err(Fault::refused("KEY_FILE_NEEDED", format!("{address} is not on this machine alone"))
                .help("give --key-file FILE with the key for /metrics, or listen at 127.0.0.1"));
        }
        let (listener, url) = listen(address).await?;
        let key = key_file.as_ref().map(|file| read_key(file).map_err(|error| bad_key(file, &error))).transpose()?;
        let access = key.map(|key| Access::new(&key, &[], Arc::new(SystemClock)));
        Ok(Door { listener, url, access, key_file })
    }

    /// What those who look for a server in the data folder are told.
    pub fn info(&self) -> UpInfo {
        let key_file = self.key_file.clone().unwrap_or_default();
        UpInfo {
            pid: std::process::id(),
            url: self.url.clone(),
            started_at: SystemClock.now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            key_file: std::path::absolute(&key_file).unwrap_or(key_file),
        }
    }
}

fn bad_key(file: &std::path::Path, error: &io::Error) -> Fault {
    io_fault("KEY_UNUSABLE", &format!("the key file `{}`", file.display()), error)
        .help("it holds one line of at least 20 visible characters, readable for this user")
}

/// Makes this process the one server of the data folder.
pub async fn lock(config: &Config) -> Result<UpLock, Fault> {
    let mut tries = 0..LOCK_TRIES;
    loop {
        match UpLock::acquire(&config.data.folder) {
            Ok(lock) => return Ok(lock),
            Err(UpLockError::Held(_)) if tries.next().is_some() => tokio::time::sleep(LOCK_PAUSE).await,
            Err(UpLockError::Held(holder)) => return Err(held(config, holder.as_ref())),
            Err(UpLockError::Io(error)) => {
                let place = format!("the data folder `{}`", config.data.folder.display());
                return Err(io_fault("DATA_DIR_UNUSABLE", &place, &error));
            }
        }
    }
}

fn held(config: &Config, holder: Option<&UpInfo>) -> Fault {
    let folder = config.data.folder.display();
    let who = holder.map_or_else(
        || "another opsroom that is just starting".to_owned(),
        |holder| format!("opsroom {} with pid {} at {}", holder.version, holder.pid, holder.url),
    );
    Fault::refused("DATA_DIR_IN_USE", format!("the data folder `{folder}` is held by {who}"))
        .help("use that one, stop it, or choose another folder with --data-dir")
        .detail("holder", serde_json::json!(holder))
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, String), Fault> {
    let listener = server::listen(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Fault::refused("PORT_IN_USE", format!("something else listens at {address} already"))
                .help("choose another address with --listen; port 0 is any free one")
        }
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied => {
            Fault::refused("CANNOT_LISTEN", format!("{address}: {error}"))
                .help("give an address of this machine and a port that this user may have with --listen")
        }
        _ => io_fault("CANNOT_LISTEN", &address.to_string(), &error),
    })?;
    let address = listener.local_addr().map_err(|error| io_fault("CANNOT_LISTEN", "the listening socket", &error))?;
    Ok((listener, format!("http://{address}")))
}

/// As many connections as the descriptors allow.
pub fn limits() -> server::Limits {
    let limits = server::Limits::default();
    let descriptors = raise_descriptor_limit().saturating_sub(RESERVED).max(RESERVED / 2);
    let connections = usize::try_from(descriptors).map_or(limits.connections, |most| most.min(limits.connections));
    server::Limits { connections, ..limits }
}
