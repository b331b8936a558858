//! What the routes need, one line a service.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cli::embedded::Embedded,
    control::{Handoff, RunArtifacts, Streams},
    http::{Services, access::Access, health::Health, idempotency::Idempotency, metrics::Metrics},
    model::TenantId,
    worker::LaneConfig,
};

/// What a server has besides an opened data folder.
pub struct Parts {
    pub handoff: Handoff,
    pub lanes: LaneConfig,
    pub access: Access,
    pub health: Health,
    pub metrics: Metrics,
}

/// Event streams run on `tasks` and end with `stop`.
pub fn all(embedded: &Embedded, parts: Parts, tasks: &TaskTracker, stop: &CancellationToken) -> Services {
    let Parts { handoff, lanes, access, health, metrics } = parts;
    let world = &embedded.world;
    let history = world.history(TenantId::DEFAULT).keeping(embedded.retention.runs);
    let artifacts = RunArtifacts::new(
        TenantId::DEFAULT,
        embedded.store(),
        embedded.store(),
        embedded.artifacts.clone(),
        world.clock.clone(),
    );
    Services {
        runs: embedded.runs.clone().hand_to(handoff).serving(&lanes.lanes, lanes.slots),
        runbooks: embedded.runbooks.clone(),
        sessions: embedded.sessions(),
        artifacts,
        streams: Streams::start(history, world.feed.clone(), tasks, stop.clone()),
        access,
        health,
        metrics,
        idempotency: Idempotency::new(embedded.store(), world.clock.clone(), TenantId::DEFAULT),
        ids: world.ids.clone(),
        clock: world.clock.clone(),
    }
}
