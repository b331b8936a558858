//! Floor 2: the documents of the HTTP interface, as `schemas/openapi.yaml` describes them.
//!
//! `types`, `queries` and `limits` are generated from that document; a test fails when they are stale
//! (`tests/it/generated`). They are what handlers answer, what the client reads and what commands print as JSON,
//! so that a run looks the same everywhere. `check` holds what a type alone cannot say: lengths, ranges, counts.
//! Deliberately absent: anything that talks HTTP.

pub mod check;
mod limits;
mod queries;
pub mod query;
mod types;
mod words;

use serde::{Deserialize, Deserializer};

pub use check::Checked;
pub use queries::*;
pub use query::Query;
pub use types::*;

use crate::runbook;

/// Reads a field that may be absent, but not `null`.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<&runbook::Diagnostic> for Diagnostic {
    fn from(found: &runbook::Diagnostic) -> Diagnostic {
        Diagnostic {
            code: found.code.as_str().to_owned(),
            severity: match found.severity {
                runbook::Severity::Error => DiagnosticSeverity::Error,
                runbook::Severity::Warning => DiagnosticSeverity::Warning,
            },
            message: found.message.clone(),
            file: found.file.clone(),
            line: found.line,
            column: found.column,
            end_column: found.end_column,
            span: Span { start: found.span.start as u64, end: found.span.end as u64 },
            help: found.help.clone(),
            fix: found.fix.clone(),
            pointer: found.pointer.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_strictly() {
        let read = |text: &str| serde_json::from_str::<CreateRun>(text).map_err(|error| error.to_string());
        let run = read(r#"{"runbook": "deploy", "priority": -3, "lane": "B"}"#).unwrap();
        assert_eq!((run.priority, run.version, run.labels), (Some(-3), None, None));
        assert!(read(r#"{"runbook": "deploy", "prio": 1}"#).unwrap_err().contains("unknown field `prio`"));
        assert!(read(r#"{"runbook": "deploy", "version": null}"#).is_err());
        assert!(read(r#"{"lane": "A"}"#).unwrap_err().contains("missing field `runbook`"));
    }

    #[test]
    fn absent_and_null_are_told_apart_in_answers() {
        let problem = Problem { code: "RUN_NOT_FOUND".to_owned(), status: 404, ..Problem::default() };
        assert_eq!(
            serde_json::to_string(&problem).unwrap(),
            r#"{"type":"","title":"","status":404,"code":"RUN_NOT_FOUND","detail":"","request_id":""}"#
        );
        let list = RunList { items: Vec::new(), next_cursor: None };
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"{"items":[],"next_cursor":null}"#);
    }
}
