//! Stopping: no more requests, no more claims, and time for what is under way.

use std::time::Duration;

use tokio::time::Instant;

use super::start::Started;
use crate::{
    cli::{Context, fault::exit, interrupt::Interrupts},
    model::{Millis, RunStatus, TenantId},
    ports::RunFilter,
};

/// How often it is told what is waited for.
const PROGRESS: Duration = Duration::from_secs(1);

/// How long attempts that are ended by force may take.
const FORCE: Duration = Duration::from_secs(10);

/// The most that is counted.
const COUNTED: usize = 1_000;

/// Stops, and answers the exit code.
pub async fn drain(
    context: &Context,
    patience: Millis,
    started: &mut Started,
    signal: &str,
    interrupts: &mut Interrupts,
) -> u8 {
    let out = &context.out;
    out.message(format!("{signal}: stopping; once more ends opsroom at once"));
    started.stop_server.cancel();
    started.stop_lanes.cancel();
    let deadline = Instant::now() + patience.duration();
    let mut progress = tokio::time::interval(PROGRESS);
    progress.tick().await;
    loop {
        let running = tokio::time::timeout(PROGRESS, under_way(started)).await.unwrap_or(0);
        tokio::select! {
            // The lanes' own end says whether they failed; there is nothing more to stop then.
            _ = started.drained() => return exit::SUCCESS,
            () = tokio::time::sleep_until(deadline) => break,
            _ = progress.tick() => {
                let left = deadline.saturating_duration_since(Instant::now()).as_secs();
                out.message(format!("waiting for {} to end, {left} s at most", runs(running)));
            }
            _ = interrupts.next() => std::process::exit(exit::INTERRUPTED.into()),
        }
    }
    let cut = tokio::time::timeout(PROGRESS, under_way(started)).await.unwrap_or(COUNTED);
    started.halt.cancel();
    tokio::select! {
        _ = tokio::time::timeout(FORCE, started.drained()) => {}
        _ = interrupts.next() => std::process::exit(exit::INTERRUPTED.into()),
    }
    if cut == 0 {
        return exit::SUCCESS;
    }
    out.message(format!("{} cut off; the next start goes on with what can go on", runs(cut)));
    exit::FAILED
}

fn runs(number: usize) -> String {
    if number == 1 { "1 run".to_owned() } else { format!("{number} runs") }
}

/// How many runs this process owns.
async fn under_way(started: &Started) -> usize {
    let owned = vec![RunStatus::Claimed, RunStatus::Running];
    let filter = RunFilter { status: owned, limit: COUNTED, ..RunFilter::default() };
    let rows = started.instance.world.store.runs(TenantId::DEFAULT, &filter).await;
    rows.map_or(0, |page| page.items.iter().filter(|row| row.claimed_by == Some(started.worker.id)).count())
}
