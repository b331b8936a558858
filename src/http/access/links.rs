//! Links that sign a browser in, once. Kept in this process only.

use std::sync::{Mutex, PoisonError};

use crate::{
    model::{Micros, Millis},
    system::fresh_secret,
};

/// How long a link works.
const LIFETIME: Millis = Millis::seconds(60);

/// Links at once; the oldest goes first.
const MOST: usize = 100;

#[derive(Debug, Default)]
pub struct Links(Mutex<Vec<Link>>);

struct Link {
    token: String,
    /// What its request was known by.
    key: Option<String>,
    expires_at: Micros,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl Links {
    /// A new token, or the one that was made for the same key, and until when it works.
    pub fn create(&self, now: Micros, key: Option<String>) -> std::io::Result<(String, Micros)> {
        let mut links = self.live(now);
        if let Some(link) = links.iter().find(|link| key.is_some() && link.key == key) {
            return Ok((link.token.clone(), link.expires_at));
        }
        let (token, expires_at) = (fresh_secret()?, now.plus(LIFETIME));
        if links.len() == MOST {
            links.remove(0);
        }
        links.push(Link { token: token.clone(), key, expires_at });
        Ok((token, expires_at))
    }

    /// Whether the token works; it does not any more.
    pub fn redeem(&self, token: &str, now: Micros) -> bool {
        use subtle::ConstantTimeEq as _;
        let mut links = self.live(now);
        let at = links.iter().position(|link| link.token.as_bytes().ct_eq(token.as_bytes()).into());
        at.map(|at| links.remove(at)).is_some()
    }

    fn live(&self, now: Micros) -> std::sync::MutexGuard<'_, Vec<Link>> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.expires_at > now);
        links
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_works_once_and_for_a_minute() {
        let links = Links::default();
        let (token, expires_at) = links.create(Micros(0), None).unwrap();
        assert_eq!(expires_at, Micros(60_000_000));
        assert!(!links.redeem("other", Micros(1)));
        assert!(links.redeem(&token, Micros(59_999_999)));
        assert!(!links.redeem(&token, Micros(59_999_999)));
        let (late, _) = links.create(Micros(0), None).unwrap();
        assert!(!links.redeem(&late, Micros(60_000_000)));
    }

    #[test]
    fn the_same_key_gives_the_same_link_and_there_are_not_too_many() {
        let links = Links::default();
        let first = links.create(Micros(0), Some("k".to_owned())).unwrap();
        assert_eq!(links.create(Micros(5), Some("k".to_owned())).unwrap(), first);
        for _ in 0..MOST {
            links.create(Micros(5), None).unwrap();
        }
        assert!(!links.redeem(&first.0, Micros(6)), "the oldest is gone");
    }
}
