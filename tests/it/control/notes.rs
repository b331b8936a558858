//! Durable events that are no facts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use opsroom::{
    control::Limits,
    model::{Category, Failure, RunStatus, StepStatus, Success},
    ports::{AttemptContext, Executor, LogStream},
};
use serde_json::{Value, json};

use super::world::{Act, PATIENCE, Place, Process, chain};

/// Says things in an order that must be kept, and once something that is too much.
struct Talker;

#[async_trait]
impl Executor for Talker {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        for n in 0..50_u32 {
            let Value::Object(data) = json!({ "n": n, "step": "not mine to say" }) else { unreachable!() };
            context.log.bytes(LogStream::Stdout, format!("{n}").into_bytes()).await;
            context.log.note(Category::Dispatch, "task.sent", data).await?;
        }
        let Value::Object(data) = json!({ "n": "x".repeat(2 << 20) }) else { unreachable!() };
        context.log.note(Category::Llm, "answer", data).await.map(|()| Success::default())
    }

    fn needs_workspace(&self) -> bool {
        false
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_are_rows_in_the_runs_order_and_shown_after_they_are_committed() {
    let place = Place::sqlite().await;
    let actions = [("talk", Arc::new(Talker) as Act)];
    let process = Process::with(&place, place.store.clone(), actions, Limits::default()).await;
    let plan = chain([("talk", json!({}))]);
    let run = process.submit(&plan).await;
    let mut feed = process.world.feed.subscribe(run);
    process.serve(4);
    assert_eq!(process.ends(run).await, RunStatus::Failed);
    let step = process.runs.steps(run).await.unwrap().remove(0);
    assert_eq!((step.status, step.error.unwrap().code.as_str()), (StepStatus::Failed, "NOTE_TOO_LARGE"));

    let stored = process.world.store.events(run, 0, 1_000).await.unwrap();
    let notes: Vec<_> = stored.iter().filter(|event| event.kind.category == Category::Dispatch).collect();
    assert_eq!(notes.len(), 50);
    for (n, note) in notes.iter().enumerate() {
        assert_eq!(note.data, json!({ "n": n, "step": "s0", "attempt": 1 }));
    }
    let mut shown = Vec::new();
    while let Some(event) = tokio::time::timeout(PATIENCE, feed.next()).await.unwrap() {
        shown.push(event);
    }
    // Nothing is missing between any two, chunk or not, and what is durable was shown as it is stored.
    assert!(shown.windows(2).all(|pair| pair[1].prev == pair[0].sequence), "{shown:#?}");
    let durable: Vec<_> = shown.iter().filter(|event| !event.is_chunk()).collect();
    assert_eq!(durable.len(), stored.len());
    for (shown, stored) in durable.iter().zip(&stored) {
        assert_eq!((shown.sequence, &shown.data), (stored.sequence, &stored.data));
    }
    // Each chunk precedes the note that was said after it.
    let said: Vec<_> =
        shown.iter().filter(|event| event.is_chunk() || event.event.category == Category::Dispatch).collect();
    assert!(said.chunks(2).all(|pair| pair[0].is_chunk() && !pair[1].is_chunk()), "{said:#?}");
    process.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_notes_keep_a_cancel_waiting_for_a_moment_only() {
    let place = Place::sqlite().await;
    let process = Process::new(&place).await;
    process.serve(4);
    let (count, before) = (100_000_u64, Instant::now());
    let plan = chain([("events.emit", json!({ "count": count, "bytes": 100 }))]);
    let run = process.submit(&plan).await;
    assert_eq!(process.ends(run).await, RunStatus::Succeeded);
    let taken = before.elapsed();
    let view = process.runs.view(run).await.unwrap();
    assert_eq!(view.row.status, RunStatus::Succeeded);
    let facts = process.world.store.facts(run, 0, 1_000).await.unwrap();
    assert_eq!(facts.len(), 4, "{facts:?}");
    let rows = process.world.store.events(run, 0, 1_000_000).await.unwrap();
    assert_eq!(rows.len() as u64, count + 4);
    assert!(rows.windows(2).all(|pair| pair[1].prev == pair[0].sequence));
    println!("{count} durable events in {taken:?}: {:.0}/s", count as f64 / taken.as_secs_f64());

    // While a step never stops talking.
    let endless = process.submit(&chain([("events.emit", json!({ "count": 10_000_000, "bytes": 5_000 }))])).await;
    process.until(endless, |row| row.sequence_head > 5_000).await;
    let before = Instant::now();
    process.runs.cancel(endless, "ada", "", false).await.unwrap();
    assert_eq!(process.ends(endless).await, RunStatus::Cancelled);
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    println!("a cancel beside it took {:?}", before.elapsed());
    process.stop().await;
}
