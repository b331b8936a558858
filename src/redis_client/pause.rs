//! The pauses between two tries to connect.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// Grows with each try that fails; a try that succeeds resets it.
#[derive(Debug)]
pub struct Pause {
    next: Duration,
    /// What is wrong was said.
    pub is_told: bool,
}

impl Default for Pause {
    fn default() -> Pause {
        Pause { next: SHORTEST, is_told: false }
    }
}

impl Pause {
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }

    pub fn reset(&mut self) {
        *self = Pause::default();
    }
}
