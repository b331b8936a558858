//! One step, lowered on its own: what it says, with the defaults filled in.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Map, Value};

use super::{
    action::{self, Actions},
    expressions::{self, Site, StepUse},
    header::Header,
    keys,
    report::{Report, child, item},
};
use crate::{
    model::{EffectModel, Millis, OnUnknown},
    runbook::{
        Condition, Jitter, PlannedStep, RetryOn, RetryPolicy, Template,
        diagnostic::{Code, suggestion},
        expr,
        plan::{Phase, StepFolder},
    },
};

/// A step of which the references to others are not yet checked.
pub(super) struct Draft {
    pub(super) step: PlannedStep,
    pub(super) pointer: String,
    /// Whether the id is the author's.
    pub(super) named: bool,
    /// Ids in `needs`, in order.
    pub(super) needs: Vec<String>,
    pub(super) uses: Vec<StepUse>,
}

impl Draft {
    pub(super) fn lower(
        json: &Value,
        phase: Phase,
        index: usize,
        header: &Header,
        actions: &Actions<'_>,
        report: &mut Report<'_>,
    ) -> Draft {
        let key = keys::of_phase(phase);
        let pointer = item(&child("", key), index);
        let empty = Map::new();
        let map = json.as_object().unwrap_or(&empty);
        let mut lowering = Lowering { map, pointer: &pointer, header, actions, uses: Vec::new(), report };
        let step = lowering.step(phase, || format!("{key}_{}", index + 1));
        let uses = lowering.uses;
        let named = map.contains_key("id");
        let needs = if phase == Phase::Body { super::header::names(map.get("needs")) } else { Vec::new() };
        Draft { step, pointer, named, needs, uses }
    }
}

pub(super) struct Lowering<'a, 'r, 's> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) pointer: &'a str,
    pub(super) header: &'a Header,
    pub(super) actions: &'a Actions<'a>,
    pub(super) uses: Vec<StepUse>,
    pub(super) report: &'r mut Report<'s>,
}

impl Lowering<'_, '_, '_> {
    fn step(&mut self, phase: Phase, default_id: impl Fn() -> String) -> PlannedStep {
        let id: Arc<str> = self.text("id").map_or_else(default_id, str::to_owned).into();
        self.check_id(&id);
        let env = self.env();
        let names: HashSet<String> = env.iter().map(|(name, _)| name.clone()).collect();
        let fan_out = self.map.contains_key("foreach") || self.map.contains_key("matrix");
        let site = Site { params: &self.header.params, env: &names, steps: true, result: false, fan_out };
        let with_result = Site { result: true, ..site };
        let condition = self.condition(&site);
        let action = action::lower(self, &site);
        let mut secrets = self.secrets();
        for secret in action.secrets {
            if !secrets.contains(&secret) {
                secrets.push(secret);
            }
        }
        let effect = self.text("effect").and_then(|word| word.parse::<EffectModel>().ok()).unwrap_or(action.effect);
        PlannedStep {
            id,
            phase,
            needs: Vec::new(),
            condition,
            uses: action.name.into(),
            with: action.with,
            env,
            secrets,
            retry: self.retry(&with_result),
            timeout: self.duration("timeout").or(self.header.default_timeout),
            deadline: self.duration("deadline"),
            effect,
            on_unknown: self.text("on_unknown").and_then(|word| word.parse().ok()).unwrap_or(OnUnknown::Hold),
            continue_on_error: self.map.get("continue_on_error").and_then(Value::as_bool).unwrap_or(false),
            workspace: self.workspace(),
            outputs: self.outputs(&with_result),
            keep_result: false,
            position: self.report.source.position(self.report.source.value_span(self.pointer).start),
        }
    }

    /// What the step says, else what the runbook says.
    fn workspace(&self) -> StepFolder {
        match self.text("workspace") {
            Some("none") => StepFolder::None,
            Some(_) => StepFolder::Shared,
            None => self.header.workspace,
        }
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.map.get(key).and_then(Value::as_str)
    }

    pub(super) fn at(&self, key: &str) -> String {
        child(self.pointer, key)
    }

    fn check_id(&mut self, id: &str) {
        if expr::is_reserved_word(id) {
            let message = format!("`{id}` cannot be the id of a step: it is a word of the expression language");
            let at = self.at("id");
            self.report.value(Code::BadStepId, &at, message, Some(format!("for example `{id}_step`")));
        }
    }

    fn duration(&mut self, key: &str) -> Option<Millis> {
        duration(self.map.get(key), key, self.pointer, self.report)
    }

    /// The runbook's variables, then the step's.
    fn env(&mut self) -> Vec<(String, Template)> {
        let mut env = self.header.env.clone();
        if let Some(own) = self.map.get("env") {
            let names = env.iter().map(|(name, _)| name.clone()).collect();
            let fan_out = self.map.contains_key("foreach") || self.map.contains_key("matrix");
            let site = Site { params: &self.header.params, env: &names, steps: true, result: false, fan_out };
            let (own, uses) = expressions::lower_env(own, &self.at("env"), &site, self.report);
            env.extend(own);
            self.uses.extend(uses);
        }
        env
    }

    fn condition(&mut self, site: &Site<'_>) -> Option<Condition> {
        let json = self.map.get("if")?;
        let at = self.at("if");
        let expr = expressions::bare(json, &at, site, &mut self.uses, self.report)?;
        let has_status_function = expr.references().status_function;
        Some(Condition { expr, has_status_function })
    }

    fn secrets(&mut self) -> Vec<String> {
        let list = super::header::names(self.map.get("secrets"));
        let at = self.at("secrets");
        for (index, secret) in list.iter().enumerate() {
            self.check_secret(secret, &item(&at, index));
        }
        list
    }

    pub(super) fn check_secret(&mut self, secret: &str, pointer: &str) {
        if self.header.secrets.iter().any(|known| known == secret) {
            return;
        }
        let message = format!("the runbook does not declare the secret `{secret}`");
        let help = suggestion(secret, self.header.secrets.iter().map(String::as_str));
        let diagnostic = self.report.source.diagnose(
            Code::UndeclaredSecret,
            self.report.source.value_span(pointer),
            pointer,
            message,
        );
        let declared = self.header.secrets.iter().map(String::as_str).chain([secret]).collect::<Vec<_>>().join(", ");
        self.report.push(diagnostic.with_help(help).with_fix(format!("secrets: [{declared}]")));
    }

    fn retry(&mut self, site: &Site<'_>) -> RetryPolicy {
        let base = self.header.default_retry.as_ref();
        let Some(json) = self.map.get("retry") else { return base.cloned().unwrap_or_else(RetryPolicy::never) };
        let at = self.at("retry");
        let (policy, uses) = retry(json, &at, base, site, self.report);
        self.uses.extend(uses);
        policy
    }

    fn outputs(&mut self, site: &Site<'_>) -> Vec<(String, Template)> {
        let at = self.at("outputs");
        let outputs = self.map.get("outputs").and_then(Value::as_object);
        let mut lowered = Vec::new();
        for (name, value) in outputs.into_iter().flatten() {
            let value = expressions::lower(value, &child(&at, name), site, &mut self.uses, self.report);
            lowered.push((name.clone(), value));
        }
        lowered
    }
}

/// A duration under a key; one that is too long for a clock is a problem.
pub(super) fn duration(value: Option<&Value>, key: &str, pointer: &str, report: &mut Report<'_>) -> Option<Millis> {
    let text = value?.as_str()?;
    let parsed = text.parse::<Millis>().ok();
    let has_form = text.ends_with(|c: char| c.is_ascii_lowercase()) && text.starts_with(|c: char| c.is_ascii_digit());
    if parsed.is_none() && has_form && !text.contains(' ') {
        let message = format!("`{text}` is longer than 3650 days");
        report.value(Code::BadValue, &child(pointer, key), message, None);
    }
    parsed
}

/// A retry policy. Keys that are not given are those of `base`.
pub(super) fn retry(
    json: &Value,
    pointer: &str,
    base: Option<&RetryPolicy>,
    site: &Site<'_>,
    report: &mut Report<'_>,
) -> (RetryPolicy, Vec<StepUse>) {
    let mut uses = Vec::new();
    let never = RetryPolicy::never();
    let mut policy = base.cloned().unwrap_or(never);
    if base.is_none() && json.is_object() && json.get("max_attempts").is_none() {
        let help = Some("attempts that may fail, the first one included".to_owned());
        report.value(Code::MissingKey, pointer, "missing key `max_attempts`", help);
    }
    if let Some(attempts) = json.get("max_attempts").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()) {
        policy.max_attempts = attempts.max(1);
    }
    policy.delay = duration(json.get("delay"), "delay", pointer, report).unwrap_or(policy.delay);
    policy.backoff = json.get("backoff").and_then(Value::as_f64).map_or(policy.backoff, |factor| factor.max(1.0));
    policy.max_delay = duration(json.get("max_delay"), "max_delay", pointer, report).unwrap_or(policy.max_delay);
    policy.jitter = match json.get("jitter").and_then(Value::as_str) {
        Some("none") => Jitter::None,
        Some("full") => Jitter::Full,
        _ => policy.jitter,
    };
    if let Some(reasons) = json.get("on").and_then(Value::as_array) {
        policy.on = reasons.iter().filter_map(Value::as_str).filter_map(retry_on).collect();
    }
    if let Some(condition) = json.get("if") {
        policy.condition = expressions::bare(condition, &child(pointer, "if"), site, &mut uses, report);
    }
    (policy, uses)
}

fn retry_on(word: &str) -> Option<RetryOn> {
    match word.split_once(':') {
        Some(("exit", code)) => code.parse().ok().map(RetryOn::Exit),
        Some(("status", status)) => status.parse().ok().map(RetryOn::Status),
        Some(_) => None,
        None => match word {
            "error" => Some(RetryOn::Error),
            "timeout" => Some(RetryOn::Timeout),
            "worker_lost" => Some(RetryOn::WorkerLost),
            _ => None,
        },
    }
}
