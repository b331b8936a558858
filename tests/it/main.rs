mod architecture;
mod substitutions;
