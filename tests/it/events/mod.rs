//! Events of runs: read back, and followed.

mod history;
mod scene;
mod stream;
