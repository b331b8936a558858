//! What a worker's lease is measured with, and what asks whether it still holds.

use std::{fmt, sync::Arc, task::Poll, time::Duration};

use crate::model::{Failure, FailureReason, Micros};

/// The time since the machine started, suspended time included (`CLOCK_BOOTTIME`). Nobody sets it, and it goes on
/// while a process is stopped: leases are measured with it.
pub trait BootTime: Send + Sync {
    fn since_boot(&self) -> Duration;
}

/// Learns what time it is in the store.
pub trait StoreTime: Send + Sync {
    /// It was `now` there at some moment between `sent` and `heard`, since boot.
    fn told(&self, now: Micros, sent: Duration, heard: Duration);
}

/// Whether this worker may still begin anything: a process, a request. Cheap to ask; to be asked right before. By
/// default it always may.
#[derive(Clone, Default)]
pub struct Gate(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Gate {
    /// `may_begin` says whether the lease holds.
    pub fn new(may_begin: impl Fn() -> bool + Send + Sync + 'static) -> Gate {
        Gate(Some(Arc::new(may_begin)))
    }

    /// An error when the worker has lost its lease: somebody else may have its runs by now.
    pub fn check(&self) -> Result<(), Failure> {
        if self.0.as_ref().is_none_or(|may_begin| may_begin()) {
            return Ok(());
        }
        let failure = Failure::error("LEASE_LOST", "the worker has lost its lease");
        Err(failure.because(FailureReason::WorkerLost))
    }

    /// Goes on with `work` only while the gate is open: it is asked before every step of it, so that a process that
    /// was stopped for long begins nothing when it goes on. Then the work is dropped.
    pub async fn through<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|context| match self.check() {
            Ok(()) => work.as_mut().poll(context),
            Err(lost) => Poll::Ready(Err(lost)),
        })
        .await
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gate({})", if self.check().is_ok() { "open" } else { "closed" })
    }
}
