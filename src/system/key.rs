//! The key of this instance, and other secrets that nobody can guess.

use std::{
    fs::{DirBuilder, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::ports::SecretValue;

/// What keys begin with, so that scanners for leaked secrets can find them.
const PREFIX: &str = "ops_";

/// A shorter key could be guessed.
const SHORTEST: usize = 20;

/// More than any key.
const LONGEST: u64 = 4_096;

/// 32 random bytes as text.
pub fn fresh_secret() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Reads the key in a file; makes both, for this user only, if there is none.
pub fn local_key(path: &Path) -> io::Result<SecretValue> {
    match read_key(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_key(path)?;
            // Whoever was first: everybody uses the same.
            read_key(path)
        }
        read => read,
    }
}

/// Reads the key in a file.
pub fn read_key(path: &Path) -> io::Result<SecretValue> {
    let mut text = String::new();
    OpenOptions::new().read(true).open(path)?.take(LONGEST).read_to_string(&mut text)?;
    let key = text.trim();
    if key.len() < SHORTEST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        let why = format!("it holds no key: a key is one line of at least {SHORTEST} visible ASCII characters");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(SecretValue::new(key.to_owned()))
}

/// Written beside and then linked, so that a reader never sees half a key and nobody's key is replaced.
fn create_key(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unborn = folder.join(format!(".api.key.{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unborn)?;
    let written = writeln!(file, "{PREFIX}{}", fresh_secret()?).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| std::fs::hard_link(&unborn, path));
    std::fs::remove_file(&unborn)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data").join("api.key");
        let key = local_key(&path).unwrap();
        assert!(key.expose().starts_with(PREFIX) && key.expose().len() > 40);
        assert_eq!(local_key(&path).unwrap().expose(), key.expose());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_without_a_key_is_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.key");
        for text in ["", "\n", "short", "a key with spaces that is long enough"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(local_key(&path).unwrap_err().kind(), io::ErrorKind::InvalidData, "{text}");
        }
    }
}
