//! The integration tests, one binary; the folders mirror `src/`.

#[cfg(test)]
mod store;
