//! What must not be lost, and what must stay small: the bars of the milestone on the real binary.
//!
//! Each test has a light form for every day. With `OPSROOM_SOAK=1` it has its full counts, and
//! `OPSROOM_TEST_BINARY` names another build of the binary; `scripts/bars.sh` runs all of them on a release
//! build and shows the figures.

mod bad_input;
pub mod bars;
mod births;
mod cancel;
mod crowd;
pub mod full;
mod journal;
mod kills;
mod large;
mod loss;
mod output;
mod secrets;
pub mod traces;
