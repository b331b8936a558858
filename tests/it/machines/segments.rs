//! What steps say is read on every machine, live and later, whoever dies in between.

use std::time::Duration;

use opsroom::{
    control::{EventRange, LogFilter},
    model::{Event, RunId, RunStatus},
    ports::{ArchiveStore as _, SegmentStore as _},
    system::FolderSpool,
};
use std::sync::Arc;

use super::{Fleet, Machine, all, talk, until};
use crate::control::world::{PATIENCE, chain};

fn chunks(events: &[Event]) -> usize {
    events.iter().filter(|event| event.is_chunk()).count()
}

fn dropped(events: &[Event]) -> Vec<&Event> {
    events.iter().filter(|event| event.event.action == "dropped").collect()
}

/// As clients see them: with whole milliseconds.
fn shown(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| serde_json::to_string(event).unwrap()).collect()
}

/// Every event is there: each follows the one before.
fn is_whole(events: &[Event]) {
    let mut last = 0;
    for event in events {
        assert!(event.prev <= last && event.sequence > last, "{} after {last}", event.sequence);
        last = event.sequence;
    }
    assert_eq!(events.last().unwrap().event.action, "run_finished");
}

async fn log(machine: &Machine, run: RunId, step: &str) -> String {
    let filter = LogFilter { step: step.into(), attempt: None, stream: None };
    let mut log = machine.history().log(run, filter, 0, u64::MAX);
    let mut text = Vec::new();
    while let Some(piece) = log.next().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_reads_what_was_said() {
    let fleet = Fleet::new().await;
    let (worker, reader) = (fleet.machine("worker").await, fleet.machine("reader").await);
    worker.work();
    let run = worker.process.submit(&chain([talk(500, 40, 0), talk(1, 0, 0), talk(100, 5_000, 0)])).await;
    assert_eq!(worker.process.ends(run).await, RunStatus::Succeeded);
    let there = all(&reader.history(), run).await;
    is_whole(&there);
    assert!(chunks(&there) >= 3);
    assert_eq!(there, all(&worker.history(), run).await);
    let text = log(&reader, run, "s0").await;
    assert_eq!(text.lines().count(), 500);
    assert!(text.ends_with(&format!("line 499 {}\n", "x".repeat(40))));
    assert_eq!(log(&reader, run, "s2").await, log(&worker, run, "s2").await);
    // A page from the middle, as `GET /events` gives it.
    let start = there[there.len() / 2].id().to_string();
    let page = reader.history().page(run, EventRange::parse(Some(&start), None).unwrap(), 10_000).await.unwrap();
    assert_eq!(page.events, there[there.len() / 2..]);
    // The spool of the worker has nothing to do any more.
    until("the spool is empty", async || std::fs::read_dir(&worker.spool_folder).unwrap().next().is_none()).await;
    assert_eq!(all(&worker.history(), run).await, there);
    worker.process.stop().await;
    reader.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_archives_and_segments_go() {
    let fleet = Fleet::new().await;
    let (worker, scheduler) = (fleet.machine("worker").await, fleet.machine("scheduler").await);
    worker.work();
    let mut runs = Vec::new();
    for lines in [0, 1, 300] {
        let run = worker.process.submit(&chain([talk(lines, 100, 0)])).await;
        worker.process.ends(run).await;
        runs.push(run);
    }
    let before = all(&scheduler.history(), runs[2]).await;
    is_whole(&before);
    until("they are archived", async || {
        scheduler.archiver(&fleet).catch_up().await.unwrap();
        fleet.store.unarchived(10).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(shown(&all(&scheduler.history(), runs[2]).await), shown(&before));
    for run in &runs {
        assert!(scheduler.process.world.archives.verify(*run).await.unwrap() >= 4);
    }
    let segments = fleet.artifacts.list("segments").await.unwrap();
    assert!(!segments.is_empty());
    let sweeper = opsroom::control::Sweeper::new(
        opsroom::control::Retention::default(),
        fleet.store.clone(),
        fleet.artifacts.clone(),
        scheduler.process.world.spool.clone(),
        scheduler.process.world.clock.clone(),
    );
    sweeper.with_segments(scheduler.process.world.segments.clone()).round().await.unwrap();
    assert!(fleet.artifacts.list("segments").await.unwrap().is_empty());
    assert!(fleet.store.segments(runs[2], 0, 10).await.unwrap().is_empty());
    assert_eq!(shown(&all(&worker.history(), runs[2]).await), shown(&before));
    worker.process.stop().await;
    scheduler.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_run_is_read_while_it_goes_on() {
    let fleet = Fleet::new().await;
    let (worker, reader) = (fleet.machine("worker").await, fleet.machine("reader").await);
    worker.work();
    // More than a segment at once, then silence.
    let run = worker.process.submit(&chain([talk(40, 60_000, 60_000)])).await;
    let read = async || log(&reader, run, "s0").await.lines().count();
    let begin = tokio::time::Instant::now();
    until("a MiB is sent at once", async || read().await >= 17).await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    until("the rest is sent in its turn", async || read().await == 40).await;
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    // One or several, as fast as the machine is.
    assert!(!fleet.store.segments(run, 0, 100).await.unwrap().is_empty());
    worker.process.runs.cancel(run, "ada", "", false).await.unwrap();
    worker.process.ends(run).await;
    is_whole(&all(&reader.history(), run).await);
    worker.process.stop().await;
    reader.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_worker_had_not_sent_is_told() {
    let fleet = Fleet::new().await;
    let (worker, heir) = (fleet.machine("worker").await, fleet.machine("heir").await);
    // It takes runs, and sends nothing, as if it died within the five seconds.
    worker.process.serve(4);
    let run = worker.process.submit(&chain([talk(30, 10, 60_000)])).await;
    until("it has spoken", async || chunks(&all(&worker.history(), run).await) > 0).await;
    worker.process.halt.cancel();
    worker.process.stop.cancel();
    tokio::time::timeout(PATIENCE, async {
        worker.process.tasks.close();
    })
    .await
    .unwrap();
    let dead = [worker.process.worker];
    let requeued =
        opsroom::ports::Store::requeue(&*fleet.store, &dead, heir.process.world.clock.now(), 10).await.unwrap();
    assert_eq!(requeued.len(), 1);
    heir.work();
    until("it is held or ends", async || {
        let row = heir.process.row(run).await;
        row.status.is_ended() || row.waiting_on == Some(opsroom::model::WaitingOn::StepOutcome)
    })
    .await;
    let told = all(&heir.history(), run).await;
    assert_eq!(chunks(&told), 0, "they are on the disk of the dead worker");
    assert_eq!(dropped(&told).len(), 1, "{told:?}");
    assert_eq!(dropped(&told)[0].data["reason"], "worker_lost");
    // Its machine is back: the next worker there sends what is left.
    let spool = Arc::new(FolderSpool::new(&worker.spool_folder).unwrap());
    let again = fleet.machine("worker").await;
    again.uploads.take_over(spool).await.unwrap();
    assert_eq!(log(&heir, run, "s0").await.lines().count(), 30);
    assert!(std::fs::read_dir(&worker.spool_folder).unwrap().next().is_none());
    again.process.stop().await;
    heir.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_segment_is_a_gap_that_is_told() {
    let fleet = Fleet::new().await;
    let (worker, reader) = (fleet.machine("worker").await, fleet.machine("reader").await);
    worker.work();
    let run = worker.process.submit(&chain([talk(3, 10, 0), talk(3, 10, 6_000), talk(3, 10, 0)])).await;
    worker.process.ends(run).await;
    until("all is sent", async || std::fs::read_dir(&worker.spool_folder).unwrap().next().is_none()).await;
    let whole = all(&reader.history(), run).await;
    let rows = fleet.store.segments(run, 0, 10).await.unwrap();
    assert!(rows.len() > 1, "{rows:?}");
    fleet.artifacts.delete(&rows[0].artifact).await.unwrap();
    // Another reader, which has nothing in memory.
    let late = fleet.machine("late").await;
    let told = all(&late.history(), run).await;
    let gaps = dropped(&told);
    // What was in that segment was said by two steps, and facts are between.
    assert!(!gaps.is_empty(), "{told:?}");
    assert!(gaps.iter().all(|gap| gap.data["to"] == gap.sequence), "{gaps:?}");
    assert!(gaps[0].data["from"].as_u64().unwrap() <= rows[0].first_sequence);
    let facts = |events: &[Event]| events.iter().filter(|event| !event.is_chunk()).count();
    assert_eq!(facts(&told), facts(&whole) + gaps.len());
    is_whole(&told);
    worker.process.stop().await;
    reader.process.stop().await;
    late.process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_says_nothing_stores_nothing() {
    let fleet = Fleet::new().await;
    let worker = fleet.machine("worker").await;
    worker.work();
    let run = worker.process.submit(&chain([talk(0, 0, 0), talk(0, 0, 0)])).await;
    worker.process.ends(run).await;
    worker.process.stop().await;
    assert!(fleet.artifacts.list("").await.unwrap().is_empty());
    assert!(fleet.store.segments(run, 0, 10).await.unwrap().is_empty());
}
