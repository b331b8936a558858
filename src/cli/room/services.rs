//! What the routes need, one line a service.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cli::instance::Instance,
    control::{Handoff, RunArtifacts, Streams},
    http::{Nouns, Services, access::Access, health::Health, idempotency::Idempotency, metrics::Metrics},
    model::TenantId,
};

/// What a server has besides an opened instance.
pub struct Inside {
    pub handoff: Handoff,
    pub health: Health,
    pub metrics: Metrics,
}

/// What the routes of a server need. Event streams run on `tasks` and end with `stop`.
pub fn all(
    instance: &Instance,
    inside: Inside,
    access: Access,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Services {
    let Inside { handoff, health, metrics } = inside;
    let nouns = nouns(instance, tasks, stop);
    let clock = instance.world.clock.clone();
    let idempotency = Idempotency::new(instance.rows(), clock, TenantId::DEFAULT);
    let runs = nouns.runs.clone().hand_to(handoff);
    Services { nouns: Nouns { runs, ..nouns }, access, health, metrics, idempotency }
}

/// What an opened instance can answer.
pub fn nouns(instance: &Instance, tasks: &TaskTracker, stop: &CancellationToken) -> Nouns {
    let world = &instance.world;
    let history = world.history(TenantId::DEFAULT).keeping(instance.retention.runs);
    let artifacts = RunArtifacts::new(
        TenantId::DEFAULT,
        instance.rows(),
        instance.rows(),
        instance.artifacts(),
        world.clock.clone(),
    );
    Nouns {
        runs: instance.runs.clone(),
        runbooks: instance.runbooks.clone(),
        sessions: instance.sessions(),
        workers: instance.workers(),
        artifacts,
        streams: Streams::start(history, world.feed.clone(), tasks, stop.clone()),
        clock: world.clock.clone(),
        ids: world.ids.clone(),
    }
}
