//! Reading the events of a run back, in pages and by ranges of ids.

use std::time::{Duration, Instant};

use opsroom::{control::EventRange, feed::MemoryFeed, model::StreamId};

use super::scene::{RUN, Scene};

/// 300 events, a fact and two chunks in turn, three of them in each millisecond.
async fn scene() -> Scene {
    let scene = Scene::memory(MemoryFeed::new()).await;
    let mut writer = scene.writer();
    for millis in 1..=100 {
        writer.at(1_000 + millis);
        writer.durable();
        writer.chunk("one");
        writer.chunk("two");
        writer.flush(async || {}).await;
    }
    scene
}

async fn page(scene: &Scene, start: Option<&str>, end: Option<&str>, limit: usize) -> (Vec<u64>, Option<StreamId>) {
    let range = EventRange::parse(start, end).unwrap();
    let page = scene.history.page(RUN, range, limit).await.unwrap();
    (page.events.iter().map(|event| event.sequence).collect(), page.next)
}

#[tokio::test]
async fn pages_follow_one_another() {
    let scene = scene().await;
    let (mut seen, mut start) = (Vec::new(), None);
    loop {
        let (events, next) = page(&scene, start.as_deref(), None, 7).await;
        assert!(events.len() == 7 || next.is_none());
        seen.extend(events);
        let Some(next) = next else { break };
        start = Some(next.to_string());
    }
    assert_eq!(seen, (1..=300).collect::<Vec<u64>>());
}

#[tokio::test]
async fn ranges_are_by_id_and_include_both_ends() {
    let scene = scene().await;
    let cases: [(Option<&str>, Option<&str>, std::ops::RangeInclusive<u64>); 11] = [
        (None, None, 1..=300),
        (Some("-"), Some("+"), 1..=300),
        (Some("0"), None, 1..=300),
        (Some("0-0"), Some("1001"), 1..=3),
        (Some("1050-148"), Some("1050-149"), 148..=149),
        (Some("1050"), Some("1050"), 148..=150),
        (Some("1050-0"), Some("1051-0"), 148..=150),
        (Some("1050-999"), Some("1051-152"), 151..=152),
        (Some("1049-999"), Some("1050"), 148..=150),
        (Some("1100-300"), None, 300..=300),
        // Ids that nothing has: what is after them by time.
        (Some("1099-1"), None, 295..=300),
    ];
    for (start, end, expected) in cases {
        assert_eq!(page(&scene, start, end, 1_000).await.0, expected.collect::<Vec<_>>(), "{start:?} {end:?}");
    }
    for (start, end) in [(None, Some("1000-5")), (Some("9999999999999"), None), (Some("2000"), Some("1000"))] {
        assert_eq!(page(&scene, start, end, 10).await, (Vec::new(), None), "{start:?} {end:?}");
    }
    assert_eq!(page(&scene, Some("9223372036854775807-18446744073709551615"), None, 10).await.0, [0; 0]);
}

#[tokio::test]
async fn what_is_no_id_is_refused() {
    for bad in ["", "x", "1-", "-1", "1-2-3", "1.5", " 1", "1 ", "+1", "1-+2", "--", "99999999999999999999", "١"] {
        assert!(EventRange::parse(Some(bad), None).is_err(), "{bad:?}");
        assert!(EventRange::parse(None, Some(bad)).is_err(), "{bad:?}");
    }
}

#[tokio::test]
async fn a_page_of_large_chunks_is_bounded() {
    let scene = Scene::memory(MemoryFeed::new()).await;
    let mut writer = scene.writer();
    for _ in 0..200 {
        writer.chunk(&"x".repeat(64 << 10));
    }
    writer.flush(async || {}).await;
    let (events, next) = page(&scene, None, None, 1_000).await;
    assert!(events.len() > 100 && events.len() < 130, "{}", events.len());
    assert_eq!(next.map(|id| id.sequence), events.last().map(|last| last + 1));
}

#[tokio::test]
async fn what_was_lost_is_passed_over() {
    let scene = Scene::memory(MemoryFeed::new()).await;
    let mut writer = scene.writer();
    for _ in 0..5 {
        writer.at(1);
        writer.durable();
        writer.skip(3);
    }
    writer.flush(async || {}).await;
    let begin = Instant::now();
    assert_eq!(page(&scene, None, None, 100).await.0, [1, 5, 9, 13, 17]);
    assert!(begin.elapsed() < Duration::from_secs(1), "old events are not waited for");
}

#[tokio::test]
async fn a_thousand_events_are_quick_wherever_they_are() {
    let scene = Scene::two_processes().await.0;
    let mut writer = scene.writer();
    for _ in 0..20 {
        for _ in 0..500 {
            writer.durable();
            writer.chunk("a line of text\n");
        }
        writer.flush(async || {}).await;
    }
    for start in ["-", "deep"] {
        let start = if start == "deep" { id_of(&scene, 18_000).await } else { start.to_owned() };
        let begin = Instant::now();
        let (events, _) = page(&scene, Some(&start), None, 1_000).await;
        assert_eq!(events.len(), 1_000);
        assert!(begin.elapsed() < Duration::from_secs(1), "{start}: {:?}", begin.elapsed());
    }
}

async fn id_of(scene: &Scene, sequence: u64) -> String {
    scene.history.reader(RUN, sequence - 1).next().await.unwrap().unwrap().id().to_string()
}
