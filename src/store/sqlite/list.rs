//! Lists of runs.
//!
//! Every filter has an index that ends with the run's id, so a list is one or more ranges, each read newest
//! first, merged by id and cut off. The other filters are applied to what the index yields; where several have
//! an index, the list is taken from the one whose newest runs reach back furthest.

use serde::Serialize;
use sqlx::{
    Row,
    sqlite::{SqliteArguments, SqliteRow},
};
use uuid::Uuid;

use super::{
    SqliteStore,
    arguments::{self, arguments, id},
    errors::store_error,
    rows::{self, RunRecord, decode_all},
};
use crate::{
    model::{Lane, Micros, TenantId},
    ports::{LabelFilter, Page, RunFilter, RunRow, StoreError},
    store::text::Needle,
};

/// The density of an index is told from so many of its newest runs.
const DENSITY: usize = 500;

/// So many ranges are merged without further ado.
const FEW: usize = 8;

/// How far back to look first where there are more, in milliseconds: an hour, eight, 64, and three weeks.
const WINDOWS: [u128; 4] = [3_600_000, 8 * 3_600_000, 64 * 3_600_000, 512 * 3_600_000];

/// A label that only has to be there is looked up by its values if there are at most this many.
const VALUES: usize = 1_000;

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

/// Every source of runs: an index, or several merged.
const STATEMENTS: [Statements; 10] = [
    over!("by_lane"),
    over!("by_live"),
    over!("by_ended"),
    over!("by_live", "by_ended"),
    over!("by_session"),
    over!("by_runbook"),
    over!("by_actor"),
    over!("by_trigger"),
    over!("by_label"),
    over!("by_text_runbook", "by_text_actor", "by_text_label", "by_text_id"),
];

/// What is asked of one source.
#[derive(Debug, Clone, Copy)]
struct Statements {
    list: &'static str,
    /// How far back its newest runs reach.
    density: &'static str,
}

/// The places of the statements in [`STATEMENTS`].
#[derive(Debug, Clone, Copy)]
enum Index {
    Lane,
    Live,
    Ended,
    LiveAndEnded,
    Session,
    Runbook,
    Actor,
    Trigger,
    Label,
    Text,
}

/// An index to take a list from, and the ranges of it to merge, as JSON, and how many.
#[derive(Debug)]
struct Source {
    index: Index,
    ranges: String,
    count: usize,
}

impl Source {
    fn of(index: Index) -> Source {
        Source { index, ranges: String::new(), count: 1 }
    }

    fn merging<T: Serialize>(index: Index, ranges: &[T]) -> Source {
        Source { index, ranges: arguments::json(&ranges), count: ranges.len() }
    }

    fn statements(&self) -> Statements {
        STATEMENTS[self.index as usize]
    }
}

/// What in the store has the text of a filter.
#[derive(Debug, Default)]
struct Matches {
    runbooks: Vec<String>,
    actors: Vec<String>,
    labels: Vec<(String, String)>,
    /// The ids that begin with it.
    ids: Option<(Uuid, Uuid)>,
}

impl Matches {
    fn is_empty(&self) -> bool {
        self.runbooks.is_empty() && self.actors.is_empty() && self.labels.is_empty() && self.ids.is_none()
    }
}

/// A filter with everything that its statements are given.
struct Query<'a> {
    store: &'a SqliteStore,
    tenant: TenantId,
    filter: &'a RunFilter,
    ids: (Uuid, Uuid),
    text: Option<Matches>,
}

pub(super) async fn runs(
    store: &SqliteStore,
    tenant: TenantId,
    filter: &RunFilter,
) -> Result<Page<RunRow>, StoreError> {
    const NONE: Page<RunRow> = Page { items: Vec::new(), more: false };
    let Some(ids) = id_range(filter) else { return Ok(NONE) };
    let text = match &filter.text {
        Some(text) => Some(matches(store, tenant, text).await?),
        None => None,
    };
    if text.as_ref().is_some_and(Matches::is_empty) {
        return Ok(NONE);
    }
    let query = Query { store, tenant, filter, ids, text };
    let Some(source) = query.source().await? else { return Ok(NONE) };
    // One more than asked for tells whether there are more.
    let limit = arguments::limit(filter.limit).saturating_add(1);
    let rows = query.rows(&source, limit).await?;
    let mut items: Vec<RunRow> = decode_all::<RunRecord, _>(&rows)?;
    let more = items.len() > filter.limit;
    items.truncate(filter.limit);
    Ok(Page { items, more })
}

impl Query<'_> {
    /// The index to take the list from; `None` if one of the filters matches nothing.
    async fn source(&self) -> Result<Option<Source>, StoreError> {
        let mut candidates = self.candidates();
        for label in &self.filter.labels {
            match self.label(label).await? {
                Some(ranges) if ranges.is_empty() => return Ok(None),
                Some(ranges) => candidates.push(Source::merging(Index::Label, &ranges)),
                None => {}
            }
        }
        if candidates.is_empty() {
            let all: Vec<&str> = Lane::ALL.iter().map(|lane| lane.as_str()).collect();
            candidates.push(Source::merging(Index::Lane, &all));
        }
        if candidates.len() == 1 {
            return Ok(candidates.pop());
        }
        let mut best: Option<(Option<Vec<u8>>, Source)> = None;
        for candidate in candidates {
            let reach = self.reach(&candidate).await?;
            // `None`, fewer runs than are looked at, is the least of all.
            if best.as_ref().is_none_or(|(least, _)| reach < *least) {
                best = Some((reach, candidate));
            }
        }
        Ok(best.map(|(_, source)| source))
    }

    /// The indexes that the filters have, without those of labels.
    fn candidates(&self) -> Vec<Source> {
        let filter = self.filter;
        let mut found = Vec::new();
        if !filter.status.is_empty() {
            let ended: Vec<&str> =
                filter.status.iter().filter(|status| status.is_ended()).map(|status| status.as_str()).collect();
            let index = match (ended.len(), filter.status.len()) {
                (0, _) => Index::Live,
                (ended, all) if ended == all => Index::Ended,
                _ => Index::LiveAndEnded,
            };
            found.push(Source::merging(index, &ended));
        }
        if let Some(lane) = filter.lane {
            found.push(Source::merging(Index::Lane, &[lane.as_str()]));
        }
        let plain = [
            (filter.session.is_some(), Index::Session),
            (filter.runbook.is_some(), Index::Runbook),
            (filter.actor.is_some(), Index::Actor),
            (filter.trigger.is_some(), Index::Trigger),
            (self.text.is_some(), Index::Text),
        ];
        found.extend(plain.into_iter().filter(|(given, _)| *given).map(|(_, index)| Source::of(index)));
        found
    }

    /// The names and values to look a label up by; `None` if there are too many.
    async fn label(&self, label: &LabelFilter) -> Result<Option<Vec<(String, String)>>, StoreError> {
        let name = || label.name.clone();
        if let Some(value) = &label.value {
            return Ok(Some(vec![(name(), value.clone())]));
        }
        let values = label_values(self.store, self.tenant, &label.name, VALUES + 1).await?;
        Ok((values.len() <= VALUES).then(|| values.into_iter().map(|value| (name(), value)).collect()))
    }

    async fn reach(&self, source: &Source) -> Result<Option<Vec<u8>>, StoreError> {
        let rows = self.store.read(source.statements().density, self.arguments(source, 0, self.ids.0)?).await?;
        let reach = rows.first().map(|row| row.try_get(0)).transpose().map_err(|error| store_error(&error))?;
        Ok(reach.flatten())
    }

    /// The newest rows, at most `limit`. Of many ranges each has to be read to that limit, to be merged; so they are
    /// looked at in growing windows of time, most of which are mostly empty.
    async fn rows(&self, source: &Source, limit: i64) -> Result<Vec<SqliteRow>, StoreError> {
        let list = async |first| self.store.read(source.statements().list, self.arguments(source, limit, first)?).await;
        if self.ranges(source) > FEW {
            let newest = self.store.read(part!("newest"), arguments!(id(self.ids.1))).await?;
            let newest = rows::scalar::<Option<Vec<u8>>>(&newest)?.flatten();
            let Some(newest) = newest.and_then(|id| Uuid::from_slice(&id).ok()) else { return Ok(Vec::new()) };
            for millis in WINDOWS {
                let first = Uuid::from_u128(newest.as_u128().saturating_sub(millis << 80));
                if first <= self.ids.0 {
                    break;
                }
                let rows = list(first).await?;
                if arguments::limit(rows.len()) >= limit {
                    return Ok(rows);
                }
            }
        }
        list(self.ids.0).await
    }

    /// How many ranges are merged.
    fn ranges(&self, source: &Source) -> usize {
        match (source.index, &self.text) {
            (Index::Text, Some(text)) => text.runbooks.len() + text.actors.len() + text.labels.len(),
            _ => source.count,
        }
    }

    /// In the order of `queries/list/begin.sql`.
    fn arguments(&self, source: &Source, limit: i64, first: Uuid) -> Result<SqliteArguments, StoreError> {
        let filter = self.filter;
        let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
        let pairs: Vec<(&str, &str)> = filter
            .labels
            .iter()
            .filter_map(|label| label.value.as_deref().map(|value| (label.name.as_str(), value)))
            .collect();
        let names: Vec<&str> =
            filter.labels.iter().filter(|label| label.value.is_none()).map(|label| label.name.as_str()).collect();
        let text = self.text.as_ref();
        let ranges = self.ranges(source).max(1);
        Ok(arguments!(
            id(self.tenant.0),
            id(first),
            id(self.ids.1),
            limit,
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
            source.ranges.clone(),
            matches!(source.index, Index::Text),
            arguments::limit(DENSITY / ranges),
            arguments::limit((ranges - 1) / 2),
        ))
    }
}

/// What has the text: the few distinct names and values are read, not the runs.
async fn matches(store: &SqliteStore, tenant: TenantId, text: &str) -> Result<Matches, StoreError> {
    let needle = Needle::new(text);
    let names = async |sql| -> Result<Vec<String>, StoreError> { texts(store, sql, arguments!(id(tenant.0))).await };
    let mut found = Matches { ids: prefix_range(text), ..Matches::default() };
    found.runbooks = names(part!("runbook_names")).await?;
    found.runbooks.retain(|name| needle.is_in(name));
    found.actors = names(part!("actor_names")).await?;
    found.actors.retain(|name| needle.is_in(name));
    for name in names(part!("label_names")).await? {
        let values = label_values(store, tenant, &name, usize::MAX).await?;
        found.labels.extend(values.into_iter().filter(|value| needle.is_in(value)).map(|value| (name.clone(), value)));
    }
    Ok(found)
}

async fn label_values(
    store: &SqliteStore,
    tenant: TenantId,
    name: &str,
    limit: usize,
) -> Result<Vec<String>, StoreError> {
    let arguments = arguments!(id(tenant.0), name.to_owned(), arguments::limit(limit));
    texts(store, part!("label_values"), arguments).await
}

async fn texts(store: &SqliteStore, sql: &'static str, arguments: SqliteArguments) -> Result<Vec<String>, StoreError> {
    let rows = store.read(sql, arguments).await?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| store_error(&error))).collect()
}

/// The ids between which the filter's runs are, both included; `None` if there can be none.
fn id_range(filter: &RunFilter) -> Option<(Uuid, Uuid)> {
    let (mut first, mut last) = match &filter.id_prefix {
        Some(prefix) => prefix_range(prefix)?,
        None => (Uuid::nil(), Uuid::max()),
    };
    if let Some(before) = filter.before {
        last = last.min(Uuid::from_u128(before.0.as_u128().checked_sub(1)?));
    }
    if let Some(since) = filter.since {
        first = first.max(first_id_at(since)?);
    }
    if let Some(until) = filter.until.and_then(first_id_at) {
        last = last.min(Uuid::from_u128(until.as_u128().checked_sub(1)?));
    }
    (first <= last).then_some((first, last))
}

/// The least id of a millisecond; `None` for one that is later than ids can say.
fn first_id_at(at: Micros) -> Option<Uuid> {
    let millis = u128::try_from(at.millis().max(0)).unwrap_or(0);
    (millis < 1 << 48).then(|| Uuid::from_u128(millis << 80))
}

/// The first and the last id whose text begins with `prefix`.
fn prefix_range(prefix: &str) -> Option<(Uuid, Uuid)> {
    const FIRST: &str = "00000000-0000-0000-0000-000000000000";
    const LAST: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";
    let fill = |rest: &str| {
        let text = format!("{prefix}{}", rest.get(prefix.len()..)?);
        let id: Uuid = text.parse().ok()?;
        // The parser knows more spellings than the one that is shown.
        (id.to_string() == text.to_lowercase()).then_some(id)
    };
    Some((fill(FIRST)?, fill(LAST)?))
}
