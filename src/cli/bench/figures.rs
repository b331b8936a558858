//! What a workload has found, for people and for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::stats::{percentile, rounded};

/// Named figures in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Figures(Map<String, Value>);

impl Figures {
    pub fn new(workload: &str) -> Figures {
        let mut figures = Figures::default();
        figures.0.insert("workload".to_owned(), json!(workload));
        figures
    }

    pub fn number(&mut self, name: &str, value: f64) {
        self.0.insert(name.to_owned(), json!(rounded(value)));
    }

    pub fn count(&mut self, name: &str, value: u64) {
        self.0.insert(name.to_owned(), json!(value));
    }

    pub fn text(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), json!(value));
    }

    pub fn millis(&mut self, name: &str, value: Duration) {
        self.number(name, value.as_secs_f64() * 1_000.0);
    }

    pub fn mebibytes(&mut self, name: &str, bytes: u64) {
        self.number(name, bytes as f64 / f64::from(1 << 20));
    }

    /// `NAME_p50_ms`, `_p95_`, `_p99_` and `_max_`; nothing without samples.
    pub fn spread(&mut self, name: &str, samples: &[Duration]) {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}_") };
        for (what, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)] {
            if let Some(value) = percentile(samples, share) {
                self.number(&format!("{prefix}{what}_ms"), value);
            }
        }
    }

    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).and_then(Value::as_f64).unwrap_or_default()
    }

    pub fn to_json(&self) -> &Map<String, Value> {
        &self.0
    }

    pub fn to_text(&self) -> String {
        let mut lines = Vec::new();
        for (name, value) in &self.0 {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            lines.push(if name == "workload" { value } else { format!("  {name:<28} {value}") });
        }
        lines.join("\n")
    }
}
