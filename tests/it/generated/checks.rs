//! `src/api/limits.rs`: what the document demands of bodies and parameters beyond their types.

use std::fmt::Write;

use serde_json::Value;

use super::{
    document::{Document, pascal},
    queries::query_parameters,
};

pub fn generate(document: &Document) -> String {
    let mut used = Vec::new();
    let mut text = String::new();
    for name in document.bodies() {
        let schema = &document.schemas()[name];
        let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
        let mut checks = String::new();
        for (field, schema) in schema["properties"].as_object().unwrap() {
            checks += &of_field(document, field, schema, required.iter().any(|name| *name == field));
        }
        if schema["minProperties"] == 1 {
            let names: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
            let given: Vec<String> = names.iter().map(|name| format!("self.{name}.is_some()")).collect();
            let list = names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            writeln!(checks, "fields.some({}, \"{list}\");", given.join(" || ")).unwrap();
        }
        text += &implementation(name, "of_body(at, found)", &checks);
        used.push(name.to_owned());
    }
    for operation in document.operations().iter().filter(|operation| operation.path.starts_with("/v1/")) {
        let parameters = query_parameters(operation);
        let checks: String = parameters
            .iter()
            .map(|parameter| {
                let name = parameter["name"].as_str().unwrap();
                of_field(document, name, &parameter["schema"], parameter["required"] == true)
            })
            .collect();
        if !parameters.is_empty() {
            let name = format!("{}Query", pascal(operation.id));
            text += &implementation(&name, "of_query(found)", &checks);
            used.push(name);
        }
    }
    format!("use super::{{{}, FieldError, check::{{Checked, Fields}}}};\n\n{text}", used.join(", "))
}

fn implementation(name: &str, fields: &str, checks: &str) -> String {
    let at = if fields.contains("at") && !checks.is_empty() { "at" } else { "_" };
    if checks.is_empty() {
        return format!(
            "impl Checked for {name} {{\n    fn check(&self, _: &str, _: &mut Vec<FieldError>) {{}}\n}}\n\n"
        );
    }
    format!(
        "impl Checked for {name} {{\n    fn check(&self, {at}: &str, found: &mut Vec<FieldError>) {{\n        \
         let mut fields = Fields::{fields};\n{checks}    }}\n}}\n\n"
    )
}

/// The statements that check one field.
fn of_field(document: &Document, name: &str, schema: &Value, required: bool) -> String {
    let schema = document.resolved(schema);
    let number = |key: &str| schema[key].as_i64();
    let mut text = String::new();
    if let Some(most) = number("maxLength") {
        let given = if required { format!("Some(&self.{name})") } else { format!("self.{name}.as_ref()") };
        let least = number("minLength").unwrap_or(0);
        writeln!(text, "fields.length(\"{name}\", {given}, {least}, {});", readable(most)).unwrap();
    }
    // Types say the rest: what is not negative, and what fits into 32 bits.
    if let (Some(least), Some(most)) = (number("minimum"), number("maximum")) {
        writeln!(text, "fields.range(\"{name}\", self.{name}.map(i64::from), {least}, {});", readable(most)).unwrap();
    }
    if let Some(most) = number("maxItems") {
        let items = document.resolved(&schema["items"]);
        if let (Some(least), Some(longest)) = (items["minLength"].as_i64(), items["maxLength"].as_i64()) {
            writeln!(text, "fields.texts(\"{name}\", &self.{name}, {most}, {least}, {longest});").unwrap();
        } else {
            let least = number("minItems").unwrap_or(0);
            writeln!(text, "fields.count(\"{name}\", Some(self.{name}.len()), {least}, {most});").unwrap();
        }
        if items.get("properties").is_some() {
            writeln!(text, "fields.each(\"{name}\", &self.{name});").unwrap();
        }
    }
    if let Some(most) = number("maxProperties") {
        let map = if schema["additionalProperties"]["type"] == "string" {
            "std::collections::BTreeMap"
        } else {
            "serde_json::Map"
        };
        writeln!(text, "fields.count(\"{name}\", self.{name}.as_ref().map({map}::len), 0, {most});").unwrap();
    }
    if schema["additionalProperties"]["type"].is_array() {
        writeln!(text, "fields.scalars(\"{name}\", self.{name}.as_ref());").unwrap();
    }
    text
}

/// `1048576` as `1_048_576`.
fn readable(number: i64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join("_")
}
