//! Holds answers against the OpenAPI document.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::launch::Answer;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_saphyr::from_str(include_str!("../../../schemas/openapi.yaml")).unwrap());

static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every path with its methods, as in `GET`.
pub fn operations() -> BTreeMap<String, Vec<String>> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    paths
        .iter()
        .map(|(path, item)| {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            (path.clone(), methods.map(|method| method.to_uppercase()).collect())
        })
        .collect()
}

/// Fails the test if the document does not describe the answer.
pub fn check(method: &str, path: &str, answer: &Answer) {
    if let Err(why) = held(method, path, answer) {
        panic!("{method} {path}: {why}\n{answer:?}");
    }
}

fn held(method: &str, path: &str, answer: &Answer) -> Result<(), String> {
    let id = answer.header("x-request-id").ok_or("no x-request-id")?;
    if id.is_empty() || id.len() > 100 {
        return Err(format!("x-request-id is `{id}`"));
    }
    let path = path.split('?').next().unwrap_or_default();
    let method = if method == "HEAD" { "get".to_owned() } else { method.to_lowercase() };
    let Some(template) = template(path) else { return problem_with(answer, 404, "NOT_FOUND") };
    let Some(operation) = DOCUMENT["paths"][&template].get(&method) else {
        return problem_with(answer, 405, "METHOD_NOT_ALLOWED");
    };
    let responses = &operation["responses"];
    let status = answer.status.to_string();
    let response = responses.get(&status).or_else(|| responses.get("default")).ok_or("no such status")?;
    response_is(resolved(response), answer)
}

fn problem_with(answer: &Answer, status: u16, code: &str) -> Result<(), String> {
    // Whoever is not let in does not learn what is there.
    let stopped = matches!(answer.status, 401 | 403 | 421 | 429);
    response_is(&DOCUMENT["components"]["responses"]["Problem"], answer)?;
    let found = answer.json();
    if stopped || (answer.status == status && found["code"] == code) {
        return Ok(());
    }
    Err(format!("expected {status} {code}"))
}

fn response_is(response: &Value, answer: &Answer) -> Result<(), String> {
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        let value = answer.header(name).ok_or(format!("no header `{name}`"))?;
        let schema = &resolved(header)["schema"];
        valid(schema, &json!(value)).map_err(|why| format!("header `{name}`: {why}"))?;
    }
    let Some(contents) = response["content"].as_object() else {
        return if answer.body.is_empty() { Ok(()) } else { Err("a body where there is none".to_owned()) };
    };
    let given = answer.header("content-type").ok_or("no content-type")?;
    let essence = given.split(';').next().unwrap_or_default().trim();
    let content = contents.get(essence).ok_or(format!("the content-type is `{given}`"))?;
    if !essence.ends_with("json") || answer.is_head {
        return Ok(());
    }
    let body: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("no JSON: {error}"))?;
    if essence == "application/problem+json" && body["status"] != answer.status {
        return Err("the problem has another status".to_owned());
    }
    valid(&content["schema"], &body)
}

/// Checks against a schema of the document.
pub fn valid(schema: &Value, value: &Value) -> Result<(), String> {
    let validator = {
        let mut known = VALIDATORS.lock().unwrap();
        known.entry(schema.to_string()).or_insert_with(|| Arc::new(validator(schema))).clone()
    };
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}

fn validator(schema: &Value) -> Validator {
    // The document's own references point at `#/components`.
    let root = json!({"allOf": [schema], "components": DOCUMENT["components"]});
    jsonschema::draft202012::options().should_validate_formats(true).build(&root).unwrap()
}

fn resolved(value: &Value) -> &Value {
    let pointer = value["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
    pointer.map_or(value, |pointer| DOCUMENT.pointer(pointer).unwrap())
}

/// The path of the document that a path is an instance of; one without parameters wins.
fn template(path: &str) -> Option<String> {
    let fits = |template: &str| {
        let (parts, given): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        parts.len() == given.len()
            && parts.iter().zip(given).all(
                |(part, given)| {
                    if part.starts_with('{') { !given.is_empty() } else { *part == given }
                },
            )
    };
    let paths = DOCUMENT["paths"].as_object()?.keys();
    paths.filter(|template| fits(template)).min_by_key(|template| template.matches('{').count()).cloned()
}
