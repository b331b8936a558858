//! What the workers of a machine have in their spools, for processes that only read.

use std::{io, path::PathBuf, sync::Arc};

use super::FolderSpool;
use crate::{
    model::{Event, RunId},
    ports::Spool,
};

/// The spools in the folders below one: each is a worker's, which alone writes to it and empties it.
#[derive(Debug)]
pub struct SpoolsBelow {
    root: PathBuf,
}

impl SpoolsBelow {
    pub fn new(root: impl Into<PathBuf>) -> SpoolsBelow {
        SpoolsBelow { root: root.into() }
    }

    fn all(&self) -> io::Result<Vec<FolderSpool>> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut spools = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                spools.push(FolderSpool::existing(entry.path()));
            }
        }
        Ok(spools)
    }
}

impl Spool for SpoolsBelow {
    fn append(&self, _: RunId, _: &[Arc<Event>]) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "only a worker writes to its spool"))
    }

    fn read(&self, run: RunId, after: u64, limit: usize) -> io::Result<Vec<Event>> {
        let (mut events, mut end) = (Vec::new(), u64::MAX);
        for spool in self.all()? {
            let page = spool.read(run, after, limit)?;
            if let Some(last) = page.last().filter(|_| page.len() >= limit) {
                // This one may have more behind it.
                end = end.min(last.sequence);
            }
            events.extend(page);
        }
        events.retain(|event: &Event| event.sequence <= end);
        events.sort_by_key(|event| event.sequence);
        events.dedup_by_key(|event| event.sequence);
        events.truncate(limit);
        Ok(events)
    }

    fn size(&self, run: RunId) -> io::Result<u64> {
        self.all()?.iter().map(|spool| spool.size(run)).sum()
    }

    fn close(&self, _: RunId) {}

    fn remove(&self, _: RunId) -> io::Result<()> {
        Ok(())
    }

    fn runs(&self, _: usize) -> io::Result<Vec<RunId>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Category, EventKind, Micros};

    const RUN: RunId = RunId(Uuid::from_u128(7));

    fn event(sequence: u64) -> Arc<Event> {
        Arc::new(Event {
            run_id: RUN,
            timestamp: Micros(1_000),
            sequence,
            prev: sequence - 1,
            source: None,
            event: EventKind { category: Category::System, action: "log".into() },
            data: json!({"text": "x"}),
        })
    }

    #[test]
    fn what_several_workers_keep_is_read_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let all = SpoolsBelow::new(folder.path().join("spool"));
        let read = |after, limit| -> Vec<u64> {
            all.read(RUN, after, limit).unwrap().iter().map(|event| event.sequence).collect()
        };
        assert!(read(0, 10).is_empty());
        let worker = |name: &str| FolderSpool::new(folder.path().join("spool").join(name)).unwrap();
        let (one, other) = (worker("one"), worker("other"));
        one.append(RUN, &[1, 2, 3, 9].map(event)).unwrap();
        other.append(RUN, &[5, 6, 9, 12].map(event)).unwrap();
        assert_eq!(read(0, 10), [1, 2, 3, 5, 6, 9, 12]);
        assert_eq!(read(2, 2), [3, 5]);
        assert_eq!(read(6, 10), [9, 12]);
        assert_eq!(all.size(RUN).unwrap(), one.size(RUN).unwrap() + other.size(RUN).unwrap());
        all.remove(RUN).unwrap();
        assert_eq!(read(0, 1), [1], "workers remove what is theirs");
        assert!(all.append(RUN, &[event(20)]).is_err());
    }
}
