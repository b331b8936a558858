//! What must not be lost, and what must stay small: the bars of the milestone on the real binary.
//!
//! Each test has a light form for every day. With `OPSROOM_SOAK=1` it has its full counts; `scripts/bars.sh`
//! runs those on a release build and shows the figures.

mod bars;
mod cancel;
mod crowd;
mod journal;
mod kills;
mod loss;
mod output;
mod secrets;
mod traces;
