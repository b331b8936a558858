//! The statements of lists of runs ([`crate::store::listing`] decides which to ask).

use async_trait::async_trait;
use sqlx::sqlite::SqliteArguments;
use uuid::Uuid;

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    rows::{self, RunRecord, decode_all},
};
use crate::{
    model::{Lane, TenantId},
    ports::{RunRow, StoreError},
    store::listing::{Index, Names, Query, Ranges, Source, Tables},
};

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("queries/list/", $name, ".sql"))
    };
}

/// The statements over one source: the list, and how dense it is.
macro_rules! over {
    ($first:literal $(, $more:literal)*) => {
        Statements {
            list: concat!(
                part!("begin"), part!($first), part!("filter"),
                $(part!("union"), part!($more), part!("filter"),)* part!("end")
            ),
            density: concat!(
                part!("density_begin"), part!($first), part!("density"),
                $(part!("union"), part!($more), part!("density"),)* part!("density_end")
            ),
        }
    };
}

/// What is asked of one source.
#[derive(Debug, Clone, Copy)]
struct Statements {
    list: &'static str,
    /// How far back its newest runs reach.
    density: &'static str,
}

const fn statements(index: Index) -> Statements {
    match index {
        Index::Lane => over!("by_lane"),
        Index::Live => over!("by_live"),
        Index::Ended => over!("by_ended"),
        Index::LiveAndEnded => over!("by_live", "by_ended"),
        Index::Session => over!("by_session"),
        Index::Runbook => over!("by_runbook"),
        Index::Actor => over!("by_actor"),
        Index::Trigger => over!("by_trigger"),
        Index::Label => over!("by_label"),
        Index::Text => over!("by_text_runbook", "by_text_actor", "by_text_label", "by_text_id"),
    }
}

#[async_trait]
impl Tables for SqliteStore {
    async fn names(&self, tenant: TenantId, of: Names, limit: usize) -> Result<Vec<String>, StoreError> {
        let sql = match of {
            Names::Runbooks => part!("runbook_names"),
            Names::Actors => part!("actor_names"),
            Names::Labels => part!("label_names"),
        };
        rows::texts(&self.read(sql, arguments!(id(tenant.0), arguments::limit(limit))).await?)
    }

    async fn label_values(&self, tenant: TenantId, name: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let arguments = arguments!(id(tenant.0), name.to_owned(), arguments::limit(limit));
        rows::texts(&self.read(part!("label_values"), arguments).await?)
    }

    async fn reach(&self, query: &Query<'_>, source: &Source) -> Result<Option<Uuid>, StoreError> {
        let arguments = list_arguments(query, source, query.ids.0, 0)?;
        uuid(&self.read(statements(source.index).density, arguments).await?)
    }

    async fn newest(&self, last: Uuid) -> Result<Option<Uuid>, StoreError> {
        uuid(&self.read(part!("newest"), arguments!(id(last))).await?)
    }

    async fn rows(
        &self,
        query: &Query<'_>,
        source: &Source,
        first: Uuid,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        let arguments = list_arguments(query, source, first, limit)?;
        decode_all::<RunRecord, _>(&self.read(statements(source.index).list, arguments).await?)
    }
}

/// The id that a statement answers, if any.
fn uuid(rows: &[sqlx::sqlite::SqliteRow]) -> Result<Option<Uuid>, StoreError> {
    let bytes = rows::scalar::<Option<Vec<u8>>>(rows)?.flatten();
    Ok(bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok()))
}

/// In the order of `queries/list/begin.sql`.
fn list_arguments(
    query: &Query<'_>,
    source: &Source,
    first: Uuid,
    limit: usize,
) -> Result<SqliteArguments, StoreError> {
    let filter = query.filter;
    let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
    let pairs: Vec<(&str, &str)> = filter
        .labels
        .iter()
        .filter_map(|label| label.value.as_deref().map(|value| (label.name.as_str(), value)))
        .collect();
    let names: Vec<&str> =
        filter.labels.iter().filter(|label| label.value.is_none()).map(|label| label.name.as_str()).collect();
    let text = query.text.as_ref();
    let ranges = match &source.ranges {
        Ranges::OfFilter => String::new(),
        Ranges::Words(words) => arguments::json(words),
        Ranges::Labels(labels) => arguments::json(labels),
    };
    let (each, middle) = query.density(source);
    Ok(arguments!(
        id(query.tenant.0),
        id(first),
        id(query.ids.1),
        arguments::limit(limit),
        (!words.is_empty()).then(|| arguments::json(&words)),
        filter.lane.map(Lane::as_str),
        filter.runbook.clone(),
        filter.session.map(|session| id(session.0)),
        filter.trigger.clone(),
        filter.actor.clone(),
        (!pairs.is_empty()).then(|| arguments::json(&pairs)),
        (!names.is_empty()).then(|| arguments::json(&names)),
        text.map(|text| arguments::json(&text.runbooks)),
        text.map(|text| arguments::json(&text.actors)),
        text.map(|text| arguments::json(&text.labels)),
        text.and_then(|text| text.ids).map(|ids| id(ids.0)),
        text.and_then(|text| text.ids).map(|ids| id(ids.1)),
        ranges,
        matches!(source.index, Index::Text),
        arguments::limit(each),
        arguments::limit(middle),
    ))
}
