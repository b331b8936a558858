//! The chunks of runs, one file of JSON Lines a run.
//!
//! A file is only ever appended to, each append in one write. Whoever dies in a write leaves a torn last
//! line; the next one to open the file ends that line, and readers skip a line that is not an event. The
//! sequences in a file rise, so a reader finds its place by bisection and reads only what it returns.

use std::{
    collections::HashMap,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Deserialize;

use crate::{
    model::{Event, RunId},
    ports::Spool,
};

/// Below this distance a reader goes line by line.
const BISECT_UNTIL: u64 = 128 << 10;

/// Spools in a folder: `<run>.jsonl`, readable by the owner only.
#[derive(Debug)]
pub struct FolderSpool {
    folder: PathBuf,
    open: Mutex<HashMap<RunId, Arc<Mutex<File>>>>,
}

impl FolderSpool {
    /// Creates the folder if it is missing.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<FolderSpool> {
        let folder = folder.into();
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(FolderSpool { folder, open: Mutex::default() })
    }

    /// One that somebody else writes to; makes nothing.
    pub(super) fn existing(folder: PathBuf) -> FolderSpool {
        FolderSpool { folder, open: Mutex::default() }
    }

    /// The file of a run's chunks.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.folder.join(format!("{run}.jsonl"))
    }

    fn file(&self, run: RunId) -> io::Result<Arc<Mutex<File>>> {
        let mut open = lock(&self.open);
        if let Some(file) = open.get(&run) {
            return Ok(file.clone());
        }
        let file = Arc::new(Mutex::new(open_to_append(&self.path(run))?));
        open.insert(run, file.clone());
        Ok(file)
    }
}

impl Spool for FolderSpool {
    fn append(&self, run: RunId, events: &[Arc<Event>]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, &**event)?;
            lines.push(b'\n');
        }
        if lines.is_empty() {
            return Ok(());
        }
        let file = self.file(run)?;
        let written = lock(&file).write_all(&lines);
        if written.is_err() {
            // Perhaps half a line is in the file now (a full disk): opening it again repairs that.
            self.close(run);
        }
        written
    }

    fn read(&self, run: RunId, after: u64, limit: usize) -> io::Result<Vec<Event>> {
        let mut file = match File::open(self.path(run)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let from = position_after(&file, after)?;
        file.seek(SeekFrom::Start(from))?;
        let mut lines = BufReader::with_capacity(64 << 10, file);
        let (mut events, mut line) = (Vec::new(), Vec::new());
        while events.len() < limit && next_line(&mut lines, &mut line)? {
            if sequence(&line).is_some_and(|sequence| sequence > after) {
                events.extend(serde_json::from_slice::<Event>(&line));
            }
        }
        Ok(events)
    }

    fn size(&self, run: RunId) -> io::Result<u64> {
        match std::fs::metadata(self.path(run)) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn close(&self, run: RunId) {
        lock(&self.open).remove(&run);
    }

    fn remove(&self, run: RunId) -> io::Result<()> {
        self.close(run);
        match std::fs::remove_file(self.path(run)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn runs(&self, limit: usize) -> io::Result<Vec<RunId>> {
        let mut runs = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            // Only we write here; what has another name is left alone.
            let run: Option<RunId> = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
            runs.extend(run);
            if runs.len() == limit {
                break;
            }
        }
        Ok(runs)
    }
}

/// Opens a spool and ends a torn last line.
fn open_to_append(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    let mut last = [b'\n'];
    if length > 0 {
        file.read_exact_at(&mut last, length - 1)?;
    }
    if last != *b"\n" {
        file.write_all(b"\n")?;
    }
    Ok(file)
}

/// The start of a line before which no sequence is above `after`, not far before the first that is.
fn position_after(file: &File, after: u64) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    // An event that begins before `high` may end after it: then `low` is beyond, and exact.
    while high.saturating_sub(low) > BISECT_UNTIL {
        let middle = low + (high - low) / 2;
        match first_event_from(file, middle, high)? {
            Some((end, sequence)) if sequence <= after => low = end,
            _ => high = middle,
        }
    }
    Ok(low)
}

/// The first whole event that begins after position `from` and before `to`: where it ends, and its sequence.
fn first_event_from(file: &File, from: u64, to: u64) -> io::Result<Option<(u64, u64)>> {
    let mut handle = file;
    handle.seek(SeekFrom::Start(from))?;
    let mut lines = BufReader::with_capacity(16 << 10, handle);
    let mut line = Vec::new();
    // The rest of the line that `from` is in.
    let mut at = from + lines.read_until(b'\n', &mut line)? as u64;
    while at < to && next_line(&mut lines, &mut line)? {
        at += line.len() as u64;
        if let Some(sequence) = sequence(&line) {
            return Ok(Some((at, sequence)));
        }
    }
    Ok(None)
}

/// Reads the next line that has its end; false where there is none.
fn next_line(lines: &mut BufReader<impl Read>, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    lines.read_until(b'\n', line)?;
    Ok(line.ends_with(b"\n"))
}

/// The sequence of the event in a line; `None` for a line that was torn.
fn sequence(line: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Head {
        sequence: u64,
    }
    serde_json::from_slice::<Head>(line).ok().map(|head| head.sequence)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code that can panic runs under these locks, so a poisoned one is still consistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Category, EventKind, Micros};

    const RUN: RunId = RunId(Uuid::from_u128(7));

    fn spool() -> (tempfile::TempDir, FolderSpool) {
        let folder = tempfile::tempdir().unwrap();
        let spool = FolderSpool::new(folder.path().join("spool")).unwrap();
        (folder, spool)
    }

    fn event(sequence: u64, text: &str) -> Arc<Event> {
        Arc::new(Event {
            run_id: RUN,
            timestamp: Micros(1_000),
            sequence,
            prev: sequence - 1,
            source: None,
            event: EventKind { category: Category::System, action: "log".into() },
            data: json!({ "text": text }),
        })
    }

    fn sequences(spool: &FolderSpool, after: u64, limit: usize) -> Vec<u64> {
        spool.read(RUN, after, limit).unwrap().iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn what_was_appended_is_read_in_order() {
        let (_folder, spool) = spool();
        assert!(sequences(&spool, 0, 10).is_empty());
        spool.append(RUN, &[event(3, "a\nb"), event(5, "")]).unwrap();
        spool.append(RUN, &[]).unwrap();
        spool.close(RUN);
        spool.append(RUN, &[event(9, "")]).unwrap();
        assert_eq!(sequences(&spool, 0, 10), [3, 5, 9]);
        assert_eq!(sequences(&spool, 3, 1), [5]);
        assert_eq!(sequences(&spool, 9, 10), [0; 0]);
        assert_eq!(spool.read(RUN, 0, 1).unwrap()[0], *event(3, "a\nb"));
    }

    #[test]
    fn only_the_owner_may_read_it() {
        let (_folder, spool) = spool();
        spool.append(RUN, &[event(1, "")]).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&spool.path(RUN)), 0o600);
        assert_eq!(mode(&spool.folder), 0o700);
    }

    #[test]
    fn a_torn_line_is_skipped_and_damages_nothing_after_it() {
        let (_folder, spool) = spool();
        spool.append(RUN, &[event(1, ""), event(2, "torn")]).unwrap();
        spool.close(RUN);
        let length = std::fs::metadata(spool.path(RUN)).unwrap().len();
        OpenOptions::new().write(true).open(spool.path(RUN)).unwrap().set_len(length - 5).unwrap();
        assert_eq!(sequences(&spool, 0, 10), [1]);
        spool.append(RUN, &[event(3, "")]).unwrap();
        assert_eq!(sequences(&spool, 0, 10), [1, 3]);
    }

    #[test]
    fn every_place_in_a_long_spool_is_found() {
        let (_folder, spool) = spool();
        let text = "x".repeat(1_500);
        for sequence in 1..=600 {
            // Of different lengths, and now and then a chunk that is longer than a bisection step.
            let text = if sequence % 97 == 0 { text.repeat(60) } else { text[..sequence * 2].to_owned() };
            spool.append(RUN, &[event(sequence as u64 * 10, &text)]).unwrap();
        }
        for after in (0..=6_000).step_by(7) {
            let expected: Vec<u64> = (1..=600).map(|n| n * 10).filter(|s| *s > after).take(2).collect();
            assert_eq!(sequences(&spool, after, 2), expected, "after {after}");
        }
    }

    #[test]
    fn chunks_longer_than_a_bisection_step_are_found() {
        let (_folder, spool) = spool();
        for sequence in 1..=40 {
            spool.append(RUN, &[event(sequence, &"x".repeat(90_000))]).unwrap();
        }
        for after in 0..40 {
            assert_eq!(sequences(&spool, after, 1), [after + 1]);
        }
    }

    #[test]
    fn a_removed_spool_is_empty() {
        let (_folder, spool) = spool();
        spool.append(RUN, &[event(1, "")]).unwrap();
        assert_eq!(spool.runs(10).unwrap(), [RUN]);
        assert!(spool.size(RUN).unwrap() > 100);
        spool.remove(RUN).unwrap();
        spool.remove(RUN).unwrap();
        assert_eq!((spool.runs(10).unwrap(), spool.size(RUN).unwrap()), (vec![], 0));
        assert!(sequences(&spool, 0, 10).is_empty());
    }
}
