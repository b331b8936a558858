//! Starting: the lock of the folder, the port, the key, the worker with its lanes, the loops, the server.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Options, loops,
    probes::{self, LanesAlive},
    services::{self, Parts},
};
use crate::{
    cli::{
        Context,
        config::Config,
        fault::{Fault, io_fault},
        instance::{Instance, InstanceWorker},
    },
    control::Handoff,
    http::{self, access::Access, metrics::Metrics, server},
    model::Lane,
    ports::Clock,
    system::{SystemClock, UpInfo, UpLock, UpLockError, local_key, raise_descriptor_limit, read_key},
    worker::LaneConfig,
};

/// Somebody who looks who holds the folder keeps it locked for a moment.
const LOCK_TRIES: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Descriptors that are not for connections: the store, spools, processes.
const RESERVED: u64 = 512;

/// How long the first look at the runbooks may hold up the start.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// How long the server and the loops may take to end.
const END: Duration = Duration::from_secs(10);

/// A server that is up.
pub struct Started {
    pub url: String,
    pub instance: Instance,
    pub worker: InstanceWorker,
    /// Fires: nothing more is accepted.
    pub stop_server: CancellationToken,
    /// Fires: nothing more is claimed.
    pub stop_lanes: CancellationToken,
    /// Fires: what is under way is given up.
    pub halt: CancellationToken,
    lanes: tokio::task::JoinHandle<io::Result<()>>,
    stop_loops: CancellationToken,
    /// The server and the loops.
    tasks: TaskTracker,
    access: Access,
    /// Whether the runbooks were looked at.
    known: watch::Receiver<bool>,
    _lock: UpLock,
}

impl Started {
    /// A path that signs a browser in.
    pub fn login_link(&self) -> Option<String> {
        self.access.login_link().ok().map(|(link, _)| link)
    }

    /// Waits until every run under way has ended or parked; after `stop_lanes`, and only once.
    pub async fn drained(&mut self) -> Result<(), Fault> {
        let ended = (&mut self.lanes).await;
        let why = match ended {
            Ok(Ok(())) if self.stop_lanes.is_cancelled() => return Ok(()),
            Ok(Ok(())) => "they ended by themselves".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        Err(Fault::internal("INTERNAL", format!("the lanes: {why}"))
            .help("this is a fault of opsroom; please report it"))
    }

    /// Ends everything, in order.
    pub async fn finish(self) {
        self.stop_server.cancel();
        self.stop_lanes.cancel();
        self.halt.cancel();
        self.stop_loops.cancel();
        self.tasks.close();
        if tokio::time::timeout(END, self.tasks.wait()).await.is_err() {
            tracing::warn!("the server did not end in time");
        }
        self.worker.shutdown().await;
        self.instance.close().await;
    }
}

pub async fn start(context: &Context, options: &Options) -> Result<Started, Fault> {
    let ground = Ground::take(&context.config, options).await?;
    let mut instance = Instance::open(&context.config).await?;
    // Runs under way wait for a store that is full or away, instead of being given up.
    instance.world.limits.patient = true;
    let serving = LaneConfig { lanes: Lane::ALL.to_vec(), slots: options.slots.get() };
    let worker = instance.start_worker(&context.config, &serving).await?;
    let mut started = ground.build(options, serving, instance, worker)?;
    // Whoever is told where the server is wants to run something. A large folder is looked at in the background.
    let known = started.known.wait_for(|known| *known);
    let _ = tokio::time::timeout(FIRST_LOOK, known).await;
    Ok(started)
}

/// What nobody else may have: taken before anything is opened, so that a start that is refused changes nothing.
struct Ground {
    lock: UpLock,
    listener: TcpListener,
    url: String,
    access: Access,
    key_file: PathBuf,
}

impl Ground {
    async fn take(config: &Config, options: &Options) -> Result<Ground, Fault> {
        Instance::create_folder(config)?;
        let lock = lock(config).await?;
        let (listener, url) = listen(options).await?;
        let key_file = options.key_file.clone().unwrap_or_else(|| config.data.key());
        let key = if options.key_file.is_some() { read_key(&key_file) } else { local_key(&key_file) };
        let key = key.map_err(|error| {
            io_fault("KEY_UNUSABLE", &format!("the key file `{}`", key_file.display()), &error)
                .help("it holds one line of at least 20 visible characters, readable for this user")
        })?;
        let access = Access::new(&key, &options.hosts, Arc::new(SystemClock));
        let sessions = config.data.browser_sessions();
        access.keep_sessions_in(&sessions).map_err(|error| {
            io_fault("DATA_DIR_UNUSABLE", &format!("`{}`", sessions.display()), &error)
                .help("remove the file: browsers sign in again")
        })?;
        Ok(Ground { lock, listener, url, access, key_file })
    }

    /// Starts the lanes, the loops and the server.
    fn build(
        self,
        options: &Options,
        serving: LaneConfig,
        instance: Instance,
        worker: InstanceWorker,
    ) -> Result<Started, Fault> {
        let Ground { mut lock, listener, url, access, key_file } = self;
        let metrics = Metrics::install().map_err(|error| Fault::internal("INTERNAL", format!("metrics: {error}")))?;
        let (tasks, stop_loops, stop_server) = <(TaskTracker, CancellationToken, CancellationToken)>::default();
        let (handoff, stop_lanes, halt) = <(Handoff, CancellationToken, CancellationToken)>::default();
        let lanes = worker.lanes().accept(handoff.clone()).halt_on(halt.clone()).report_to(loops::count_ends(&tasks));
        let (alive, stop) = (LanesAlive::default(), stop_lanes.clone());
        let (living, served) = (alive.living(), serving.clone());
        let lanes = tasks.spawn(async move {
            let _living = living;
            lanes.serve(&served, stop).await
        });
        worker.sweep();
        loops::start(&tasks, &stop_loops, &instance, &metrics);
        let folder = loops::runbook_folder(options.runbooks.as_deref());
        let known = loops::follow(&tasks, stop_loops.clone(), instance.runbooks.clone(), folder.as_deref());
        let health = probes::health(&instance, alive, folder, known.clone());
        let parts = Parts { handoff, lanes: serving, access: access.clone(), health, metrics };
        let services = services::all(&instance, parts, &tasks, &stop_server);
        tasks.spawn(server::serve(listener, http::router(services), limits(), stop_server.clone()));
        tell(&mut lock, &url, key_file)?;
        Ok(Started {
            url,
            instance,
            worker,
            stop_server,
            stop_lanes,
            halt,
            lanes,
            stop_loops,
            tasks,
            access,
            known,
            _lock: lock,
        })
    }
}

async fn lock(config: &Config) -> Result<UpLock, Fault> {
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

async fn listen(options: &Options) -> Result<(TcpListener, String), Fault> {
    let listener = server::listen(options.listen).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            Fault::refused("PORT_IN_USE", format!("something else listens at {} already", options.listen))
                .help("choose another address with --listen; port 0 is any free one")
        }
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::PermissionDenied => {
            Fault::refused("CANNOT_LISTEN", format!("{}: {error}", options.listen))
                .help("give an address of this machine and a port that this user may have with --listen")
        }
        _ => io_fault("CANNOT_LISTEN", &options.listen.to_string(), &error),
    })?;
    let address = listener.local_addr().map_err(|error| io_fault("CANNOT_LISTEN", "the listening socket", &error))?;
    Ok((listener, format!("http://{address}")))
}

fn tell(lock: &mut UpLock, url: &str, key_file: PathBuf) -> Result<(), Fault> {
    let info = UpInfo {
        pid: std::process::id(),
        url: url.to_owned(),
        started_at: SystemClock.now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        key_file: std::path::absolute(&key_file).unwrap_or(key_file),
    };
    lock.tell(&info).map_err(|error| io_fault("DATA_DIR_UNUSABLE", "the lock of the data folder", &error))
}

fn limits() -> server::Limits {
    let limits = server::Limits::default();
    let descriptors = raise_descriptor_limit().saturating_sub(RESERVED).max(RESERVED / 2);
    let connections = usize::try_from(descriptors).map_or(limits.connections, |most| most.min(limits.connections));
    server::Limits { connections, ..limits }
}
