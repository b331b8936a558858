//! Events of runs: read back, and followed.

mod archive;
mod history;
mod scene;
mod stream;
