//! Diagnostics as text and as JSON.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Diagnostic, Severity};

/// The text for a person: each problem with its source line underlined, the hint and the fix.
///
/// `text` is the file that the diagnostics are of.
pub fn to_text(diagnostics: &[Diagnostic], text: &str, coloured: bool) -> String {
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    let rendered = diagnostics.iter().map(|diagnostic| one(&renderer, diagnostic, text));
    rendered.collect::<Vec<_>>().join("\n\n")
}

/// The JSON form, an array. The keys are those of [`Diagnostic`].
pub fn to_json(diagnostics: &[Diagnostic]) -> serde_json::Value {
    // Strings and numbers under string keys: serialisation cannot fail.
    serde_json::to_value(diagnostics).unwrap_or_default()
}

fn one(renderer: &Renderer, diagnostic: &Diagnostic, text: &str) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    // Only the line at hand: a snippet scans all of its source.
    let start = text.get(..diagnostic.span.start).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let from = diagnostic.span.start.saturating_sub(start).min(line.len());
    let to = diagnostic.span.end.saturating_sub(start).clamp(from, line.len());
    let snippet = Snippet::source(line)
        .path(diagnostic.file.as_str())
        .line_start(diagnostic.line as usize)
        .annotation(AnnotationKind::Primary.span(from..to));
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
    let mut group = Group::with_title(title).element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let fix = diagnostic.fix.as_ref().map(|fix| format!("write\n{fix}"));
    if let Some(fix) = &fix {
        group = group.element(Level::HELP.with_name("fix").message(fix.as_str()));
    }
    renderer.render(&[group])
}
