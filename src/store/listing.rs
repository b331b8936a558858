//! Lists of runs, for the stores that keep runs in tables.
//!
//! Every filter has an index that ends with the run's id, so a list is one or more ranges, each read newest
//! first, merged by id and cut off. The other filters are applied to what the index yields; where several have
//! an index, the list is taken from the one whose newest runs reach back furthest. The statements are each
//! store's own ([`Tables`]); what to ask of them is decided here.

use async_trait::async_trait;
use uuid::Uuid;

use super::text::Needle;
use crate::{
    model::{Lane, Micros, TenantId},
    ports::{LabelFilter, Page, RunFilter, RunRow, StoreError},
};

/// The density of an index is told from so many of its newest runs.
pub const DENSITY: usize = 500;

/// So many ranges are merged without further ado.
const FEW: usize = 8;

/// How far back to look first where there are more, in milliseconds: an hour, eight, 64, and three weeks.
const WINDOWS: [u128; 4] = [3_600_000, 8 * 3_600_000, 64 * 3_600_000, 512 * 3_600_000];

/// A label that only has to be there is looked up by its values if there are at most this many, and text is
/// looked for within the values of such a label.
pub const VALUES: usize = 1_000;

/// Text is looked for within so many values of all labels together, and as many names.
const LOOKED_THROUGH: usize = 10_000;

/// An index that a list can be taken from, or several merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Index {
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

/// The ranges of an index to merge.
#[derive(Debug, Clone)]
pub enum Ranges {
    /// The one that the filter itself names, or those that have the text.
    OfFilter,
    /// One for each of these lanes or status words.
    Words(Vec<&'static str>),
    /// One for each of these labels: name and value.
    Labels(Vec<(String, String)>),
}

/// Where to take a list from.
#[derive(Debug, Clone)]
pub struct Source {
    pub index: Index,
    pub ranges: Ranges,
}

/// Where names are read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    Runbooks,
    Actors,
    Labels,
}

/// What in the store has the text of a filter.
#[derive(Debug, Default)]
pub struct Matches {
    pub runbooks: Vec<String>,
    pub actors: Vec<String>,
    pub labels: Vec<(String, String)>,
    /// The first and the last of the ids that begin with it.
    pub ids: Option<(Uuid, Uuid)>,
}

impl Matches {
    fn is_empty(&self) -> bool {
        self.runbooks.is_empty() && self.actors.is_empty() && self.labels.is_empty() && self.ids.is_none()
    }
}

/// A filter with everything that its statements are given.
#[derive(Debug)]
pub struct Query<'a> {
    pub tenant: TenantId,
    pub filter: &'a RunFilter,
    /// The first and the last id that may be in the list.
    pub ids: (Uuid, Uuid),
    pub text: Option<Matches>,
}

/// The statements that lists are put together from.
#[async_trait]
pub trait Tables: Sync {
    /// Names that runs have, each once, at most `limit`.
    async fn names(&self, tenant: TenantId, of: Names, limit: usize) -> Result<Vec<String>, StoreError>;

    /// The values of one label, each once, at most `limit`.
    async fn label_values(&self, tenant: TenantId, name: &str, limit: usize) -> Result<Vec<String>, StoreError>;

    /// How far back the newest [`DENSITY`] runs of a source reach: the id there. Of several ranges the middle one
    /// counts, each with its part of them. `None` if there are fewer.
    async fn reach(&self, query: &Query<'_>, source: &Source) -> Result<Option<Uuid>, StoreError>;

    /// The newest run, of any tenant, with an id up to `last`.
    async fn newest(&self, last: Uuid) -> Result<Option<Uuid>, StoreError>;

    /// The newest runs of a source from the id `first` on that all filters let through, at most `limit`.
    async fn rows(
        &self,
        query: &Query<'_>,
        source: &Source,
        first: Uuid,
        limit: usize,
    ) -> Result<Vec<RunRow>, StoreError>;
}

/// The list of a filter.
pub async fn runs(tables: &impl Tables, tenant: TenantId, filter: &RunFilter) -> Result<Page<RunRow>, StoreError> {
    const NONE: Page<RunRow> = Page { items: Vec::new(), more: false };
    let Some(ids) = id_range(filter) else { return Ok(NONE) };
    let text = match &filter.text {
        Some(text) => Some(matches(tables, tenant, text).await?),
        None => None,
    };
    if text.as_ref().is_some_and(Matches::is_empty) {
        return Ok(NONE);
    }
    let query = Query { tenant, filter, ids, text };
    let Some(source) = query.source(tables).await? else { return Ok(NONE) };
    // One more than asked for tells whether there are more.
    let mut items = query.rows(tables, &source, filter.limit.saturating_add(1)).await?;
    let more = items.len() > filter.limit;
    items.truncate(filter.limit);
    Ok(Page { items, more })
}

impl Source {
    fn of(index: Index) -> Source {
        Source { index, ranges: Ranges::OfFilter }
    }
}

impl Query<'_> {
    /// How many ranges are merged.
    pub fn ranges(&self, source: &Source) -> usize {
        match (&source.ranges, source.index, &self.text) {
            (Ranges::Words(words), ..) => words.len(),
            (Ranges::Labels(labels), ..) => labels.len(),
            (Ranges::OfFilter, Index::Text, Some(text)) => text.runbooks.len() + text.actors.len() + text.labels.len(),
            (Ranges::OfFilter, ..) => 1,
        }
    }

    /// Whether a source has exactly what the filter lets through.
    pub fn is_just(&self, source: &Source) -> bool {
        let filter = self.filter;
        let given = [
            !filter.status.is_empty(),
            filter.lane.is_some(),
            filter.runbook.is_some(),
            filter.session.is_some(),
            filter.trigger.is_some(),
            filter.actor.is_some(),
            self.text.is_some(),
        ];
        let given = given.into_iter().filter(|given| *given).count() + filter.labels.len();
        match source.index {
            Index::Live | Index::LiveAndEnded => false,
            // All lanes are what there is without a filter, or with one that has no index.
            Index::Lane => given == usize::from(filter.lane.is_some()),
            _ => given == 1,
        }
    }

    /// Of each range so many runs tell its density, and the range after so many is the middle one.
    pub fn density(&self, source: &Source) -> (usize, usize) {
        let ranges = self.ranges(source).max(1);
        (DENSITY / ranges, (ranges - 1) / 2)
    }

    /// The index to take the list from; `None` if one of the filters matches nothing.
    async fn source(&self, tables: &impl Tables) -> Result<Option<Source>, StoreError> {
        let mut candidates = self.candidates();
        for label in &self.filter.labels {
            match self.label(tables, label).await? {
                Some(labels) if labels.is_empty() => return Ok(None),
                Some(labels) => candidates.push(Source { index: Index::Label, ranges: Ranges::Labels(labels) }),
                None => {}
            }
        }
        if candidates.is_empty() {
            let all = Lane::ALL.iter().map(|lane| lane.as_str()).collect();
            candidates.push(Source { index: Index::Lane, ranges: Ranges::Words(all) });
        }
        if candidates.len() == 1 {
            return Ok(candidates.pop());
        }
        let mut best: Option<(Option<Uuid>, Source)> = None;
        for candidate in candidates {
            let reach = tables.reach(self, &candidate).await?;
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
            found.push(Source { index, ranges: Ranges::Words(ended) });
        }
        if let Some(lane) = filter.lane {
            found.push(Source { index: Index::Lane, ranges: Ranges::Words(vec![lane.as_str()]) });
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
    async fn label(
        &self,
        tables: &impl Tables,
        label: &LabelFilter,
    ) -> Result<Option<Vec<(String, String)>>, StoreError> {
        let name = || label.name.clone();
        if let Some(value) = &label.value {
            return Ok(Some(vec![(name(), value.clone())]));
        }
        let values = tables.label_values(self.tenant, &label.name, VALUES + 1).await?;
        Ok((values.len() <= VALUES).then(|| values.into_iter().map(|value| (name(), value)).collect()))
    }

    /// The newest rows, at most `limit`. Of many ranges each has to be read to that limit, to be merged; so they are
    /// looked at in growing windows of time, most of which are mostly empty.
    async fn rows(&self, tables: &impl Tables, source: &Source, limit: usize) -> Result<Vec<RunRow>, StoreError> {
        if self.ranges(source) > FEW {
            let Some(newest) = tables.newest(self.ids.1).await? else { return Ok(Vec::new()) };
            for millis in WINDOWS {
                let first = Uuid::from_u128(newest.as_u128().saturating_sub(millis << 80));
                if first <= self.ids.0 {
                    break;
                }
                let rows = tables.rows(self, source, first, limit).await?;
                if rows.len() >= limit {
                    return Ok(rows);
                }
            }
        }
        tables.rows(self, source, self.ids.0, limit).await
    }
}

/// What has the text: the distinct names and values are read, not the runs.
async fn matches(tables: &impl Tables, tenant: TenantId, text: &str) -> Result<Matches, StoreError> {
    let needle = Needle::new(text);
    let names = async |of| -> Result<Vec<String>, StoreError> {
        let mut names = tables.names(tenant, of, LOOKED_THROUGH).await?;
        names.retain(|name| needle.is_in(name));
        Ok(names)
    };
    let mut found = Matches { ids: prefix_range(text), ..Matches::default() };
    found.runbooks = names(Names::Runbooks).await?;
    found.actors = names(Names::Actors).await?;
    let mut left = LOOKED_THROUGH;
    for name in tables.names(tenant, Names::Labels, LOOKED_THROUGH).await? {
        let most = left.min(VALUES);
        let values = tables.label_values(tenant, &name, most + 1).await?;
        if values.len() > most {
            // As good as one for every run: a part of a value would mean reading them all.
            found.labels.push((name, text.to_owned()));
            continue;
        }
        left -= values.len();
        found.labels.extend(values.into_iter().filter(|value| needle.is_in(value)).map(|value| (name.clone(), value)));
    }
    Ok(found)
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
