use serde_json::json;

use super::*;
use crate::{
    model::{Lane, Millis, OnUnknown, StepIx},
    runbook::{Jitter, RetryOn, Scope, StatusFunction, Template},
};

struct World(Value);

impl Scope for World {
    fn root(&self, name: &str) -> Option<Value> {
        self.0.get(name).cloned()
    }

    fn step(&self, id: &str) -> Option<Value> {
        self.0.get("steps")?.get(id).cloned()
    }

    fn holds(&self, _: StatusFunction) -> bool {
        true
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one runbook with everything, and all that becomes of it")]
fn a_runbook_becomes_a_plan() {
    let text = r#"
version: 1
name: restart-web
description: Restart the web tier.
labels: {team: platform, tier: 1}
lane: B
priority: -5
params:
  env: {type: string, enum: [staging, prod], default: staging}
  hosts: {type: array, items: {type: string, format: hostname}, minItems: 1}
  note: {type: string, required: false}
timeout: 30m
handler_timeout: 1m
defaults: {timeout: 5m, retry: {max_attempts: 3, delay: 10s, backoff: 2, max_delay: 2m, jitter: none}}
env: {TZ: UTC, VERSION: 1.10, CODE: 012, ON: true}
secrets: [ssh_key, token]
steps:
  - id: drain
    uses: http.request
    with: {method: POST, url: "https://lb/drain", secret_headers: {Authorization: token}}
    outputs: {ticket: "${{ result.body.id }}"}
  - id: check
    uses: http.request
    with: {url: "https://lb/${{ params.env }}", expect: {status: [200]}}
  - id: restart
    needs: [drain, check]
    if: params.env == 'prod' && always()
    secrets: [ssh_key]
    effect: idempotent
    on_unknown: fail
    continue_on_error: true
    retry: {max_attempts: 5, on: [timeout, "exit:75", "status:503"], if: result.exit_code == 75}
    timeout: 1m
    deadline: 1h
    env: {TICKET: "${{ steps.drain.outputs.ticket }}", OLD: "${{ env.TZ }}", LIST: [1, "${{ params.env }}"]}
    run: ssh "$HOST" systemctl restart web
  - id: report
    needs: [restart]
    run: [echo, "${{ steps.check.result.status }}", "$${{ x }}"]
on_failure: [{uses: log, with: {message: "${{ steps.drain.status }}"}}]
on_cancel: [{id: told, run: echo, shell: sh}]
finally:
  - run: echo 1
  - if: steps.finally_1.status == 'succeeded'
    run: echo 2
"#;
    let plan = compiled(text).plan;
    assert_eq!((plan.name.as_str(), plan.lane, plan.priority), ("restart-web", Lane::B, -5));
    assert_eq!(plan.labels, *json!({"team": "platform", "tier": 1}).as_object().unwrap());
    let params: Vec<(&str, bool, Option<&Value>)> =
        plan.params.iter().map(|p| (p.name.as_str(), p.required, p.default.as_ref())).collect();
    assert_eq!(params, [("env", false, Some(&json!("staging"))), ("hosts", true, None), ("note", false, None)]);
    assert_eq!(plan.params[0].schema, json!({"type": "string", "enum": ["staging", "prod"]}));
    assert_eq!((plan.timeout, plan.handler_timeout), (Some(Millis::seconds(1800)), Millis::seconds(60)));

    let ids: Vec<(&str, Phase)> = plan.steps.iter().map(|s| (&*s.id, s.phase)).collect();
    assert_eq!(
        ids,
        [
            ("drain", Phase::Body),
            ("check", Phase::Body),
            ("restart", Phase::Body),
            ("report", Phase::Body),
            ("on_failure_1", Phase::OnFailure),
            ("told", Phase::OnCancel),
            ("finally_1", Phase::Finally),
            ("finally_2", Phase::Finally),
        ]
    );
    let [drain, check, restart, report, ..] = plan.steps.as_slice() else { unreachable!() };
    assert_eq!(
        (drain.effect, check.effect, report.effect),
        (EffectModel::AtMostOnce, EffectModel::Idempotent, EffectModel::AtMostOnce)
    );
    assert_eq!(drain.secrets, ["token"]);
    assert_eq!((drain.keep_result, check.keep_result), (false, true));
    assert_eq!(
        (drain.retry.max_attempts, drain.retry.delay, drain.retry.jitter),
        (3, Millis::seconds(10), Jitter::None)
    );
    assert_eq!(
        (drain.timeout, restart.timeout, restart.deadline),
        (Some(Millis::seconds(300)), Some(Millis::seconds(60)), Some(Millis::seconds(3600)))
    );
    assert_eq!(drain.position, (18, 5));

    assert_eq!(restart.needs, [StepIx(0), StepIx(1)]);
    assert!(restart.condition.as_ref().unwrap().has_status_function);
    assert_eq!(
        (restart.effect, restart.on_unknown, restart.continue_on_error),
        (EffectModel::Idempotent, OnUnknown::Fail, true)
    );
    // Keys that the step does not give are those of the defaults.
    assert_eq!((restart.retry.max_attempts, restart.retry.delay), (5, Millis::seconds(10)));
    assert_eq!(restart.retry.on, [RetryOn::Timeout, RetryOn::Exit(75), RetryOn::Status(503)]);
    assert_eq!(
        restart.with,
        Template::Literal(json!({"script": "ssh \"$HOST\" systemctl restart web", "shell": "bash"}))
    );
    assert_eq!(plan.steps[5].with, Template::Literal(json!({"script": "echo", "shell": "sh"})));

    let world = World(json!({
        "params": {"env": "prod"}, "env": {"TZ": "UTC"},
        "steps": {"drain": {"outputs": {"ticket": 7}, "status": "succeeded"}, "check": {"result": {"status": 200}}},
    }));
    let env: Vec<(&str, Value)> =
        restart.env.iter().map(|(name, value)| (name.as_str(), value.render(&world).unwrap())).collect();
    assert_eq!(
        env,
        [
            ("TZ", json!("UTC")),
            ("VERSION", json!("1.10")),
            ("CODE", json!("012")),
            ("ON", json!("true")),
            ("TICKET", json!(7)),
            ("OLD", json!("UTC")),
            ("LIST", json!([1, "prod"]))
        ]
    );
    assert_eq!(report.with.render(&world).unwrap(), json!({"argv": ["echo", 200, "${{ x }}"]}));
    assert_eq!(check.with.render(&world).unwrap(), json!({"url": "https://lb/prod", "expect": {"status": [200]}}));
}

#[test]
fn a_plan_survives_its_json() {
    let plan = compiled(&with_steps("  - {id: a, run: echo}\n  - {id: b, needs: [a], if: always(), uses: log, with: {message: 'x ${{ run.id }}'}}\n")).plan;
    let again = Plan::from_json(&plan.to_json()).unwrap();
    assert_eq!(again, plan);
    assert_eq!(again.digest(), plan.digest());
    assert_eq!(again.dependents(StepIx(0)), [StepIx(1)]);
}

#[test]
fn params_can_be_written_as_one_schema() {
    let text = "version: 1\nname: x\nparams: {properties: {a: {type: string}, b: {type: string}}, required: [b]}\nsteps: [{id: s, run: echo, env: {A: '${{ params.a }}'}}]\n";
    let params = compiled(text).plan.params;
    assert_eq!(params.iter().map(|p| (p.name.as_str(), p.required)).collect::<Vec<_>>(), [("a", false), ("b", true)]);
}

#[test]
fn scalars_are_text_where_text_is_wanted() {
    let plan = compiled("version: 1\nname: 2026\nparams: {v: {type: string, default: 1.10}}\nsteps: [{id: a, uses: log, with: {message: 012}}]\n").plan;
    assert_eq!(plan.name, "2026");
    assert_eq!(plan.params[0].default, Some(json!("1.10")));
    assert_eq!(plan.steps[0].with, Template::Literal(json!({"message": "012"})));
}

#[test]
fn warnings_do_not_stop_a_runbook() {
    let compiled = compiled("version: 1\nname: x\nsecrets: [a]\nsteps: [{id: a, run: echo}]\n");
    assert_eq!(compiled.warnings.len(), 1);
    assert_eq!(compiled.warnings[0].to_string(), "x.yaml:3:11: UNUSED_SECRET: no step uses the secret `a`");
}

/// The example of the language's design; what this build does not do is refused and nothing else.
#[test]
#[expect(clippy::too_many_lines, reason = "the example of the design")]
fn the_whole_language_is_known() {
    let text = r#"# yaml-language-server: $schema=../schemas/runbook.schema.json
version: 1
name: restart-web                  # unique in a tenant; [a-z0-9-]{1,64}
description: Restart the web tier, two hosts at a time.
labels: {team: platform}
lane: B                            # A | B | C | D, default A
priority: 0                        # higher first, -100..100
params:                            # a JSON Schema, written as `properties` with `required` beside or per param
  env:   {type: string, enum: [staging, prod], default: staging}
  hosts: {type: array, items: {type: string, format: hostname}, minItems: 1}
triggers:
  - schedule: {id: weekly, cron: "0 3 * * 1", timezone: Europe/Berlin, overlap: skip, catch_up: last, window: 6h, params: {hosts: [a]}}
  - webhook: {id: pager, verify: {scheme: github, secret: pager_key}, if: "event.action == 'opened'", params: {env: "${{ event.env }}"}}
concurrency: {group: "web-${{ params.env }}", limit: 1, on_conflict: queue}   # queue | cancel_running | reject
limits: {max_targets: 20, max_failures: "10%"}                                # blast radius
timeout: 30m
defaults: {timeout: 5m, retry: {max_attempts: 3, delay: 10s, backoff: 2, max_delay: 2m, jitter: full}}
env: {TZ: UTC}
files: [undo.sh, undrain.sh]       # beside this file, pinned with the version
secrets: [ssh_key]                 # declared by name, given per tenant, never rendered in an expression
steps:
  - id: drain
    uses: http.request
    with: {method: POST, url: "https://lb/drain"}
    outputs: {ticket: "${{ result.body.id }}"}
  - id: approve
    needs: [drain]
    if: params.env == 'prod'
    uses: approval
    with: {groups: [sre-lead], quorum: 1, allow_self: false, expires: 2h}
  - id: restart
    needs: [approve]
    foreach: ${{ params.hosts }}   # fan-out; `item` and `index` in scope; `matrix:` for products
    max_parallel: 2
    effect: idempotent             # idempotent | at_most_once
    secrets: [ssh_key]
    env: {HOST: "${{ item }}"}
    run: ssh "$HOST" systemctl restart web
    rollback: {run: '"$OPSROOM_FILES/undo.sh" "$HOST"', env: {HOST: "${{ item }}"}}
on_failure: [{uses: notify.slack, with: {text: "${{ run.url }}"}}]
on_cancel:  []
finally:    [{run: '"$OPSROOM_FILES/undrain.sh"'}]
"#;
    assert_eq!(
        reported(text),
        [
            "NOT_AVAILABLE 11:1 `triggers` is valid, but not available in this build",
            "NOT_AVAILABLE 14:1 `concurrency` is valid, but not available in this build",
            "NOT_AVAILABLE 15:1 `limits` is valid, but not available in this build",
            "FILES_UNMATCHED 19:9 `undo.sh` matches no file",
            "FILES_UNMATCHED 19:18 `undrain.sh` matches no file",
            "NOT_AVAILABLE 29:11 the action `approval` is valid, but not available in this build",
            "NOT_AVAILABLE 33:5 `foreach` is valid, but not available in this build",
            "NOT_AVAILABLE 34:5 `max_parallel` is valid, but not available in this build",
            "NOT_AVAILABLE 39:5 `rollback` is valid, but not available in this build",
            "NOT_AVAILABLE 40:21 the action `notify.slack` is valid, but not available in this build",
        ]
    );
}

#[test]
fn the_rest_of_the_language_is_known_too() {
    let text = r#"version: 1
name: x
triggers: [{git: {id: main, url: "https://git/x", branch: main, paths: [a/*], interval: 1m, if: "true", params: {}}}]
preconditions: [{that: "true", message: not now}]
rollback: on_failure
steps:
  - id: a
    run: echo
    shell: python3
    matrix: {region: [eu, us]}
    distribute: true
    runs_on: {zone: dmz}
    workspace: own
  - {id: b, run: echo, loop: {until: "true", max: 3, delay: 5s}}
  - {id: c, uses: runbook, with: {name: y, params: {}}}
  - {id: d, uses: transform.jq}
  - {id: e, run: echo, workspace: shared}
"#;
    let found: Vec<String> =
        reported(text).iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    let expected = ["3:1", "4:1", "5:1", "10:5", "11:5", "12:5", "13:16", "14:24", "15:19", "16:19"];
    assert_eq!(found, expected.map(|at| format!("NOT_AVAILABLE {at}")));
}

#[test]
fn the_schema_and_the_compiler_know_the_same_keys() {
    let keys_at = |pointer: &str| -> Vec<String> {
        let mut keys: Vec<String> =
            schema::runbook().pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys
    };
    let union = |lists: &[&[&str]]| -> Vec<String> {
        let mut keys: Vec<String> = lists.iter().flat_map(|list| list.iter().map(|key| (*key).to_owned())).collect();
        keys.sort();
        keys
    };
    assert_eq!(keys_at("/properties"), union(&[keys::TOP, keys::TOP_UNAVAILABLE]));
    assert_eq!(keys_at("/$defs/step/properties"), union(&[keys::STEP, keys::STEP_UNAVAILABLE]));
    let mut handler = union(&[keys::STEP, keys::STEP_UNAVAILABLE]);
    handler.retain(|key| !keys::BODY_ONLY.contains(&key.as_str()));
    assert_eq!(keys_at("/$defs/handler/properties"), handler);
    assert_eq!(keys_at("/$defs/retry/properties"), union(&[keys::RETRY]));
    assert_eq!(keys_at("/properties/defaults/properties"), union(&[keys::DEFAULTS]));
}
