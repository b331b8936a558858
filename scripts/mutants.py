#!/usr/bin/env python3
"""Plants mutations in the engine, one at a time, and shows that its tests catch each.

Usage: scripts/mutants.py [--only N] [--target DIR]

Works on a copy of the sources, so the checkout is not touched. Exit code 0 when every mutation is
caught, 1 when one survives or does not apply (the source moved: mend the list below).
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

# (file, what stands there exactly once, what is planted, which rule it breaks)
MUTATIONS = [
    ("src/engine/decide.rs", "(Stage::Ended(_), _) => return Err(Rejection::Ended),",
     "(Stage::Ended(_), _) => return Ok(Decision::default()),", "an ended run is sealed"),
    ("src/engine/decide.rs", "known.state != Step::Running || known.attempt != attempt.number",
     "known.state != Step::Running", "only the current attempt may finish a step"),
    ("src/engine/decide.rs", "failures >= policy.max_attempts", "failures > policy.max_attempts",
     "the budget of failures"),
    ("src/engine/decide.rs", "!failure.retryable || !listed", "!listed", "permanent failures are final"),
    ("src/engine/decide.rs", "if until > self.now {", "if until > self.now.plus(crate::model::Millis(50)) {",
     "a retry waits for its time"),
    ("src/engine/decide.rs", "(EffectModel::AtMostOnce, OnUnknown::Hold) => return self.hold(step),",
     "(EffectModel::AtMostOnce, OnUnknown::Hold) => true,", "an attempt of unknown outcome is not repeated"),
    ("src/engine/decide.rs", "if !lost && effect == EffectModel::AtMostOnce {", "if false {",
     "a handed-back at_most_once attempt is not repeated"),
    ("src/engine/decide.rs", "while self.run.index.running.len() < self.run.index.slots as usize {",
     "while self.run.index.running.len() <= self.run.index.slots as usize {", "slots"),
    ("src/engine/decide.rs", "Step::Pending if !stays => self", "Step::Pending if stays => self",
     "nothing starts in an ending body"),
    ("src/engine/decide.rs", "if !met && !asks {", "if !met && asks {", "an unmet need blocks"),
    ("src/engine/decide.rs", "Ok(false) if met => self.push(Event::StepSkipped { step }),",
     "Ok(false) => self.push(Event::StepSkipped { step }),", "blocked is not skipped"),
    ("src/engine/decide.rs", "Phase::OnFailure | Phase::OnCancel => [Some(Phase::Finally), None],",
     "Phase::OnFailure | Phase::OnCancel => [None, None],", "finally runs after other handlers"),
    ("src/engine/decide.rs", "Step::Unknown => self.give_up(step),\n                Step::Retrying",
     "Step::Unknown => {}\n                Step::Retrying", "when a run ends every step has settled"),
    ("src/engine/decide.rs", "if self.run.is_forced() {", "if false {", "a forced cancel begins no handlers"),
    ("src/engine/run.rs", "Step::Failed => plan.step(need).continue_on_error,", "Step::Failed => true,",
     "a failed need is not met"),
    ("src/engine/run.rs", "if *unmet == 0 && self.steps", "if *unmet <= 1 && self.steps",
     "a step waits for all its needs"),
    ("src/engine/run.rs", "step.since = if *again { step.since.or(Some(at)) } else { Some(at) };",
     "step.since = Some(at);", "a repetition keeps its beginning"),
    ("src/engine/run.rs", "step.failures += 1;", "step.failures += 0;", "failures are counted"),
    ("src/engine/run.rs", "self.index.held.insert(ix);", "self.index.held.remove(&ix);", "a held step is waited for"),
    ("src/engine/retry.rs", ".min(policy.max_delay.0 as f64)", "", "the cap of the delay"),
    ("src/engine/event.rs", "again: data.again.unwrap_or(false)", "again: false", "facts survive being stored"),
]


def test(tree: pathlib.Path, target: pathlib.Path) -> tuple[bool, str]:
    """Whether the engine's tests pass, and the first failure."""
    command = ["cargo", "test", "--offline", "--lib", "--target-dir", str(target), "engine::"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=1200)
    text = done.stdout + done.stderr
    if "could not compile" in text:
        return False, "does not compile"
    failed = [line.split()[1] for line in text.splitlines() if line.startswith("test ") and line.endswith("FAILED")]
    return done.returncode == 0, ", ".join(failed[:3])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, help="one mutation, by its number")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target", help="the target folder to build in")
    options = parser.parse_args()
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("target", ".git"))
        for number, (name, old, new, rule) in enumerate(MUTATIONS, 1):
            if options.only not in (None, number):
                continue
            file = tree / name
            source = file.read_text()
            if source.count(old) != 1:
                print(f"{number:2} DOES NOT APPLY ({source.count(old)} places)  {rule}")
                survivors.append(number)
                continue
            started = time.monotonic()
            file.write_text(source.replace(old, new))
            passed, failed = test(tree, options.target)
            file.write_text(source)
            caught = not passed and failed != "does not compile"
            verdict = "caught  " if caught else "SURVIVED" if passed else "BROKEN  "
            print(f"{number:2} {verdict} {rule}  [{failed}] {time.monotonic() - started:.0f} s", flush=True)
            if not caught:
                survivors.append(number)
    total = len(MUTATIONS) if options.only is None else 1
    print(f"{total - len(survivors)} of {total} mutations caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
