use serde_json::json;

use super::*;

fn said(value: &Value) -> Vec<String> {
    let violations = runbook_checker().check(value).into_iter();
    violations.map(|v| format!("{} {} {} | {}", v.code, v.pointer, v.message, v.help.unwrap_or_default())).collect()
}

#[test]
fn the_contract_compiles() {
    assert!(Checker::new(runbook().clone()).is_ok());
    assert!(runbook_checker().validator.is_some());
}

#[test]
fn every_property_is_described_and_every_map_is_closed() {
    fn walk(schema: &Value, path: &str) {
        match schema {
            Value::Object(entries) => {
                if let Some(Value::Object(properties)) = entries.get("properties")
                    && !path.starts_with("/properties/params")
                    && path != "/$defs/param/properties"
                {
                    assert!(entries.get("additionalProperties") == Some(&json!(false)), "{path} is open");
                    for (name, property) in properties {
                        let described = property.get("description").is_some() || property.get("$ref").is_some();
                        assert!(described, "{path}/{name} has no description");
                    }
                }
                for (key, value) in entries.iter().filter(|(key, _)| *key != "examples") {
                    walk(value, &format!("{path}/{key}"));
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, path)),
            _ => {}
        }
    }
    walk(runbook(), "");
}

#[test]
fn violations_are_precise() {
    let step = |step: Value| said(&json!({"version": 1, "name": "x", "steps": [step]}));
    assert_eq!(step(json!({"id": "a", "run": "x"})), Vec::<String>::new());
    assert_eq!(
        step(json!({"id": "a", "run": "x", "tiemout": "5s"})),
        ["UNKNOWN_KEY /steps/0/tiemout unknown key `tiemout` | did you mean `timeout`?"]
    );
    assert_eq!(step(json!({"id": "a"})), ["MISSING_KEY /steps/0 one of the keys `uses`, `run` is missing | "]);
    assert_eq!(
        step(json!({"id": "a", "run": "x", "uses": "log"})),
        ["CONFLICTING_KEYS /steps/0 `uses` and `run` exclude each other | "]
    );
    assert_eq!(
        step(json!({"id": "a", "run": "x", "with": {}})),
        ["MISSING_KEY /steps/0 `with` is for `uses`, which is missing | The action. `opsroom explain` lists them."]
    );
    assert_eq!(
        step(json!({"id": "a", "run": "x", "timeout": "5 min"})),
        [
            "BAD_VALUE /steps/0/timeout `5 min` is not a duration | A whole number and a unit: `50ms`, `30s`, `5m`, `2h` or `1d`."
        ]
    );
    assert_eq!(
        step(json!({"id": "a", "run": "x", "on_unknown": "holt"})),
        ["BAD_VALUE /steps/0/on_unknown `holt` is not allowed here | did you mean `hold`?"]
    );
    assert_eq!(
        step(json!({"id": "a", "run": 5}))[0],
        "WRONG_TYPE /steps/0/run expected a string or a list, found the number 5 | A script, or a program and its arguments as a list. Expressions are not allowed in a script: pass values through `env`."
    );
    assert_eq!(
        step(json!({"id": "a", "run": "x", "env": {"1X": 1}})),
        ["BAD_VALUE /steps/0/env/1X the name `1X` does not match `^[A-Za-z_][A-Za-z0-9_]{0,127}$` | "]
    );
}
