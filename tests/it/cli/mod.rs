//! The command line: the real binary on data folders of their own.

mod bench;
mod files;
mod interrupts;
mod operations;
mod output;
mod params;
mod recovery;
mod runbooks;
mod runs;
mod shipped;
pub mod world;
