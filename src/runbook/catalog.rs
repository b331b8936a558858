//! What the compiler knows of the actions: names, the schema of `with`, the effect model.
//!
//! The descriptors live beside their executors in `crate::actions`; the compiler gets them as a [`Catalog`].

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::EffectModel;

/// The description of one action. Validation, `explain`, docs and forms derive from it.
#[derive(Debug, Clone, Copy)]
pub struct Action {
    /// What `uses:` says, for example `http.request`.
    pub name: &'static str,
    /// One line for `explain`.
    pub summary: &'static str,
    /// The JSON Schema (draft 2020-12) of `with`.
    pub schema: fn() -> Value,
    /// The shape of `result`, for `explain`: `{status, headers, body}`.
    pub result: &'static str,
    /// A step that uses it, as YAML.
    pub example: &'static str,
    /// The effect model where the step does not say one; it may depend on the literal parts of `with`
    /// (a `GET` is idempotent; an expression appears as `null`).
    pub effect: fn(&Value) -> EffectModel,
    /// Fields of `with` whose string, or whose map's values, are names of secrets.
    pub secret_fields: &'static [&'static str],
}

/// All actions of this build, by name.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    actions: BTreeMap<&'static str, Action>,
}

impl Catalog {
    pub fn new(actions: impl IntoIterator<Item = Action>) -> Catalog {
        Catalog { actions: actions.into_iter().map(|action| (action.name, action)).collect() }
    }

    pub fn get(&self, name: &str) -> Option<&Action> {
        self.actions.get(name)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Action> {
        self.actions.values()
    }
}
