//! Runs that processes left behind when they died.

use super::{Context, fault::Fault, instance::Instance};
use crate::{
    model::{RunStatus, TenantId, WaitingOn, WorkerId},
    ports::{RunFilter, RunRow, Store},
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
    let left = count(&*instance.world.store, &dead).await?;
    if left > 0 {
        let runs = if left == 1 { "1 run was".to_owned() } else { format!("{left} runs were") };
        context.out.message(format!("{runs} left behind by a process that died: opsroom recover"));
    }
    Ok(())
}

/// Runs that nobody will finish by himself: of dead workers, or waiting for one.
async fn count(store: &dyn Store, dead: &[WorkerId]) -> Result<usize, Fault> {
    let unfinished = vec![RunStatus::Queued, RunStatus::Claimed, RunStatus::Running];
    let filter = RunFilter { status: unfinished, limit: COUNTED, ..RunFilter::default() };
    let page = store.runs(TenantId::DEFAULT, &filter).await?;
    Ok(page.items.iter().filter(|row| is_left_behind(row, dead)).count())
}

/// Whether nobody drives the run and nobody has to say something first.
pub fn is_left_behind(row: &RunRow, dead: &[WorkerId]) -> bool {
    match row.claimed_by {
        Some(owner) => dead.contains(&owner),
        None => row.status == RunStatus::Queued && (row.claimable || row.waiting_on == Some(WaitingOn::Timer)),
    }
}
