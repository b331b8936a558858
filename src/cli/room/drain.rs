//! Stopping: no more requests, no more claims, and time for what is under way; then it goes back to its lanes.

use std::time::Duration;

use tokio::time::Instant;

use super::{crew::Crew, start::Started};
use crate::{
    cli::{Context, fault::exit, interrupt::Interrupts},
    model::{Millis, TenantId},
    ports::Store,
};

/// How often it is told what is waited for.
const PROGRESS: Duration = Duration::from_secs(1);

/// How long attempts may take to be stopped, and their runs to be handed back.
const HAND_BACK: Duration = Duration::from_secs(15);

/// How long attempts that are ended by force may take.
const FORCE: Duration = Duration::from_secs(10);

/// What is counted where the store does not answer.
const UNKNOWN: usize = 0;

/// Stops, after it was told `why`, and answers the exit code.
pub async fn drain(
    context: &Context,
    patience: Millis,
    started: &mut Started,
    why: &str,
    interrupts: &mut Interrupts,
) -> u8 {
    let out = &context.out;
    out.message(why);
    started.stop_server.cancel();
    let store = started.instance.world.store.clone();
    let Some(crew) = &mut started.crew else { return exit::SUCCESS };
    crew.stops.lanes.cancel();
    let deadline = Instant::now() + patience.duration();
    // For people who look, and for those who count the slots of a lane.
    if let Ok(Err(error)) = tokio::time::timeout(PROGRESS, store.drain_worker(TenantId::DEFAULT, crew.id())).await {
        tracing::debug!(%error, "it could not be told that this worker takes nothing more");
    }
    let mut progress = tokio::time::interval(PROGRESS);
    progress.tick().await;
    loop {
        let running = under_way(&*store, crew).await;
        tokio::select! {
            // The lanes' own end says whether they failed; there is nothing more to stop then.
            _ = crew.ended() => return exit::SUCCESS,
            () = tokio::time::sleep_until(deadline) => break,
            _ = progress.tick() => {
                let left = deadline.saturating_duration_since(Instant::now()).as_secs();
                out.message(format!("waiting for {} to end, {left} s at most", runs(running)));
            }
            _ = interrupts.next() => std::process::exit(exit::INTERRUPTED.into()),
        }
    }
    let cut = under_way(&*store, crew).await;
    let is_handed_back = hand_back(crew, interrupts).await;
    if cut == 0 {
        return exit::SUCCESS;
    }
    out.message(if is_handed_back {
        format!("{} cut off and handed back; whoever takes runs next goes on with what can go on", runs(cut))
    } else {
        format!("{} cut off; the next start goes on with what can go on", runs(cut))
    });
    exit::FAILED
}

/// Stops what is under way; whether all of it could be handed back.
async fn hand_back(crew: &mut Crew, interrupts: &mut Interrupts) -> bool {
    crew.stops.hand_back.cancel();
    tokio::select! {
        _ = crew.ended() => return true,
        () = tokio::time::sleep(HAND_BACK) => {}
        _ = interrupts.next() => std::process::exit(exit::INTERRUPTED.into()),
    }
    crew.stops.halt.cancel();
    tokio::select! {
        _ = tokio::time::timeout(FORCE, crew.ended()) => {}
        _ = interrupts.next() => std::process::exit(exit::INTERRUPTED.into()),
    }
    false
}

fn runs(number: usize) -> String {
    if number == 1 { "1 run".to_owned() } else { format!("{number} runs") }
}

/// How many runs this process owns.
async fn under_way(store: &dyn Store, crew: &Crew) -> usize {
    let owned = tokio::time::timeout(PROGRESS, store.owned(crew.id())).await;
    owned.ok().and_then(Result::ok).map_or(UNKNOWN, |owned| owned.len())
}
