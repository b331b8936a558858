//! What expressions see of a run.

use serde_json::{Map, Value, json};

use super::{Ending, Run, Stage, Step};
use crate::{
    model::{Failure, FailureReason, StepIx},
    runbook::{Phase, Plan, Scope, StatusFunction},
};

/// The scope of one step: params, the steps before it, the run itself.
#[derive(Debug, Clone, Copy)]
pub struct RunScope<'a> {
    pub plan: &'a Plan,
    pub run: &'a Run,
    pub step: StepIx,
    /// The step's environment, once it is rendered.
    pub env: Option<&'a Map<String, Value>>,
    /// `result`, in `outputs` and `retry.if`.
    pub result: Option<&'a Value>,
}

impl<'a> RunScope<'a> {
    pub fn new(plan: &'a Plan, run: &'a Run, step: StepIx) -> RunScope<'a> {
        RunScope { plan, run, step, env: None, result: None }
    }

    /// `env` before the attempt has one: rendered here, without itself. A variable that fails is left out.
    fn rendered_env(self) -> Value {
        let none = Map::new();
        let bare = RunScope { env: Some(&none), ..self };
        let env = &self.plan.step(self.step).env;
        env.iter().filter_map(|(name, value)| Some((name.clone(), value.render(&bare).ok()?))).collect()
    }

    /// `success()` in the body: every step needed counts as met.
    fn needs_met(self) -> bool {
        self.plan.step(self.step).needs.iter().all(|need| self.run.is_met(self.plan, *need))
    }
}

impl Scope for RunScope<'_> {
    fn root(&self, name: &str) -> Option<Value> {
        match name {
            "params" => Some(Value::Object(self.run.params().clone())),
            "run" => Some(json!({
                "id": self.run.id().to_string(),
                "name": self.plan.name,
                "lane": self.plan.lane.as_str(),
                "status": self.run.verdict().as_str(),
            })),
            "env" => Some(self.env.map_or_else(|| self.rendered_env(), |env| Value::Object(env.clone()))),
            "result" => self.result.cloned(),
            _ => None,
        }
    }

    fn step(&self, id: &str) -> Option<Value> {
        let record = self.run.step(self.plan.find(id)?);
        let success = record.success.as_deref();
        Some(json!({
            "outputs": success.map(|s| &s.outputs).cloned().unwrap_or_default(),
            "status": record.state.status().as_str(),
            "result": success.and_then(|s| s.result.clone()),
        }))
    }

    fn holds(&self, function: StatusFunction) -> bool {
        let body = self.plan.step(self.step).phase == Phase::Body;
        let cancelled = self.run.ending() == Some(Ending::Cancelled);
        match function {
            StatusFunction::Always => true,
            StatusFunction::Cancelled => cancelled,
            StatusFunction::Success if body => !cancelled && self.needs_met(),
            StatusFunction::Failure if body => self.plan.step(self.step).needs.iter().any(|need| {
                matches!(self.run.step(*need).state, Step::Failed | Step::Blocked) && !self.run.is_met(self.plan, *need)
            }),
            StatusFunction::Success => self.run.ending().is_none() && !self.run.has_failed(),
            StatusFunction::Failure => !cancelled && (self.run.has_failed() || self.run.ending().is_some()),
        }
    }
}

/// `result` in `retry.if`: what is known of a failure.
pub(super) fn failure_as_result(failure: &Failure) -> Value {
    let (reason, exit_code, status) = match failure.reason {
        FailureReason::Error => ("error", None, None),
        FailureReason::Timeout => ("timeout", None, None),
        FailureReason::WorkerLost => ("worker_lost", None, None),
        FailureReason::Exit(code) => ("exit", Some(code), None),
        FailureReason::Status(status) => ("status", None, Some(status)),
    };
    json!({ "code": failure.code, "message": failure.message, "reason": reason, "exit_code": exit_code, "status": status })
}

impl Stage {
    /// The phase whose steps run in this stage.
    pub fn phase(self) -> Option<Phase> {
        match self {
            Stage::Created | Stage::Ended(_) => None,
            Stage::Running(phase) => Some(phase),
        }
    }
}
