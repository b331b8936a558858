//! `src/client/operations.rs`: a method for each operation that answers JSON or text.

use std::fmt::Write;

use serde_json::Value;

use super::{
    document::{Document, Operation, pascal, snake},
    queries::query_parameters,
};

/// Written by hand: their bodies are streams.
const BY_HAND: &[&str] = &["streamEvents", "streamRunChanges", "uploadArtifact", "downloadArtifact", "getStepLog"];

pub fn generate(document: &Document) -> String {
    let mut imports = Vec::new();
    let mut methods = String::new();
    for operation in document.operations() {
        let wanted = operation.path.starts_with("/v1/") || operation.id == "readyz";
        if wanted && !BY_HAND.contains(&operation.id) {
            methods += &method(document, &operation, &mut imports);
        }
    }
    imports.sort_unstable();
    imports.dedup();
    format!(
        "use reqwest::Method;\nuse uuid::Uuid;\n\nuse super::{{Client, ClientError, \
         transport::{{Call, json, segment, target}}}};\nuse crate::{{api::{{{}}}, model::RunId}};\n\n\
         impl Client {{\n{methods}}}\n",
        imports.join(", ")
    )
}

fn method(document: &Document, operation: &Operation<'_>, imports: &mut Vec<String>) -> String {
    let mut arguments = String::new();
    let mut path = operation.path.to_owned();
    let mut values = String::new();
    for parameter in operation.parameters.iter().filter(|parameter| parameter["in"] == "path") {
        let name = parameter["name"].as_str().unwrap();
        // An id of a path says whose it is.
        let argument = if name == "id" { "run" } else { name };
        let kind = match document.type_of(&parameter["schema"], name).name.as_str() {
            "Uuid" if argument == "run" => "RunId".to_owned(),
            "String" => "&str".to_owned(),
            other => other.to_owned(),
        };
        write!(arguments, ", {argument}: {kind}").unwrap();
        path = path.replace(&format!("{{{name}}}"), "{}");
        write!(values, ", segment({argument})").unwrap();
    }
    let path = if values.is_empty() { format!("\"{path}\"") } else { format!("&format!(\"{path}\"{values})") };
    let mut the_target = path.clone();
    if !query_parameters(operation).is_empty() {
        let query = format!("{}Query", pascal(operation.id));
        write!(arguments, ", query: &{query}").unwrap();
        imports.push(query);
        the_target = format!("target({path}, query)");
    } else if let Some(inner) = the_target.strip_prefix('&') {
        the_target = inner.to_owned();
    } else {
        the_target += ".to_owned()";
    }
    let mut body = "None".to_owned();
    let content = &operation.value["requestBody"]["content"]["application/json"];
    if content.is_object() {
        let kind = document.type_of(&content["schema"], "Body").name;
        write!(arguments, ", body: &{kind}").unwrap();
        imports.push(kind);
        body = "Some(json(body))".to_owned();
    }
    let answer = answer(document, operation);
    let send = if answer == "String" { "send_for_text" } else { "send" };
    if answer != "String" {
        imports.push(answer.clone());
    }
    format!(
        "    /// {}\n    pub async fn {}(&self{arguments}) -> Result<{answer}, ClientError> {{\n        \
         let call = Call {{ method: Method::{}, target: {the_target}, body: {body} }};\n        \
         self.{send}(&call).await\n    }}\n\n",
        operation.value["summary"].as_str().unwrap(),
        snake(operation.id),
        operation.method.to_uppercase()
    )
}

/// What the first success of an operation holds.
fn answer(document: &Document, operation: &Operation<'_>) -> String {
    let responses = operation.value["responses"].as_object().unwrap();
    let (_, success) = responses.iter().find(|(status, _)| status.starts_with('2')).unwrap();
    match &success["content"]["application/json"]["schema"] {
        Value::Null => "String".to_owned(),
        schema => document.type_of(schema, "Answer").name,
    }
}
