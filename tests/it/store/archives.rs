//! Archives: what is to be made, what was made, and what goes afterwards.

use opsroom::{
    model::{Digest, RunId},
    ports::{ArchiveRow, CommitAnswer},
};

use super::world::{W1, World, at, end, next, run_id};

fn archive(number: u128, pack: &str) -> ArchiveRow {
    ArchiveRow {
        run: run_id(number),
        artifact: format!("archives/{pack}"),
        position: 17,
        size: 4_096,
        digest: Digest::of(b"archive"),
        head: Digest::of(b"head"),
        events: 3,
        last_sequence: 9,
        at: at(10_000 + number),
    }
}

/// Runs that have ended, with four events each.
async fn ended(world: &World, numbers: impl IntoIterator<Item = u128>) {
    for number in numbers {
        let row = world.owned(number, W1).await;
        assert_eq!(world.commit(next(&row)).await, CommitAnswer::Committed);
        let row = world.row(row.id).await;
        let at = at(3_000 + number);
        assert_eq!(world.commit(opsroom::ports::RunCommit { at, ..end(&row) }).await, CommitAnswer::Committed);
    }
}

async fn unarchived(world: &World, limit: usize) -> Vec<RunId> {
    world.b.unarchived(limit).await.unwrap().into_iter().map(|run| run.run).collect()
}

pub async fn ended_runs_wait_for_their_archive(world: &World) {
    world.queued([9]).await;
    world.owned(8, W1).await;
    ended(world, [3, 1, 2]).await;
    assert_eq!(unarchived(world, 10).await, [1, 2, 3].map(run_id));
    assert_eq!(unarchived(world, 2).await, [1, 2].map(run_id));
    let first = world.b.unarchived(1).await.unwrap()[0];
    assert_eq!((first.ended_at, first.sequence_head), (at(3_001), world.row(run_id(1)).await.sequence_head));
    world.a.record_archives(&[archive(1, "a"), archive(3, "a")]).await.unwrap();
    assert_eq!(unarchived(world, 10).await, [2].map(run_id));
}

pub async fn events_of_many_runs_at_once(world: &World) {
    ended(world, [1, 2, 3]).await;
    let ask = [3, 4, 1, 2].map(run_id);
    let of = async |limit| world.b.events_of(&ask, limit).await.unwrap();
    let all = of(100).await;
    assert_eq!(
        all.iter().map(|(run, events)| (*run, events.len())).collect::<Vec<_>>(),
        [(run_id(3), 4), (run_id(4), 0), (run_id(1), 4), (run_id(2), 4)]
    );
    assert_eq!(all[2].1, world.a.events(run_id(1), 0, 100).await.unwrap());
    assert_eq!(of(10).await, all[..3]);
    assert_eq!(of(6).await, all[..2]);
    assert!(of(3).await.len() < 2);
    assert!(world.b.events_of(&[], 10).await.unwrap().is_empty());
}

pub async fn an_archive_is_recorded_once(world: &World) {
    ended(world, [1, 2]).await;
    world.queued([3]).await;
    let (first, again) = (archive(1, "a"), ArchiveRow { events: 99, ..archive(1, "b") });
    world.a.record_archives(std::slice::from_ref(&first)).await.unwrap();
    world.b.record_archives(&[again, archive(2, "b"), archive(3, "b"), archive(7, "b")]).await.unwrap();
    assert_eq!(world.b.archive(run_id(1)).await.unwrap(), Some(first));
    assert_eq!(world.a.archive(run_id(2)).await.unwrap(), Some(archive(2, "b")));
    // One that has not ended, and one that does not exist.
    assert_eq!(world.a.archive(run_id(3)).await.unwrap(), None);
    assert_eq!(world.a.archive(run_id(7)).await.unwrap(), None);
    let settled = world.a.settled(&[1, 3, 7, 2].map(run_id)).await.unwrap();
    assert_eq!(settled, [1, 7, 2].map(run_id));
    world.a.record_archives(&[]).await.unwrap();
}

pub async fn rows_go_when_the_archive_is_old(world: &World) {
    ended(world, [1, 2, 3]).await;
    world.a.record_archives(&[archive(1, "a"), archive(2, "a")]).await.unwrap();
    let left = async || {
        let mut left = Vec::new();
        for number in 1..=3 {
            left.push(world.b.events(run_id(number), 0, 100).await.unwrap().len());
        }
        left
    };
    assert!(!world.a.trim_events(at(10_001), 100).await.unwrap());
    assert_eq!(left().await, [4, 4, 4]);
    assert!(world.a.trim_events(at(10_002), 3).await.unwrap(), "there is more");
    assert_eq!(left().await, [1, 4, 4]);
    assert!(world.a.expired(at(20_000), 10).await.unwrap().is_empty(), "rows go first");
    while world.a.trim_events(at(20_000), 3).await.unwrap() {}
    assert_eq!(left().await, [0, 0, 4]);
    assert_eq!(world.b.expired(at(10_002), 10).await.unwrap(), [run_id(1)]);
    assert_eq!(world.b.expired(at(20_000), 10).await.unwrap(), [1, 2].map(run_id));
    assert_eq!(world.b.expired(at(20_000), 1).await.unwrap(), [run_id(1)]);
    assert_eq!(world.b.steps(run_id(1)).await.unwrap().len(), 2, "the steps stay");
}

pub async fn runs_go_with_everything(world: &World) {
    ended(world, [1, 2]).await;
    world.owned(3, W1).await;
    world.a.record_archives(&[archive(1, "a")]).await.unwrap();
    world.a.record_archives(&[archive(2, "b")]).await.unwrap();
    assert_eq!(
        world.b.unknown_packs(&["archives/a".to_owned(), "archives/x".to_owned()]).await.unwrap(),
        ["archives/x"]
    );
    assert!(world.b.unused_packs(10).await.unwrap().is_empty());
    world.a.delete_runs(&[1, 3, 7].map(run_id)).await.unwrap();
    assert!(world.b.run(run_id(1)).await.unwrap().is_none());
    assert!(world.b.run(run_id(3)).await.unwrap().is_some(), "a run that has not ended stays");
    assert_eq!(world.b.archive(run_id(1)).await.unwrap(), None);
    assert!(world.b.events(run_id(1), 0, 10).await.unwrap().is_empty());
    assert!(world.b.steps(run_id(1)).await.unwrap().is_empty());
    assert_eq!(world.b.unused_packs(10).await.unwrap(), ["archives/a"]);
    world.a.forget_packs(&["archives/a".to_owned(), "archives/b".to_owned()]).await.unwrap();
    assert!(world.b.unused_packs(10).await.unwrap().is_empty());
    assert_eq!(world.b.unknown_packs(&["archives/b".to_owned()]).await.unwrap(), [""; 0], "still used");
}

pub async fn large_events_are_read_a_few_at_a_time(world: &World) {
    for number in 1..=3 {
        let row = world.owned(number, W1).await;
        let mut commit = next(&row);
        commit.events[0].data = serde_json::json!({"text": "x".repeat(3 << 20)});
        assert_eq!(world.commit(commit).await, CommitAnswer::Committed);
    }
    let ask = [1, 2, 3].map(run_id);
    let read = world.b.events_of(&ask, 1_000).await.unwrap();
    assert_eq!(read.iter().map(|(run, events)| (*run, events.len())).collect::<Vec<_>>(), [(ask[0], 2), (ask[1], 2)]);
}
