//! The one integration binary: real processes, real files, the real command line.

//! The integration tests, one binary; the folders mirror `src/`.

mod architecture;
mod cli;
mod processes;
mod specification;
mod store;
mod substitutions;
