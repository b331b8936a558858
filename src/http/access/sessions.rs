//! Sessions of browsers. Only digests are kept: in this process, and in a file, so that a restart signs nobody out.

use std::{
    collections::HashMap,
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use crate::{
    model::{Digest, Micros, Millis},
    system::fresh_secret,
};

/// How long a session lasts after it was last used.
pub const LIFETIME: Millis = Millis::seconds(12 * 3_600);

/// How much older than the truth the file may be about a session's last use.
const STALE: Millis = Millis::seconds(600);

/// Sessions at once; the one that was used least recently goes first.
const MOST: usize = 1_000;

#[derive(Debug, Default)]
pub struct Sessions {
    /// When each was last used, and when the file says it was.
    known: Mutex<HashMap<Digest, (Micros, Micros)>>,
    file: OnceLock<PathBuf>,
}

impl Sessions {
    /// Goes on with the sessions in the file, and keeps it up to date from now on. Lines that cannot be read are
    /// sessions that have ended.
    pub fn keep_in(&self, file: &Path) -> io::Result<()> {
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        self.lock().extend(text.lines().take(MOST).filter_map(read_line));
        // Set once, at the start.
        let _ = self.file.set(file.to_owned());
        Ok(())
    }

    /// A new session's token.
    pub fn open(&self, now: Micros) -> io::Result<String> {
        let token = fresh_secret()?;
        let mut sessions = self.live(now);
        if sessions.len() >= MOST {
            let oldest = sessions.iter().min_by_key(|(_, (used, _))| *used).map(|(digest, _)| *digest);
            oldest.map(|digest| sessions.remove(&digest));
        }
        sessions.insert(Digest::of(token.as_bytes()), (now, now));
        self.write(&sessions);
        Ok(token)
    }

    /// Whether there is such a session; it lasts longer now.
    pub fn touch(&self, token: &str, now: Micros) -> bool {
        let used = Digest::of(token.as_bytes());
        let mut sessions = self.live(now);
        let Some((at, written)) = sessions.get_mut(&used) else { return false };
        *at = now;
        if written.plus(STALE) < now {
            *written = now;
            self.write(&sessions);
        }
        true
    }

    pub fn close(&self, token: &str) {
        let mut sessions = self.lock();
        if sessions.remove(&Digest::of(token.as_bytes())).is_some() {
            self.write(&sessions);
        }
    }

    fn live(&self, now: Micros) -> MutexGuard<'_, HashMap<Digest, (Micros, Micros)>> {
        let mut sessions = self.lock();
        sessions.retain(|_, (used, _)| used.plus(LIFETIME) > now);
        sessions
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, (Micros, Micros)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that could not be written ends with the process; that is no reason to refuse it.
    fn write(&self, sessions: &HashMap<Digest, (Micros, Micros)>) {
        let Some(file) = self.file.get() else { return };
        let lines: Vec<String> = sessions.iter().map(|(digest, (used, _))| format!("{digest} {}", used.0)).collect();
        if let Err(error) = replace(file, &lines.join("\n")) {
            tracing::warn!(%error, "the sessions of browsers were not written; a restart will end them");
        }
    }
}

fn read_line(line: &str) -> Option<(Digest, (Micros, Micros))> {
    let (digest, used) = line.split_once(' ')?;
    let used = Micros(used.parse().ok()?);
    Some((digest.parse().ok()?, (used, used)))
}

/// Written beside and then put in its place, for this user only.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let beside = file.with_extension("new");
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?.write_all(text.as_bytes())?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
        assert_eq!(sessions.lock().len(), MOST);
    }

    #[test]
    fn sessions_outlive_the_process_and_ended_ones_do_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("browsers");
        let before = Sessions::default();
        before.keep_in(&file).unwrap();
        let (stays, closed) = (before.open(Micros(0)).unwrap(), before.open(Micros(0)).unwrap());
        before.close(&closed);
        assert!(before.touch(&stays, Micros(11 * HOUR)));

        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&stays), "only digests are kept");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, format!("{text}\nnonsense\n00 1\n")).unwrap();

        let after = Sessions::default();
        after.keep_in(&file).unwrap();
        assert!(!after.touch(&closed, Micros(11 * HOUR)));
        assert!(after.touch(&stays, Micros(22 * HOUR)), "its last use was written");
        assert!(!after.touch(&stays, Micros(35 * HOUR)));
    }
}
