//! The reference: the OpenAPI document and the codes of problems as a page for people, without scripts.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::{contract, problem::Code};

/// Made when it is first asked for.
static PAGE: LazyLock<String> = LazyLock::new(render);

/// HTML. Every code has an anchor of its name, every operation `op-ID`, every schema `schema-NAME`.
pub fn page() -> &'static str {
    &PAGE
}

fn render() -> String {
    // The document is part of the program, and `contract`'s tests read it.
    let document: Value = serde_saphyr::from_str(contract::DOCUMENT).unwrap_or_default();
    let tags: Vec<&Value> = items(&document["tags"]).collect();
    let operations = operations(&document);
    let contents: String = tags.iter().map(|tag| contents_of(tag, &operations)).collect();
    let sections: String = tags.iter().map(|tag| section(&document, tag, &operations)).collect();
    let schemas: String =
        entries(&document["components"]["schemas"]).map(|(name, schema)| schema_of(name, schema)).collect();
    let codes: String = Code::ALL.iter().copied().map(code_of).collect();
    let description = prose(string(&document["info"]["description"]));
    format!(
        r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>The interface of opsroom</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/ui/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/ui/style.css">
<link rel="stylesheet" href="/ui/docs.css">
</head>
<body class="docs">
<header id="top"><a id="home" href="/"><img src="/ui/icon.svg" alt="" width="24" height="24">opsroom</a>
<nav aria-label="Pages"><a href="/">Board</a><a href="/docs" aria-current="page">API</a><a href="/openapi.yaml">openapi.yaml</a></nav></header>
<div class="book">
<nav class="contents" aria-label="Contents">{contents}<h2><a href="#schemas">schemas</a></h2><h2><a href="#problems">problems</a></h2></nav>
<main id="main">
<h1>The interface of opsroom</h1>
{description}
{START}
{sections}
<section id="schemas"><h2>Schemas</h2>{schemas}</section>
<section id="problems"><h2>Problems</h2>
<p>An error is a document of type <code>application/problem+json</code> with a <code>code</code> that does not change. See <a href="#schema-Problem">Problem</a>.</p>
<dl class="codes">{codes}</dl></section>
</main>
</div>
</body>
</html>
"##
    )
}

/// How to begin.
const START: &str = r#"<section id="start"><h2>Begin</h2>
<p>The key is in the file <code>api.key</code> of the data folder. A browser signs in with <code>opsroom open</code>.</p>
<pre><code>key=$(cat ~/.local/share/opsroom/api.key)
curl -H "authorization: Bearer $key" -H 'content-type: application/json' \
  -d '{"runbook": "disk-usage"}' http://127.0.0.1:8484/v1/runs
curl -N -H "authorization: Bearer $key" http://127.0.0.1:8484/v1/runs/ID/events/stream</code></pre></section>"#;

/// One method of one path.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    shared: &'a Value,
    body: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> String {
        escaped(string(&self.body["operationId"]))
    }
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut found = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        for (method, body) in entries(item).filter(|(name, _)| *name != "parameters") {
            found.push(Operation { method, path, shared: &item["parameters"], body });
        }
    }
    found
}

fn of_tag<'a>(tag: &'a Value, operations: &'a [Operation<'a>]) -> impl Iterator<Item = &'a Operation<'a>> {
    operations.iter().filter(|operation| items(&operation.body["tags"]).any(|name| *name == tag["name"]))
}

fn contents_of(tag: &Value, operations: &[Operation]) -> String {
    let name = escaped(string(&tag["name"]));
    let line = |operation: &Operation| format!("<li><a href=\"#op-{0}\">{0}</a></li>", operation.id());
    let lines: String = of_tag(tag, operations).map(line).collect();
    format!("<h2><a href=\"#tag-{name}\">{name}</a></h2><ul>{lines}</ul>")
}

fn section(document: &Value, tag: &Value, operations: &[Operation]) -> String {
    let name = escaped(string(&tag["name"]));
    let about = prose(string(&tag["description"]));
    let articles: String = of_tag(tag, operations).map(|operation| article(document, operation)).collect();
    format!("<section id=\"tag-{name}\"><h2>{name}</h2>{about}{articles}</section>\n")
}

fn article(document: &Value, operation: &Operation) -> String {
    let Operation { method, path, shared, body } = operation;
    let (id, path) = (operation.id(), escaped(path));
    let summary = inline(string(&body["summary"]));
    let about = prose(string(&body["description"]));
    let parameters: String = items(shared)
        .chain(items(&body["parameters"]))
        .map(|parameter| parameter_of(resolved(document, parameter)))
        .collect();
    let table = if parameters.is_empty() { parameters } else { format!("<table>{parameters}</table>") };
    let takes: String = entries(&body["requestBody"]["content"]).map(body_of).collect();
    let answers: String =
        entries(&body["responses"]).map(|(status, response)| answer_of(status, resolved(document, response))).collect();
    format!(
        "<article id=\"op-{id}\" class=\"panel\"><h3><span class=\"method {method}\">{method}</span> <code>{path}</code></h3>\
         <p>{summary}</p>{about}{table}{takes}<table>{answers}</table></article>\n"
    )
}

fn body_of((media, content): (&str, &Value)) -> String {
    format!("<p>Takes <code>{}</code>: {}</p>", escaped(media), kind(&content["schema"]))
}

fn parameter_of(parameter: &Value) -> String {
    let (name, place) = (escaped(string(&parameter["name"])), escaped(string(&parameter["in"])));
    let about = inline(string(&parameter["description"]));
    format!(
        "<tr><th><code>{name}</code></th><td>{place}</td><td>{}</td><td>{about}</td></tr>",
        kind(&parameter["schema"])
    )
}

fn answer_of(status: &str, response: &Value) -> String {
    let about = inline(string(&response["description"]));
    let gives: Vec<String> = entries(&response["content"])
        .map(|(media, content)| match content["schema"].get("$ref") {
            Some(_) => kind(&content["schema"]),
            None => format!("<code>{}</code>", escaped(media)),
        })
        .collect();
    let status = if status == "default" { "error".to_owned() } else { escaped(status) };
    format!("<tr><th>{status}</th><td>{}</td><td>{about}</td></tr>", gives.join(", "))
}

fn schema_of(name: &str, schema: &Value) -> String {
    let required: Vec<&str> = items(&schema["required"]).filter_map(Value::as_str).collect();
    let line = |(field, value): (&str, &Value)| {
        let need = if required.contains(&field) { "" } else { "optional" };
        let (kind, about, field) = (kind(value), inline(string(&value["description"])), escaped(field));
        format!("<tr><th><code>{field}</code></th><td>{kind}</td><td>{need}</td><td>{about}</td></tr>")
    };
    let fields: String = entries(&schema["properties"]).map(line).collect();
    let (name, about) = (escaped(name), prose(string(&schema["description"])));
    let body = if fields.is_empty() { format!("<p>{}</p>", kind(schema)) } else { format!("<table>{fields}</table>") };
    format!("<article id=\"schema-{name}\" class=\"panel\"><h3>{name}</h3>{about}{body}</article>\n")
}

fn code_of(code: Code) -> String {
    let (word, status) = (code.as_str(), code.status());
    let (title, explanation) = (escaped(code.title()), inline(code.explanation()));
    format!(
        "<div id=\"{word}\"><dt><code>{word}</code> <span>{status}</span> {title}</dt><dd>{explanation}</dd></div>\n"
    )
}

/// A schema in few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        return format!("<a href=\"#schema-{0}\">{0}</a>", escaped(name));
    }
    if let Some(choices) = schema["oneOf"].as_array() {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().map(|word| format!("<code>{}</code>", escaped(string(word))));
        return words.collect::<Vec<_>>().join(" ");
    }
    if schema.get("const").is_some() {
        return format!("<code>{}</code>", escaped(string(&schema["const"])));
    }
    let names: Vec<&str> = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    let plain = if names.is_empty() { "any".to_owned() } else { escaped(&names.join(" or ")) };
    let plain = if names.contains(&"array") { format!("list of {}", kind(&schema["items"])) } else { plain };
    format!("{plain}{}", bounds(schema))
}

/// Formats, limits and the default of a schema.
fn bounds(schema: &Value) -> String {
    let mut said = Vec::new();
    said.extend(schema["format"].as_str().map(escaped));
    said.extend(schema["pattern"].as_str().map(|pattern| format!("<code>{}</code>", escaped(pattern))));
    for (name, before, after) in [
        ("minimum", "from ", ""),
        ("maximum", "to ", ""),
        ("maxLength", "at most ", " characters"),
        ("maxItems", "at most ", " of them"),
        ("default", "default ", ""),
    ] {
        if let Some(value) = schema.get(name) {
            said.push(format!("{before}{}{after}", escaped(&value.to_string())));
        }
    }
    if said.is_empty() { String::new() } else { format!(" <small>{}</small>", said.join(", ")) }
}

fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(value)
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter).map(|(name, value)| (name.as_str(), value))
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn string(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Paragraphs and lists.
fn prose(text: &str) -> String {
    let blocks = text.trim().split("\n\n").filter(|block| !block.is_empty());
    blocks
        .map(|block| match block.strip_prefix("- ") {
            Some(list) => {
                let lines = list.split("\n- ").map(|line| format!("<li>{}</li>", inline(line)));
                format!("<ul class=\"points\">{}</ul>\n", lines.collect::<String>())
            }
            None => format!("<p>{}</p>\n", inline(block)),
        })
        .collect()
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces
        .map(|(n, piece)| if n % 2 == 1 { format!("<code>{}</code>", escaped(piece)) } else { escaped(piece) })
        .collect()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use regex::Regex;

    use super::*;

    #[test]
    fn every_operation_schema_and_code_has_a_place() {
        let document: Value = serde_saphyr::from_str(contract::DOCUMENT).unwrap();
        let page = page();
        for operation in operations(&document) {
            assert!(page.contains(&format!("<article id=\"op-{}\"", operation.id())), "{}", operation.id());
        }
        for (name, _) in entries(&document["components"]["schemas"]) {
            assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
        }
        for code in Code::ALL {
            assert!(page.contains(&format!("id=\"{}\"", code.as_str())), "{}", code.as_str());
        }
    }

    #[test]
    fn every_link_inside_the_page_leads_somewhere_and_nothing_is_there_twice() {
        let ids: Vec<&str> =
            Regex::new(r#"\bid="([^"]+)""#).unwrap().captures_iter(page()).map(|c| c.extract::<1>().1[0]).collect();
        let places: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), places.len());
        for link in Regex::new(r##"href="#([^"]+)""##).unwrap().captures_iter(page()) {
            assert!(places.contains(&link[1]), "{}", &link[1]);
        }
    }

    #[test]
    fn words_of_the_document_are_never_markup() {
        assert_eq!(inline("a <b> `c < d` \"e\""), "a &lt;b&gt; <code>c &lt; d</code> &quot;e&quot;");
        assert_eq!(
            prose("- one\n  more\n- two\n\nend"),
            "<ul class=\"points\"><li>one\n  more</li><li>two</li></ul>\n<p>end</p>\n"
        );
    }
}
