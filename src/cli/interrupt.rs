//! SIGINT and SIGTERM while a run is under way.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use super::{
    fault::{Fault, exit, io_fault},
    out::Out,
};

/// Listens from its creation on, so that no signal is lost between the start and the run.
#[derive(Debug)]
pub struct Interrupts {
    int: Signal,
    term: Signal,
}

impl Interrupts {
    pub fn listen() -> Result<Interrupts, Fault> {
        let listen = |kind| signal(kind).map_err(|error| io_fault("INTERNAL", "signal handler", &error));
        Ok(Interrupts { int: listen(SignalKind::interrupt())?, term: listen(SignalKind::terminate())? })
    }

    /// The name of the next signal.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.int.recv() => "SIGINT",
            _ = self.term.recv() => "SIGTERM",
        }
    }

    /// Cancels a run at the first signal; the second ends its handlers too, and the third the process, and
    /// with it everything that it has started. `tell` is given the signal's name, and whether it is by force.
    pub fn cancel<F: Future<Output = ()> + Send + 'static>(
        mut self,
        out: Arc<Out>,
        tell: impl Fn(&'static str, bool) -> F + Send + 'static,
    ) -> Attending {
        let count = Arc::new(AtomicU32::new(0));
        let mut task = JoinSet::new();
        let counter = count.clone();
        task.spawn(async move {
            // In tasks of their own: while a server is told, another signal must still be heard.
            let mut telling = JoinSet::new();
            loop {
                let name = self.next().await;
                let force = match counter.fetch_add(1, Ordering::SeqCst) {
                    0 => false,
                    1 => true,
                    _ => std::process::exit(exit::INTERRUPTED.into()),
                };
                out.message(if force {
                    "cancelling by force: no more handlers are run; once more ends opsroom at once"
                } else {
                    "cancelling: on_cancel and finally are run; once more cancels those too"
                });
                telling.spawn(tell(name, force));
            }
        });
        Attending { count, _task: task }
    }
}

/// Attends to signals until it is dropped.
#[derive(Debug)]
pub struct Attending {
    count: Arc<AtomicU32>,
    _task: JoinSet<()>,
}

impl Attending {
    /// Whether there was a signal.
    pub fn was_interrupted(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }
}
