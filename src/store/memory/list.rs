//! Which runs a filter means.

use crate::{
    model::TenantId,
    ports::{LabelFilter, RunFilter, RunRow},
    store::text::{Needle, label_text},
};

/// Whether a run is in the list of a filter, its limit aside.
pub(super) fn includes(tenant: TenantId, filter: &RunFilter, row: &RunRow) -> bool {
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
        && filter.text.as_deref().is_none_or(|text| has_text(row, &id, text))
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

fn has_text(row: &RunRow, id: &str, text: &str) -> bool {
    let needle = Needle::new(text);
    needle.is_in(&row.runbook)
        || needle.is_in(&row.trigger.actor)
        || row.labels.values().any(|value| needle.is_in(&label_text(value)))
        || id.starts_with(&text.to_lowercase())
}
