//! How text is looked for, in all stores alike.

use serde_json::Value;

/// A text to look for, in any case.
#[derive(Debug, Clone)]
pub struct Needle(String);

impl Needle {
    pub fn new(text: &str) -> Needle {
        Needle(text.to_lowercase())
    }

    /// Whether it is a part of `text`.
    pub fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.0)
    }
}

/// The form of a label's value that filters compare with: the text of a string, the JSON of anything else.
pub fn label_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
