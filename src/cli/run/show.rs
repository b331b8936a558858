//! What is shown of a run while it happens.

use std::{sync::Arc, time::Duration};

use crate::{
    cli::{
        Context,
        live::{View, Watch},
    },
    engine,
    model::{Event, RunId, WaitingOn},
    ports::Clock as _,
    runbook::Plan,
    system::SystemClock,
};

/// Between two frames of the live view.
pub const FRAME: Duration = Duration::from_millis(100);

pub struct Show {
    pub watch: Watch,
    pub run: RunId,
    view: View,
    /// It waits for a person.
    pub held: bool,
}

impl Show {
    pub fn new(context: &Context, plan: Arc<Plan>, run: RunId, quiet: bool) -> Show {
        let view = View::choose(&context.out, quiet);
        let watch = Watch::new(plan, run, matches!(view, View::Lines(_)));
        Show { watch, run, view, held: false }
    }

    pub fn take(&mut self, event: &Event) {
        let Some(news) = self.watch.take(event) else { return };
        if let Some(engine::Event::RunParked { waiting_on }) = &news.fact {
            self.held = *waiting_on == WaitingOn::StepOutcome;
        }
        self.view.show(&self.watch, &news);
    }

    pub fn tick(&mut self) {
        self.view.tick(&self.watch, SystemClock.now());
    }

    pub fn finish(&mut self) {
        self.view.finish(&self.watch, SystemClock.now());
    }
}
