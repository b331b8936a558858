//! The one integration binary: real processes, real files, the real command line.

mod architecture;
mod processes;
mod specification;
mod substitutions;
