//! `src/api/queries.rs`: a struct for the query parameters of each operation that has some.

use std::fmt::Write;

use serde_json::Value;

use super::document::{Document, Operation, doc, pascal};

const USES: &str = "use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{\n    ArtifactKind, LogStream, TriggerKind,\n    query::{Query, push},\n};
use crate::model::{Lane, Micros, RunStatus};

";

pub fn generate(document: &Document) -> String {
    let mut text = USES.to_owned();
    for operation in document.operations() {
        let parameters = query_parameters(&operation);
        // A person's browser calls these.
        if !parameters.is_empty() && operation.path.starts_with("/v1/") {
            text += &structure(document, &operation, &parameters);
        }
    }
    text
}

pub fn query_parameters<'a>(operation: &Operation<'a>) -> Vec<&'a Value> {
    operation.parameters.iter().copied().filter(|parameter| parameter["in"] == "query").collect()
}

fn structure(document: &Document, operation: &Operation<'_>, parameters: &[&Value]) -> String {
    let name = format!("{}Query", pascal(operation.id));
    let mut fields = String::new();
    let mut pairs = String::new();
    for parameter in parameters {
        let field = parameter["name"].as_str().unwrap();
        let schema = &parameter["schema"];
        let kind = document.type_of(schema, field).name;
        fields += &doc(parameter["description"].as_str(), "    ");
        let (written, given) = if parameter["required"] == true {
            (kind, format!("&[&self.{field}]"))
        } else if kind.starts_with("Vec<") {
            fields += "    #[serde(default)]\n";
            (kind, format!("&self.{field}"))
        } else if schema["default"] == false {
            fields += "    #[serde(default)]\n";
            (kind, format!("&self.{field}.then_some(true)"))
        } else {
            fields += "    #[serde(default)]\n";
            (format!("Option<{kind}>"), format!("&self.{field}"))
        };
        writeln!(fields, "    pub {field}: {written},").unwrap();
        writeln!(pairs, "        push(&mut pairs, \"{field}\", {given});").unwrap();
    }
    format!(
        "/// The query of `{}`.\n#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]\n\
         #[serde(deny_unknown_fields)]\npub struct {name} {{\n{fields}}}\n\n\
         impl Query for {name} {{\n    fn pairs(&self) -> Vec<(&'static str, String)> {{\n        \
         let mut pairs = Vec::new();\n{pairs}        pairs\n    }}\n}}\n\n",
        operation.id
    )
}
