//! Several processes on one file, and the death of one of them. The children are this test binary itself,
//! told by a variable which file to work on.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use opsroom::{
    ports::{CommitAnswer, NewRun, RunFilter, Store},
    store::SqliteStore,
};

use super::world::{TENANT, W1, at, claim, new_run, next, plan, run_id};

const FILE: &str = "OPSROOM_TEST_FILE";

fn child(case: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([&format!("store::processes::{case}"), "--exact", "--ignored", "--nocapture"])
        .env(FILE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The file that the parent named; nothing without a parent.
#[expect(clippy::disallowed_methods, reason = "how the parent tells the child which file")]
async fn shared_store() -> Option<SqliteStore> {
    let path = std::env::var(FILE).ok()?;
    Some(SqliteStore::open(Path::new(&path)).await.unwrap())
}

#[tokio::test]
#[ignore = "a child of the test below"]
#[expect(clippy::print_stdout, reason = "how the child tells the parent")]
async fn opens_and_claims() {
    let Some(store) = shared_store().await else { return };
    store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
    // The first one creates them; the others are refused.
    store.create_runs(&(1..=100).map(new_run).collect::<Vec<_>>(), None).await.ok();
    loop {
        let claimed = store.claim(&claim(W1, 3)).await.unwrap();
        if claimed.is_empty() {
            return;
        }
        for run in claimed {
            println!("\nclaimed {}", run.id);
        }
    }
}

#[tokio::test]
async fn twenty_processes_open_a_fresh_file_and_share_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let children: Vec<Child> = (0..20).map(|_| child("opens_and_claims", &path)).collect();
    let mut claimed = Vec::new();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        claimed.extend(text.lines().filter_map(|line| line.strip_prefix("claimed ")).map(str::to_owned));
    }
    claimed.sort();
    assert_eq!(claimed, (1..=100).map(|number| run_id(number).to_string()).collect::<Vec<_>>());
}

#[tokio::test]
#[ignore = "a child of the test below"]
#[expect(clippy::print_stdout, reason = "how the child tells the parent")]
async fn commits_until_it_dies() {
    let Some(store) = shared_store().await else { return };
    loop {
        let mut batch = Vec::new();
        for run in store.runs(TENANT, &RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap().items {
            batch.push(next(&run));
        }
        let answers = store.commit(&batch).await.unwrap();
        assert!(answers.iter().all(|answer| *answer == CommitAnswer::Committed));
        println!("\ncommitted {}", batch[0].sequence_head);
    }
}

#[tokio::test]
async fn what_was_answered_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let store = SqliteStore::open(&path).await.unwrap();
    store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
    let runs: Vec<NewRun> = (1..=20).map(|number| NewRun { claimed_by: Some(W1), ..new_run(number) }).collect();
    store.create_runs(&runs, None).await.unwrap();
    for round in 1..=5 {
        let mut child = child("commits_until_it_dies", &path);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut commits =
            lines.by_ref().filter_map(|line| line.unwrap().strip_prefix("committed ")?.parse::<u64>().ok());
        let seen = commits.nth(round * 3).unwrap();
        child.kill().unwrap();
        let answered = commits.last().unwrap_or(seen);
        child.wait().unwrap();
        for run in &runs {
            let row = store.run(run.id).await.unwrap().unwrap();
            let events = store.events(run.id, 0, usize::MAX).await.unwrap();
            assert!(row.sequence_head >= answered, "{} < {answered}", row.sequence_head);
            // Whole commits only, and all runs of the batch alike.
            assert_eq!(events.len() as u64, row.sequence_head);
            assert_eq!(row.sequence_head, store.run(runs[0].id).await.unwrap().unwrap().sequence_head);
        }
        // The lock died with its holder.
        store.beat(W1, None).await.unwrap();
    }
}
