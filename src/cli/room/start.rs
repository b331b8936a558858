//! Starting: what nobody else may have, the instance, the worker with its lanes, the loops, the server.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    crew::{Crew, Post},
    door::{self, Door},
    loops,
    options::Parts,
    probes::{self, RunbookFolder, WorkerAlive},
    services::{self, Inside},
};
use crate::{
    cli::{
        Context,
        config::Config,
        fault::{Fault, io_fault},
        instance::Instance,
    },
    control::Handoff,
    http::{self, access::Access, metrics::Metrics, server},
    system::{FolderWorkspaces, UpLock},
};

/// How long the first look at the runbooks may hold up the start.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// How long the server and the loops may take to end.
const END: Duration = Duration::from_secs(10);

/// A process that is up.
pub struct Started {
    pub url: Option<String>,
    pub instance: Instance,
    pub crew: Option<Crew>,
    /// Whether the scheduler is among its parts.
    pub schedules: bool,
    /// Fires: nothing more is accepted.
    pub stop_server: CancellationToken,
    stop_loops: CancellationToken,
    /// The server, the lanes and the loops.
    tasks: TaskTracker,
    access: Option<Access>,
    /// Whether the runbooks were looked at.
    known: watch::Receiver<bool>,
    _lock: Option<UpLock>,
}

impl Started {
    /// A path that signs a browser in.
    pub fn login_link(&self) -> Option<String> {
        self.access.as_ref()?.login_link().ok().map(|(link, _)| link)
    }

    /// Waits until the lanes have ended; without any, for ever.
    pub async fn ended(&mut self) -> Result<(), Fault> {
        match &mut self.crew {
            Some(crew) => crew.ended().await,
            None => std::future::pending().await,
        }
    }

    /// Fires when somebody asks the worker to end.
    pub fn asked(&self) -> CancellationToken {
        self.crew.as_ref().map(|crew| crew.stops.asked.clone()).unwrap_or_default()
    }

    /// Ends everything, in order.
    pub async fn finish(self) {
        self.stop_server.cancel();
        if let Some(crew) = &self.crew {
            crew.stops.lanes.cancel();
            crew.stops.halt.cancel();
        }
        self.stop_loops.cancel();
        self.tasks.close();
        if tokio::time::timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!("the process did not end in time");
        }
        self.instance.close().await;
    }
}

pub async fn start(context: &Context, parts: &Parts) -> Result<Started, Fault> {
    let config = &context.config;
    Instance::create_folder(config)?;
    // Taken before anything is opened, so that a start that is refused changes nothing.
    let lock = if config.database.is_none() { Some(door::lock(config).await?) } else { None };
    let door = Door::open(config, parts).await?;
    let mut instance = Instance::open_patiently(context, parts.wait.duration(), parts.worker.is_some()).await?;
    // Runs under way wait for a store that is full or away, instead of being given up.
    instance.world.limits.patient = true;
    // A scheduler wakes them; whoever is there until nothing is left stays for what waits.
    instance.world.limits.is_woken = !parts.until_idle;
    // One run follows another: they need not make their folders each time.
    instance.world.workspaces = Arc::new(FolderWorkspaces::with_spares(&config.data.folder));
    let mut started = build(config, parts, instance, (lock, door)).await?;
    // Whoever is told where the server is wants to run something. A large folder is looked at in the background.
    let known = started.known.wait_for(|known| *known);
    let _ = tokio::time::timeout(FIRST_LOOK, known).await;
    Ok(started)
}

/// Starts the lanes, the loops and the server.
async fn build(
    config: &Config,
    parts: &Parts,
    instance: Instance,
    (mut lock, door): (Option<UpLock>, Option<Door>),
) -> Result<Started, Fault> {
    let (tasks, stop_loops, stop_server) = <(TaskTracker, CancellationToken, CancellationToken)>::default();
    let metrics = door.is_some().then(Metrics::install).transpose();
    let metrics = metrics.map_err(|error| Fault::internal("INTERNAL", format!("metrics: {error}")))?;
    let (handoff, alive) = <(Handoff, WorkerAlive)>::default();
    let ended = loops::count_ends(&tasks);
    let crew = match &parts.worker {
        Some(options) => {
            let post = Post { options: options.clone(), handoff: handoff.clone(), ended, alive: alive.clone() };
            Some(Crew::start(&instance, config, post, &tasks).await?)
        }
        None => None,
    };
    if let (Some(crew), Some(options), true) = (&crew, &parts.worker, parts.until_idle) {
        let rest = (instance.clone(), options.lanes().lanes);
        tasks.spawn(Crew::stop_when_idle(crew.stops.lanes.clone(), crew.watch_id(), rest));
    }
    loops::local(&tasks, &stop_loops, &instance, metrics.as_ref());
    let own = crew.as_ref().map(Crew::id);
    let scheduled = parts.scheduler.as_ref().map(|options| {
        loops::schedule(&tasks, &stop_loops, &instance, instance.reaper(config, own));
        let folder = loops::runbook_folder(options.runbooks.as_deref());
        let known = loops::follow(&tasks, stop_loops.clone(), instance.runbooks.clone(), folder.as_deref());
        RunbookFolder { folder, known }
    });
    let mut started = Started {
        url: None,
        instance,
        crew,
        schedules: parts.scheduler.is_some(),
        stop_server,
        stop_loops,
        tasks,
        access: None,
        known: scheduled.as_ref().map_or_else(|| watch::channel(true).1, |runbooks| runbooks.known.clone()),
        _lock: None,
    };
    if let (Some(door), Some(metrics)) = (door, metrics) {
        let alive = started.crew.is_some().then_some(alive);
        let health = probes::health(&started.instance, alive, scheduled);
        if let Some(lock) = &mut lock {
            lock.tell(&door.info())
                .map_err(|error| io_fault("DATA_DIR_UNUSABLE", "the lock of the data folder", &error))?;
        }
        started.open(parts, door, Inside { handoff, health, metrics });
    }
    Ok(Started { _lock: lock, ..started })
}

impl Started {
    /// Begins to answer.
    fn open(&mut self, parts: &Parts, door: Door, inside: Inside) {
        let Door { listener, url, access, .. } = door;
        let router = if let (Some(_), Some(access)) = (&parts.server, &access) {
            let services = services::all(&self.instance, inside, access.clone(), &self.tasks, &self.stop_server);
            http::router(services)
        } else {
            let Inside { health, metrics, .. } = inside;
            let status = http::Status { health, metrics, runs: self.instance.runs.clone(), access: access.clone() };
            http::status(status, self.instance.world.ids.clone())
        };
        self.tasks.spawn(server::serve(listener, router, door::limits(), self.stop_server.clone()));
        self.url = Some(url);
        self.access = access.filter(|_| parts.server.is_some());
    }
}
