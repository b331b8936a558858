use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;

/// Debug builds are some ten times slower than what is shipped, and tests share the machine.
const SLOW: u32 = if cfg!(debug_assertions) { 30 } else { 1 };

#[test]
fn ten_thousand_steps_compile_fast() {
    let mut text = with_steps("  - {id: s0, run: echo}\n");
    for n in 1..10_000 {
        let _ = writeln!(
            text,
            "  - {{id: s{n}, needs: [s{}], run: 'e', env: {{A: '${{{{ steps.s{}.outputs.x }}}}'}}}}",
            n - 1,
            n / 2
        );
    }
    let started = Instant::now();
    let plan = compiled(&text).plan;
    assert_eq!(plan.steps.len(), 10_000);
    assert!(started.elapsed() < Duration::from_secs(1) * SLOW, "{:?}", started.elapsed());
}

#[test]
fn large_mistakes_are_reported_fast() {
    let mut unknown = with_steps("");
    let mut circle = with_steps("");
    for n in 0..8_000 {
        let _ = writeln!(unknown, "  - {{id: step_number_{n}, needs: [step_nmber_{n}], run: 'e ${{{{ a }}}}'}}");
        let _ = writeln!(circle, "  - {{id: s{n}, needs: [s{}, s{}], run: e}}", (n + 1) % 8_000, (n + 7) % 8_000);
    }
    for text in [unknown, circle] {
        let started = Instant::now();
        assert!(!reported(&text).is_empty());
        assert!(started.elapsed() < Duration::from_secs(1) * SLOW, "{:?}", started.elapsed());
    }
}

#[test]
fn wide_files_are_refused_fast() {
    let many = |entry: fn(usize) -> String| (0..60_000).map(entry).collect::<Vec<_>>().join(", ");
    let steps: Vec<String> = (0..8_000).map(|n| format!("  - {{id: s{n}, run: e}}\n")).collect();
    let files = [
        format!("version: 1\nname: x\nsteps: [{{id: a, run: e}}]\nparams: {{{}}}\n", many(|n| format!("p{n}: {{}}"))),
        format!(
            "version: 1\nname: x\nsteps: [{{id: a, run: e}}]\n{}",
            many(|n| format!("k{n}: 1")).replace(", ", "\n")
        ),
        format!("version: 1\nname: x\nenv: {{A: {}}}\nsteps:\n{}", "x".repeat(500_000), steps.concat()),
    ];
    for text in files {
        let started = Instant::now();
        assert!(compile("x.yaml", &text, &catalog()).is_err());
        assert!(started.elapsed() < Duration::from_secs(1) * SLOW, "{:?}", started.elapsed());
    }
}

const VALID: &str = r#"version: 1
name: x
params: {hosts: {type: array, default: [a, "ä"]}, deep: {type: object, default: {a: {b: [1, 2.5, null]}}}}
env: {A: "${{ params.hosts[0] }}"}
secrets: [key]
steps:
  - &s
    id: one
    uses: http.request
    with: {url: "https://x/${{ params.deep.a }}", method: POST, json: {b: "${{ params.hosts.map(h, h + '!') }}"}}
    outputs: {o: "${{ result.body }}"}
  - id: two
    needs: [one]
    if: steps.one.outputs.o == 'x' || failure()
    retry: {max_attempts: 2, on: [error], if: result.code == 'X'}
    secrets: [key]
    run: |
      echo "$A"
finally: [{run: [bash, -c, echo]}]
"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done to a file, the compiler answers, and every position is inside of the file.
    #[test]
    fn mutations_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..12, "[\\PC\\n\\t]{0,6}|\\$\\{\\{|\\}\\}|\\*s|&s|\\[|\\{|\"|'|: |- |\\||!!str|\\r\\n"), 1..6)
    ) {
        let mut text = VALID.to_owned();
        for (index, removed, inserted) in edits {
            let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
            let start = index.index(starts.len());
            let end = (start + removed).min(starts.len() - 1);
            text.replace_range(starts[start]..starts[end], &inserted);
        }
        if let Err(diagnostics) = compile("x.yaml", &text, &catalog()) {
            prop_assert!(!diagnostics.is_empty());
            for diagnostic in &diagnostics {
                prop_assert!(diagnostic.span.start <= diagnostic.span.end && diagnostic.span.end <= text.len(), "{:?}", diagnostic);
                prop_assert!(diagnostic.line as usize <= text.matches('\n').count() + 1);
            }
            let _ = crate::runbook::diagnostic::to_text(&diagnostics, &text, false);
        }
    }
}
