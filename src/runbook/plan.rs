//! The compiled runbook: a step DAG, pinned by its digest.
//!
//! A plan is stored as JSON and is all that a worker needs to execute a run, now or after an upgrade.

use std::{ops::Range, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Expr, ExprError, Scope};
use crate::model::{Digest, EffectModel, FailureReason, Lane, Millis, OnUnknown, StepIx};

/// A compiled runbook.
///
/// Invariants (the compiler's, relied on by the engine): step ids are unique; `needs` of a body step are
/// body steps and the graph has no cycle; handler steps have no `needs`; steps stand in the order body,
/// `on_failure`, `on_cancel`, `finally`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this structure.
    pub format: u32,
    /// The runbook's name.
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    pub lane: Lane,
    pub priority: i32,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub labels: Map<String, Value>,
    pub params: Vec<ParamSpec>,
    /// Names of the secrets that steps may list.
    pub secrets: Vec<String>,
    /// Limit on the body of the run, from its start to the start of its handlers.
    pub timeout: Option<Millis>,
    /// Limit on `on_failure` or `on_cancel`, and again on `finally`.
    pub handler_timeout: Millis,
    pub steps: Vec<PlannedStep>,
    /// The digest of the files that belong to the runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digest>,
    /// The digest of the runbook's source text.
    pub source: Digest,
    /// Derived from `steps` by [`Plan::link`].
    #[serde(skip)]
    links: Links,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Links {
    dependents: Vec<Vec<StepIx>>,
    phases: [Range<u32>; 4],
    by_id: std::collections::HashMap<Arc<str>, StepIx>,
}

/// One param of a runbook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParamSpec {
    pub name: String,
    /// Its JSON Schema, without `default` and `required`.
    pub schema: Value,
    pub required: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// Where a step stands in the life of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    Body = 0,
    OnFailure = 1,
    OnCancel = 2,
    Finally = 3,
}

/// One step, with every default resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedStep {
    pub id: Arc<str>,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<StepIx>,
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
    /// The action's name; `run:` is the action `run`.
    pub uses: Arc<str>,
    /// The action's parameters; a script is `{script, shell}`, a program `{argv}`.
    pub with: Template,
    /// In order; the runbook's own `env` first, then the step's, later names win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<(String, Template)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    pub retry: RetryPolicy,
    /// Limit on one attempt.
    pub timeout: Option<Millis>,
    /// Limit on all attempts and the waits between them.
    pub deadline: Option<Millis>,
    pub effect: EffectModel,
    pub on_unknown: OnUnknown,
    pub continue_on_error: bool,
    #[serde(default, skip_serializing_if = "StepFolder::is_shared")]
    pub workspace: StepFolder,
    /// Evaluated over `result` when an attempt succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<(String, Template)>,
    /// Whether another step reads `steps.<id>.result`, so that it has to be kept.
    pub keep_result: bool,
    /// Line and column in the source, from 1.
    pub position: (u32, u32),
}

impl PlannedStep {
    /// A body step without needs, with the defaults of the language.
    pub fn new(id: &str, uses: &str) -> PlannedStep {
        PlannedStep {
            id: id.into(),
            phase: Phase::Body,
            needs: Vec::new(),
            condition: None,
            uses: uses.into(),
            with: Template::Literal(Value::Object(Map::new())),
            env: Vec::new(),
            secrets: Vec::new(),
            retry: RetryPolicy::never(),
            timeout: None,
            deadline: None,
            effect: EffectModel::AtMostOnce,
            on_unknown: OnUnknown::Hold,
            continue_on_error: false,
            workspace: StepFolder::Shared,
            outputs: Vec::new(),
            keep_result: false,
            position: (1, 1),
        }
    }
}

/// The folder that a step works in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepFolder {
    /// The run's working folder, which all its steps share and which follows the run from machine to machine.
    #[default]
    Shared,
    /// An empty one for each attempt, which nobody keeps.
    None,
}

impl StepFolder {
    pub fn is_shared(&self) -> bool {
        *self == StepFolder::Shared
    }
}

/// The `if` of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub expr: Expr,
    /// Whether it names `success()`, `failure()`, `cancelled()` or `always()`; without one of them
    /// `success()` is implied.
    pub has_status_function: bool,
}

/// How often and when a failed step runs again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts that may fail, the first one included; at least 1.
    pub max_attempts: u32,
    /// Before the second attempt.
    pub delay: Millis,
    /// The factor from one delay to the next; at least 1.
    pub backoff: f64,
    pub max_delay: Millis,
    pub jitter: Jitter,
    /// Which failures are retried.
    pub on: Vec<RetryOn>,
    /// Must hold too; `result` is `{code, message, reason, exit_code, status}` of the failure.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expr>,
}

impl RetryPolicy {
    /// One attempt.
    pub fn never() -> RetryPolicy {
        RetryPolicy {
            max_attempts: 1,
            delay: Millis::seconds(1),
            backoff: 2.0,
            max_delay: Millis::seconds(300),
            jitter: Jitter::Full,
            on: vec![RetryOn::Error, RetryOn::Timeout, RetryOn::WorkerLost],
            condition: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    None,
    /// Uniform between zero and the full delay.
    Full,
}

/// One entry of `retry.on`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryOn {
    /// Any failure but a timeout or a lost worker.
    Error,
    Timeout,
    WorkerLost,
    Exit(i32),
    Status(u16),
}

impl RetryOn {
    pub fn matches(self, reason: FailureReason) -> bool {
        match self {
            RetryOn::Error => !matches!(reason, FailureReason::Timeout | FailureReason::WorkerLost),
            RetryOn::Timeout => reason == FailureReason::Timeout,
            RetryOn::WorkerLost => reason == FailureReason::WorkerLost,
            RetryOn::Exit(code) => reason == FailureReason::Exit(code),
            RetryOn::Status(status) => reason == FailureReason::Status(status),
        }
    }
}

/// A JSON value with expressions in it, evaluated on the tree, never on text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Template {
    /// No expression anywhere inside.
    Literal(Value),
    /// `"${{ … }}"` as a whole value: keeps its type.
    Expr(Expr),
    /// Expressions inside a longer string: converted to text.
    Text(Vec<TextPart>),
    List(Vec<Template>),
    Map(Vec<(String, Template)>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextPart {
    Literal(String),
    Expr(Expr),
}

impl Template {
    /// The value with every expression replaced by its own.
    pub fn render(&self, scope: &dyn Scope) -> Result<Value, ExprError> {
        match self {
            Template::Literal(value) => Ok(value.clone()),
            Template::Expr(expr) => expr.eval(scope),
            Template::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        TextPart::Literal(literal) => text.push_str(literal),
                        TextPart::Expr(expr) => text.push_str(&to_text(&expr.eval(scope)?)),
                    }
                }
                Ok(Value::String(text))
            }
            Template::List(items) => items.iter().map(|item| item.render(scope)).collect(),
            Template::Map(entries) => {
                entries.iter().map(|(key, value)| Ok((key.clone(), value.render(scope)?))).collect()
            }
        }
    }

    /// Every expression inside, in order.
    pub fn expressions(&self) -> Vec<&Expr> {
        match self {
            Template::Literal(_) => Vec::new(),
            Template::Expr(expr) => vec![expr],
            Template::Text(parts) => parts
                .iter()
                .filter_map(|part| match part {
                    TextPart::Literal(_) => None,
                    TextPart::Expr(expr) => Some(expr),
                })
                .collect(),
            Template::List(items) => items.iter().flat_map(Template::expressions).collect(),
            Template::Map(entries) => entries.iter().flat_map(|(_, value)| value.expressions()).collect(),
        }
    }
}

/// The text form of a value in a string or an environment variable: strings as they are, `null` as
/// nothing, other scalars and all lists and maps as JSON.
pub fn to_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Plan {
    /// The version of the plan structure that this build writes.
    pub const FORMAT: u32 = 1;

    /// A plan of these steps, with the defaults of the language; for programs that build plans without a file.
    pub fn new(name: impl Into<String>, steps: Vec<PlannedStep>) -> Plan {
        Plan { steps, ..Plan::empty(name, Digest([0; 32])) }.link()
    }

    /// A plan without steps, and with the defaults of the language.
    pub fn empty(name: impl Into<String>, source: Digest) -> Plan {
        Plan {
            format: Plan::FORMAT,
            name: name.into(),
            description: String::new(),
            lane: Lane::A,
            priority: 0,
            labels: Map::new(),
            params: Vec::new(),
            secrets: Vec::new(),
            timeout: None,
            handler_timeout: Millis::seconds(300),
            steps: Vec::new(),
            files: None,
            source,
            links: Links::default(),
        }
    }

    /// Reads a stored plan.
    pub fn from_json(json: &[u8]) -> Result<Plan, serde_json::Error> {
        let plan: Plan = serde_json::from_slice(json)?;
        Ok(plan.link())
    }

    /// The form that is stored and digested.
    pub fn to_json(&self) -> Vec<u8> {
        // Every map key in a plan is a string, so serialisation cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_json())
    }

    /// Computes what is derived from `steps`. Called once, after the steps are complete.
    #[must_use]
    pub fn link(mut self) -> Plan {
        let mut links = Links { dependents: vec![Vec::new(); self.steps.len()], ..Links::default() };
        for (ix, step) in (0..).map(StepIx).zip(&self.steps) {
            for need in &step.needs {
                links.dependents[need.get()].push(ix);
            }
            let range = &mut links.phases[step.phase as usize];
            if range.start == range.end {
                *range = ix.0..ix.0;
            }
            range.end = ix.0 + 1;
            links.by_id.insert(step.id.clone(), ix);
        }
        self.links = links;
        self
    }

    pub fn step(&self, ix: StepIx) -> &PlannedStep {
        &self.steps[ix.get()]
    }

    /// The steps that name `ix` in their `needs`.
    pub fn dependents(&self, ix: StepIx) -> &[StepIx] {
        &self.links.dependents[ix.get()]
    }

    /// The steps of a phase, in order.
    pub fn phase(&self, phase: Phase) -> impl Iterator<Item = StepIx> + use<> {
        self.links.phases[phase as usize].clone().map(StepIx)
    }

    pub fn find(&self, id: &str) -> Option<StepIx> {
        self.links.by_id.get(id).copied()
    }
}
