//! All actions of this build.

use std::{collections::BTreeMap, sync::Arc};

use jsonschema::Validator;
use serde_json::Value;

use super::{HttpConfig, assert, attempt::invalid, events_emit, file_write, http_request, log, run, wait};
use crate::{
    model::Failure,
    ports::{Artifacts, Executor, Executors, Processes, Workspaces},
    runbook::{Action, Catalog},
};

/// How an action's executor is made from what the process has.
type Make = fn(&Deps) -> Arc<dyn Executor>;

/// The line to add for a new action.
const ACTIONS: &[(Action, Make)] = &[
    (assert::ACTION, |_| Arc::new(assert::Assert)),
    (events_emit::ACTION, |_| Arc::new(events_emit::EventsEmit)),
    (file_write::ACTION, |_| Arc::new(file_write::FileWrite)),
    (http_request::ACTION, |deps| Arc::new(http_request::HttpRequest::new(deps))),
    (log::ACTION, |_| Arc::new(log::Log)),
    (run::ACTION, |deps| Arc::new(run::Run::new(deps))),
    (wait::ACTION, |_| Arc::new(wait::Wait)),
];

/// What executors are made from.
#[derive(Clone)]
pub struct Deps {
    pub processes: Arc<dyn Processes>,
    pub artifacts: Arc<dyn Artifacts>,
    /// The same that attempts get their folders from and hand them back to.
    pub workspaces: Arc<dyn Workspaces>,
    /// The environment of every process (`PATH`, `HOME`, `LANG`, `TZ`, `USER`, `TMPDIR`); the step's own
    /// comes on top.
    pub base_env: BTreeMap<String, String>,
    pub http: Arc<HttpConfig>,
}

impl std::fmt::Debug for Deps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Deps").field("base_env", &self.base_env).finish_non_exhaustive()
    }
}

/// The descriptors alone, for commands that execute nothing.
pub fn catalog() -> Catalog {
    Catalog::new(ACTIONS.iter().map(|(action, _)| *action))
}

/// Every action with its compiled schema and its executor.
pub struct Registry {
    entries: BTreeMap<&'static str, Entry>,
}

struct Entry {
    action: Action,
    schema: Validator,
    executor: Arc<dyn Executor>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Registry {
    /// All actions of this build.
    pub fn standard(deps: &Deps) -> Registry {
        Registry::new(ACTIONS.iter().map(|(action, make)| (*action, make(deps))))
    }

    /// A registry of other actions, for tests and embedders; a later one of the same name wins.
    ///
    /// # Panics
    /// When the schema of a descriptor is not a JSON Schema.
    pub fn new(actions: impl IntoIterator<Item = (Action, Arc<dyn Executor>)>) -> Registry {
        let entry = |(action, executor): (Action, _)| {
            let schema = jsonschema::draft202012::options()
                .should_validate_formats(true)
                .build(&(action.schema)())
                .unwrap_or_else(|error| {
                    unreachable!("the schema of `{}` is written in its file: {error}", action.name)
                });
            (action.name, Entry { action, schema, executor })
        };
        Registry { entries: actions.into_iter().map(entry).collect() }
    }

    pub fn catalog(&self) -> Catalog {
        Catalog::new(self.entries.values().map(|entry| entry.action))
    }

    pub fn get(&self, name: &str) -> Option<Arc<dyn Executor>> {
        self.entries.get(name).map(|entry| entry.executor.clone())
    }

    /// Checks a rendered `with` against the action's schema; all problems are in the message.
    pub fn check(&self, name: &str, with: &Value) -> Result<(), Failure> {
        let Some(entry) = self.entries.get(name) else {
            return Err(Failure::permanent("ACTION_UNKNOWN", format!("this build has no action `{name}`")));
        };
        let problems: Vec<String> = entry
            .schema
            .iter_errors(with)
            .map(|error| format!("with{}: {error}", error.instance_path().to_string().replace('/', ".")))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(invalid(&format!("{name}: {}", problems.join("; ")))) }
    }
}

impl Executors for Registry {
    fn get(&self, uses: &str) -> Option<Arc<dyn Executor>> {
        Registry::get(self, uses)
    }

    fn check(&self, uses: &str, with: &Value) -> Result<(), Failure> {
        Registry::check(self, uses, with)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{actions::testing, model::EffectModel};

    fn check(name: &str, with: &Value) -> Result<(), String> {
        Registry::standard(&testing::deps()).check(name, with).map_err(|failure| failure.to_string())
    }

    #[test]
    fn descriptors_are_complete() {
        for action in catalog().iter() {
            let schema = (action.schema)();
            assert_eq!(schema["additionalProperties"], json!(false), "{}", action.name);
            for (name, property) in schema["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{}: `{name}` has no description", action.name);
            }
            for field in action.secret_fields {
                assert!(schema["properties"][*field].is_object(), "{}: no field `{field}`", action.name);
            }
            assert!(!action.summary.is_empty() && !action.summary.ends_with('.'), "{}", action.name);
            let key = if action.name == "run" { "run:".to_owned() } else { format!("uses: {}", action.name) };
            assert!(action.example.contains(&key), "{}", action.name);
            assert!(!action.result.is_empty(), "{}", action.name);
        }
    }

    #[test]
    fn every_action_has_an_executor() {
        let registry = Registry::standard(&testing::deps());
        for action in registry.catalog().iter() {
            assert!(registry.get(action.name).is_some());
        }
        assert!(registry.get("nothing").is_none());
    }

    #[test]
    fn with_is_checked_and_all_problems_are_told() {
        assert_eq!(check("assert", &json!({"that": true})), Ok(()));
        let error = check("assert", &json!({"that": "yes", "massage": 1})).unwrap_err();
        assert!(error.starts_with("WITH_INVALID: assert: with"), "{error}");
        assert!(error.contains("with.that") && error.contains("massage"), "{error}");
        let failure = Registry::standard(&testing::deps()).check("nope", &json!({})).unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("ACTION_UNKNOWN", false));
    }

    #[test]
    fn what_changes_nothing_is_idempotent() {
        let catalog = catalog();
        for name in ["assert", "events.emit", "file.write", "http.request", "log", "wait"] {
            assert_eq!((catalog.get(name).unwrap().effect)(&json!({})), EffectModel::Idempotent, "{name}");
        }
        assert_eq!((catalog.get("run").unwrap().effect)(&json!({})), EffectModel::AtMostOnce);
    }

    #[test]
    fn schemas_say_what_can_be_written() {
        for (name, with) in [
            ("run", json!({"script": "true"})),
            ("run", json!({"script": "1", "shell": "python3"})),
            ("run", json!({"argv": ["sleep", 1]})),
            ("wait", json!({"for": "5m"})),
            ("wait", json!({"until": "2026-01-01T00:00:00+02:00"})),
            ("file.write", json!({"path": "a", "content": {"b": 1}, "mode": "0640"})),
            ("http.request", json!({"url": "https://x"})),
            ("http.request", json!({"url": "https://x", "json": null, "expect": {"status": [201, "3xx"]}})),
        ] {
            assert_eq!(check(name, &with), Ok(()));
        }
        for (name, with) in [
            ("run", json!({})),
            ("run", json!({"script": "true", "argv": ["true"]})),
            ("run", json!({"argv": []})),
            ("run", json!({"argv": ["true"], "shell": "sh"})),
            ("wait", json!({})),
            ("wait", json!({"for": "5 minutes"})),
            ("wait", json!({"for": "5m", "until": "2026-01-01T00:00:00Z"})),
            ("wait", json!({"until": "tomorrow"})),
            ("file.write", json!({"path": "a", "content": "", "mode": "4755"})),
            ("http.request", json!({"url": "https://x", "json": 1, "body": "1"})),
            ("http.request", json!({"url": "https://x", "method": "get"})),
            ("http.request", json!({"url": "https://x", "expect": {"status": "20x"}})),
        ] {
            assert!(check(name, &with).is_err(), "{name} {with}");
        }
    }
}
