//! The OpenAPI document, read, and how its schemas are said in Rust.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value};

pub struct Document(Value);

/// One operation that programs call.
pub struct Operation<'a> {
    pub id: &'a str,
    pub method: &'a str,
    pub path: &'a str,
    pub value: &'a Value,
    /// With those of the path, references followed.
    pub parameters: Vec<&'a Value>,
}

/// A schema as a Rust type.
#[derive(Debug, PartialEq)]
pub struct Type {
    /// Without the `Option` of what may be null.
    pub name: String,
    pub nullable: bool,
}

impl Document {
    pub fn read() -> Document {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/openapi.yaml");
        Document(serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    }

    pub fn schemas(&self) -> &Map<String, Value> {
        self.0["components"]["schemas"].as_object().unwrap()
    }

    /// What a reference leads to, or the value itself.
    pub fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.0.pointer(&reference[1..]).unwrap_or_else(|| panic!("{reference} leads nowhere")),
            None => value,
        }
    }

    /// Every operation but the aliases.
    pub fn operations(&self) -> Vec<Operation<'_>> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, value) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
                let lists = [&item["parameters"], &value["parameters"]];
                let parameters = lists.into_iter().filter_map(Value::as_array).flatten();
                operations.push(Operation {
                    id: value["operationId"].as_str().unwrap(),
                    method,
                    path,
                    value,
                    parameters: parameters.map(|parameter| self.resolved(parameter)).collect(),
                });
            }
        }
        operations.retain(|operation| operation.value["tags"][0] != "aliases");
        operations
    }

    /// The type of a schema; `place` names the enum of one that is written in place.
    pub fn type_of(&self, schema: &Value, place: &str) -> Type {
        let plain = |name: &str| Type { name: name.to_owned(), nullable: false };
        if let Some(reference) = schema["$ref"].as_str() {
            return plain(&self.named(reference));
        }
        if let Some(alternatives) = schema["oneOf"].as_array() {
            let [first, null] = alternatives.as_slice() else { panic!("{place}: not a nullable schema") };
            assert_eq!(null["type"], "null", "{place}");
            return Type { nullable: true, ..self.type_of(first, place) };
        }
        if schema.get("enum").is_some() || schema.get("const").is_some() {
            return plain(place);
        }
        let (kind, nullable) = kind(schema);
        let name = match kind {
            None => "Value".to_owned(),
            Some("string") => match schema["format"].as_str() {
                Some("uuid") => "Uuid".to_owned(),
                Some("date-time") => "Micros".to_owned(),
                _ => "String".to_owned(),
            },
            Some("boolean") => "bool".to_owned(),
            Some("number") => "f64".to_owned(),
            Some("integer") => integer(schema).to_owned(),
            Some("array") => format!("Vec<{}>", self.type_of(&schema["items"], place).name),
            Some("object") if schema["additionalProperties"]["type"] == "string" => {
                "BTreeMap<String, String>".to_owned()
            }
            Some("object") => "Map<String, Value>".to_owned(),
            Some(other) => panic!("{place}: no type for {other}"),
        };
        Type { name, nullable }
    }

    /// The type of a component.
    fn named(&self, reference: &str) -> String {
        let name = reference.rsplit('/').next().unwrap();
        let schema = &self.schemas()[name];
        match schema["x-rust-type"].as_str() {
            Some(path) => path.rsplit("::").next().unwrap().to_owned(),
            None if is_struct(schema) || schema.get("enum").is_some() => name.to_owned(),
            None => self.type_of(schema, name).name,
        }
    }

    /// The names of the schemas that bodies of requests are made of, in the document's order.
    pub fn bodies(&self) -> Vec<&str> {
        let mut found = BTreeSet::new();
        for operation in self.operations() {
            self.reach(&operation.value["requestBody"], &mut found);
        }
        let structs = self.schemas().iter().filter(|(name, schema)| found.contains(*name) && is_struct(schema));
        structs.map(|(name, _)| name.as_str()).collect()
    }

    fn reach(&self, value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(name) = map.get("$ref").and_then(|reference| reference.as_str()?.rsplit('/').next())
                    && found.insert(name.to_owned())
                {
                    self.reach(&self.schemas()[name], found);
                }
                map.values().for_each(|value| self.reach(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| self.reach(value, found)),
            _ => {}
        }
    }
}

/// An object with named fields.
pub fn is_struct(schema: &Value) -> bool {
    schema.get("properties").is_some()
}

fn kind(schema: &Value) -> (Option<&str>, bool) {
    match &schema["type"] {
        Value::Array(kinds) => (kinds[0].as_str(), kinds.iter().any(|kind| kind == "null")),
        kind => (kind.as_str(), false),
    }
}

fn integer(schema: &Value) -> &'static str {
    if schema["format"] == "int32" {
        return "i32";
    }
    match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
        (Some(0..), Some(..=4_294_967_295)) => "u32",
        (Some(0..), _) => "u64",
        _ => "i64",
    }
}

/// A name that Rust accepts for a field, and whether it differs.
pub fn field_name(name: &str) -> (String, bool) {
    if ["type", "if"].contains(&name) { (format!("{name}_"), true) } else { (name.to_owned(), false) }
}

/// `timed_out`, `listRuns` and `A` as `TimedOut`, `ListRuns` and `A`.
pub fn pascal(name: &str) -> String {
    let words = name.split(['_', '-', '.']);
    words.map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

/// `listRuns` as `list_runs`.
pub fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

/// A doc comment of these words, wrapped.
pub fn doc(text: Option<&str>, indent: &str) -> String {
    let mut lines = String::new();
    for paragraph in text.into_iter().flat_map(str::lines) {
        let mut line = format!("{indent}///");
        for word in paragraph.split(' ') {
            if line.chars().count() + word.chars().count() > 112 {
                lines.push_str(&line);
                lines.push('\n');
                line = format!("{indent}///");
            }
            line.push(' ');
            line.push_str(word);
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
    }
    lines
}
