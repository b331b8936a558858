//! The index of artifacts.

use opsroom::{
    model::{ArtifactKind, Digest, TenantId},
    ports::{ArtifactPlace, ArtifactRow, StoreError},
};
use uuid::Uuid;

use super::world::{TENANT, World, at, run_id};

fn artifact(id: u128, step: Option<&str>, name: &str) -> ArtifactRow {
    ArtifactRow {
        id: Uuid::from_u128(id),
        run: run_id(1),
        tenant: TENANT,
        step: step.map(str::to_owned),
        name: name.to_owned(),
        kind: ArtifactKind::Markdown,
        media_type: "text/markdown".to_owned(),
        size: 12,
        digest: Digest::of(b"content"),
        place: ArtifactPlace::Stored(format!("uploads/{id}")),
        created_at: at(5),
        created_by: "it's \"ada\"".to_owned(),
    }
}

pub async fn an_artifact_replaces_the_one_of_its_name(world: &World) {
    world.queued([1]).await;
    let first = artifact(1, Some("build"), "report.md");
    assert_eq!(world.a.put_artifact(&first).await.unwrap(), None);
    assert_eq!(world.b.artifact(TENANT, first.id).await.unwrap().as_ref(), Some(&first));
    let link = ArtifactRow {
        kind: ArtifactKind::Link,
        place: ArtifactPlace::Link("https://example.com/".to_owned()),
        ..artifact(2, Some("build"), "report.md")
    };
    assert_eq!(world.b.put_artifact(&link).await.unwrap().as_ref(), Some(&first));
    // It keeps its id: who has the address of a report finds the new one there.
    assert_eq!(world.a.artifact(TENANT, first.id).await.unwrap(), Some(ArtifactRow { id: first.id, ..link }));
    assert_eq!(world.a.artifact(TENANT, Uuid::from_u128(2)).await.unwrap(), None);
    assert_eq!(world.a.put_artifact(&artifact(3, None, "report.md")).await.unwrap(), None, "of another step");
}

pub async fn artifacts_are_listed_by_name(world: &World) {
    world.queued([1, 2]).await;
    let names = [(Some("z"), "a"), (None, "b"), (Some("a"), "b"), (Some("b"), "b"), (None, "c/d")];
    for (id, (step, name)) in (1..).zip(names) {
        world.a.put_artifact(&artifact(id, step, name)).await.unwrap();
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = world.b.artifacts(run_id(1), after.as_ref(), 2).await.unwrap();
        seen.extend(page.items.iter().map(|artifact| (artifact.step.clone(), artifact.name.clone())));
        after = page.items.last().map(|last| (last.name.clone(), last.step.clone().unwrap_or_default()));
        assert_eq!(page.more, seen.len() < 5);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, names.map(|(step, name)| (step.map(str::to_owned), name.to_owned())));
    assert!(world.b.artifacts(run_id(2), None, 10).await.unwrap().items.is_empty());
}

pub async fn artifacts_belong_to_a_run_of_the_tenant(world: &World) {
    let refused = async |artifact: ArtifactRow| {
        let answer = world.a.put_artifact(&artifact).await;
        assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
    };
    refused(artifact(1, None, "a")).await;
    world.queued([1]).await;
    let other = TenantId(Uuid::from_u128(2));
    refused(ArtifactRow { tenant: other, ..artifact(1, None, "a") }).await;
    world.a.put_artifact(&artifact(1, None, "a")).await.unwrap();
    assert_eq!(world.b.artifact(other, Uuid::from_u128(1)).await.unwrap(), None);
}
