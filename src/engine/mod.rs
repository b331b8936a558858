//! Floor 2: what may happen to a run. Pure: no clock, no randomness, no ids, no await.
//!
//! [`decide`] turns an [`Input`] into facts and effects; [`Run::apply`] is the only way state changes, so
//! a run is the fold of its facts. Facts are committed before their effects are carried out.
//!
//! # Invariants
//!
//! Each is asserted over generated runs in a hostile world (`tests.rs`):
//!
//! 1. A run ends exactly once, and after its end every input is rejected and changes nothing.
//! 2. State is the fold of the facts: replaying the log gives the same run.
//! 3. A rejected input changes nothing and has no effect.
//! 4. A step starts only when every step it needs has settled, and, unless its `if` names a status
//!    function, only when each of them counts as met.
//! 5. An attempt starts at most once; the attempts of a step are numbered 1, 2, 3 … without gaps.
//! 6. At most one attempt of a step is under way, and at most `slots` attempts of a run.
//! 7. Failures never exceed `max_attempts`; an interruption is not a failure.
//! 8. A lost attempt of an `at_most_once` step is never followed by another attempt unless
//!    `on_unknown: retry` or a person says so.
//! 9. Once a run is being cancelled or out of time, no step starts that does not ask for it
//!    (`always()`, `cancelled()`, handlers).
//! 10. A live run always has something to wait for: an attempt, a timer, or a person.
//! 11. When a run ends, every step has settled, and the verdict agrees with the steps.
//! 12. Handlers run one after another, in their order, and only in their phase.
//! 13. A step that waits for a time ends when it has come, whoever owns the run by then: no earlier, and not again
//!     from the beginning.
//! 14. A run gives up its owner only while nothing is under way and nothing will be by itself for long.

mod decide;
mod event;
mod input;
mod limits;
mod outputs;
mod retry;
mod run;
mod scope;
mod step;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;

pub use decide::decide;
pub use event::{Event, Fact, FactError};
pub use input::{Decision, Effect, Input, Interrupt, Rejection, Verdict};
pub use limits::{LONG_WAIT, MAX_LOST, MAX_OUTPUTS, MAX_RECOVERIES, WAKE_EARLY};
pub use retry::delay;
pub use run::{Ending, Run, Stage, WorkspaceState};
pub use scope::RunScope;
pub use step::{Step, StepRecord};
