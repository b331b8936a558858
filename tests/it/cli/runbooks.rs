//! Runbooks by name: stored ones, those of a folder, and those that come with the program.

use std::fs;

use opsroom::{
    actions,
    control::{Draft, Origin, Plans, Runbooks},
    model::TenantId,
    store::SqliteStore,
    system::{FolderArtifacts, FolderBundles, SystemClock},
};
use std::sync::Arc;

use super::world::World;

fn text(name: &str, says: &str) -> String {
    format!(
        "version: 1\nname: {name}\ndescription: says it\nparams: {{to: {{type: string, default: all}}}}\nsteps:\n  - {{id: a, run: echo {says}}}\n"
    )
}

/// Stores versions, as another process would.
fn store(world: &World, versions: &[(&str, &str)]) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        fs::create_dir_all(world.data()).unwrap();
        let store = Arc::new(SqliteStore::open(&world.data().join("opsroom.db")).await.unwrap());
        let artifacts = Arc::new(FolderArtifacts::new(world.data().join("artifacts")).unwrap());
        let bundles = Arc::new(FolderBundles::new(artifacts, world.data().join("bundles")));
        let (plans, clock) = (Plans::new(store.clone()), Arc::new(SystemClock));
        let runbooks = Runbooks::new(store, bundles, clock, plans, Arc::new(actions::catalog()));
        for (name, says) in versions {
            let draft = Draft::new(format!("{name}.yaml"), text(name, says));
            runbooks.put(TenantId::DEFAULT, draft, &Origin::File(format!("{name}.yaml"))).await.unwrap();
        }
    });
}

#[test]
fn stored_runbooks_are_listed_and_shown() {
    let world = World::new();
    let empty = world.ends(["runbooks"]);
    assert_eq!((empty.code, empty.stdout.as_str()), (Some(0), ""), "{empty:?}");
    store(&world, &[("deploy", "one"), ("deploy", "two"), ("audit", "it")]);
    let list = world.json(["runbooks"]);
    let listed: Vec<_> =
        list["items"].as_array().unwrap().iter().map(|item| (&item["name"], &item["version"])).collect();
    assert_eq!(listed, [(&"audit".into(), &1.into()), (&"deploy".into(), &2.into())]);
    assert!(world.ends(["runbooks"]).stdout.contains("deploy.yaml"));
    let shown = world.json(["runbooks", "show", "deploy"]);
    assert_eq!(
        (&shown["version"], &shown["description"], &shown["params"][0]["name"]),
        (&2.into(), &"says it".into(), &"to".into())
    );
    let versions = world.json(["runbooks", "versions", "deploy"]);
    assert_eq!(versions["items"].as_array().unwrap().len(), 2);
    assert_eq!((&versions["items"][0]["version"], &versions["items"][0]["digest"]), (&2.into(), &shown["digest"]));
    assert_eq!(world.ends(["runbooks", "source", "deploy@1"]).stdout, text("deploy", "one"));
    assert_eq!(world.ends(["runbooks", "source", "deploy"]).stdout, text("deploy", "two"));
    for wrong in [["runbooks", "show", "depoy"], ["runbooks", "source", "deploy@3"], ["runbooks", "source", "deploy@x"]]
    {
        let ended = world.ends(wrong);
        assert_eq!(ended.code, Some(2), "{ended:?}");
    }
}

#[test]
fn a_name_is_run_from_wherever_it_is() {
    let world = World::new();
    // Without anything stored there are those that come with the program.
    let shipped = world.json(["plan", "disk-usage"]);
    assert_eq!(shipped["runbook"], "disk-usage");
    assert!(!world.data().exists(), "a look makes no data folder");
    store(&world, &[("deploy", "one"), ("deploy", "two"), ("disk-usage", "mine")]);
    let says = |name: &str, expected: &str| {
        let ended = world.ends(["run", name]);
        assert_eq!(ended.code, Some(0), "{name}: {ended:?}");
        let logs = world.ends(["logs", "@latest"]).stdout;
        assert!(logs.contains(expected), "{name}: {logs}");
    };
    says("deploy", "two");
    says("deploy@1", "one");
    says("disk-usage", "mine");
    // A file of the folder is nearer.
    fs::create_dir(world.path("runbooks")).unwrap();
    fs::write(world.path("runbooks/deploy.yaml"), text("deploy", "three")).unwrap();
    says("deploy", "three");
    says("deploy@2", "two");
    let ended = world.ends(["run", "depoy"]);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains("RUNBOOK_NOT_FOUND") && ended.stderr.contains("did you mean `deploy`?"), "{ended:?}");
    let ended = world.ends(["run", "deploy@9"]);
    assert!(ended.code == Some(2) && ended.stderr.contains("no version 9"), "{ended:?}");
}

#[test]
fn problems_of_the_folder_are_shown() {
    let world = World::new();
    store(&world, &[("deploy", "one"), ("gone", "one")]);
    fs::create_dir(world.path("runbooks")).unwrap();
    fs::write(world.path("runbooks/deploy.yaml"), "version: 1\nname: deploy\nsteps:\n  - {id: a, ru: x}\n").unwrap();
    fs::write(world.path("runbooks/fresh.yaml"), "{[").unwrap();
    let list = world.ends(["runbooks"]).stdout;
    assert!(list.contains("deploy.yaml:4:") && list.contains("MISSING_KEY") && list.contains("fresh"), "{list}");
    let list = world.json(["runbooks"]);
    let named =
        |name: &str| list["items"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone();
    assert_eq!((&named("deploy")["version"], &named("deploy")["problem"]["file"]), (&1.into(), &"deploy.yaml".into()));
    assert_eq!((&named("fresh")["version"], &named("fresh")["plan"]), (&0.into(), &serde_json::Value::Null));
    assert_eq!(named("gone")["problem"], serde_json::Value::Null);
    let shown = world.ends(["runbooks", "show", "deploy"]).stdout;
    assert!(shown.contains("version 1") && shown.contains("deploy.yaml:4") && shown.contains("ru: x"), "{shown}");
}
