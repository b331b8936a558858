//! The statements of lists of runs ([`crate::store::listing`] decides which to ask).

use async_trait::async_trait;
use sqlx::postgres::PgArguments;
use uuid::Uuid;

use super::{
    PgStore,
    arguments::{self, arguments},
    records::{self, RunRecord, decode_all},
    types::stored,
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

/// The statements over one source.
macro_rules! over {
    ($first:literal $(, $more:literal)*) => {
        Statements {
            list: concat!(
                part!("begin"), part!($first), part!("filter"),
                $(part!("union"), part!($more), part!("filter"),)* part!("end")
            ),
            plain: concat!(
                part!("begin"), part!($first), part!("plain"),
                $(part!("union"), part!($more), part!("plain"),)* part!("end")
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
    /// The list, where the source has all that the filter lets through and nothing else.
    plain: &'static str,
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
impl Tables for PgStore {
    async fn names(&self, tenant: TenantId, of: Names, limit: usize) -> Result<Vec<String>, StoreError> {
        let sql = match of {
            Names::Runbooks => part!("runbook_names"),
            Names::Actors => part!("actor_names"),
            Names::Labels => part!("label_names"),
        };
        records::texts(&self.rows(sql, arguments!(tenant.0, arguments::limit(limit))).await?)
    }

    async fn label_values(&self, tenant: TenantId, name: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        let arguments = arguments!(tenant.0, stored(name).into_owned(), arguments::limit(limit));
        records::texts(&self.rows(part!("label_values"), arguments).await?)
    }

    async fn reach(&self, query: &Query<'_>, source: &Source) -> Result<Option<Uuid>, StoreError> {
        let arguments = list_arguments(query, source, query.ids.0, 0)?;
        records::scalar(&self.rows_once(statements(source.index).density, arguments).await?)
    }

    async fn newest(&self, last: Uuid) -> Result<Option<Uuid>, StoreError> {
        records::scalar(&self.rows(part!("newest"), arguments!(last)).await?)
    }

    async fn rows(
        &self,
        query: &Query<'_>,
        source: &Source,
        first: Uuid,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError> {
        let Statements { list, plain, .. } = statements(source.index);
        let sql = if query.is_just(source) { plain } else { list };
        let arguments = list_arguments(query, source, first, limit)?;
        decode_all::<RunRecord, _>(&self.rows_once(sql, arguments).await?)
    }
}

/// In the order of `queries/list/begin.sql`.
fn list_arguments(query: &Query<'_>, source: &Source, first: Uuid, limit: usize) -> Result<PgArguments, StoreError> {
    let filter = query.filter;
    let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
    let with_value =
        || filter.labels.iter().filter_map(|label| label.value.as_deref().map(|value| (&*label.name, value)));
    let (labels, values) = split(with_value());
    let names = texts(filter.labels.iter().filter(|label| label.value.is_none()).map(|label| &*label.name));
    let text = query.text.as_ref();
    let found = text.map(|text| split(text.labels.iter().map(|(name, value)| (&**name, &**value))));
    let (found_labels, found_values) = found.unzip();
    let (ranges, range_values) = match &source.ranges {
        Ranges::OfFilter => (Vec::new(), Vec::new()),
        Ranges::Words(words) => (texts(words.iter().copied()), Vec::new()),
        Ranges::Labels(labels) => split(labels.iter().map(|(name, value)| (&**name, &**value))),
    };
    let (each, middle) = query.density(source);
    let owned = |text: &Option<String>| text.as_deref().map(|text| stored(text).into_owned());
    let has_labels = !labels.is_empty();
    Ok(arguments!(
        query.tenant.0,
        first,
        query.ids.1,
        arguments::limit(limit),
        (!words.is_empty()).then_some(words),
        filter.lane.map(Lane::as_str),
        owned(&filter.runbook),
        filter.session.map(|session| session.0),
        owned(&filter.trigger),
        owned(&filter.actor),
        has_labels.then_some(labels),
        has_labels.then_some(values),
        (!names.is_empty()).then_some(names),
        text.map(|text| texts(text.runbooks.iter().map(String::as_str))),
        text.map(|text| texts(text.actors.iter().map(String::as_str))),
        found_labels,
        found_values,
        text.and_then(|text| text.ids).map(|ids| ids.0),
        text.and_then(|text| text.ids).map(|ids| ids.1),
        ranges,
        range_values,
        matches!(source.index, Index::Text),
        arguments::limit(each),
        arguments::limit(middle),
    ))
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<String> {
    texts.map(|text| stored(text).into_owned()).collect()
}

/// Names and values, each in a list of its own.
fn split<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> (Vec<String>, Vec<String>) {
    labels.map(|(name, value)| (stored(name).into_owned(), stored(value).into_owned())).unzip()
}
