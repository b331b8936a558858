//! Archives of ended runs: the same events, checked by a chain, whatever crashes between.

use std::{path::PathBuf, sync::Arc, time::Duration};

use opsroom::{
    control::{ArchiveError, Archiver, Archives, EventRange, History, Item, Retention, Sweeper},
    feed::MemoryFeed,
    model::{Event, Micros, Millis, TenantId},
    ports::{ArchiveStore, Artifacts, Clock, Store},
    store::MemoryStore,
    system::{FolderArtifacts, SystemClock},
};

use super::scene::{RUN, Scene};

struct Room {
    scene: Scene,
    index: Arc<MemoryStore>,
    artifacts: Arc<FolderArtifacts>,
    archives: Archives,
    history: History,
    _folder: tempfile::TempDir,
    root: PathBuf,
}

impl Room {
    /// A run that has ended after so many facts and three times as many chunks.
    async fn with_ended(facts: usize) -> Room {
        let (scene, index) = Scene::memory_and_store(MemoryFeed::new()).await;
        let mut writer = scene.writer();
        for number in 0..facts {
            writer.durable();
            for _ in 0..3 {
                writer.chunk(&format!("line {number} of the log, with ünïcode\n"));
            }
            if number % 50 == 0 {
                writer.flush(async || {}).await;
            }
        }
        writer.end().await;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("artifacts");
        let artifacts = Arc::new(FolderArtifacts::new(&root).unwrap());
        let archives = Archives::new(index.clone(), artifacts.clone());
        let history = scene.history.clone().with_archives(archives.clone());
        Room { scene, index, artifacts, archives, history, _folder: folder, root }
    }

    fn archiver(&self) -> Archiver {
        let (index, artifacts, spool) = (self.index.clone(), self.artifacts.clone(), self.scene.spool.clone());
        Archiver::new(index, artifacts, spool, Arc::new(SystemClock), self.scene.history.clone())
    }

    async fn archive(&self) -> PathBuf {
        assert_eq!(self.archiver().catch_up().await.unwrap(), 1);
        self.root.join(self.index.archive(RUN).await.unwrap().unwrap().artifact)
    }

    /// Deletes the rows, so that only the archive has the events.
    async fn trim(&self) {
        assert!(!self.index.trim_events(SystemClock.now(), usize::MAX).await.unwrap());
        assert!(self.scene.store.events(RUN, 0, 1).await.unwrap().is_empty());
    }
}

async fn all(history: &History, after: u64) -> Vec<Event> {
    let (mut reader, mut events) = (history.reader(RUN, after), Vec::new());
    while let Some(event) = reader.next().await.unwrap() {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn an_archive_has_every_event_and_takes_the_place_of_rows_and_chunks() {
    let room = Room::with_ended(1_000).await;
    let before = all(&room.history, 0).await;
    assert_eq!(before.len(), 4_001);
    let file = room.archive().await;
    assert!(std::fs::metadata(&file).unwrap().len() < 400_000, "it is compressed");
    assert_eq!(room.scene.spool.size(RUN).unwrap(), 0, "the chunks are gone");
    room.trim().await;
    assert_eq!(all(&room.history, 0).await, before);
    for after in [1, 2, 1_999, 3_990, 4_000, 4_001, 9_999] {
        let expected: Vec<&Event> = before.iter().filter(|event| event.sequence > after).collect();
        assert_eq!(all(&room.history, after).await.iter().collect::<Vec<_>>(), expected, "after {after}");
    }
    let start = before[2_000].id().to_string();
    let page = room.history.page(RUN, EventRange::parse(Some(&start), None).unwrap(), 1_000).await.unwrap();
    assert_eq!(page.events, before[2_000..3_000]);
    let (mut chunks, mut count) = (room.history.chunks(RUN, 0), 0);
    while let Some(chunk) = chunks.next().await.unwrap() {
        assert!(chunk.is_chunk());
        count += 1;
    }
    assert_eq!(count, 3_000);
    assert_eq!(room.archives.verify(RUN).await.unwrap(), 4_001);
    assert_eq!(room.archiver().catch_up().await.unwrap(), 0, "once is enough");
}

/// So many hours from now.
struct Ahead(u64);

impl Clock for Ahead {
    fn now(&self) -> Micros {
        SystemClock.now().plus(Millis::seconds(self.0 * 3_600))
    }
}

#[tokio::test]
async fn what_is_old_goes_rows_first_then_runs_with_their_files() {
    let room = Room::with_ended(1_200).await;
    let before = all(&room.history, 0).await;
    let file = room.archive().await;
    let sweeper = |hours| {
        let retention = Retention { events: Duration::from_hours(1), runs: Duration::from_hours(10) };
        let (index, artifacts, spool) = (room.index.clone(), room.artifacts.clone(), room.scene.spool.clone());
        Sweeper::new(retention, index, artifacts, spool, Arc::new(Ahead(hours)))
    };
    let rows = async || room.index.events(RUN, 0, usize::MAX).await.unwrap().len();
    let all_rows = rows().await;
    assert!(all_rows > 1_000, "more than goes at once");
    sweeper(0).round().await.unwrap();
    assert_eq!(rows().await, all_rows);
    sweeper(2).round().await.unwrap();
    assert_eq!(rows().await, 0);
    assert_eq!(all(&room.history, 0).await, before, "the archive has them");
    sweeper(9).round().await.unwrap();
    assert!(room.index.run(RUN).await.unwrap().is_some() && file.exists());
    // As the loop does it; it ends with the process.
    let stop = tokio_util::sync::CancellationToken::new();
    let mut loops = tokio::task::JoinSet::new();
    loops.spawn(sweeper(11).run(stop.clone()));
    let gone = async {
        while file.exists() || room.index.run(RUN).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.cancel();
        loops.join_all().await;
    };
    tokio::time::timeout(Duration::from_mins(1), gone).await.expect("the run and its archive go");
    assert!(room.index.archive(RUN).await.unwrap().is_none());
}

#[tokio::test]
async fn zstd_alone_unpacks_it() {
    let room = Room::with_ended(100).await;
    let before = all(&room.history, 0).await;
    let file = std::fs::File::open(room.archive().await).unwrap();
    let lines = String::from_utf8(zstd::stream::decode_all(file).unwrap()).unwrap();
    assert_eq!(lines.lines().count(), before.len());
    for (line, event) in lines.lines().zip(&before) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["event"], serde_json::to_value(event).unwrap());
        assert_eq!(line["hash"].as_str().unwrap().len(), 64);
    }
}

#[tokio::test]
async fn a_stream_goes_on_through_archiving() {
    let room = Room::with_ended(500).await;
    let streams = opsroom::control::Streams::start(
        room.history.clone(),
        room.scene.feed.clone(),
        &room.scene.tasks,
        room.scene.stop.clone(),
    );
    let mut stream = streams.open(RUN, 0).await.unwrap();
    let mut seen = Vec::new();
    loop {
        match stream.next().await.unwrap() {
            Item::Event(shown) => seen.push(shown.event().sequence),
            Item::End(_) => break,
            Item::Stopped => panic!("nobody stops it"),
        }
        // In the middle of a page, its rows and chunks go.
        match seen.len() {
            700 => drop(room.archive().await),
            900 => room.trim().await,
            _ => {}
        }
    }
    assert_eq!(seen, (1..=2_001).collect::<Vec<u64>>());
}

#[tokio::test]
async fn whatever_is_changed_is_noticed() {
    let room = Room::with_ended(200).await;
    let file = room.archive().await;
    let good = std::fs::read(&file).unwrap();
    for position in (0..good.len()).step_by(good.len() / 150 + 1) {
        let mut bad = good.clone();
        bad[position] ^= 1;
        std::fs::write(&file, bad).unwrap();
        let checked = room.archives.verify(RUN).await;
        assert!(matches!(checked, Err(ArchiveError::Damaged { .. })), "byte {position}: {checked:?}");
    }
    std::fs::write(&file, &good[..good.len() - 1]).unwrap();
    assert!(room.archives.verify(RUN).await.is_err());
    std::fs::write(&file, &good).unwrap();
    assert!(room.archives.verify(RUN).await.is_ok());
}

#[tokio::test]
async fn a_damaged_archive_is_stood_in_for_by_rows_or_told() {
    let room = Room::with_ended(10).await;
    let file = room.archive().await;
    std::fs::write(&file, b"nothing").unwrap();
    let mut reader = room.history.reader(RUN, 0);
    let mut facts = 0;
    while let Some(event) = reader.next().await.unwrap() {
        facts += u32::from(!event.is_chunk());
    }
    assert_eq!(facts, 11, "the rows are still there");
    room.trim().await;
    assert!(room.history.reader(RUN, 0).next().await.is_err());
}

#[tokio::test]
async fn a_crash_leaves_nothing_lost_and_nothing_doubled() {
    let room = Room::with_ended(300).await;
    let before = all(&room.history, 0).await;
    // A file that nothing is recorded in, as after a crash before the record.
    let mut orphan = room.artifacts.begin("archives/orphan").await.unwrap();
    orphan.write(bytes::Bytes::from_static(b"half")).await.unwrap();
    orphan.finish().await.unwrap();
    // Chunks of an archived run, as after a crash behind the record.
    let chunks: Vec<Arc<Event>> = before.iter().filter(|event| event.is_chunk()).cloned().map(Arc::new).collect();
    room.archive().await;
    room.scene.spool.append(RUN, &chunks).unwrap();
    assert_eq!(all(&room.history, 0).await, before);
    let stop = tokio_util::sync::CancellationToken::new();
    let archiver = tokio::task::JoinSet::from_iter([room.archiver().run(stop.clone())]);
    while room.scene.spool.size(RUN).unwrap() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.cancel();
    archiver.join_all().await;
    assert_eq!(room.artifacts.list("archives").await.unwrap().len(), 1);
    assert_eq!(all(&room.history, 0).await, before);
    assert_eq!(room.archives.verify(RUN).await.unwrap(), before.len() as u64);
}

#[tokio::test]
async fn a_run_that_has_more_to_say_waits() {
    let (scene, index) = Scene::memory_and_store(MemoryFeed::new()).await;
    let mut writer = scene.writer();
    writer.durable();
    writer.chunk("kept a moment later");
    writer.commit_end().await;
    let folder = tempfile::tempdir().unwrap();
    let artifacts = Arc::new(FolderArtifacts::new(folder.path().join("artifacts")).unwrap());
    let archiver = || {
        let history = History::new(TenantId::DEFAULT, index.clone(), scene.spool.clone(), Arc::new(SystemClock));
        Archiver::new(index.clone(), artifacts.clone(), scene.spool.clone(), Arc::new(SystemClock), history)
    };
    assert_eq!(archiver().catch_up().await.unwrap(), 0);
    assert!(index.archive(RUN).await.unwrap().is_none());
    writer.show_rest().await;
    assert_eq!(archiver().catch_up().await.unwrap(), 1);
    let archives = Archives::new(index.clone(), artifacts.clone());
    assert_eq!(archives.verify(RUN).await.unwrap(), 3);
}
