//! Everything of a runbook but its steps.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    expressions::{Site, lower_env},
    keys,
    report::{Report, child},
    step::{Draft, duration, retry},
};
use crate::{
    model::{Digest, Lane, Millis},
    runbook::{
        ParamSpec, Plan, RetryPolicy, Template,
        diagnostic::Code,
        expr,
        plan::{Phase, StepFolder},
        schema::Checker,
        source::Source,
    },
};

/// The lowered head of a runbook.
pub(super) struct Header {
    name: Option<String>,
    description: String,
    lane: Lane,
    priority: i32,
    labels: Map<String, Value>,
    pub(super) params: Params,
    pub(super) secrets: Vec<String>,
    timeout: Option<Millis>,
    handler_timeout: Millis,
    /// Of every step that does not say its own.
    pub(super) default_timeout: Option<Millis>,
    pub(super) default_retry: Option<RetryPolicy>,
    pub(super) env: Vec<(String, Template)>,
    /// Of every step that does not say its own.
    pub(super) workspace: StepFolder,
}

/// As many as the schema allows; compiling their schemas takes time.
const MAX_PARAMS: usize = 200;
/// Bytes of the runbook's `env` over all steps: every planned step has it.
const MAX_ENV: usize = 16 * 1024 * 1024;

/// The declared params.
#[derive(Default)]
pub(super) struct Params {
    pub(super) specs: Vec<ParamSpec>,
    index: HashMap<String, usize>,
}

impl Params {
    pub(super) fn get(&self, name: &str) -> Option<&ParamSpec> {
        self.index.get(name).map(|index| &self.specs[*index])
    }
}

impl Header {
    pub(super) fn lower(json: &Value, report: &mut Report<'_>) -> Header {
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let params = lower_params(json, report);
        let defaults = json.get("defaults").unwrap_or(&Value::Null);
        let no_env = HashSet::new();
        let env_site = Site { params: &params, env: &no_env, steps: false, result: false, fan_out: false };
        let env = json.get("env").filter(|env| env_fits(env, json, report));
        let env = env.map(|env| lower_env(env, "/env", &env_site, report).0).unwrap_or_default();
        let retry_site = Site { params: &params, env: &no_env, steps: false, result: true, fan_out: false };
        let default_retry =
            defaults.get("retry").map(|json| retry(json, "/defaults/retry", None, &retry_site, report).0);
        Header {
            name: text("name").map(str::to_owned),
            description: text("description").unwrap_or_default().to_owned(),
            lane: text("lane").and_then(|lane| lane.parse().ok()).unwrap_or(Lane::A),
            priority: json.get("priority").and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()).unwrap_or(0),
            labels: json.get("labels").and_then(Value::as_object).cloned().unwrap_or_default(),
            secrets: names(json.get("secrets")),
            timeout: duration(json.get("timeout"), "timeout", "", report),
            handler_timeout: duration(json.get("handler_timeout"), "handler_timeout", "", report)
                .unwrap_or(Millis::seconds(300)),
            default_timeout: duration(defaults.get("timeout"), "timeout", "/defaults", report),
            default_retry,
            env,
            workspace: if text("workspace") == Some("none") { StepFolder::None } else { StepFolder::Shared },
            params,
        }
    }

    /// The plan without its steps; `None` where there is no name.
    pub(super) fn into_plan(self, source: Digest) -> Option<Plan> {
        let mut plan = Plan::empty(self.name?, source);
        plan.description = self.description;
        plan.lane = self.lane;
        plan.priority = self.priority;
        plan.labels = self.labels;
        plan.params = self.params.specs;
        plan.secrets = self.secrets;
        plan.timeout = self.timeout;
        plan.handler_timeout = self.handler_timeout;
        Some(plan)
    }

    pub(super) fn report_unused_secrets(&self, drafts: &[Draft], report: &mut Report<'_>) {
        let used: HashSet<&str> =
            drafts.iter().flat_map(|draft| draft.step.secrets.iter().map(String::as_str)).collect();
        for (index, secret) in self.secrets.iter().enumerate().filter(|(_, secret)| !used.contains(secret.as_str())) {
            let message = format!("no step uses the secret `{secret}`");
            report.value(Code::UnusedSecret, &format!("/secrets/{index}"), message, None);
        }
    }
}

/// Whether the runbook's variables can be repeated in all its steps.
fn env_fits(env: &Value, json: &Value, report: &mut Report<'_>) -> bool {
    const ENTRY: usize = 128;
    let phases = [Phase::Body, Phase::OnFailure, Phase::OnCancel, Phase::Finally];
    let steps =
        phases.iter().filter_map(|phase| json.get(keys::of_phase(*phase))?.as_array()).map(Vec::len).sum::<usize>();
    let entries = env.as_object().map_or(0, Map::len);
    let fits = (env.to_string().len() + entries * ENTRY).saturating_mul(steps) <= MAX_ENV;
    if !fits {
        let message = format!("the variables are too large to be given to all {steps} steps");
        report.key(Code::BadValue, "/env", message, Some("set them in the steps that need them".to_owned()));
    }
    fits
}

/// The strings of a list.
pub(super) fn names(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Takes defaults of string params as they are written.
pub(super) fn take_texts(source: &mut Source) {
    let (base, entries) = declarations(source.json());
    let is_string =
        |param: &Value| param.get("type").is_some_and(|kind| kind == "string") && param.get("default").is_some();
    let pointers = entries.filter(|(_, param)| is_string(param)).map(|(name, _)| child(&child(base, name), "default"));
    for pointer in pointers.collect::<Vec<_>>() {
        source.take_text(&pointer);
    }
}

/// The declarations of the params, in either form, and where they stand.
fn declarations(json: &Value) -> (&'static str, impl Iterator<Item = (&String, &Value)>) {
    let params = json.get("params");
    let properties = params.and_then(|params| params.get("properties")).filter(|properties| properties.is_object());
    let base = if properties.is_some() { "/params/properties" } else { "/params" };
    (base, properties.or(params).and_then(Value::as_object).into_iter().flatten())
}

fn lower_params(json: &Value, report: &mut Report<'_>) -> Params {
    let mut params = Params::default();
    let (base, entries) = declarations(json);
    // `required` beside `properties` says which; without it a param without a default is required.
    let beside = json.pointer("/params/required").filter(|_| base != "/params").and_then(Value::as_array);
    let entries = entries.filter_map(|(name, param)| Some((name, param.as_object()?)));
    for (name, param) in entries.take(MAX_PARAMS) {
        let mut schema = param.clone();
        let default = schema.shift_remove("default");
        let own = schema.get("required").and_then(Value::as_bool);
        if own.is_some() {
            schema.shift_remove("required");
        }
        let listed = beside.map(|names| names.iter().any(|known| known == name));
        let required = own.or(listed).unwrap_or(default.is_none());
        let spec = ParamSpec { name: name.clone(), schema: Value::Object(schema), required, default };
        check_param(&spec, &child(base, name), report);
        if expr::is_reserved_word(name) {
            let message = format!("`{name}` cannot be a param: it is a word of the expression language");
            report.key(Code::BadValue, &child(base, name), message, Some(format!("for example `{name}_value`")));
        }
        params.index.insert(name.clone(), params.specs.len());
        params.specs.push(spec);
    }
    for (index, name) in beside.into_iter().flatten().enumerate() {
        if let Some(name) = name.as_str().filter(|name| params.get(name).is_none()) {
            let message = format!("there is no param `{name}`");
            report.value(Code::UnknownParam, &format!("/params/required/{index}"), message, None);
        }
    }
    params
}

/// The schema has to be usable, and the default has to fit it.
fn check_param(spec: &ParamSpec, pointer: &str, report: &mut Report<'_>) {
    if let Some(reference) = find_reference(&spec.schema, pointer) {
        let message = "references to other schemas are not supported in params";
        report.key(Code::BadParamSchema, &reference, message, Some("write the schema out".to_owned()));
        return;
    }
    match Checker::new(spec.schema.clone()) {
        Err(error) => {
            let at = format!("{pointer}{}", error.instance_path().as_str());
            let message = format!("the schema of `{}` is not usable: {}", spec.name, error.masked_with("the value"));
            report.value(Code::BadParamSchema, &at, message, None);
        }
        Ok(checker) => {
            for violation in spec.default.iter().flat_map(|default| checker.check(default)) {
                report.violation(&child(pointer, "default"), violation, Some(Code::BadParamDefault));
            }
        }
    }
}

fn find_reference(schema: &Value, pointer: &str) -> Option<String> {
    match schema {
        Value::Object(entries) => entries.iter().find_map(|(key, value)| {
            let at = child(pointer, key);
            if ["$ref", "$dynamicRef", "$recursiveRef"].contains(&key.as_str()) {
                Some(at)
            } else {
                find_reference(value, &at)
            }
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, value)| find_reference(value, &format!("{pointer}/{index}")))
        }
        _ => None,
    }
}
