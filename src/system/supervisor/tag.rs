//! The mark by which a process is known as part of a step, whatever it does to its session, its parents or
//! its environment.
//!
//! The mark is a value of `RLIMIT_LOCKS`, a limit that Linux has not looked at since 2.4 but still hands down
//! through fork and exec. It costs one system call a spawn to set and one to read, also of another process;
//! nothing short of setting that very limit removes it. The hard limit can only be lowered, so an opsroom
//! inside a step of another one writes the soft limit and leaves the hard one: both owners know the process.
//!
//! Bits: 63 zero, 60–62 level, 24–59 worker, 0–23 step. The level falls with nesting, so the soft limit of
//! an inner opsroom is always below the hard one.

use rustix::process::Rlimit;

use super::sys;
use crate::model::WorkerId;

const STEP_BITS: u32 = 24;
const LEVEL_SHIFT: u32 = 60;
const OUTERMOST: u64 = 7;
const STEP_MASK: u64 = (1 << STEP_BITS) - 1;
const WORKER_MASK: u64 = (1 << (LEVEL_SHIFT - STEP_BITS)) - 1;

/// Makes and reads the tags of one worker.
#[derive(Debug, Clone, Copy)]
pub struct Tags {
    worker: u64,
    level: u64,
    /// The hard limit of this process, when an outer opsroom set it.
    outer: Option<u64>,
}

impl Tags {
    pub fn new(worker: WorkerId) -> Tags {
        // The low bits of a UUIDv7 are random.
        let worker = u64::try_from(worker.0.as_u128() & u128::from(WORKER_MASK)).unwrap_or(0);
        let own = rustix::process::getrlimit(rustix::process::Resource::Locks);
        let level = own.current.filter(|value| is_tag(*value));
        let level = level.map_or(OUTERMOST, |value| (value >> LEVEL_SHIFT).saturating_sub(1));
        Tags { worker, level, outer: own.maximum }
    }

    /// The limit that marks a process as part of this step.
    pub fn limit(self, step: u64) -> Rlimit {
        let tag = self.level << LEVEL_SHIFT | self.worker << STEP_BITS | (step & STEP_MASK);
        Rlimit { current: Some(tag), maximum: Some(self.outer.unwrap_or(tag)) }
    }

    /// Whether the process is part of any step of this worker.
    pub fn marks(self, pid: i32) -> bool {
        self.low_bits(pid).is_some()
    }

    /// The step that the process is part of, given that steps are numbered upwards and `newest` is the last.
    pub fn step_of(self, pid: i32, newest: u64) -> Option<u64> {
        let low = self.low_bits(pid)?;
        newest.checked_sub(newest.wrapping_sub(low) & STEP_MASK)
    }

    fn low_bits(self, pid: i32) -> Option<u64> {
        let (soft, hard) = sys::locks_limit(pid)?;
        let mine = |value: &u64| is_tag(*value) && (value >> STEP_BITS) & WORKER_MASK == self.worker;
        [soft, hard].into_iter().find(mine).map(|value| value & STEP_MASK)
    }
}

/// Ordinary values are small or infinite.
fn is_tag(value: u64) -> bool {
    value >> LEVEL_SHIFT <= OUTERMOST && value >> STEP_BITS != 0
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn infinity_and_everyday_limits_are_no_tags() {
        assert!(!is_tag(u64::MAX));
        assert!(!is_tag(0) && !is_tag(1024) && !is_tag(1 << 20));
    }

    #[test]
    fn an_untagged_process_is_nobodys() {
        let tags = Tags::new(WorkerId(Uuid::from_u128(0x1234_5678_9abc)));
        assert_eq!(tags.step_of(rustix::process::getpid().as_raw_nonzero().get(), 5), None);
    }

    #[test]
    fn the_limit_of_a_step_holds_its_number() {
        let tags = Tags { worker: 9, level: OUTERMOST, outer: None };
        let limit = tags.limit(STEP_MASK + 3);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.current.unwrap() & STEP_MASK, 2);
        let inner = Tags { worker: 10, level: OUTERMOST - 1, outer: limit.maximum }.limit(1);
        assert!(inner.current < inner.maximum && inner.maximum == limit.maximum);
    }
}
