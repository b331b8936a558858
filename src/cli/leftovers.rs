//! Runs that processes left behind when they died.

use super::{Context, fault::Fault, instance::Instance};
use crate::{
    model::{Micros, RunStatus, TenantId, WorkerId},
    ports::{RunFilter, RunRow},
};

/// As many are counted.
const COUNTED: usize = 1_000;

/// Says in one line that there are some, on standard error.
pub async fn mention(context: &Context, instance: &Instance) -> Result<(), Fault> {
    if instance.is_fleet() {
        // The schedulers look after those.
        return Ok(());
    }
    let dead = instance.dead_workers(&context.config).await?;
    let left = count(instance, &dead).await?;
    if left > 0 {
        let runs = if left == 1 { "1 run was".to_owned() } else { format!("{left} runs were") };
        context.out.message(format!("{runs} left behind by a process that is gone: opsroom recover"));
    }
    Ok(())
}

/// Runs that nobody will finish by himself: of dead workers, or waiting for one.
async fn count(instance: &Instance, dead: &[WorkerId]) -> Result<usize, Fault> {
    let unfinished = vec![RunStatus::Queued, RunStatus::Claimed, RunStatus::Running];
    let filter = RunFilter { status: unfinished, limit: COUNTED, ..RunFilter::default() };
    let page = instance.world.store.runs(TenantId::DEFAULT, &filter).await?;
    let now = instance.world.clock.now();
    Ok(page.items.iter().filter(|row| is_left_behind(row, dead, now)).count())
}

/// Whether nobody drives the run, although nobody has to say something first and no time has to come.
fn is_left_behind(row: &RunRow, dead: &[WorkerId], now: Micros) -> bool {
    match row.claimed_by {
        Some(owner) => dead.contains(&owner),
        None => row.status == RunStatus::Queued && (row.claimable || row.wake_at.is_some_and(|at| at <= now)),
    }
}
