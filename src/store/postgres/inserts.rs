//! Rows in the form that statements take them: an array for each column.

use uuid::Uuid;

use super::{
    arguments,
    types::{At, stored},
};
use crate::{
    model::RunId,
    ports::{NewRun, StepRow, StoredEvent},
    store::text::label_text,
};

/// One value of each item.
pub(super) fn column<T, V>(items: &[T], value: impl FnMut(&T) -> V) -> Vec<V> {
    items.iter().map(value).collect()
}

/// Text of each item, as PostgreSQL can store it.
pub(super) fn texts<'a, T>(items: &'a [T], text: impl Fn(&'a T) -> &'a str) -> Vec<String> {
    items.iter().map(|item| stored(text(item)).into_owned()).collect()
}

/// A number of events, which `store::check` has found to be in range.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Rows of `run_events`.
#[derive(Default)]
pub(super) struct Events {
    pub(super) runs: Vec<Uuid>,
    /// The places of their runs among what was given, from 1.
    pub(super) numbers: Vec<i32>,
    pub(super) sequences: Vec<i64>,
    pub(super) prevs: Vec<i64>,
    pub(super) ats: Vec<At>,
    pub(super) categories: Vec<&'static str>,
    pub(super) actions: Vec<String>,
    pub(super) data: Vec<String>,
}

impl Events {
    pub(super) fn of<'a>(events: impl Iterator<Item = (RunId, &'a [StoredEvent])>) -> Events {
        let mut rows = Events::default();
        for (place, (run, events)) in (1..).zip(events) {
            for event in events {
                rows.runs.push(run.0);
                rows.numbers.push(place);
                rows.sequences.push(number(event.sequence));
                rows.prevs.push(number(event.prev));
                rows.ats.push(At(event.at));
                rows.categories.push(event.kind.category.as_str());
                rows.actions.push(stored(&event.kind.action).into_owned());
                rows.data.push(arguments::json(&event.data));
            }
        }
        rows
    }
}

/// Rows of `run_labels`.
#[derive(Default)]
pub(super) struct Labels {
    pub(super) tenants: Vec<Uuid>,
    pub(super) names: Vec<String>,
    pub(super) values: Vec<String>,
    pub(super) runs: Vec<Uuid>,
}

impl Labels {
    pub(super) fn of<'a>(runs: impl IntoIterator<Item = &'a NewRun>) -> Labels {
        let mut rows = Labels::default();
        for run in runs {
            for (name, value) in &run.labels {
                rows.tenants.push(run.tenant.0);
                rows.names.push(stored(name).into_owned());
                rows.values.push(stored(&label_text(value)).into_owned());
                rows.runs.push(run.id.0);
            }
        }
        rows
    }
}

/// Rows of `run_steps`.
#[derive(Default)]
pub(super) struct Steps {
    /// The places of their commits among what was given, from 1.
    pub(super) numbers: Vec<i32>,
    pub(super) indexes: Vec<i64>,
    pub(super) ids: Vec<String>,
    pub(super) uses: Vec<String>,
    pub(super) statuses: Vec<&'static str>,
    pub(super) attempts: Vec<i64>,
    pub(super) started_ats: Vec<Option<At>>,
    pub(super) ended_ats: Vec<Option<At>>,
    pub(super) outputs: Vec<String>,
    pub(super) errors: Vec<Option<String>>,
}

impl Steps {
    pub(super) fn of<'a>(steps: impl Iterator<Item = &'a [StepRow]>) -> Steps {
        let mut rows = Steps::default();
        for (place, steps) in (1..).zip(steps) {
            for step in steps {
                rows.numbers.push(place);
                rows.indexes.push(i64::from(step.step.0));
                rows.ids.push(stored(&step.id).into_owned());
                rows.uses.push(stored(&step.uses).into_owned());
                rows.statuses.push(step.status.as_str());
                rows.attempts.push(i64::from(step.attempts));
                rows.started_ats.push(step.started_at.map(At));
                rows.ended_ats.push(step.ended_at.map(At));
                rows.outputs.push(arguments::json(&step.outputs));
                rows.errors.push(step.error.as_ref().map(arguments::json));
            }
        }
        rows
    }
}
