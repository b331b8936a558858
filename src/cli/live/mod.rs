//! A run while it happens: [`Watch`] folds its events, [`Lines`] and [`Tree`] show them.

mod lines;
mod tree;
mod watch;

use std::sync::Arc;

pub use lines::{Lines, phase_name, sentence};
pub use tree::Tree;
pub use watch::{News, Watch, payload};

use super::out::Out;

/// How a run is shown while it happens.
#[derive(Debug)]
pub enum View {
    /// Not at all.
    None,
    Lines(Lines),
    Tree(Box<Tree>),
}

impl View {
    /// The view that fits: a tree on a terminal, lines elsewhere, nothing where it would disturb.
    pub fn choose(out: &Arc<Out>, quiet: bool) -> View {
        if quiet || out.is_json() {
            View::None
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
            View::None | View::Tree(_) => {}
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, watch: &Watch, now: crate::model::Micros) {
        if let View::Tree(tree) = self {
            tree.paint(watch, now);
        }
    }

    /// Nothing more will happen.
    pub fn finish(&mut self, watch: &Watch, now: crate::model::Micros) {
        if let View::Tree(tree) = self {
            tree.finish(watch, now);
        }
    }
}
