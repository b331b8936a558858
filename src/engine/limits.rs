//! Limits that keep a run from going on for ever, and from keeping a worker busy with nothing.

use crate::model::Millis;

/// A run whose workers died more often than this fails: one of its steps probably kills them.
pub const MAX_RECOVERIES: u32 = 10;

/// An idempotent step that was lost more often than this fails.
pub const MAX_LOST: u32 = 10;

/// A run that does nothing by itself for longer than this is given up by its owner until then. Parking and taking up again
/// cost two commits, a claim and the reading of its facts, and perhaps the way of its working folder to the artifact
/// store and back; a shorter wait is not worth that, a longer one must not keep a slot. An owner that is about to end
/// ([`Input::Leaving`](super::Input::Leaving)) gives it up for any time: it would be cut off otherwise.
pub const LONG_WAIT: Millis = Millis::seconds(30);

/// Parked runs are woken so long before their time, so that the next owner is there when it comes. No owner that stays
/// parks a run for less than twice that: it would be woken at once, and parked again.
pub const WAKE_EARLY: Millis = Millis(500);

/// The outputs and the kept result of a step, in bytes of JSON.
pub const MAX_OUTPUTS: usize = 256 * 1024;
