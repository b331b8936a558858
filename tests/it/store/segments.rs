//! Segments: where the chunks of runs are, until their archive has them.

use opsroom::{
    model::{Digest, RunStatus},
    ports::{ArchiveRow, CommitAnswer, RunCommit, SegmentRow},
};

use super::world::{W1, World, at, end, next, run_id};

fn segment(number: u128, first: u64, last: u64, file: &str) -> SegmentRow {
    SegmentRow {
        run: run_id(number),
        first_sequence: first,
        last_sequence: last,
        artifact: format!("segments/{file}"),
        position: 17,
        size: 4_096,
        digest: Digest::of(file.as_bytes()),
        at: at(number),
    }
}

fn archive(number: u128) -> ArchiveRow {
    ArchiveRow {
        run: run_id(number),
        artifact: "archives/a".to_owned(),
        position: 0,
        size: 1,
        digest: Digest::of(b"archive"),
        head: Digest::of(b"head"),
        events: 3,
        last_sequence: 9,
        at: at(10_000),
    }
}

async fn ended(world: &World, numbers: impl IntoIterator<Item = u128>) {
    for number in numbers {
        let row = world.owned(number, W1).await;
        assert_eq!(world.commit(next(&row)).await, CommitAnswer::Committed);
        let last = RunCommit { status: RunStatus::Succeeded, error: None, ..end(&world.row(row.id).await) };
        assert_eq!(world.commit(last).await, CommitAnswer::Committed);
    }
}

async fn of(world: &World, number: u128, after: u64, limit: usize) -> Vec<(u64, u64)> {
    let rows = world.b.segments(run_id(number), after, limit).await.unwrap();
    rows.iter().map(|row| (row.first_sequence, row.last_sequence)).collect()
}

pub async fn segments_are_read_in_order(world: &World) {
    world.owned(1, W1).await;
    world.owned(2, W1).await;
    world.a.put_segments(&[segment(1, 40, 60, "b"), segment(2, 1, 9, "b")]).await.unwrap();
    world.b.put_segments(&[segment(1, 2, 7, "a"), segment(1, 9, 30, "a")]).await.unwrap();
    world.a.put_segments(&[]).await.unwrap();
    assert_eq!(of(world, 1, 0, 10).await, [(2, 7), (9, 30), (40, 60)]);
    assert_eq!(of(world, 1, 6, 10).await, [(2, 7), (9, 30), (40, 60)], "one that is behind in part");
    assert_eq!(of(world, 1, 7, 1).await, [(9, 30)]);
    assert_eq!(of(world, 1, 60, 10).await, []);
    assert_eq!(of(world, 1, u64::MAX, 10).await, []);
    assert_eq!(of(world, 3, 0, 10).await, []);
    assert_eq!(world.b.segments(run_id(2), 0, 9).await.unwrap(), [segment(2, 1, 9, "b")]);
}

pub async fn a_segment_is_recorded_once(world: &World) {
    world.owned(1, W1).await;
    ended(world, [2]).await;
    world.a.record_archives(&[archive(2)]).await.unwrap();
    world.a.put_segments(&[segment(1, 2, 7, "a")]).await.unwrap();
    // Known, of an archived run, of a run that does not exist.
    world.b.put_segments(&[segment(1, 2, 99, "b"), segment(2, 1, 2, "b"), segment(7, 1, 2, "b")]).await.unwrap();
    assert_eq!(world.b.segments(run_id(1), 0, 9).await.unwrap(), [segment(1, 2, 7, "a")]);
    assert_eq!(of(world, 2, 0, 9).await, []);
    assert_eq!(of(world, 7, 0, 9).await, []);
}

pub async fn files_go_when_all_their_runs_are_archived(world: &World) {
    ended(world, [1, 2, 3]).await;
    let rows = [segment(1, 1, 2, "a"), segment(2, 1, 2, "a"), segment(2, 3, 4, "b"), segment(3, 1, 2, "c")];
    world.a.put_segments(&rows).await.unwrap();
    let names = |names: &[&str]| names.iter().map(|name| format!("segments/{name}")).collect::<Vec<_>>();
    assert_eq!(world.b.unused_segments(9).await.unwrap(), names(&[]));
    world.a.record_archives(&[archive(2)]).await.unwrap();
    assert_eq!(world.b.unused_segments(9).await.unwrap(), names(&["b"]));
    world.a.record_archives(&[archive(1)]).await.unwrap();
    assert_eq!(world.b.unused_segments(9).await.unwrap(), names(&["a", "b"]));
    assert_eq!(world.b.unused_segments(1).await.unwrap(), names(&["a"]));
    assert_eq!(world.b.unknown_segments(&names(&["a", "x", "c"])).await.unwrap(), names(&["x"]));
    world.a.forget_segments(&names(&["a", "c", "x"])).await.unwrap();
    assert_eq!(of(world, 1, 0, 9).await, []);
    assert_eq!(of(world, 2, 0, 9).await, [(3, 4)]);
    assert_eq!(of(world, 3, 0, 9).await, [(1, 2)], "it is not archived");
    world.a.delete_runs(&[run_id(2)]).await.unwrap();
    assert_eq!(world.b.unknown_segments(&names(&["b", "c"])).await.unwrap(), names(&["b"]), "they go with their run");
}
