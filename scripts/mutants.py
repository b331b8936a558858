#!/usr/bin/env python3
"""Plants mutations in the engine and in what keeps ownership, one at a time, and shows that the tests catch each.

Usage: scripts/mutants.py [--group engine|ownership] [--only N] [--target DIR]

Those in the engine are for its own tests; those in ownership are for the simulation, with as many seeds as every day,
and for the tests of what leases rest on.

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
ENGINE = [
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

OWNERSHIP = [
    ("src/control/fence.rs", "Some(shared) => Gate::new(move || shared.check().is_ok()),",
     "Some(shared) => Gate::new(move || !shared.lost.is_cancelled()),", "the gate knows the deadline by itself"),
    ("src/control/fence.rs", "while shared.check().is_ok() {", "while false {",
     "the end of the lease is noticed although nobody asks"),
    ("src/control/fence.rs", "sent + self.config.lease.saturating_sub(self.config.budget)",
     "sent + self.config.lease.saturating_mul(2)", "the deadline is within the lease"),
    ("src/control/fence.rs", "sent + self.config.lease.saturating_sub(self.config.budget)", "sent + self.config.lease",
     "the kill budget is part of the lease"),
    ("src/control/fence.rs", "if shared.prolong(self.deadline(sent)) {\n                    self.processes.extend(self.deadline(sent));",
     "if shared.prolong(self.deadline(self.boot.since_boot())) {\n"
     "                    self.processes.extend(self.deadline(self.boot.since_boot()));",
     "a lease counts from the sending of its beat"),
    ("src/control/fence.rs", "        self.check().is_ok() && {\n", "        {\n", "what is over is not prolonged"),
    ("src/control/attempt.rs", "gate.through(executor.execute(context)).await", "executor.execute(context).await",
     "nothing begins behind a closed gate"),
    ("src/control/attempt.rs", "gate.through(executor.execute(context)).await",
     "gate.check()?; executor.execute(context).await", "the gate is asked before every step of the work"),
    ("src/control/leases.rs", "if heard < self.wait_until || took_long {", "if took_long {",
     "after a step of the database's clock nobody's runs are taken for a lease"),
    ("src/control/leases.rs", "if heard < self.wait_until || took_long {", "if heard < self.wait_until {",
     "nobody is dead by an answer that took long"),
    ("src/control/leases.rs", "if last.server != now.server {", "if false {", "another server may have another clock"),
    ("src/control/reaper.rs", "let dead = self.liveness.dead().await?;", "let dead = store.owners().await?;",
     "runs are taken from the dead alone"),
    ("src/store/memory/workers.rs", "self.lease_until.is_some_and(|until| until < now)",
     "self.lease_until.is_some_and(|until| until < after(now, Duration::from_secs(1)))",
     "no run is taken before the lease is over"),
    ("src/store/memory/workers.rs", "if self.has_expired(now) {\n            return Beat::Lost;",
     "if false {\n            return Beat::Lost;", "the dead do not come back"),
    ("src/store/memory/run.rs",
     "self.owner() == Some(commit.worker) && self.row.epoch == commit.epoch && self.row.version == commit.version",
     "self.row.status.is_owned()", "who is not the owner commits nothing"),
    ("src/store/memory/run.rs",
     "self.owner() == Some(commit.worker) && self.row.epoch == commit.epoch && self.row.version == commit.version",
     "self.owner() == Some(commit.worker)", "a commit is for one epoch and one version"),
    ("src/control/attendant.rs", "        if due.is_empty() {\n", "        if true {\n", "what nobody drives is given back"),
    ("src/control/reaper.rs", "let runs = store.requeue(&dead, clock.now(), SLICE).await?;",
     "let runs: Vec<(RunId, Lane)> = Vec::new();", "what the dead have left is taken back"),
]

# The filters of the tests, and the mutations that they are to catch.
GROUPS = {
    "engine": (["engine::"], ENGINE),
    # What the simulation meets once in several thousand seeds, as two clocks that hardly differ, has tests of its own.
    "ownership": (["simulation::every_run_ends", "leases::tests", "beats_keep_the_lease"], OWNERSHIP),
}


def test(tree: pathlib.Path, target: pathlib.Path, tests: list[str]) -> tuple[bool, str]:
    """Whether the tests pass, and the first failure."""
    command = ["cargo", "test", "--offline", "--lib", "--target-dir", str(target), "--", *tests]
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=1200)
    except subprocess.TimeoutExpired:
        return False, "does not end"
    text = done.stdout + done.stderr
    if "could not compile" in text:
        return False, "does not compile"
    failed = [line.split()[1] for line in text.splitlines() if line.startswith("test ") and line.endswith("FAILED")]
    replays = [word.split("=")[1] for word in text.split() if word.startswith("OPSROOM_SIM_SEED=")]
    return done.returncode == 0, ", ".join(failed[:3] + [f"seed {seed}" for seed in replays[:1]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", choices=GROUPS, help="those of one group only")
    parser.add_argument("--only", type=int, help="one mutation, by its number")
    parser.add_argument("--target", type=pathlib.Path, default=ROOT / "target", help="the target folder to build in")
    options = parser.parse_args()
    all_mutations = [(group, *mutation) for group, (_, mutations) in GROUPS.items() for mutation in mutations]
    survivors, total = [], 0
    with tempfile.TemporaryDirectory() as folder:
        tree = pathlib.Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns("target", ".git"))
        for number, (group, name, old, new, rule) in enumerate(all_mutations, 1):
            if options.group not in (None, group) or options.only not in (None, number):
                continue
            total += 1
            file = tree / name
            source = file.read_text()
            if source.count(old) != 1:
                print(f"{number:2} DOES NOT APPLY ({source.count(old)} places)  {rule}")
                survivors.append(number)
                continue
            started = time.monotonic()
            file.write_text(source.replace(old, new))
            passed, failed = test(tree, options.target, GROUPS[group][0])
            file.write_text(source)
            caught = not passed and failed != "does not compile"
            verdict = "caught  " if caught else "SURVIVED" if passed else "BROKEN  "
            print(f"{number:2} {verdict} {rule}  [{failed}] {time.monotonic() - started:.0f} s", flush=True)
            if not caught:
                survivors.append(number)
    print(f"{total - len(survivors)} of {total} mutations caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
