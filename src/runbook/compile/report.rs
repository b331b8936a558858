//! Collects diagnostics at JSON pointers.

use std::ops::Range;

use super::step::Draft;

use crate::runbook::{
    Diagnostic,
    diagnostic::{Code, suggestion},
    schema::Violation,
    source::{self, Source, Span},
};

/// More than anybody reads.
const MAX_DIAGNOSTICS: usize = 1_000;
const MAX_COMPARISONS: usize = 200_000;

pub(super) struct Report<'a> {
    pub(super) source: &'a Source,
    pub(super) diagnostics: Vec<Diagnostic>,
    comparisons: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a Source, diagnostics: Vec<Diagnostic>) -> Report<'a> {
        Report { source, diagnostics, comparisons: 0 }
    }

    /// A did-you-mean among the ids of steps. There may be thousands of ids and of mistakes: after a while there are
    /// no more suggestions.
    pub(super) fn suggest_step(&mut self, id: &str, drafts: &[Draft], own: Option<&str>) -> Option<String> {
        self.comparisons += drafts.len();
        if self.comparisons > MAX_COMPARISONS {
            return None;
        }
        let ids: Vec<&str> = drafts.iter().map(|draft| draft.step.id.as_ref()).filter(|id| Some(*id) != own).collect();
        suggestion(id, ids)
    }

    /// A problem of the value at a pointer.
    pub(super) fn value(&mut self, code: Code, pointer: &str, message: impl Into<String>, help: Option<String>) {
        if self.is_full() {
            return;
        }
        let diagnostic = self.source.diagnose(code, self.source.value_span(pointer), pointer, message);
        self.push(diagnostic.with_help(help));
    }

    /// A problem of the key at a pointer.
    pub(super) fn key(&mut self, code: Code, pointer: &str, message: impl Into<String>, help: Option<String>) {
        if self.is_full() {
            return;
        }
        let diagnostic = self.source.diagnose(code, self.source.key_span(pointer), pointer, message);
        self.push(diagnostic.with_help(help));
    }

    /// A problem at a range of the file.
    pub(super) fn span(
        &mut self,
        code: Code,
        span: Span,
        pointer: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        if self.is_full() {
            return;
        }
        let diagnostic = self.source.diagnose(code, span, pointer, message);
        self.push(diagnostic.with_help(help));
    }

    /// A value that does not fit a schema; `base` is where the checked value stands. `code` replaces the schema's.
    pub(super) fn violation(&mut self, base: &str, violation: Violation, code: Option<Code>) {
        let pointer = format!("{base}{}", violation.pointer);
        let help = violation.help.or_else(|| {
            let text = violation.wants_string.then(|| self.source.plain_text(&pointer))??;
            Some(format!("write it in quotes: \"{text}\""))
        });
        let code = code.unwrap_or(violation.code);
        if violation.at_key {
            self.key(code, &pointer, violation.message, help);
        } else {
            self.value(code, &pointer, violation.message, help);
        }
    }

    fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_DIAGNOSTICS
    }

    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.is_full() {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Where a part of the string at a pointer stands in the file; the whole value where escapes or line folding
    /// hide it.
    pub(super) fn within(&self, pointer: &str, string: &str, part: Range<usize>) -> Span {
        let value = self.source.value_span(pointer);
        let written = self.source.text().get(value.start..value.end).unwrap_or_default();
        let Some(wanted) = string.get(part.clone()).filter(|wanted| !wanted.is_empty()) else { return value };
        // The same text may stand there more than once: take the occurrence of the same number.
        let number = string[..part.start].matches(wanted).count();
        match written.match_indices(wanted).nth(number) {
            Some((at, _)) => Span { start: value.start + at, end: value.start + at + wanted.len() },
            None => value,
        }
    }
}

/// A pointer to an item of the list at `parent`.
pub(super) fn item(parent: &str, index: usize) -> String {
    format!("{parent}/{index}")
}

pub(super) use source::child;
