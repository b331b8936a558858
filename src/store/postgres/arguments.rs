//! What statements are given.

use serde::Serialize;

use super::types::stored_json;

/// The arguments of a statement, in the order of their numbers.
macro_rules! arguments {
    () => { sqlx::postgres::PgArguments::default() };
    ($($value:expr),+ $(,)?) => {{
        let mut arguments = sqlx::postgres::PgArguments::default();
        crate::store::postgres::arguments::extend!(arguments, $($value),+);
        arguments
    }};
}
pub(super) use arguments;

/// Adds arguments to others.
macro_rules! extend {
    ($arguments:ident, $($value:expr),+ $(,)?) => {
        $(
            sqlx::Arguments::add(&mut $arguments, $value)
                .map_err(|why| crate::ports::StoreError::Refused(why.to_string()))?;
        )+
    };
}
pub(super) use extend;

/// A LIMIT; more than SQL can count is no limit.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// One more than asked for tells whether there are more.
pub(super) fn one_more(limit: usize) -> i64 {
    self::limit(limit).saturating_add(1)
}

/// The JSON of plain data, as PostgreSQL can store it. Bound as text and cast by the statement.
pub(super) fn json(value: &impl Serialize) -> String {
    // serde_json fails only on maps whose keys are no strings, and on types that fail by themselves; what
    // this module serialises has neither.
    let text = serde_json::to_string(value).unwrap_or_else(|why| unreachable!("plain data has a JSON form: {why}"));
    stored_json(text)
}
