//! The store in a PostgreSQL database that many processes share.

mod arguments;
mod connect;
mod errors;
mod link;
mod migrate;
mod segments;
mod types;

use sqlx::{
    Connection, PgConnection,
    postgres::{PgArguments, PgRow},
};

use self::link::Link;
pub use self::{
    connect::{BadUrl, PgConfig, Pooling, SCHEMES},
    migrate::MigrationState,
};
use crate::ports::StoreError;

/// A store in a PostgreSQL database. Cheap to share in an `Arc`.
#[derive(Debug)]
pub struct PgStore {
    link: Link,
}

impl PgStore {
    /// Connects, and creates or migrates the schema as needed, for which the role must own it; a role that may
    /// not opens a database that is up to date. A newer schema is `Unavailable`.
    pub async fn open(config: &PgConfig) -> Result<PgStore, StoreError> {
        let (mut connection, pooling) = connect::first(config).await?;
        let migrated = migrate::up(&mut connection).await;
        connection.close().await.ok();
        let applied = migrated.map_err(|error| at(config, error))?;
        if !applied.is_empty() {
            tracing::info!(database = %config.place(), migrations = applied.join(", "), "migrated the schema");
        }
        Ok(PgStore { link: Link::new(config, pooling) })
    }

    /// Connects to a database whose schema is this build's; anything else is `Unavailable`.
    pub async fn open_migrated(config: &PgConfig) -> Result<PgStore, StoreError> {
        let (mut connection, pooling) = connect::first(config).await?;
        let current = migrate::current(&mut connection).await;
        connection.close().await.ok();
        current.map_err(|error| at(config, error))?;
        Ok(PgStore { link: Link::new(config, pooling) })
    }

    /// Waits for what is in progress and closes the connections.
    pub async fn close(&self) {
        self.link.close().await;
    }

    /// What is between here and the server: behind [`Pooling::Transaction`] nothing can LISTEN.
    pub fn pooling(&self) -> Pooling {
        self.link.pooling()
    }

    /// Connections that are open, and those of them that are idle.
    pub fn connections(&self) -> (u32, usize) {
        self.link.usage()
    }

    /// Runs a statement that may be carried out twice; passing errors are repeated.
    async fn rows(&self, sql: &'static str, arguments: PgArguments) -> Result<Vec<PgRow>, StoreError> {
        self.link.rows(sql, arguments).await
    }

    /// The same, for statements without an answer.
    async fn execute(&self, sql: &'static str, arguments: PgArguments) -> Result<(), StoreError> {
        self.link.rows(sql, arguments).await.map(drop)
    }
}

/// The schema of a database, for the commands that change it.
#[derive(Debug)]
pub struct PgSchema {
    connection: PgConnection,
}

impl PgSchema {
    /// Connects, and changes nothing.
    pub async fn open(config: &PgConfig) -> Result<PgSchema, StoreError> {
        connect::first(config).await.map(|(connection, _)| PgSchema { connection })
    }

    /// What this build knows, and what of it the database has. A newer schema is `Unavailable`.
    pub async fn status(&mut self) -> Result<Vec<MigrationState>, StoreError> {
        migrate::status(&mut self.connection).await
    }

    /// Brings the schema up to this build's version; answers the names of what was applied.
    pub async fn up(&mut self) -> Result<Vec<&'static str>, StoreError> {
        migrate::up(&mut self.connection).await
    }

    /// Takes back the last `steps` migrations with all data that only they hold; answers their names.
    pub async fn down(&mut self, steps: usize) -> Result<Vec<&'static str>, StoreError> {
        migrate::down(&mut self.connection, steps).await
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.connection.close().await.ok();
    }
}

/// Says which database an error is about.
fn at(config: &PgConfig, error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(why) => StoreError::Unavailable(format!("{}: {why}", config.place())),
        other => other,
    }
}
