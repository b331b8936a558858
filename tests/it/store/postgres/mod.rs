//! What only PostgreSQL promises: its schema, its roles, its plans, and what is between it and us.

mod connections;
mod lists;
mod migrations;
mod plans;
mod pooler;
mod roles;
mod speed;

use opsroom::{
    ports::{NewRun, Store},
    store::{PgConfig, PgStore},
};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use super::world::{TENANT, W1, new_run, plan};
use crate::servers::{TestDatabase, migrated_database};

/// A store on a database of its own, with one run that `W1` owns.
struct Fixture {
    store: PgStore,
    database: TestDatabase,
}

impl Fixture {
    async fn new() -> Fixture {
        let database = migrated_database().await;
        let store = PgStore::open(&database.config()).await.unwrap();
        begin(&store).await;
        Fixture { store, database }
    }
}

/// A plan, and one run that `W1` owns.
async fn begin(store: &PgStore) {
    store.put_plan(TENANT, plan(), b"{}", "").await.unwrap();
    store.create_runs(&[NewRun { claimed_by: Some(W1), ..new_run(1) }], None).await.unwrap();
}

async fn exec(connection: &mut PgConnection, sql: &str) {
    connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap();
}

/// What is wrong with a statement, if anything.
async fn refusal(connection: &mut PgConnection, sql: &str) -> Option<String> {
    let result = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await;
    result.err().map(|error| error.as_database_error().map_or(error.to_string(), |error| error.message().to_owned()))
}

/// The only value of a query.
async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.unwrap().get(0)
}

/// The same database for another role.
fn as_role(database: &TestDatabase, role: &str) -> PgConfig {
    PgConfig::from_url(&database.url.replace("postgres://postgres@", &format!("postgres://{role}@"))).unwrap()
}
