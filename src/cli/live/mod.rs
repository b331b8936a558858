//! A run while it happens: [`Watch`] folds its events, [`Lines`] and [`Tree`] show them.

mod lines;
mod tree;
mod watch;

use std::sync::Arc;

pub use lines::{Lines, phase_name, sentence};
pub use tree::Tree;
pub use watch::{News, Watch, payload};

use super::{out::Out, progress};
use crate::{
    api,
    engine::Stage,
    model::{Micros, StepIx},
    runbook::{Plan, PlannedStep},
};

/// What the events of a run are about, as far as its documents tell: enough to fold and to show them.
pub fn skeleton(run: &api::Run, steps: &[api::Step]) -> Arc<Plan> {
    let index = |need: &String| {
        let place = steps.iter().position(|step| step.id == *need)?;
        u32::try_from(place).ok().map(StepIx)
    };
    let planned = |step: &api::Step| PlannedStep {
        phase: step.phase,
        needs: step.needs.iter().filter_map(index).collect(),
        ..PlannedStep::new(&step.id, &step.uses)
    };
    Arc::new(Plan::new(run.runbook.as_str(), steps.iter().map(planned).collect()))
}

/// How a run is shown while it happens.
#[derive(Debug)]
pub enum View {
    /// Not at all.
    None,
    /// On standard error, while standard output is for programs.
    Bar(indicatif::ProgressBar),
    Lines(Lines),
    Tree(Box<Tree>),
}

impl View {
    /// The view that fits: a tree on a terminal, lines elsewhere, nothing where it would disturb.
    pub fn choose(out: &Arc<Out>, quiet: bool) -> View {
        if quiet {
            View::None
        } else if out.is_json() {
            View::Bar(progress::steps())
        } else if Out::is_terminal() && Out::is_coloured() {
            View::Tree(Box::new(Tree::new(out.clone())))
        } else {
            View::Lines(Lines::new(out.clone()))
        }
    }

    /// Something happened; `watch` has taken it in.
    pub fn show(&mut self, watch: &Watch, news: &News) {
        match self {
            View::Lines(lines) => lines.show(watch, news),
            // The next tick paints it.
            View::None | View::Bar(_) | View::Tree(_) => {}
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, watch: &Watch, now: Micros) {
        match self {
            View::Tree(tree) => tree.paint(watch, now),
            View::Bar(bar) => show_progress(bar, watch),
            View::None | View::Lines(_) => {}
        }
    }

    /// Nothing more will happen.
    pub fn finish(&mut self, watch: &Watch, now: Micros) {
        match self {
            View::Tree(tree) => tree.finish(watch, now),
            View::Bar(bar) => bar.finish_and_clear(),
            View::None | View::Lines(_) => {}
        }
    }
}

fn show_progress(bar: &indicatif::ProgressBar, watch: &Watch) {
    let settled = watch.run.steps().iter().filter(|record| record.state.is_settled()).count();
    bar.set_length(watch.plan.steps.len() as u64);
    bar.set_position(settled as u64);
    let word = if watch.run.stage() == Stage::Created { "starting" } else { "running" };
    bar.set_message(format!("{} {word}", watch.plan.name));
}
