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

    /// How many bytes the run's chunks take, 0 without any: grows with every append, whichever process it is in.
    fn size(&self, run: RunId) -> io::Result<u64>;

    /// Frees what an open run holds (file handles); later appends still work.
    fn close(&self, run: RunId);

    /// Deletes a run's chunks; a run without any is fine.
    fn remove(&self, run: RunId) -> io::Result<()>;

    /// The runs that have chunks, at most `limit` of them, in no order.
    fn runs(&self, limit: usize) -> io::Result<Vec<RunId>>;
}
