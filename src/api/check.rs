//! What the document demands of a body or of parameters beyond their types: lengths, ranges, counts.

use serde_json::{Map, Value};

use super::FieldError;

/// The longest name and text of a label, in characters: every store has them in an index.
const LABEL_NAME: usize = 64;
const LABEL_TEXT: usize = 250;

/// A body or a query whose limits are checked after it was read. The implementations are generated.
pub trait Checked {
    /// Notes everything that is wrong; `at` is the JSON pointer to the value itself.
    fn check(&self, at: &str, found: &mut Vec<FieldError>);
}

/// Everything that is wrong with a body or a query; empty if it is as the document demands.
pub fn problems(given: &impl Checked) -> Vec<FieldError> {
    let mut found = Vec::new();
    given.check("", &mut found);
    found
}

/// Checks the fields of one object.
#[derive(Debug)]
pub struct Fields<'a> {
    /// What stands before the name of a field: a pointer that ends with `/`, or nothing for parameters.
    at: String,
    found: &'a mut Vec<FieldError>,
}

impl<'a> Fields<'a> {
    /// The fields of the object at this pointer.
    pub fn of_body(at: &str, found: &'a mut Vec<FieldError>) -> Fields<'a> {
        Fields { at: format!("{at}/"), found }
    }

    /// The parameters of a query.
    pub fn of_query(found: &'a mut Vec<FieldError>) -> Fields<'a> {
        Fields { at: String::new(), found }
    }

    /// The number of characters of a text.
    pub fn length(&mut self, name: &str, text: Option<&String>, least: usize, most: usize) {
        if let Some(characters) = text.map(|text| text.chars().count())
            && !(least..=most).contains(&characters)
        {
            self.note(name, &format!("has {characters} characters; allowed are {least} to {most}"));
        }
    }

    /// Each text of a list that may have at most `count` of them.
    pub fn texts(&mut self, name: &str, texts: &[String], count: usize, least: usize, most: usize) {
        self.count(name, Some(texts.len()), 0, count);
        for text in texts {
            self.length(name, Some(text), least, most);
        }
    }

    /// The value of a number.
    pub fn range(&mut self, name: &str, number: Option<i64>, least: i64, most: i64) {
        if let Some(number) = number.filter(|number| !(least..=most).contains(number)) {
            self.note(name, &format!("is {number}; allowed are {least} to {most}"));
        }
    }

    /// The number of items of a list or a map.
    pub fn count(&mut self, name: &str, count: Option<usize>, least: usize, most: usize) {
        if let Some(count) = count.filter(|count| !(least..=most).contains(count)) {
            self.note(name, &format!("has {count} items; allowed are {least} to {most}"));
        }
    }

    /// A map whose values are texts, numbers or booleans.
    pub fn scalars(&mut self, name: &str, map: Option<&Map<String, Value>>) {
        for (key, value) in map.into_iter().flatten() {
            if key.chars().count() > LABEL_NAME {
                self.note(
                    &format!("{name}/{}", escaped(key)),
                    &format!("has a name of more than {LABEL_NAME} characters"),
                );
            }
            if value.as_str().is_some_and(|text| text.chars().count() > LABEL_TEXT) {
                self.note(&format!("{name}/{}", escaped(key)), &format!("has more than {LABEL_TEXT} characters"));
            }
            if !matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_)) {
                self.note(&format!("{name}/{}", escaped(key)), "is neither a text, a number nor a boolean");
            }
        }
    }

    /// An object of which at least one field is given.
    pub fn some(&mut self, given: bool, names: &str) {
        if !given {
            let detail = format!("is empty; give at least one of {names}");
            self.found.push(FieldError { pointer: self.at.trim_end_matches('/').to_owned(), detail });
        }
    }

    /// The items of a list, each by its own rules.
    pub fn each<T: Checked>(&mut self, name: &str, items: &[T]) {
        for (index, item) in items.iter().enumerate() {
            item.check(&format!("{}{name}/{index}", self.at), self.found);
        }
    }

    fn note(&mut self, name: &str, detail: &str) {
        self.found.push(FieldError { pointer: format!("{}{name}", self.at), detail: detail.to_owned() });
    }
}

/// A key as part of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::*, problems};

    fn pointers(body: &impl Checked) -> Vec<String> {
        problems(body).into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn every_limit_is_checked_and_its_place_named() {
        let bad = json!({"runbook": "", "priority": 101, "version": 0, "labels": {"a/b": [1], "c": 1}});
        let bad: CreateRun = serde_json::from_value(bad).unwrap();
        let good: CreateRun = serde_json::from_value(json!({"runbook": "ä".repeat(200), "priority": -100})).unwrap();
        assert_eq!(pointers(&bad), ["/runbook", "/version", "/priority", "/labels/a~1b"]);
        assert!(pointers(&good).is_empty());
        assert_eq!(pointers(&CreateRuns { runs: vec![good, bad] })[0], "/runs/1/runbook");
        assert_eq!(pointers(&CreateRuns { runs: Vec::new() }), ["/runs"]);
        assert_eq!(pointers(&UpdateSession { name: None, archived: None }), [""]);
        let query = ListRunsQuery { limit: Some(201), label: vec![String::new()], ..ListRunsQuery::default() };
        assert_eq!(pointers(&query), ["label", "limit"]);
    }
}
