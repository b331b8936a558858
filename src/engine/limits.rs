//! Limits that keep a run from going on for ever.

/// A run whose workers died more often than this fails: one of its steps probably kills them.
pub const MAX_RECOVERIES: u32 = 10;

/// An idempotent step that was lost more often than this fails.
pub const MAX_LOST: u32 = 10;
