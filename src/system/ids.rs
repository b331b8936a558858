//! Fresh ids.

use uuid::Uuid;

use crate::{
    model::{RunId, SessionId, WorkerId},
    ports::Ids,
};

/// UUIDv7: they sort by creation time, also within a millisecond of one process.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn run_id(&self) -> RunId {
        RunId(fresh())
    }

    fn worker_id(&self) -> WorkerId {
        WorkerId(fresh())
    }

    fn session_id(&self) -> SessionId {
        SessionId(fresh())
    }

    fn request_id(&self) -> Uuid {
        fresh()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that draws ids")]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_they_were_drawn() {
        let ids: Vec<RunId> = (0..1_000).map(|_| RandomIds.run_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }
}
