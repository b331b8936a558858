//! What is known of the schema of a database.

/// A migration that this build knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationState {
    /// From 1, without gaps.
    pub version: usize,
    /// As the files are called: `0001_init`.
    pub name: &'static str,
    pub applied: bool,
}
