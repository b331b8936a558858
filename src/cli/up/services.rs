//! What the routes need, one line a service.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cli::embedded::Embedded,
    control::{Handoff, RunArtifacts, Streams},
    http::{Nouns, Services, access::Access, health::Health, idempotency::Idempotency, metrics::Metrics},
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
    let nouns = nouns(embedded, tasks, stop);
    let clock = embedded.world.clock.clone();
    let idempotency = Idempotency::new(embedded.store(), clock, TenantId::DEFAULT);
    let runs = nouns.runs.clone().hand_to(handoff).serving(&lanes.lanes, lanes.slots);
    Services { nouns: Nouns { runs, ..nouns }, access, health, metrics, idempotency }
}

/// What an opened data folder can answer.
pub fn nouns(embedded: &Embedded, tasks: &TaskTracker, stop: &CancellationToken) -> Nouns {
    let world = &embedded.world;
    let history = world.history(TenantId::DEFAULT).keeping(embedded.retention.runs);
    let artifacts = RunArtifacts::new(
        TenantId::DEFAULT,
        embedded.store(),
        embedded.store(),
        embedded.artifacts.clone(),
        world.clock.clone(),
    );
    Nouns {
        runs: embedded.runs.clone(),
        runbooks: embedded.runbooks.clone(),
        sessions: embedded.sessions(),
        artifacts,
        streams: Streams::start(history, world.feed.clone(), tasks, stop.clone()),
        clock: world.clock.clone(),
        ids: world.ids.clone(),
    }
}
