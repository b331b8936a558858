//! Roles of least privilege, with real logins.

use opsroom::{
    model::WaitingOn,
    ports::{CommitAnswer, Store, StoreError},
    store::{PgSchema, PgStore},
};

use super::{Fixture, as_role, begin, exec, number, refusal};
use crate::{
    servers::own_server,
    store::world::{TENANT, W1, W2, at, cancel, claim, end, new_run, next, park, plan, run_id},
};

/// Gives a role a login of this database's own.
async fn login(world: &Fixture, role: &str) -> String {
    let login = format!("{}_{role}", world.database.name());
    exec(&mut world.database.connect().await, &format!("CREATE ROLE {login} LOGIN IN ROLE {role}")).await;
    login
}

async fn forget(world: &Fixture, login: &str) {
    exec(&mut world.database.connect().await, &format!("DROP ROLE {login}")).await;
}

#[tokio::test]
async fn the_read_only_role_reads_and_does_not_write() {
    let world = Fixture::new().await;
    let reader = login(&world, "opsroom_readonly").await;
    let store = PgStore::open(&as_role(&world.database, &reader)).await.unwrap();
    assert_eq!(store.run(run_id(1)).await.unwrap().unwrap().id, run_id(1));
    assert!(store.plan(TENANT, plan()).await.unwrap().is_some());
    let Err(StoreError::Unavailable(why)) = store.create_runs(&[new_run(2)], None).await else {
        unreachable!("written")
    };
    assert!(why.contains("permission denied") && why.contains("opsroom_readwrite"), "{why}");
    assert!(store.claim(&claim(W2, 1)).await.is_err());
    store.close().await;

    let mut raw = sqlx_connect(&world, &reader).await;
    assert_eq!(number(&mut raw, "SELECT count(*) FROM runs").await, 1);
    for sql in [
        "UPDATE runs SET priority = 1",
        "DELETE FROM run_events",
        "TRUNCATE plans",
        "DROP TABLE workers",
        "CREATE TABLE mine (a integer)",
        "INSERT INTO schema_migrations VALUES (99, 'x')",
    ] {
        let refusal = refusal(&mut raw, sql).await.unwrap_or_else(|| panic!("{sql}"));
        assert!(refusal.contains("permission denied") || refusal.contains("must be owner"), "{sql}: {refusal}");
    }
    drop(raw);
    forget(&world, &reader).await;
}

#[tokio::test]
async fn the_read_write_role_does_all_work_and_leaves_the_schema_alone() {
    let world = Fixture::new().await;
    let writer = login(&world, "opsroom_readwrite").await;
    let store = PgStore::open_migrated(&as_role(&world.database, &writer)).await.unwrap();
    store.create_runs(&[new_run(2)], None).await.unwrap();
    let row = store.claim(&claim(W1, 1)).await.unwrap().remove(0);
    assert_eq!(store.commit(&[next(&row)]).await.unwrap(), [CommitAnswer::Committed]);
    store.signal(row.id, &cancel(), at(1)).await.unwrap().unwrap().unwrap();
    let row = store.run(row.id).await.unwrap().unwrap();
    let mut last = end(&row);
    last.signals_applied = 1;
    assert_eq!(store.commit(&[last]).await.unwrap(), [CommitAnswer::Committed]);
    let other = store.run(run_id(1)).await.unwrap().unwrap();
    assert_eq!(store.commit(&[park(&other, WaitingOn::Timer)]).await.unwrap(), [CommitAnswer::Committed]);
    store.wake_due(at(9_000), 10).await.unwrap();
    store.expired_workers(10).await.unwrap();
    store.close().await;

    let mut raw = sqlx_connect(&world, &writer).await;
    for sql in [
        "ALTER TABLE runs ADD COLUMN mine integer",
        "DROP TABLE workers",
        "CREATE TABLE mine (a integer)",
        "DELETE FROM schema_migrations",
        "ALTER TABLE runs DISABLE ROW LEVEL SECURITY",
    ] {
        let refusal = refusal(&mut raw, sql).await.unwrap_or_else(|| panic!("{sql}"));
        assert!(refusal.contains("permission denied") || refusal.contains("must be owner"), "{sql}: {refusal}");
    }
    drop(raw);
    forget(&world, &writer).await;
}

#[tokio::test]
async fn whoever_has_no_role_sees_no_row_even_when_granted() {
    let world = Fixture::new().await;
    let stranger = format!("{}_stranger", world.database.name());
    let mut raw = world.database.connect().await;
    exec(&mut raw, &format!("CREATE ROLE {stranger} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {stranger}"))
        .await;
    assert_eq!(number(&mut sqlx_connect(&world, &stranger).await, "SELECT count(*) FROM runs").await, 0);
    exec(&mut raw, &format!("DROP OWNED BY {stranger}; DROP ROLE {stranger}")).await;
}

/// A database of an application's own role, which may not make roles: everything but the roles is there.
#[tokio::test]
async fn a_role_that_may_not_make_roles_migrates_all_the_same() {
    let server = own_server().await;
    let database = server.database(None).await;
    let mut raw = database.connect().await;
    exec(&mut raw, &format!("CREATE ROLE app LOGIN; ALTER DATABASE {} OWNER TO app", database.name())).await;
    let config = as_role(&database, "app");
    let store = PgStore::open(&config).await.unwrap();
    begin(&store).await;
    assert_eq!(store.owners().await.unwrap(), [W1]);
    store.close().await;
    assert_eq!(number(&mut raw, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'opsroom%'").await, 0);
    let mut schema = PgSchema::open(&config).await.unwrap();
    let all = schema.status().await.unwrap().len();
    assert_eq!(schema.down(99).await.unwrap().len(), all);
    assert_eq!(schema.up().await.unwrap().len(), all);
    schema.close().await;
}

/// A member of `opsroom_migrate` migrates further what somebody else began, and the tables stay the group's.
#[tokio::test]
async fn a_member_of_the_migrating_role_migrates() {
    let server = own_server().await;
    let database = server.database(None).await;
    PgStore::open(&database.config()).await.unwrap().close().await;
    let mut raw = database.connect().await;
    exec(&mut raw, "CREATE ROLE keeper LOGIN IN ROLE opsroom_migrate").await;
    let mut schema = PgSchema::open(&as_role(&database, "keeper")).await.unwrap();
    let undone = schema.down(1).await.unwrap();
    assert_eq!(schema.up().await.unwrap(), undone);
    let strange = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tableowner <> 'opsroom_migrate'";
    assert_eq!(number(&mut raw, strange).await, 0);
    schema.close().await;
}

#[tokio::test]
async fn the_publication_of_realtime_is_extended() {
    let server = own_server().await;
    let database = server.database(None).await;
    let mut raw = database.connect().await;
    exec(&mut raw, "CREATE PUBLICATION supabase_realtime").await;
    let mut schema = PgSchema::open(&database.config()).await.unwrap();
    schema.up().await.unwrap();
    let published = "SELECT count(*) FROM pg_publication_tables
        WHERE pubname = 'supabase_realtime' AND tablename IN ('runs', 'run_events')";
    assert_eq!(number(&mut raw, published).await, 2);
    schema.down(99).await.unwrap();
    assert_eq!(number(&mut raw, published).await, 0);
    schema.up().await.unwrap();
    assert_eq!(number(&mut raw, published).await, 2);
    schema.close().await;
}

async fn sqlx_connect(world: &Fixture, role: &str) -> sqlx::PgConnection {
    use sqlx::Connection;
    let url = world.database.url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    sqlx::PgConnection::connect(&url).await.unwrap()
}
