//! What the OpenAPI document says of each operation, for the checks that all of them share. The document
//! is the source: an operation that it does not describe has no parameters and is open to nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use axum::http::Method;
use serde_json::Value;

/// The document, as it is served.
pub const DOCUMENT: &str = include_str!("../../schemas/openapi.yaml");

/// Read when it is first needed.
static CONTRACT: LazyLock<BTreeMap<(String, String), Operation>> = LazyLock::new(read);

/// One method of one path.
#[derive(Debug, Default)]
pub struct Operation {
    /// The query parameters that it knows.
    pub query: BTreeSet<String>,
    /// Whether it takes an `Idempotency-Key`.
    pub idempotent: bool,
    /// Who may call it.
    pub access: Access,
    /// One sentence.
    pub summary: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Anyone,
    /// With the key; browsers may not.
    Key,
    #[default]
    KeyOrCookie,
}

/// The operation of a route. HEAD is GET without the body.
pub fn operation(method: &Method, path: &str) -> Option<&'static Operation> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    CONTRACT.get(&(path.to_owned(), method.as_str().to_lowercase()))
}

/// Whether anyone may call every method of the path.
pub fn is_public(path: &str) -> bool {
    let mut methods = CONTRACT.iter().filter(|((of, _), _)| of == path).peekable();
    methods.peek().is_some() && methods.all(|(_, operation)| operation.access == Access::Anyone)
}

/// Method, path and summary of every operation.
pub fn summaries() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    CONTRACT.iter().map(|((path, method), operation)| (method.as_str(), path.as_str(), operation.summary.as_str()))
}

fn read() -> BTreeMap<(String, String), Operation> {
    let document: Value = match serde_saphyr::from_str(DOCUMENT) {
        Ok(document) => document,
        Err(error) => unreachable!("the document is part of the program, and a test reads it: {error}"),
    };
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            if method != "parameters" {
                operations.insert((path.clone(), method.clone()), of(&document, item, operation));
            }
        }
    }
    operations
}

fn of(document: &Value, item: &Value, operation: &Value) -> Operation {
    let summary = operation["summary"].as_str().unwrap_or_default().to_owned();
    let mut found = Operation { access: access(&operation["security"]), summary, ..Operation::default() };
    let lists = [&item["parameters"], &operation["parameters"]];
    for parameter in lists.into_iter().filter_map(Value::as_array).flatten() {
        let parameter = resolved(document, parameter);
        let name = parameter["name"].as_str().unwrap_or_default();
        match parameter["in"].as_str() {
            Some("query") => drop(found.query.insert(name.to_owned())),
            Some("header") if name == "idempotency-key" => found.idempotent = true,
            _ => {}
        }
    }
    found
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn access(security: &Value) -> Access {
    match security.as_array().map(Vec::as_slice) {
        Some([]) => Access::Anyone,
        Some(ways) if ways.iter().all(|way| way.get("cookie").is_none()) => Access::Key,
        _ => Access::KeyOrCookie,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_operations_take() {
        let list = operation(&Method::GET, "/v1/runs").unwrap();
        assert!(list.query.contains("status") && list.query.contains("cursor"), "{list:?}");
        assert_eq!((list.access, list.idempotent), (Access::KeyOrCookie, false));
        assert!(operation(&Method::HEAD, "/v1/runs/{id}").is_some());
        assert!(operation(&Method::POST, "/v1/runs/{id}/cancel").unwrap().idempotent);
        assert_eq!(operation(&Method::POST, "/v1/login-links").unwrap().access, Access::Key);
        assert!(is_public("/healthz") && is_public("/docs"));
        assert!(!is_public("/v1/runs") && !is_public("/nowhere"));
        assert!(operation(&Method::DELETE, "/v1/runs").is_none());
    }
}
