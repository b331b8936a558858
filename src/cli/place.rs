//! Where a command works: on a data folder, or on a server. Both answer the same documents.
//!
//! On a data folder the interface is answered in this process, by the handlers that a server has. So every
//! command is written once, against [`Client`].

use std::path::Path;

use axum::body::Body;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use super::{
    Context,
    config::Config,
    fault::{Fault, io_fault},
    instance::Instance,
    room::nouns,
};
use crate::{
    client::{Client, Key, Local},
    http::{self, access::Caller},
    model::RunId,
    system::{UpInfo, UpLock},
};

/// A place to work.
#[derive(Debug)]
pub struct Place {
    pub client: Client,
    folder: Option<Folder>,
}

/// An opened data folder that answers in this process.
#[derive(Debug)]
struct Folder {
    instance: Instance,
    answering: Answering,
}

/// What runs while the interface is answered in this process.
#[derive(Debug)]
pub struct Answering {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Place {
    /// The server that the options or the environment name, else the data folder.
    pub async fn open(context: &Context) -> Result<Place, Fault> {
        let config = &context.config;
        if let Some(url) = &config.server.url {
            return Ok(Place { client: Client::new(url, key(config, url)?)?, folder: None });
        }
        let instance = Instance::open(config).await?;
        let (client, answering) = Answering::start(&instance, &config.actor)?;
        Ok(Place { client, folder: Some(Folder { instance, answering }) })
    }

    /// The data folder, if it is one.
    pub fn instance(&self) -> Option<&Instance> {
        self.folder.as_ref().map(|folder| &folder.instance)
    }

    /// Whether somebody will go on with the run: a server, or the process that owns it.
    pub async fn is_driven(&self, config: &Config, run: RunId) -> Result<bool, Fault> {
        let Some(instance) = self.instance().filter(|instance| !instance.is_fleet()) else { return Ok(true) };
        if UpLock::holder(&config.data.folder).is_some() {
            return Ok(true);
        }
        let dead = instance.dead_workers(config).await?;
        let row = instance.world.store.run(run).await?;
        Ok(row.and_then(|row| row.claimed_by).is_some_and(|owner| !dead.contains(&owner)))
    }

    pub async fn close(self) {
        let Place { client, folder } = self;
        drop(client);
        if let Some(Folder { instance, answering }) = folder {
            answering.end().await;
            instance.close().await;
        }
    }
}

impl Answering {
    /// Answers for a data folder, in the name of `actor`.
    pub fn start(instance: &Instance, actor: &str) -> Result<(Client, Answering), Fault> {
        let answering = Answering { stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let services = nouns(instance, &answering.tasks, &answering.stop);
        let router = http::local(services, Caller { actor: actor.into() });
        let local = Local::new(move |request| {
            let router = router.clone();
            async move {
                let answer = router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {});
                answer.map(|body| reqwest::Body::wrap_stream(body.into_data_stream()))
            }
        });
        Ok((Client::local(local)?, answering))
    }

    pub async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A client of the server that holds the data folder, if there is one.
pub fn holder(config: &Config) -> Result<Option<Client>, Fault> {
    if config.database.is_some() {
        return Ok(None);
    }
    let Some(UpInfo { url, key_file, .. }) = UpLock::holder(&config.data.folder) else { return Ok(None) };
    let key = match &config.server.key {
        Some(key) => key.clone(),
        None => read_key(&key_file)?,
    };
    Ok(Some(Client::of_this_machine(&url, Some(key))?))
}

/// The key for a server: the one that was given, else the data folder's, which is only shown to this machine.
fn key(config: &Config, url: &str) -> Result<Option<Key>, Fault> {
    let server = &config.server;
    if let Some(key) = &server.key {
        return Ok(Some(key.clone()));
    }
    if let Some(file) = &server.key_file {
        return read_key(file).map(Some);
    }
    let own = config.data.key();
    if Client::new(url, None)?.is_on_this_machine() && own.exists() { read_key(&own).map(Some) } else { Ok(None) }
}

fn read_key(file: &Path) -> Result<Key, Fault> {
    let place = format!("the key file `{}`", file.display());
    let help = "it holds the server's key on one line; OPSROOM_KEY_FILE names another one";
    let text = std::fs::read_to_string(file).map_err(|error| io_fault("KEY_UNUSABLE", &place, &error).help(help))?;
    Key::new(&text).map_err(|error| Fault::refused("KEY_UNUSABLE", format!("{place}: {error}")).help(help))
}
