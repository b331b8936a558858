//! What is wrong with a runbook, where, and how to mend it.

mod render;

use std::fmt;

use serde::{Serialize, Serializer};

use super::source::Span;

pub use render::{to_json, to_text};

/// One problem of a runbook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub code: Code,
    pub severity: Severity,
    /// One sentence without a full stop; names of the runbook are in backquotes.
    pub message: String,
    pub file: String,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The column after the last one, on the same line.
    pub end_column: u32,
    /// The same range in bytes of the file.
    pub span: Span,
    /// What is meant or allowed, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Text to put into the runbook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// JSON pointer to the value.
    pub pointer: String,
}

/// Whether a runbook with the problem can be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

macro_rules! codes {
    ($($variant:ident = $name:literal, $severity:ident, $explanation:literal;)*) => {
        /// The stable codes of all problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $explanation] $variant,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $name,)* }
            }

            pub const fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            /// One line for documentation and for the rules of a SARIF report.
            pub const fn explanation(self) -> &'static str {
                match self { $(Code::$variant => $explanation,)* }
            }
        }
    };
}

codes! {
    YamlSyntax = "YAML_SYNTAX", Error, "The file is not YAML.";
    YamlTooLarge = "YAML_TOO_LARGE", Error, "The file has more than 1 MiB.";
    YamlTooDeep = "YAML_TOO_DEEP", Error, "Lists and maps nest deeper than 64 levels.";
    YamlTooManyNodes = "YAML_TOO_MANY_NODES", Error, "The file has more than 200,000 values after the expansion of aliases.";
    YamlDuplicateKey = "YAML_DUPLICATE_KEY", Error, "A map has the same key twice.";
    YamlMultipleDocuments = "YAML_MULTIPLE_DOCUMENTS", Error, "A file holds more than one document.";
    YamlUnsupported = "YAML_UNSUPPORTED", Error, "Tags, keys that are not scalars and recursive aliases are not part of the language.";
    UnknownKey = "UNKNOWN_KEY", Error, "The language has no such key at this place.";
    MissingKey = "MISSING_KEY", Error, "A key that has to be there is not.";
    WrongType = "WRONG_TYPE", Error, "The value is of another type than the key takes.";
    BadValue = "BAD_VALUE", Error, "The value has the right type, but not an allowed form, range or length.";
    ConflictingKeys = "CONFLICTING_KEYS", Error, "Keys exclude each other.";
    NotAvailable = "NOT_AVAILABLE", Error, "Valid in version 1 of the language, but not available in this build.";
    BadStepId = "BAD_STEP_ID", Error, "A step id is a word that expressions reserve.";
    DuplicateStep = "DUPLICATE_STEP", Error, "Two steps have the same id.";
    UnknownStep = "UNKNOWN_STEP", Error, "There is no step with this id.";
    NotUpstream = "NOT_UPSTREAM", Error, "An expression reads a step that need not have ended before.";
    SelfNeed = "SELF_NEED", Error, "A step needs itself.";
    DuplicateNeed = "DUPLICATE_NEED", Error, "A step names a need twice.";
    NeedsCycle = "NEEDS_CYCLE", Error, "Steps need each other in a circle.";
    UnknownAction = "UNKNOWN_ACTION", Error, "No action of this build has this name.";
    BadWith = "BAD_WITH", Error, "The parameters of an action do not fit its schema.";
    UndeclaredSecret = "UNDECLARED_SECRET", Error, "A step uses a secret that the runbook does not declare.";
    ExpressionSyntax = "EXPRESSION_SYNTAX", Error, "An expression does not parse, calls an unknown function or is too large.";
    UnclosedExpression = "UNCLOSED_EXPRESSION", Error, "`${{` has no `}}`.";
    ExpressionInRun = "EXPRESSION_IN_RUN", Error, "An expression in the text of a command would be a script injection.";
    MisplacedExpression = "MISPLACED_EXPRESSION", Error, "An expression stands where only a literal is allowed, or `${{ }}` where a bare one is.";
    UnknownRoot = "UNKNOWN_ROOT", Error, "An expression starts with a name that does not exist here.";
    UnknownParam = "UNKNOWN_PARAM", Error, "An expression reads a param that the runbook does not declare.";
    UnknownEnv = "UNKNOWN_ENV", Error, "An expression reads a variable that neither the runbook nor the step sets.";
    UnknownField = "UNKNOWN_FIELD", Error, "An expression reads a field that the value does not have.";
    NotABool = "NOT_A_BOOL", Error, "A condition cannot be true or false.";
    BadParamSchema = "BAD_PARAM_SCHEMA", Error, "The schema of a param is not a usable JSON Schema.";
    BadParamDefault = "BAD_PARAM_DEFAULT", Error, "The default of a param does not fit its own schema.";
    FilesUnmatched = "FILES_UNMATCHED", Error, "A glob of `files` matches no file.";
    FilesOutside = "FILES_OUTSIDE", Error, "A glob of `files` leaves the folder of the runbook.";
    FilesUnreadable = "FILES_UNREADABLE", Error, "A file of `files` cannot be read, or is none.";
    FilesTooLarge = "FILES_TOO_LARGE", Error, "The files of a runbook are too large or too many.";
    FileUnreadable = "FILE_UNREADABLE", Error, "A runbook file of a folder cannot be read.";
    NameMismatch = "NAME_MISMATCH", Error, "The runbook's name is not the one that it is to be stored under.";
    DuplicateRunbook = "DUPLICATE_RUNBOOK", Error, "Another file of the folder has the same name of a runbook.";
    FileGone = "FILE_GONE", Warning, "The file that the latest version came from is not there any more.";
    UnusedSecret = "UNUSED_SECRET", Warning, "A declared secret reaches no step.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Diagnostic {
    #[must_use]
    pub fn with_help(self, help: Option<String>) -> Diagnostic {
        Diagnostic { help: help.or(self.help), ..self }
    }

    #[must_use]
    pub fn with_fix(self, fix: impl Into<String>) -> Diagnostic {
        Diagnostic { fix: Some(fix.into()), ..self }
    }
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: CODE: message`, as compilers print it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}: {}", self.file, self.line, self.column, self.code, self.message)
    }
}

/// In the order of the file, each problem once.
pub fn sorted(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    diagnostics.sort_by(|a, b| {
        (a.line, a.column, a.severity, a.code, &a.message).cmp(&(b.line, b.column, b.severity, b.code, &b.message))
    });
    diagnostics.dedup_by(|a, b| (a.span, a.code, &a.message) == (b.span, b.code, &b.message));
    diagnostics
}

/// The name closest to `word`, where one is close enough to be meant.
pub fn closest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .filter(|name| name.len().abs_diff(word.len()) <= 2 * allowed)
        .map(|name| (strsim::osa_distance(word, name), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// ``did you mean `name`?``, or the names to choose from where there are few.
pub fn suggestion<'a>(word: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> Option<String> {
    if let Some(close) = closest(word, names.clone()) {
        return Some(format!("did you mean `{close}`?"));
    }
    let names: Vec<&str> = names.into_iter().take(31).collect();
    match names.len() {
        0 | 31 => None,
        _ => Some(format!("allowed are `{}`", names.join("`, `"))),
    }
}
