mod architecture;
mod specification;
mod substitutions;
