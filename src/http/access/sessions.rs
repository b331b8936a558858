//! Sessions of browsers. Only digests are kept, in this process: a restart signs everybody out.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    model::{Digest, Micros, Millis},
    system::fresh_secret,
};

/// How long a session lasts after it was last used.
pub const LIFETIME: Millis = Millis::seconds(12 * 3_600);

/// Sessions at once; the one that was used least recently goes first.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<Digest, Micros>>);

impl Sessions {
    /// A new session's token.
    pub fn open(&self, now: Micros) -> std::io::Result<String> {
        let token = fresh_secret()?;
        let mut sessions = self.live(now);
        if sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, used)| **used).map(|(digest, _)| *digest);
            oldest.map(|digest| sessions.remove(&digest));
        }
        sessions.insert(Digest::of(token.as_bytes()), now);
        Ok(token)
    }

    /// Whether there is such a session; it lasts longer now.
    pub fn touch(&self, token: &str, now: Micros) -> bool {
        let used = Digest::of(token.as_bytes());
        self.live(now).get_mut(&used).map(|at| *at = now).is_some()
    }

    pub fn close(&self, token: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&Digest::of(token.as_bytes()));
    }

    fn live(&self, now: Micros) -> std::sync::MutexGuard<'_, HashMap<Digest, Micros>> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, used| used.plus(LIFETIME) > now);
        sessions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn a_session_lasts_as_long_as_it_is_used() {
        let sessions = Sessions::default();
        let token = sessions.open(Micros(0)).unwrap();
        assert!(sessions.touch(&token, Micros(11 * HOUR)));
        assert!(sessions.touch(&token, Micros(22 * HOUR)));
        assert!(!sessions.touch(&token, Micros(34 * HOUR)));
        assert!(!sessions.touch("other", Micros(0)));
    }

    #[test]
    fn a_closed_session_is_gone_and_there_are_not_too_many() {
        let sessions = Sessions::default();
        let token = sessions.open(Micros(0)).unwrap();
        sessions.close(&token);
        assert!(!sessions.touch(&token, Micros(1)));
        let first = sessions.open(Micros(1)).unwrap();
        for at in 0..1_000 {
            sessions.open(Micros(2 + at)).unwrap();
        }
        assert!(!sessions.touch(&first, Micros(2_000)));
        assert_eq!(sessions.0.lock().unwrap().len(), MOST);
    }
}
