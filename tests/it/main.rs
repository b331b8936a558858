

mod architecture;
mod processes;
mod specification;
mod substitutions;
