//! The schema of a data folder's database, for the commands that change it.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use super::{connect, migrate};
use crate::{ports::StoreError, store::schema::MigrationState};

/// The schema of a database file that is there.
#[derive(Debug)]
pub struct SqliteSchema {
    connection: SqliteConnection,
}

impl SqliteSchema {
    /// Opens the file, and changes nothing.
    pub async fn open(path: &Path) -> Result<SqliteSchema, StoreError> {
        connect::changer(path).await.map(|connection| SqliteSchema { connection })
    }

    /// What this build knows, and what of it the database has. A newer schema is `Unavailable`.
    pub async fn status(&mut self) -> Result<Vec<MigrationState>, StoreError> {
        let version = migrate::known_version(&mut self.connection).await?;
        let states = migrate::MIGRATIONS.iter().enumerate().map(|(index, migration)| MigrationState {
            version: index + 1,
            name: migration.name,
            applied: index < version,
        });
        Ok(states.collect())
    }

    /// Applies the next migration, if there is one; answers its name.
    pub async fn step_up(&mut self) -> Result<Option<&'static str>, StoreError> {
        migrate::step_up(&mut self.connection).await
    }

    /// Takes back the last migration with all data that only it holds; answers its name.
    pub async fn step_down(&mut self) -> Result<Option<&'static str>, StoreError> {
        migrate::step_down(&mut self.connection).await
    }

    /// Says goodbye.
    pub async fn close(self) {
        self.connection.close().await.ok();
    }
}
