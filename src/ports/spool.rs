//! Where a run's chunks (logs, tokens) are kept beside its durable events.

use std::{io, sync::Arc};

use crate::model::{Event, RunId};

/// Append-only storage of chunk events, per run, in sequence order.
///
/// Chunks are not rows: they are many and large. What was appended survives the death of the process.
pub trait Spool: Send + Sync {
    fn append(&self, run: RunId, events: &[Arc<Event>]) -> io::Result<()>;

    /// At most `limit` chunks with a sequence above `after`, in order. A torn last line (the process
    /// died while it wrote) is not returned.
    fn read(&self, run: RunId, after: u64, limit: usize) -> io::Result<Vec<Event>>;

    /// Frees what an open run holds (file handles); later appends still work.
    fn close(&self, run: RunId);
}
