//! `src/api/types.rs`: a struct or an enum for each schema.

use std::fmt::Write;

use serde_json::Value;

use super::document::{Document, Type, doc, field_name, is_struct, pascal};

const USES: &str = "use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::words::words;
use crate::{
    model::{
        Digest, EffectModel, Event, Failure, Lane, Micros, OnUnknown, RunId, RunStatus, StepStatus, WaitingOn,
    },
    runbook::Phase,
};

";

pub fn generate(document: &Document) -> String {
    let mut text = USES.to_owned();
    for (name, schema) in document.schemas() {
        if schema.get("x-rust-type").is_some() {
            continue;
        }
        if schema.get("enum").is_some() {
            text += &words(name, schema);
        } else if is_struct(schema) {
            text += &structure(document, name, schema);
        }
    }
    text
}

fn words(name: &str, schema: &Value) -> String {
    let alone = schema.get("const").map(std::slice::from_ref);
    let listed = schema["enum"].as_array().map(Vec::as_slice).or(alone).unwrap();
    let mut text =
        format!("words! {{\n{}    {name} (\"{}\") {{\n", doc(schema["description"].as_str(), "    "), kind(name));
    for word in listed.iter().filter_map(Value::as_str) {
        writeln!(text, "        {} = \"{word}\",", pascal(word)).unwrap();
    }
    text + "    }\n}\n\n"
}

/// `ArtifactKind` as `artifact kind`, for messages.
fn kind(name: &str) -> String {
    super::document::snake(name).trim_start_matches('_').replace('_', " ")
}

fn structure(document: &Document, name: &str, schema: &Value) -> String {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut fields = String::new();
    let mut enums = String::new();
    let mut plain = true;
    for (field, schema) in schema["properties"].as_object().unwrap() {
        let place = format!("{name}{}", pascal(field));
        let kind = document.type_of(schema, &place);
        if schema.get("enum").is_some() || schema.get("const").is_some() {
            enums += &words(&place, schema);
        }
        let is_required = required.contains(&field.as_str());
        plain &= !is_required || kind.nullable || has_default(&kind.name);
        fields += &doc(schema["description"].as_str(), "    ");
        fields += &one_field(field, &kind, is_required, schema["default"] == false);
    }
    let default = if plain { ", Default" } else { "" };
    // What is asked is read strictly; an answer may come from a newer server.
    let strict = if schema["additionalProperties"] == false && document.bodies().contains(&name) {
        "#[serde(deny_unknown_fields)]\n"
    } else {
        ""
    };
    let about = doc(schema["description"].as_str(), "");
    format!(
        "{enums}{about}#[derive(Debug, Clone, PartialEq{default}, Serialize, Deserialize)]\n{strict}pub struct {name} {{\n{fields}}}\n\n"
    )
}

/// Whether the type of a required field has a natural beginning.
fn has_default(name: &str) -> bool {
    name.starts_with("Vec") || name.starts_with("Map") || ["String", "bool", "u32", "u64", "i32", "i64"].contains(&name)
}

fn one_field(name: &str, kind: &Type, required: bool, off_by_default: bool) -> String {
    let (field, renamed) = field_name(name);
    let mut attributes = Vec::new();
    if renamed {
        attributes.push(format!("rename = \"{name}\""));
    }
    let written = match (required, kind.nullable) {
        (true, false) => kind.name.clone(),
        (true, true) => format!("Option<{}>", kind.name),
        (false, _) if off_by_default => {
            attributes.push("default".to_owned());
            kind.name.clone()
        }
        (false, nullable) => {
            attributes.push("default".to_owned());
            if !nullable {
                attributes.push("deserialize_with = \"super::given\"".to_owned());
            }
            attributes.push("skip_serializing_if = \"Option::is_none\"".to_owned());
            format!("Option<{}>", kind.name)
        }
    };
    let attributes =
        if attributes.is_empty() { String::new() } else { format!("    #[serde({})]\n", attributes.join(", ")) };
    format!("{attributes}    pub {field}: {written},\n")
}
