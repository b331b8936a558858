use super::*;

/// Each case: the file, then `CODE line:column message` of everything reported, in order.
fn check(cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(reported(text), *expected, "\n{text}");
    }
}

/// The same for lines under `steps:`, which start in line 4.
fn check_steps(cases: &[(&str, &[&str])]) {
    for (steps, expected) in cases {
        assert_eq!(reported(&with_steps(steps)), *expected, "\n{steps}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn files() {
    check(&[
        ("", &["YAML_SYNTAX 1:1 the file is empty"]),
        ("- a\n", &["WRONG_TYPE 1:1 expected a map, found a list"]),
        ("just text\n", &["WRONG_TYPE 1:1 expected a map, found `just text`"]),
        (
            "version: 1\nname: x\nname: y\nsteps: [{id: a, run: echo}]\n",
            &["YAML_DUPLICATE_KEY 3:1 `name` is given twice; the first one is in line 2"],
        ),
        (
            "version: 2\nname: X Y\nsteps: []\n",
            &[
                "BAD_VALUE 1:10 expected 1, found the number 2",
                "BAD_VALUE 2:7 `X Y` does not match `^[a-z0-9-]{1,64}$`",
                "BAD_VALUE 3:8 the list is empty",
            ],
        ),
        (
            "nam: x\nsteps: [{id: a, run: echo}]\n",
            &[
                "UNKNOWN_KEY 1:1 unknown key `nam`",
                "MISSING_KEY 1:1 missing key `name`",
                "MISSING_KEY 1:1 missing key `version`",
            ],
        ),
        (
            "version: 1\nname: x\nlane: E\npriority: 101\ntimeout: 5 min\nsteps: [{id: a, run: echo}]\n",
            &[
                "BAD_VALUE 3:7 `E` is not allowed here",
                "BAD_VALUE 4:11 the number has to be at most 100",
                "BAD_VALUE 5:10 `5 min` is not a duration",
            ],
        ),
        (
            "version: 1\nname: x\ntimeout: 4000d\nsteps: [{id: a, run: echo}]\n",
            &["BAD_VALUE 3:10 `4000d` is longer than 3650 days"],
        ),
        (
            "version: 1\nname: x\nsecrets: [a, a, B]\nsteps: [{id: a, run: echo, secrets: [a]}]\n",
            &[
                "BAD_VALUE 3:10 the list has an item twice",
                "BAD_VALUE 3:17 `B` does not match `^[a-z][a-z0-9_]{0,63}$`",
                "UNUSED_SECRET 3:17 no step uses the secret `B`",
            ],
        ),
        (
            "version: 1\nname: x\ntriggers: [{schedule: {id: a}}, {webhook: {id: b}, git: {id: c, url: u}}]\nsteps: [{id: a, run: echo}]\n",
            &[
                "NOT_AVAILABLE 3:1 `triggers` is valid, but not available in this build",
                "MISSING_KEY 3:23 missing key `cron`",
                "CONFLICTING_KEYS 3:33 `schedule` and `webhook` and `git` exclude each other",
                "MISSING_KEY 3:43 missing key `verify`",
            ],
        ),
    ]);
}

#[test]
fn params_and_env() {
    check(&[
        (
            "version: 1\nname: x\nparams:\n  a: {type: strin}\n  b: {type: string, default: [x]}\n  c: {type: string, pattern: '(', default: x}\n  d: {items: {$ref: 'http://x/y'}}\n  e: {typ: string}\n  f-g: {}\nsteps: [{id: a, run: echo}]\n",
            &[
                "BAD_PARAM_SCHEMA 4:13 the schema of `a` is not usable: the value is not valid under any of the schemas listed in the 'anyOf' keyword",
                "BAD_PARAM_DEFAULT 5:30 expected a string, found a list",
                "BAD_PARAM_SCHEMA 6:30 the schema of `c` is not usable: the value is not a \"regex\"",
                "BAD_PARAM_SCHEMA 7:15 references to other schemas are not supported in params",
                "UNKNOWN_KEY 8:7 unknown key `typ`",
                "BAD_VALUE 9:3 the name `f-g` does not match `^[A-Za-z_][A-Za-z0-9_]{0,63}$`",
            ],
        ),
        (
            "version: 1\nname: x\nparams: {a: {type: string, format: hostname, default: -a-}, b: {enum: [1], default: 2}}\nsteps: [{id: a, run: echo}]\n",
            &[
                "BAD_PARAM_DEFAULT 3:55 `-a-` is not a valid hostname",
                "BAD_PARAM_DEFAULT 3:85 the number 2 is not allowed here",
            ],
        ),
        (
            "version: 1\nname: x\nparams: {properties: {a: {type: string}}, required: [b]}\nsteps: [{id: a, run: echo}]\n",
            &["UNKNOWN_PARAM 3:54 there is no param `b`"],
        ),
        (
            "version: 1\nname: x\nenv: {A: \"${{ env.B }}\", B: \"${{ env.A }}\", C-D: 1, E: \"${{ steps.a.status }}\"}\nsteps: [{id: a, run: echo}]\n",
            &[
                "UNKNOWN_ENV 3:15 the variable `B` is not set here",
                "BAD_VALUE 3:45 the name `C-D` does not match `^[A-Za-z_][A-Za-z0-9_]{0,127}$`",
                "UNKNOWN_ROOT 3:61 steps cannot be read here",
            ],
        ),
    ]);
}

#[test]
fn steps() {
    check_steps(&[
        ("  - {id: a}\n", &["MISSING_KEY 4:5 one of the keys `uses`, `run` is missing"]),
        ("  - {run: echo}\n", &["MISSING_KEY 4:5 missing key `id`"]),
        ("  - {id: a, run: echo, uses: log}\n", &["CONFLICTING_KEYS 4:5 `uses` and `run` exclude each other"]),
        ("  - {id: a, run: echo, with: {}}\n", &["MISSING_KEY 4:5 `with` is for `uses`, which is missing"]),
        ("  - {id: a, uses: wait, shell: sh}\n", &["MISSING_KEY 4:5 `shell` is for `run`, which is missing"]),
        ("  - {id: A, run: echo}\n", &["BAD_VALUE 4:10 `A` does not match `^[a-z][a-z0-9_]{0,63}$`"]),
        (
            "  - {id: in, run: echo}\n",
            &["BAD_STEP_ID 4:10 `in` cannot be the id of a step: it is a word of the expression language"],
        ),
        ("  - {id: a, run: 5}\n", &["WRONG_TYPE 4:18 expected a string or a list, found the number 5"]),
        ("  - {id: a, run: []}\n", &["BAD_VALUE 4:18 the list is empty"]),
        ("  - {id: a, run: ''}\n", &["BAD_VALUE 4:18 the text is empty"]),
        ("  - {id: a, run: echo, tiemout: 5s}\n", &["UNKNOWN_KEY 4:24 unknown key `tiemout`"]),
        ("  - {id: a, run: echo, continue_on_error: no}\n", &["WRONG_TYPE 4:43 expected a boolean, found `no`"]),
        ("  - {id: a, run: echo, effect: once}\n", &["BAD_VALUE 4:32 `once` is not allowed here"]),
        ("  - {id: a, run: echo, retry: {delay: 5s}}\n", &["MISSING_KEY 4:31 missing key `max_attempts`"]),
        (
            "  - {id: a, run: echo, retry: {max_attempts: 0, on: [never]}}\n",
            &[
                "BAD_VALUE 4:46 the number has to be at least 1",
                "BAD_VALUE 4:54 `never` does not match `^(error|timeout|worker_lost|exit:[0-9]{1,3}|status:[1-5][0-9]{2})$`",
            ],
        ),
        (
            "  - {id: a, run: echo, secrets: [kye]}\n",
            &["UNDECLARED_SECRET 4:34 the runbook does not declare the secret `kye`"],
        ),
        (
            "  - {id: a, run: echo}\n  - {id: a, run: echo}\n",
            &["DUPLICATE_STEP 5:10 the id `a` is used twice; the other step is in line 4"],
        ),
        (
            "  - {id: finally_1, run: echo}\nfinally: [{run: echo}]\n",
            &["DUPLICATE_STEP 4:10 the id `finally_1` is used twice; the other step is in line 5"],
        ),
        ("  - {id: a, run: echo}\nfinally: [{run: echo, needs: [a]}]\n", &["UNKNOWN_KEY 5:23 unknown key `needs`"]),
    ]);
}

#[test]
fn needs() {
    check_steps(&[
        (
            "  - {id: build, run: echo}\n  - {id: b, needs: [biuld], run: echo}\n",
            &["UNKNOWN_STEP 5:21 there is no step `biuld`"],
        ),
        ("  - {id: a, needs: [a], run: echo}\n", &["SELF_NEED 4:21 `a` needs itself"]),
        (
            "  - {id: a, run: echo}\n  - {id: b, needs: [a, a], run: echo}\n",
            &["DUPLICATE_NEED 5:24 `a` is needed twice"],
        ),
        (
            "  - {id: a, needs: [b], run: echo}\n  - {id: b, needs: [c], run: echo}\n  - {id: c, needs: [a], run: echo}\n",
            &["NEEDS_CYCLE 6:21 steps need each other in a circle: a -> b -> c -> a"],
        ),
        (
            "  - {id: a, needs: [z], run: echo}\non_failure: [{id: z, run: echo}]\n",
            &["UNKNOWN_STEP 4:21 `z` is a step of a handler, which runs when all steps have ended"],
        ),
    ]);
}

#[test]
fn actions() {
    check_steps(&[
        ("  - {id: a, uses: htp.request}\n", &["UNKNOWN_ACTION 4:19 there is no action `htp.request`"]),
        (
            "  - {id: a, uses: approval, with: {x: '${{ y }}', '${{ z }}': 1}}\n",
            &[
                "NOT_AVAILABLE 4:19 the action `approval` is valid, but not available in this build",
                "UNKNOWN_ROOT 4:44 `y` is not known",
                "MISPLACED_EXPRESSION 4:51 the key of a map cannot be an expression",
            ],
        ),
        ("  - {id: a, uses: run}\n", &["UNKNOWN_ACTION 4:19 `run` is a key of its own"]),
        (
            "  - {id: a, uses: notify.slack}\n",
            &["NOT_AVAILABLE 4:19 the action `notify.slack` is valid, but not available in this build"],
        ),
        ("  - {id: a, uses: log}\n", &["BAD_WITH 4:19 missing key `message` of `log`"]),
        (
            "  - {id: a, uses: log, with: {mesage: x}}\n",
            &["BAD_WITH 4:30 missing key `message` of `log`", "BAD_WITH 4:31 unknown key `mesage` of `log`"],
        ),
        (
            "  - {id: a, uses: log, with: {message: [x], level: inf}}\n",
            &["BAD_WITH 4:40 expected a string, found a list", "BAD_WITH 4:52 `inf` is not allowed here"],
        ),
        (
            "  - {id: a, uses: http.request, with: {url: 'not a url', method: '${{ run.id }}'}}\n",
            &["BAD_WITH 4:45 `not a url` is not a valid uri"],
        ),
        ("  - {id: a, uses: http.request, with: {url: '${{ run.url }}', json: 1, body: '${{ run.id }}'}}\n", &[]),
        (
            "  - {id: a, uses: http.request, with: {url: 'https://x', json: 1, body: x}}\n",
            &["BAD_WITH 4:39 this is not allowed here"],
        ),
        (
            "  - {id: a, uses: http.request, with: {url: 'https://x', expect: {status: ['${{ run.id }}', x]}}}\n",
            &["BAD_WITH 4:93 expected an integer, found `x`"],
        ),
        (
            "  - {id: a, uses: http.request, with: {url: 'https://x', token: key}}\n",
            &["UNDECLARED_SECRET 4:65 the runbook does not declare the secret `key`"],
        ),
        (
            "  - {id: a, uses: http.request, with: {url: 'https://x', token: '${{ run.id }}'}}\n",
            &["MISPLACED_EXPRESSION 4:65 the name of a secret cannot be an expression"],
        ),
    ]);
}

#[test]
fn commands() {
    check_steps(&[
        (
            "  - id: a\n    run: echo ${{ params.x }} ${{ run.id }}\n",
            &[
                "EXPRESSION_IN_RUN 5:15 an expression in a script would be run as code",
                "EXPRESSION_IN_RUN 5:31 an expression in a script would be run as code",
            ],
        ),
        (
            "  - id: a\n    run: |\n      set -x\n      echo ä ${{ params.x }}\n",
            &["EXPRESSION_IN_RUN 7:14 an expression in a script would be run as code"],
        ),
        ("  - {id: a, run: 'echo ${{'}\n", &["UNCLOSED_EXPRESSION 4:24 `${{` is not closed"]),
        ("  - {id: a, run: 'echo $${{ x }}'}\n", &[]),
        (
            "  - {id: a, run: [bash, -c, '${{ run.id }}']}\n",
            &["EXPRESSION_IN_RUN 4:29 an expression after this flag would be run as code"],
        ),
        (
            "  - {id: a, run: [/usr/bin/python3.11, -c, '${{ run.id }}']}\n",
            &["EXPRESSION_IN_RUN 4:44 an expression after this flag would be run as code"],
        ),
        (
            "  - {id: a, run: [env, sh, -ec, '${{ run.id }}']}\n",
            &["EXPRESSION_IN_RUN 4:33 an expression after this flag would be run as code"],
        ),
        (
            "  - {id: a, run: [echo, '-${{ run.id }}']}\n",
            &["EXPRESSION_IN_RUN 4:25 an item of `run` is either an expression as a whole or has none"],
        ),
        ("  - {id: a, run: [grep, -c, '${{ run.id }}']}\n", &[]),
        (
            "  - {id: a, run: echo, shell: '${{ run.id }}'}\n",
            &["MISPLACED_EXPRESSION 4:31 an expression cannot choose the shell"],
        ),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn expressions() {
    let text = "version: 1
name: x
params: {env: {type: string}, deep: {type: object, properties: {a: {type: string}}, additionalProperties: false}}
env: {TZ: UTC}
steps:
  - {id: one, run: echo, outputs: {o: \"${{ result.x }}\"}}
  - {id: two, uses: log, with: {message: x}, outputs: {o: \"${{ result }}\"}}
  - id: last
    needs: [two]
    if: CONDITION
    uses: log
    with: {message: 'ä: MESSAGE'}
";
    let cases = [
        ("params.env", "NOT_A_BOOL 10:9 a condition is true or false, and this is the param `env` of the type string"),
        ("\"'x'\"", "NOT_A_BOOL 10:9 a condition is true or false, and this is a string"),
        ("${{ always() }}", "MISPLACED_EXPRESSION 10:9 this is an expression already; it is written without `${{ }}`"),
        ("params.env ==", "EXPRESSION_SYNTAX 10:9 the expression ends too early"),
        ("params.env = 'x'", "EXPRESSION_SYNTAX 10:20 unexpected `=`"),
        ("sucess()", "EXPRESSION_SYNTAX 10:9 there is no function `sucess`; did you mean `success`?"),
        ("failure", "UNKNOWN_ROOT 10:9 `failure` is a function"),
        ("true && parms.env == 'x'", "UNKNOWN_ROOT 10:17 `parms` is not known"),
        ("true && env.tz == 'x'", "UNKNOWN_ENV 10:17 the variable `tz` is not set here"),
        ("params.evn == 'x'", "UNKNOWN_PARAM 10:9 the runbook has no param `evn`"),
        ("params.deep.b == 'x'", "UNKNOWN_FIELD 10:9 the param `deep` has no field `b`"),
        ("secrets.key == 'x'", "UNKNOWN_ROOT 10:9 secrets cannot be read by expressions"),
        ("result.x == 1", "UNKNOWN_ROOT 10:9 `result` is not known here"),
        ("item == 1", "UNKNOWN_ROOT 10:9 `item` is not known here"),
        ("event.x == 1", "UNKNOWN_ROOT 10:9 `event` is not known here"),
        ("steps.none.outputs.o == 1", "UNKNOWN_STEP 10:9 there is no step `none`"),
        ("steps.one.outputs.o == 1", "NOT_UPSTREAM 10:9 `last` does not wait for `one`"),
        ("steps.last.outputs.o == 1", "NOT_UPSTREAM 10:9 `last` reads itself"),
        ("steps.two.outputs.p == 1", "UNKNOWN_FIELD 10:9 the step `two` has no output `p`"),
        ("steps.two.o == 1", "UNKNOWN_FIELD 10:9 a step has no field `o`"),
        (
            "steps[params.env].o == 1",
            "EXPRESSION_SYNTAX 10:9 `steps` is followed by the id of a step, as in `steps.build.outputs`",
        ),
    ];
    for (condition, expected) in cases {
        let text = text.replace("CONDITION", condition).replace("MESSAGE", "x");
        assert_eq!(reported(&text).first().map(String::as_str), Some(expected), "{condition}");
    }
    let cases = [
        ("${{ parms.env }}", "UNKNOWN_ROOT 12:29 `parms` is not known"),
        ("${{ 1 + }}", "EXPRESSION_SYNTAX 12:29 the expression ends too early"),
        ("${{ params.env", "UNCLOSED_EXPRESSION 12:25 `${{` is not closed"),
        ("${{ }}", "EXPRESSION_SYNTAX 12:21 an expression is missing"),
    ];
    for (message, expected) in cases {
        let text = text.replace("CONDITION", "true").replace("MESSAGE", message);
        assert_eq!(reported(&text), [expected], "{message}");
        // The same columns where lines end with CR LF.
        assert_eq!(reported(&text.replace('\n', "\r\n")), [expected], "{message}");
    }
}

#[test]
fn order() {
    check_steps(&[
        (
            "  - {id: a, run: 'e', env: {X: '${{ steps.b.status }}'}}\n  - {id: b, needs: [a], run: e}\n",
            &["NOT_UPSTREAM 4:37 `b` runs after `a`"],
        ),
        (
            "  - {id: a, run: e}\nfinally: [{run: e, env: {X: '${{ steps.a.status }}${{ steps.finally_2.status }}'}}, {run: e}]\n",
            &["NOT_UPSTREAM 5:55 `finally_2` need not have run before `finally_1`"],
        ),
        (
            "  - {id: a, run: e, env: {X: '${{ steps.on_failure_1.status }}'}}\non_failure: [{run: e}]\n",
            &["NOT_UPSTREAM 4:35 `on_failure_1` need not have run before `a`"],
        ),
    ]);
}

#[test]
fn help_and_fixes() {
    let text =
        with_steps("  - id: a\n    run: ssh ${{ params.host }}\n    tiemout: 5s\n  - {id: b, uses: http.requst}\n");
    let diagnostics = compile("x.yaml", &text, &catalog()).unwrap_err();
    let hints: Vec<(Option<&str>, Option<&str>)> =
        diagnostics.iter().map(|d| (d.help.as_deref(), d.fix.as_deref())).collect();
    assert_eq!(
        hints,
        [
            (
                Some("pass it through the environment and write `\"$HOST\"` in the script"),
                Some("env: {HOST: \"${{ params.host }}\"}")
            ),
            (Some("did you mean `timeout`?"), None),
            (Some("did you mean `http.request`?"), None),
        ]
    );
    let rendered = crate::runbook::diagnostic::to_text(&diagnostics[..1], &text, false);
    assert_eq!(
        rendered,
        "\
error[EXPRESSION_IN_RUN]: an expression in a script would be run as code
 --> x.yaml:5:14
  |
5 |     run: ssh ${{ params.host }}
  |              ^^^^^^^^^^^^^^^^^^
  |
  = help: pass it through the environment and write `\"$HOST\"` in the script
  = fix: write
         env: {HOST: \"${{ params.host }}\"}"
    );
    let json = crate::runbook::diagnostic::to_json(&diagnostics[1..2]);
    assert_eq!(
        json,
        json!([{
            "code": "UNKNOWN_KEY", "severity": "error", "message": "unknown key `tiemout`", "file": "x.yaml", "line": 6, "column": 5,
            "end_column": 12, "span": {"start": 72, "end": 79}, "help": "did you mean `timeout`?", "pointer": "/steps/0/tiemout",
        }])
    );
}
