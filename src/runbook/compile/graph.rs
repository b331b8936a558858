//! Needs: resolved, without circles; and which step comes before which.

use std::collections::HashMap;

use super::{
    report::{Report, child, item},
    step::Draft,
};
use crate::{
    model::StepIx,
    runbook::{diagnostic::Code, plan::Phase},
};

/// The needs of the body.
pub(super) struct Graph {
    needs: Vec<Vec<StepIx>>,
    by_id: HashMap<String, StepIx>,
    /// Every step after its needs.
    order: Vec<StepIx>,
    has_cycle: bool,
}

/// More circles than anybody reads.
const MAX_CYCLES: usize = 20;
/// Steps that are followed downstream at once, in words of 64: memory stays linear in the steps.
const WORDS: usize = 16;

impl Graph {
    /// Resolves the needs of the drafts, into their steps, and reports what is wrong with them.
    pub(super) fn build(drafts: &mut [Draft], report: &mut Report<'_>) -> Graph {
        let by_id = index(drafts, report);
        for position in 0..drafts.len() {
            let resolved = resolve(&drafts[position], drafts, &by_id, report);
            drafts[position].step.needs = resolved;
        }
        let needs: Vec<Vec<StepIx>> = drafts.iter().map(|draft| draft.step.needs.clone()).collect();
        let mut graph = Graph { order: Vec::with_capacity(needs.len()), needs, by_id, has_cycle: false };
        graph.sort(drafts, report);
        graph
    }

    pub(super) fn find(&self, id: &str) -> Option<StepIx> {
        self.by_id.get(id).copied()
    }

    /// For each pair, whether the first step has always ended when the second one starts.
    ///
    /// Unknown in a graph with circles, which are reported already: everything is taken to be fine.
    pub(super) fn are_upstream(&self, pairs: &[(StepIx, StepIx)]) -> Vec<bool> {
        if self.has_cycle {
            return vec![true; pairs.len()];
        }
        let mut earlier: Vec<StepIx> = pairs.iter().map(|(earlier, _)| *earlier).collect();
        earlier.sort_unstable();
        earlier.dedup();
        let mut found = vec![false; pairs.len()];
        for batch in earlier.chunks(WORDS * 64) {
            let upstream = self.upstream_of_all(batch);
            for ((earlier, later), found) in pairs.iter().zip(&mut found) {
                if let Ok(bit) = batch.binary_search(earlier) {
                    *found = upstream[later.get()][bit / 64] & (1 << (bit % 64)) != 0;
                }
            }
        }
        found
    }

    /// For every step, which steps of the batch come before it, as bits.
    fn upstream_of_all(&self, batch: &[StepIx]) -> Vec<[u64; WORDS]> {
        let mut upstream = vec![[0_u64; WORDS]; self.needs.len()];
        for step in &self.order {
            let mut bits = [0; WORDS];
            for need in &self.needs[step.get()] {
                bits.iter_mut().zip(upstream[need.get()]).for_each(|(bits, of_need)| *bits |= of_need);
                if let Ok(bit) = batch.binary_search(need) {
                    bits[bit / 64] |= 1 << (bit % 64);
                }
            }
            upstream[step.get()] = bits;
        }
        upstream
    }

    /// Sorts the steps, and reports every need that closes a circle, with the circle.
    fn sort(&mut self, drafts: &[Draft], report: &mut Report<'_>) {
        #[derive(Clone, Copy, PartialEq)]
        enum Visit {
            New,
            Open,
            Done,
        }
        let mut cycles = 0;
        let mut visits = vec![Visit::New; self.needs.len()];
        for root in (0..).map(StepIx).take(self.needs.len()) {
            if visits[root.get()] != Visit::New {
                continue;
            }
            visits[root.get()] = Visit::Open;
            // The steps from the root to the one at hand, each with its next need.
            let mut path = vec![(root, 0)];
            while let Some((step, next)) = path.last_mut() {
                let Some(need) = self.needs[step.get()].get(*next).copied() else {
                    visits[step.get()] = Visit::Done;
                    self.order.push(*step);
                    path.pop();
                    continue;
                };
                *next += 1;
                match visits[need.get()] {
                    Visit::New => {
                        visits[need.get()] = Visit::Open;
                        path.push((need, 0));
                    }
                    Visit::Open if cycles == MAX_CYCLES => {}
                    Visit::Open => {
                        cycles += 1;
                        let start = path.iter().position(|(step, _)| *step == need).unwrap_or(0);
                        let circle: Vec<StepIx> = path[start..].iter().map(|(step, _)| *step).collect();
                        report_cycle(&circle, drafts, report);
                    }
                    Visit::Done => {}
                }
            }
        }
        self.has_cycle = cycles > 0;
    }
}

/// The steps by id; ids are unique over all phases.
fn index(drafts: &[Draft], report: &mut Report<'_>) -> HashMap<String, StepIx> {
    let mut by_id: HashMap<String, StepIx> = HashMap::with_capacity(drafts.len());
    for (ix, draft) in (0..).map(StepIx).zip(drafts) {
        let id = draft.step.id.to_string();
        match by_id.get(&id) {
            Some(first) => {
                // A default id that an author has used is the author's to change.
                let (named, other) = if draft.named { (draft, *first) } else { (&drafts[first.get()], ix) };
                let line = drafts[other.get()].step.position.0;
                let message = format!("the id `{id}` is used twice; the other step is in line {line}");
                report.value(Code::DuplicateStep, &child(&named.pointer, "id"), message, None);
            }
            None => {
                by_id.insert(id, ix);
            }
        }
    }
    by_id
}

fn resolve(draft: &Draft, drafts: &[Draft], by_id: &HashMap<String, StepIx>, report: &mut Report<'_>) -> Vec<StepIx> {
    let mut resolved = Vec::with_capacity(draft.needs.len());
    let list = child(&draft.pointer, "needs");
    for (index, need) in draft.needs.iter().enumerate() {
        let at = item(&list, index);
        if **need == *draft.step.id {
            report.value(Code::SelfNeed, &at, format!("`{need}` needs itself"), None);
            continue;
        }
        match by_id.get(need.as_str()) {
            Some(ix) if drafts[ix.get()].step.phase != Phase::Body => {
                let message = format!("`{need}` is a step of a handler, which runs when all steps have ended");
                report.value(Code::UnknownStep, &at, message, None);
            }
            Some(ix) if resolved.contains(ix) => {
                report.value(Code::DuplicateNeed, &at, format!("`{need}` is needed twice"), None);
            }
            Some(ix) => resolved.push(*ix),
            None => {
                let help = report.suggest_step(need, drafts, Some(draft.step.id.as_ref()));
                report.value(Code::UnknownStep, &at, format!("there is no step `{need}`"), help);
            }
        }
    }
    resolved
}

/// Steps of a circle that a message names.
const SHOWN: usize = 12;

/// At the need of the last step for the first one.
fn report_cycle(circle: &[StepIx], drafts: &[Draft], report: &mut Report<'_>) {
    let (Some(first), Some(last)) = (circle.first(), circle.last()) else { return };
    let (first, last) = (&drafts[first.get()], &drafts[last.get()]);
    let index = last.needs.iter().position(|need| **need == *first.step.id).unwrap_or(0);
    let mut names: Vec<&str> = circle.iter().take(SHOWN).map(|ix| drafts[ix.get()].step.id.as_ref()).collect();
    if circle.len() > SHOWN {
        names.push("…");
    }
    names.push(first.step.id.as_ref());
    let message = format!("steps need each other in a circle: {}", names.join(" -> "));
    report.value(Code::NeedsCycle, &item(&child(&last.pointer, "needs"), index), message, None);
}
