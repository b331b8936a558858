//! Following a run: every event once and in order, whatever happens between.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use opsroom::{
    control::{EventStream, Item, Streams},
    feed::MemoryFeed,
    model::RunStatus,
};
use tokio::task::JoinSet;

use super::scene::{RUN, Scene, Writer};

/// Numbers that are the same for the same seed.
#[derive(Clone)]
struct Dice(Arc<AtomicU64>);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(Arc::new(AtomicU64::new(seed)))
    }

    fn below(&self, n: u64) -> u64 {
        // splitmix64
        let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    async fn pause(&self) {
        match self.below(6) {
            0 => tokio::time::sleep(Duration::from_micros(self.below(3_000))).await,
            1 => {}
            _ => tokio::task::yield_now().await,
        }
    }
}

async fn write(writer: &mut Writer, dice: &Dice, batches: u64) {
    for _ in 0..batches {
        for _ in 0..=dice.below(6) {
            match dice.below(3) {
                0 => writer.durable(),
                1 => writer.chunk("text"),
                _ => writer.chunk(&"x".repeat(usize::try_from(dice.below(40_000)).unwrap())),
            }
        }
        writer.flush(async || dice.pause().await).await;
        dice.pause().await;
    }
    writer.end().await;
}

/// Reads to the end, now and then slowly, now and then resuming with a new stream.
async fn read(streams: Streams, dice: Dice, from: u64) -> Vec<u64> {
    let (mut at, mut seen) = (from, Vec::new());
    loop {
        let mut stream = streams.open(RUN, at).await.unwrap();
        for _ in 0..=dice.below(60) {
            let Some(sequence) = next(&mut stream).await else { return seen };
            seen.push(sequence);
            at = sequence;
            dice.pause().await;
        }
    }
}

async fn next(stream: &mut EventStream) -> Option<u64> {
    let item = tokio::time::timeout(Duration::from_secs(20), stream.next()).await.expect("an item in time").unwrap();
    match item {
        Item::Event(shown) => Some(shown.event().sequence),
        Item::End(status) => {
            assert_eq!(status, RunStatus::Succeeded);
            None
        }
        Item::Stopped => panic!("nobody has stopped it"),
    }
}

/// Readers of `watcher` while `author` writes; each is given everything after its start exactly once.
async fn everything_once(author: &Scene, watcher: &Scene, dice: &Dice, readers: u64, batches: u64) {
    let streams = watcher.streams();
    let mut writer = author.writer();
    let mut reading = JoinSet::new();
    for _ in 0..readers {
        let (streams, dice) = (streams.clone(), dice.clone());
        let from = if dice.below(2) == 0 { 0 } else { dice.below(40) };
        reading.spawn(async move {
            dice.pause().await;
            (from, read(streams, dice, from).await)
        });
    }
    write(&mut writer, dice, batches).await;
    let written = writer.written.lock().unwrap().clone();
    while let Some(read) = reading.join_next().await {
        let (from, seen) = read.unwrap();
        let expected: Vec<u64> = written.iter().copied().filter(|sequence| *sequence > from).collect();
        assert_eq!(seen, expected, "from {from}");
    }
    assert!(format!("{streams:?}").contains("live: 0"), "{streams:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_event_once_and_in_order() {
    for seed in 0..12 {
        let dice = Dice::new(seed);
        // A feed that drops most of what it is given makes every reader fall behind.
        let feed = if seed % 3 == 0 { MemoryFeed::bounded(2, usize::MAX) } else { MemoryFeed::new() };
        let scene = Scene::memory(feed).await;
        everything_once(&scene, &scene, &dice, 8, 60).await;
        scene.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_of_another_process_is_followed() {
    for seed in 100..103 {
        let (author, watcher) = Scene::two_processes().await;
        everything_once(&author, &watcher, &Dice::new(seed), 4, 40).await;
        author.close().await;
        watcher.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_of_another_process_come_soon() {
    let (author, watcher) = Scene::two_processes().await;
    let mut stream = watcher.streams().open(RUN, 0).await.unwrap();
    let mut writer = author.writer();
    for sequence in [1, 2, 3] {
        if sequence == 2 {
            writer.durable();
        } else {
            writer.chunk("text");
        }
        writer.flush(async || {}).await;
        let begin = Instant::now();
        assert_eq!(next(&mut stream).await, Some(sequence));
        assert!(begin.elapsed() < Duration::from_millis(600), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn the_cursor_of_one_reader_takes_nothing_from_another() {
    let scene = Scene::memory(MemoryFeed::new()).await;
    let streams = scene.streams();
    let mut writer = scene.writer();
    writer.durable();
    writer.flush(async || {}).await;
    // A cursor that no event has, from a client that makes things up.
    let mut liar = streams.open(RUN, 1_000_000).await.unwrap();
    let pending = tokio::time::timeout(Duration::from_millis(50), liar.next()).await;
    assert!(pending.is_err());
    let mut honest = streams.open(RUN, 0).await.unwrap();
    assert_eq!(next(&mut honest).await, Some(1));
    writer.durable();
    writer.flush(async || {}).await;
    assert_eq!(next(&mut honest).await, Some(2));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_given_what_it_missed() {
    let scene = Scene::memory(MemoryFeed::new()).await;
    let streams = scene.streams();
    let mut writer = scene.writer();
    writer.durable();
    writer.flush(async || {}).await;
    let (mut slow, mut quick) = (streams.open(RUN, 0).await.unwrap(), streams.open(RUN, 0).await.unwrap());
    assert_eq!((next(&mut slow).await, next(&mut quick).await), (Some(1), Some(1)));
    let pending = tokio::time::timeout(Duration::from_millis(20), slow.next()).await;
    assert!(pending.is_err(), "it is live now");
    // Far more than a ring holds.
    for sequence in 2..=6_000 {
        writer.durable();
        writer.flush(async || {}).await;
        assert_eq!(next(&mut quick).await, Some(sequence));
    }
    for sequence in 2..=6_000 {
        assert_eq!(next(&mut slow).await, Some(sequence));
    }
    writer.end().await;
    assert_eq!((next(&mut slow).await, next(&mut quick).await), (Some(6_001), Some(6_001)));
    assert_eq!((next(&mut slow).await, next(&mut quick).await), (None, None));
}

#[tokio::test]
async fn streams_end_when_the_process_stops() {
    let scene = Scene::memory(MemoryFeed::new()).await;
    let mut stream = scene.streams().open(RUN, 0).await.unwrap();
    let stop = scene.stop.clone();
    let (item, ()) = tokio::join!(stream.next(), async move { stop.cancel() });
    assert!(matches!(item.unwrap(), Item::Stopped));
    drop(stream);
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_rendered_once_for_all() {
    let scene = Scene::memory(MemoryFeed::new()).await;
    let streams = scene.streams();
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut stream = streams.open(RUN, 0).await.unwrap();
        let pending = tokio::time::timeout(Duration::from_millis(5), stream.next()).await;
        assert!(pending.is_err());
        readers.push(stream);
    }
    let mut writer = scene.writer();
    writer.durable();
    writer.flush(async || {}).await;
    let rendered = AtomicU64::new(0);
    for stream in &mut readers {
        let Item::Event(shown) = stream.next().await.unwrap() else { panic!("an event") };
        shown.rendered(|_| {
            rendered.fetch_add(1, Ordering::SeqCst);
            bytes::Bytes::from_static(b"data")
        });
    }
    assert_eq!(rendered.into_inner(), 1);
}
