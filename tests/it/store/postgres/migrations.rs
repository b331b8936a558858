//! The schema and its versions.

use opsroom::{
    ports::{Store, StoreError},
    store::{PgSchema, PgStore},
};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use tokio::task::JoinSet;

use super::{Fixture, exec, number};
use crate::{
    servers::{database, migrated_database, own_server},
    store::{
        sqlite_only::listed_words,
        world::{TENANT, new_run, plan},
    },
};

/// Every table, column, constraint, index, trigger, policy and grant, a line each.
const SHAPE: &str = "
    SELECT format('%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod)) || a.attnotnull AS line
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT format('%s %s', proname, prosrc) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT format('%s %s %s', tablename, policyname, roles) FROM pg_policies
    UNION ALL SELECT format('%s %s %s', relname, relacl, relrowsecurity) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
    ORDER BY 1";

async fn shape(connection: &mut PgConnection) -> Vec<String> {
    let rows = connection.fetch_all(sqlx::raw_sql(SHAPE)).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(0)).collect()
}

#[tokio::test]
async fn every_migration_is_taken_back_and_made_again() {
    // Roles are those of a whole server.
    let server = own_server().await;
    let database = server.database(None).await;
    let mut schema = PgSchema::open(&database.config()).await.unwrap();
    let states = schema.status().await.unwrap();
    assert!(states.iter().all(|state| !state.applied));
    let names: Vec<_> = states.iter().map(|state| state.name).collect();
    assert_eq!(schema.up().await.unwrap(), names);
    assert!(schema.status().await.unwrap().iter().all(|state| state.applied));
    assert!(schema.up().await.unwrap().is_empty());

    let mut raw = database.connect().await;
    let whole = shape(&mut raw).await;
    assert!(whole.iter().any(|line| line.starts_with("chk_runs_owner")));
    // From every version back to nothing, and from there to the whole again.
    for steps in 1..=names.len() {
        let undone: Vec<_> = names.iter().rev().take(steps).copied().collect();
        assert_eq!(schema.down(steps).await.unwrap(), undone);
        if steps == names.len() {
            assert_eq!(shape(&mut raw).await.iter().filter(|line| !line.contains("schema_migrations")).count(), 0);
        }
        schema.up().await.unwrap();
        assert_eq!(shape(&mut raw).await, whole, "{steps} steps back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_open_a_fresh_database_at_once() {
    let database = database().await;
    let mut tasks = JoinSet::new();
    for number in 1..=12 {
        let config = database.config();
        tasks.spawn(async move {
            let store = PgStore::open(&config).await.unwrap();
            store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
            store.create_runs(&[new_run(number)], None).await.unwrap();
            store.close().await;
        });
    }
    tasks.join_all().await;
    let mut raw = database.connect().await;
    assert_eq!(number(&mut raw, "SELECT count(*) FROM runs").await, 12);
    assert_eq!(number(&mut raw, "SELECT count(*) - max(version) FROM schema_migrations").await, 0);
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let database = migrated_database().await;
    exec(&mut database.connect().await, "INSERT INTO schema_migrations VALUES (99, 'later')").await;
    for opened in [PgStore::open(&database.config()).await, PgStore::open_migrated(&database.config()).await] {
        let Err(StoreError::Unavailable(why)) = opened else { unreachable!("opened") };
        assert!(why.contains("version 99") && why.contains("newer build"), "{why}");
    }
    let mut schema = PgSchema::open(&database.config()).await.unwrap();
    assert!(matches!(schema.down(1).await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    let database = database().await;
    exec(&mut database.connect().await, "CREATE TABLE sessions (mine integer)").await;
    let Err(error) = PgStore::open(&database.config()).await else { unreachable!("opened") };
    assert!(error.to_string().contains("0003_sessions"), "{error}");
    let mut raw = database.connect().await;
    assert_eq!(number(&mut raw, "SELECT max(version) FROM schema_migrations").await, 2);
    exec(&mut raw, "DROP TABLE sessions").await;
    PgStore::open(&database.config()).await.unwrap();
}

#[tokio::test]
async fn words_are_those_of_the_model() {
    let world = Fixture::new().await;
    let mut raw = world.database.connect().await;
    for (constraint, words) in listed_words() {
        let sql = format!("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = '{constraint}'");
        let row = raw.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
        let definition: String = row.get(0);
        // One constant, or one for each word.
        let constants = definition.split('\'').skip(1).step_by(2);
        let mut listed: Vec<&str> = constants.flat_map(|text| text.trim_matches(['{', '}']).split(',')).collect();
        listed.sort_unstable();
        assert_eq!(listed, words, "{constraint}");
    }
}

#[tokio::test]
async fn every_table_is_granted_and_guarded() {
    let database = migrated_database().await;
    let open = "SELECT count(*) FROM pg_tables AS t WHERE schemaname = 'public' AND NOT (rowsecurity
        AND has_table_privilege('opsroom_readonly', t.tablename, 'SELECT')
        AND EXISTS (SELECT FROM pg_policies AS p WHERE p.tablename = t.tablename AND policyname = 'pol_readwrite')
        AND EXISTS (SELECT FROM pg_policies AS p WHERE p.tablename = t.tablename AND policyname = 'pol_readonly')
        AND tableowner = 'opsroom_migrate')";
    assert_eq!(number(&mut database.connect().await, open).await, 0);
}
