//! The versions of runbooks.

use std::{collections::BTreeSet, sync::Arc};

use opsroom::{
    model::{Digest, TenantId},
    ports::{NewRunbookVersion, RunbookPut, RunbookVersionRow, StoreError},
};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::world::{TENANT, World, at, plan};

const OTHER: TenantId = TenantId(Uuid::from_u128(2));

fn new(name: &str, source: &str) -> NewRunbookVersion {
    NewRunbookVersion {
        name: name.into(),
        digest: Digest::of(source.as_bytes()),
        plan: plan(),
        source: source.into(),
        bundle: None,
        origin: format!("{name}.yaml").into(),
        once: false,
        created_at: at(1),
    }
}

fn row(new: &NewRunbookVersion, version: u32) -> RunbookVersionRow {
    let NewRunbookVersion { name, digest, plan, bundle, origin, created_at, .. } = new.clone();
    RunbookVersionRow { name, version, digest, plan, bundle, origin, created_at }
}

impl World {
    async fn put(&self, new: &NewRunbookVersion) -> RunbookPut {
        self.runbooks[0].put_version(TENANT, new).await.unwrap()
    }

    async fn latest(&self, name: &str) -> Option<RunbookVersionRow> {
        self.runbooks[1].latest_version(TENANT, name).await.unwrap()
    }
}

pub async fn versions_are_numbered_per_name_and_tenant(world: &World) {
    world.a.put_plan(OTHER, plan(), b"{}", "").await.unwrap();
    let [first, second] = [new("a", "1"), NewRunbookVersion { bundle: Some(plan()), ..new("a", "2") }];
    assert_eq!(world.put(&first).await, RunbookPut::Created(row(&first, 1)));
    assert_eq!(world.put(&second).await, RunbookPut::Created(row(&second, 2)));
    assert_eq!(world.put(&new("b", "1")).await, RunbookPut::Created(row(&new("b", "1"), 1)));
    let other = world.runbooks[1].put_version(OTHER, &second).await.unwrap();
    assert_eq!(other, RunbookPut::Created(row(&second, 1)));
    assert_eq!(world.latest("a").await, Some(row(&second, 2)));
    let version = async |number| world.runbooks[1].version(TENANT, "a", number).await.unwrap();
    assert_eq!(version(1).await, Some(row(&first, 1)));
    assert_eq!((version(0).await, version(3).await, version(u32::MAX).await), (None, None, None));
    assert_eq!(world.latest("A").await, None);
    assert_eq!(world.runbooks[0].version(OTHER, "a", 2).await.unwrap(), None);
}

pub async fn the_same_content_makes_no_version(world: &World) {
    let [first, second] = [new("a", "1"), new("a", "2")];
    world.put(&first).await;
    let again = NewRunbookVersion { created_at: at(9), origin: "elsewhere".into(), ..first.clone() };
    assert_eq!(world.put(&again).await, RunbookPut::Unchanged(row(&first, 1)));
    world.put(&second).await;
    // Back to what it was: that is a change.
    assert_eq!(world.put(&again).await, RunbookPut::Created(row(&again, 3)));
}

pub async fn what_a_file_was_before_does_not_come_back_by_itself(world: &World) {
    let file = |source| NewRunbookVersion { once: true, ..new("a", source) };
    let api = |source| NewRunbookVersion { origin: "api: ada".into(), ..new("a", source) };
    world.put(&file("1")).await;
    world.put(&api("2")).await;
    assert_eq!(world.put(&file("1")).await, RunbookPut::Unchanged(row(&api("2"), 2)));
    assert_eq!(world.put(&file("3")).await, RunbookPut::Created(row(&file("3"), 3)));
    // Only what the file was last counts.
    assert_eq!(world.put(&file("1")).await, RunbookPut::Created(row(&file("1"), 4)));
    let renamed = NewRunbookVersion { origin: "other.yaml".into(), ..file("3") };
    assert_eq!(world.put(&renamed).await, RunbookPut::Created(row(&renamed, 5)));
}

pub async fn a_version_keeps_its_own_source(world: &World) {
    // Both have the same plan, of which the store keeps the first source only.
    let texts = ["name: a\n", "name: a # and a word\r\n\u{feff}\u{1f600} 'quoted' \"\n"];
    for text in texts {
        world.put(&new("a", text)).await;
    }
    for (number, text) in (1..).zip(texts) {
        let source = world.runbooks[1].version_source(TENANT, "a", number).await.unwrap();
        assert_eq!(source.as_deref(), Some(text));
    }
    assert_eq!(world.runbooks[1].version_source(TENANT, "a", 3).await.unwrap(), None);
    assert_eq!(world.runbooks[1].version_source(OTHER, "a", 1).await.unwrap(), None);
}

pub async fn a_version_needs_its_plan(world: &World) {
    let lost = NewRunbookVersion { plan: Digest::of(b"lost"), ..new("a", "1") };
    let answer = world.runbooks[0].put_version(TENANT, &lost).await;
    assert!(matches!(answer, Err(StoreError::Refused(_))), "{answer:?}");
    let foreign = world.runbooks[0].put_version(OTHER, &new("a", "1")).await;
    assert!(matches!(foreign, Err(StoreError::Refused(_))), "{foreign:?}");
    assert_eq!(world.latest("a").await, None);
    let page = world.runbooks[1].latest_versions(TENANT, None, 10).await.unwrap();
    assert!(page.items.is_empty() && !page.more);
    assert_eq!(world.put(&new("a", "1")).await.row().version, 1);
}

pub async fn names_in_pages(world: &World) {
    world.a.put_plan(OTHER, plan(), b"{}", "").await.unwrap();
    for name in ["b", "a-1", "z", "a", "b-2"] {
        for source in ["1", "2"] {
            world.put(&new(name, source)).await;
        }
    }
    world.runbooks[0].put_version(OTHER, &new("c", "1")).await.unwrap();
    let mut seen: Vec<Arc<str>> = Vec::new();
    loop {
        let page = world.runbooks[1].latest_versions(TENANT, seen.last().map(|name| &**name), 2).await.unwrap();
        assert!(page.items.iter().all(|row| row.version == 2));
        seen.extend(page.items.into_iter().map(|row| row.name));
        assert_eq!(page.more, seen.len() < 5);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "a-1", "b", "b-2", "z"]);
    let none = world.runbooks[1].latest_versions(TENANT, Some("z"), 2).await.unwrap();
    assert!(none.items.is_empty() && !none.more);
}

pub async fn versions_in_pages(world: &World) {
    for number in 1..=5 {
        world.put(&new("a", &number.to_string())).await;
        world.put(&new("b", &number.to_string())).await;
    }
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = world.runbooks[1].versions(TENANT, "a", before, 2).await.unwrap();
        assert!(page.items.iter().all(|row| &*row.name == "a"));
        seen.extend(page.items.iter().map(|row| row.version));
        before = seen.last().copied();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, [5, 4, 3, 2, 1]);
    assert!(world.runbooks[1].versions(TENANT, "a", Some(1), 2).await.unwrap().items.is_empty());
    assert!(world.runbooks[1].versions(TENANT, "c", None, 2).await.unwrap().items.is_empty());
}

/// Eight writers put twenty contents each, every content twice: numbers have no gap, no content follows itself.
pub async fn puts_at_the_same_time(world: &World) {
    let mut tasks = JoinSet::new();
    for writer in 0..8_usize {
        let store = world.runbooks[writer % 2].clone();
        tasks.spawn(async move {
            let mut created = Vec::new();
            for number in 0..20 {
                // Pairs of writers put the same content at about the same time.
                let put = store.put_version(TENANT, &new("a", &format!("{} {number}", writer / 2))).await.unwrap();
                if let RunbookPut::Created(row) = put {
                    created.push(row.version);
                }
            }
            created
        });
    }
    let created: Vec<u32> = tasks.join_all().await.into_iter().flatten().collect();
    let unique: BTreeSet<u32> = created.iter().copied().collect();
    assert_eq!(unique.len(), created.len(), "no number twice");
    let page = world.runbooks[1].versions(TENANT, "a", None, 1_000).await.unwrap();
    let count = u32::try_from(page.items.len()).unwrap();
    assert_eq!(unique, (1..=count).collect());
    assert!((80..=160).contains(&count), "{count}");
    assert!(page.items.windows(2).all(|pair| pair[0].digest != pair[1].digest));
}

pub async fn bundles_that_nothing_names(world: &World) {
    let bundle = |name: &str| Digest::of(name.as_bytes());
    let named = NewRunbookVersion { bundle: Some(bundle("named")), ..new("a", "1") };
    world.put(&named).await;
    // Of a run that was started without a version, and of a plan that no run has.
    for name in ["run", "none"] {
        let json = format!("{{\"name\":\"x\",\"files\":\"{}\"}}", bundle(name));
        let digest = Digest::of(json.as_bytes());
        world.a.put_plan(TENANT, digest, json.as_bytes(), "").await.unwrap();
        if name == "run" {
            let run = opsroom::ports::NewRun { plan: digest, ..super::world::new_run(1) };
            world.a.create_runs(&[run], None).await.unwrap();
        }
    }
    let ask = ["named", "run", "none", "unknown"].map(bundle);
    let mut unnamed = world.runbooks[1].unnamed_bundles(&ask).await.unwrap();
    unnamed.sort();
    let mut expected = ["none", "unknown"].map(bundle);
    expected.sort();
    assert_eq!(unnamed, expected);
    assert!(world.runbooks[0].unnamed_bundles(&[]).await.unwrap().is_empty());
}
