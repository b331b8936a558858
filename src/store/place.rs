//! Where something is that this build cannot read: a corrupt value names its table, column and row, in every store alike.

use std::{fmt::Display, str::FromStr};

use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    model::{Digest, RunId},
    ports::StoreError,
};

/// A row, and how its values are read.
pub(super) struct Place {
    pub(super) table: &'static str,
    pub(super) row: String,
}

impl Place {
    pub(super) fn run(id: RunId) -> Place {
        Place { table: "runs", row: id.to_string() }
    }

    pub(super) fn corrupt(&self, column: &'static str, why: impl Display) -> StoreError {
        StoreError::Corrupt { table: self.table, column, row: self.row.clone(), why: why.to_string() }
    }

    pub(super) fn id(&self, column: &'static str, bytes: &[u8]) -> Result<Uuid, StoreError> {
        Uuid::from_slice(bytes).map_err(|why| self.corrupt(column, why))
    }

    pub(super) fn word<T: FromStr<Err: Display>>(&self, column: &'static str, word: &str) -> Result<T, StoreError> {
        word.parse().map_err(|why| self.corrupt(column, why))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str, text: &str) -> Result<T, StoreError> {
        serde_json::from_str(text).map_err(|why| self.corrupt(column, why))
    }

    pub(super) fn digest(&self, column: &'static str, bytes: Vec<u8>) -> Result<Digest, StoreError> {
        bytes.try_into().map(Digest).map_err(|_| self.corrupt(column, "not 32 bytes"))
    }

    pub(super) fn number<T: TryFrom<i64, Error: Display>>(
        &self,
        column: &'static str,
        number: i64,
    ) -> Result<T, StoreError> {
        T::try_from(number).map_err(|why| self.corrupt(column, format!("{number}: {why}")))
    }
}
