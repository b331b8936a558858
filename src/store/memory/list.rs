//! Which runs a filter means.

use std::collections::{HashMap, HashSet};

use crate::{
    model::TenantId,
    ports::{LabelFilter, RunFilter, RunRow},
    store::{
        listing::VALUES,
        text::{Needle, label_text},
    },
};

/// The labels with so many values that only whole ones are found by text.
pub(super) fn wide_labels<'a>(tenant: TenantId, rows: impl Iterator<Item = &'a RunRow>) -> HashSet<&'a str> {
    let mut values: HashMap<&str, HashSet<String>> = HashMap::new();
    for (name, value) in rows.filter(|row| row.tenant == tenant).flat_map(|row| &row.labels) {
        values.entry(name).or_default().insert(label_text(value));
    }
    values.into_iter().filter(|(_, values)| values.len() > VALUES).map(|(name, _)| name).collect()
}

/// Whether a run is in the list of a filter, its limit aside.
pub(super) fn includes(tenant: TenantId, filter: &RunFilter, wide: &HashSet<&str>, row: &RunRow) -> bool {
    let id = row.id.to_string();
    let prefix = filter.id_prefix.as_deref().unwrap_or_default().to_lowercase();
    row.tenant == tenant
        && (filter.status.is_empty() || filter.status.contains(&row.status))
        && filter.lane.is_none_or(|lane| row.lane == lane)
        && filter.runbook.as_deref().is_none_or(|runbook| *row.runbook == *runbook)
        && filter.session.is_none_or(|session| row.session == Some(session))
        && filter.labels.iter().all(|label| has_label(row, label))
        && filter.trigger.as_deref().is_none_or(|kind| row.trigger.kind == kind)
        && filter.actor.as_deref().is_none_or(|actor| row.trigger.actor == actor)
        && filter.since.is_none_or(|since| millis(row) >= since.millis())
        && filter.until.is_none_or(|until| millis(row) < until.millis())
        && filter.before.is_none_or(|before| row.id < before)
        && filter.text.as_deref().is_none_or(|text| has_text(row, &id, text, wide))
        && id.starts_with(&prefix)
}

/// The time in the id.
fn millis(row: &RunRow) -> i64 {
    i64::try_from(row.id.0.as_u128() >> 80).unwrap_or(i64::MAX)
}

fn has_label(row: &RunRow, wanted: &LabelFilter) -> bool {
    let value = row.labels.get(&wanted.name);
    value.is_some_and(|value| wanted.value.as_ref().is_none_or(|wanted| label_text(value) == *wanted))
}

fn has_text(row: &RunRow, id: &str, text: &str, wide: &HashSet<&str>) -> bool {
    let needle = Needle::new(text);
    let has = |name: &str, value: String| if wide.contains(name) { value == text } else { needle.is_in(&value) };
    needle.is_in(&row.runbook)
        || needle.is_in(&row.trigger.actor)
        || row.labels.iter().any(|(name, value)| has(name, label_text(value)))
        || id.starts_with(&text.to_lowercase())
}
