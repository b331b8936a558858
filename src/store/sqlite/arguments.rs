//! What statements are given: ids as 16 bytes, lists as JSON.

use serde::{Serialize, Serializer};
use uuid::Uuid;

/// The arguments of a statement, in the order of their numbers.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => {{
        let mut arguments = sqlx::sqlite::SqliteArguments::default();
        sqlx::Arguments::reserve(&mut arguments, <[&str]>::len(&[$(stringify!($value)),*]), 0);
        $(
            sqlx::Arguments::add(&mut arguments, $value)
                .map_err(|why| crate::ports::StoreError::Refused(why.to_string()))?;
        )*
        arguments
    }};
}
pub(super) use arguments;

/// An id as a BLOB.
pub(super) fn id(uuid: Uuid) -> Vec<u8> {
    uuid.as_bytes().to_vec()
}

/// A LIMIT; more than SQLite can count is no limit.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// An id within JSON, for `unhex`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hex(pub(super) Uuid);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.simple().encode_lower(&mut Uuid::encode_buffer()))
    }
}

/// Ids as a JSON array, for `unhex` over `json_each`.
pub(super) fn hex_list(ids: impl Iterator<Item = Uuid>) -> String {
    json(&ids.map(Hex).collect::<Vec<_>>())
}

/// The JSON of plain data.
pub(super) fn json(value: &impl Serialize) -> String {
    // serde_json fails only on maps whose keys are no strings, and on types that fail by themselves; what
    // this module serialises has neither.
    serde_json::to_string(value).unwrap_or_else(|why| unreachable!("plain data has a JSON form: {why}"))
}
