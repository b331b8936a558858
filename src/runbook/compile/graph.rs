//! Needs: resolved, without circles; and which step comes before which.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
};

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
    dependents: Vec<Vec<StepIx>>,
    by_id: HashMap<String, StepIx>,
    /// Everything downstream of steps that many others read.
    downstream: RefCell<HashMap<StepIx, HashSet<StepIx>>>,
    searches: RefCell<HashMap<StepIx, u32>>,
}

/// A step that so many searches began for gets its whole downstream computed once.
const SEARCHES: u32 = 32;

impl Graph {
    /// Resolves the needs of the drafts, into their steps, and reports what is wrong with them.
    pub(super) fn build(drafts: &mut [Draft], report: &mut Report<'_>) -> Graph {
        let by_id = index(drafts, report);
        for position in 0..drafts.len() {
            let resolved = resolve(&drafts[position], drafts, &by_id, report);
            drafts[position].step.needs = resolved;
        }
        let needs: Vec<Vec<StepIx>> = drafts.iter().map(|draft| draft.step.needs.clone()).collect();
        let mut dependents = vec![Vec::new(); drafts.len()];
        for (ix, needs) in (0..).map(StepIx).zip(&needs) {
            needs.iter().for_each(|need| dependents[need.get()].push(ix));
        }
        let graph = Graph { needs, dependents, by_id, downstream: RefCell::default(), searches: RefCell::default() };
        graph.report_cycles(drafts, report);
        graph
    }

    pub(super) fn find(&self, id: &str) -> Option<StepIx> {
        self.by_id.get(id).copied()
    }

    /// Whether `earlier` has always ended when `later` starts.
    pub(super) fn is_upstream(&self, earlier: StepIx, later: StepIx) -> bool {
        if self.needs[later.get()].contains(&earlier) {
            return true;
        }
        if let Some(downstream) = self.downstream.borrow().get(&earlier) {
            return downstream.contains(&later);
        }
        let searches = {
            let mut searches = self.searches.borrow_mut();
            let count = searches.entry(earlier).or_default();
            *count += 1;
            *count
        };
        if searches > SEARCHES {
            let downstream = reach(earlier, &self.dependents, None);
            let found = downstream.contains(&later);
            self.downstream.borrow_mut().insert(earlier, downstream);
            return found;
        }
        reach(later, &self.needs, Some(earlier)).contains(&earlier)
    }

    /// Reports every need that closes a circle, with the circle.
    fn report_cycles(&self, drafts: &[Draft], report: &mut Report<'_>) {
        #[derive(Clone, Copy, PartialEq)]
        enum Visit {
            New,
            Open,
            Done,
        }
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
                    path.pop();
                    continue;
                };
                *next += 1;
                match visits[need.get()] {
                    Visit::New => {
                        visits[need.get()] = Visit::Open;
                        path.push((need, 0));
                    }
                    Visit::Open => {
                        let start = path.iter().position(|(step, _)| *step == need).unwrap_or(0);
                        let circle: Vec<StepIx> = path[start..].iter().map(|(step, _)| *step).collect();
                        report_cycle(&circle, drafts, report);
                    }
                    Visit::Done => {}
                }
            }
        }
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
                let own = draft.step.id.as_ref();
                let ids =
                    drafts.iter().filter(|draft| draft.step.phase == Phase::Body).map(|draft| draft.step.id.as_ref());
                let help = report.suggest_step(need, &ids.filter(|id| *id != own).collect::<Vec<_>>());
                report.value(Code::UnknownStep, &at, format!("there is no step `{need}`"), help);
            }
        }
    }
    resolved
}

/// At the need of the last step for the first one.
fn report_cycle(circle: &[StepIx], drafts: &[Draft], report: &mut Report<'_>) {
    let (Some(first), Some(last)) = (circle.first(), circle.last()) else { return };
    let (first, last) = (&drafts[first.get()], &drafts[last.get()]);
    let index = last.needs.iter().position(|need| **need == *first.step.id).unwrap_or(0);
    const SHOWN: usize = 12;
    let mut names: Vec<&str> = circle.iter().take(SHOWN).map(|ix| drafts[ix.get()].step.id.as_ref()).collect();
    if circle.len() > SHOWN {
        names.push("…");
    }
    names.push(first.step.id.as_ref());
    let message = format!("steps need each other in a circle: {}", names.join(" -> "));
    report.value(Code::NeedsCycle, &item(&child(&last.pointer, "needs"), index), message, None);
}

/// Everything that can be reached, without the start; stops where the target is found.
fn reach(start: StepIx, edges: &[Vec<StepIx>], target: Option<StepIx>) -> HashSet<StepIx> {
    let mut seen = HashSet::new();
    let mut open = vec![start];
    while let Some(step) = open.pop() {
        for next in &edges[step.get()] {
            if seen.insert(*next) {
                if Some(*next) == target {
                    return seen;
                }
                open.push(*next);
            }
        }
    }
    seen
}
