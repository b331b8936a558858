//! The files that belong to a runbook: the globs of `files:`, and what they match.
//!
//! Reading folders is for others. They ask [`globs`] what a text wants, find the files, and give them to the
//! compiler as [`Beside`]; the plan pins the digest of the [`Bundle`].

use std::{collections::BTreeMap, sync::Arc};

use globset::{GlobBuilder, GlobMatcher};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{diagnostic::Code, source::Source};
use crate::model::Digest;

/// All files of a runbook together, in bytes.
pub const MAX_BUNDLE_BYTES: u64 = 10 * 1024 * 1024;
/// All files of a runbook together.
pub const MAX_BUNDLE_FILES: usize = 1_000;

/// One entry of `files:` that can be used.
#[derive(Debug, Clone)]
pub struct Glob {
    /// Where it stands in the list.
    pub index: usize,
    /// The folder below which all its matches are, and the one file that it can match, without wildcards.
    pub literal: String,
    /// Whether [`Glob::literal`] is the whole glob.
    pub is_literal: bool,
    matcher: GlobMatcher,
}

impl Glob {
    /// Reads one entry; else says what is wrong with it.
    pub fn read(index: usize, text: &str) -> Result<Glob, (Code, String)> {
        if text.contains("${{") {
            return Err((Code::MisplacedExpression, "`files` is read before a run starts: no expressions".to_owned()));
        }
        if text.starts_with(['/', '~']) {
            return Err((Code::FilesOutside, format!("`{text}` is not below the folder of the runbook")));
        }
        if text.split('/').any(|part| part == "..") {
            return Err((Code::FilesOutside, format!("`{text}` leaves the folder of the runbook")));
        }
        let text = text.trim_start_matches("./");
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|error| (Code::BadValue, format!("`{text}` is not a glob: {}", error.kind())))?;
        let parts: Vec<&str> = text.split('/').take_while(|part| !part.contains(['*', '?', '[', '{', '\\'])).collect();
        let literal = parts.join("/");
        Ok(Glob { index, is_literal: literal == text, literal, matcher: glob.compile_matcher() })
    }

    /// Whether it names the file, by its path below the folder of the runbook.
    pub fn matches(&self, path: &str) -> bool {
        self.matcher.is_match(path)
    }
}

/// The usable globs of a runbook's text. What is wrong with the others, the compiler says.
pub fn globs(text: &str) -> Vec<Glob> {
    // Most runbooks have none: no need to read them twice.
    if !text.contains("files") {
        return Vec::new();
    }
    let (Some(source), _) = Source::read("", text) else { return Vec::new() };
    let list = source.json().get("files").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let texts = list.iter().enumerate().filter_map(|(index, item)| Some((index, item.as_str()?)));
    texts.filter_map(|(index, text)| Glob::read(index, text).ok()).collect()
}

/// A file that belongs to a runbook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleFile {
    pub bytes: Arc<[u8]>,
    pub digest: Digest,
    pub executable: bool,
}

impl BundleFile {
    pub fn new(bytes: impl Into<Arc<[u8]>>, executable: bool) -> BundleFile {
        let bytes = bytes.into();
        BundleFile { digest: Digest::of(&bytes), bytes, executable }
    }
}

/// The files of a runbook, by their paths below its folder (`scripts/undo.sh`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bundle {
    pub files: BTreeMap<String, BundleFile>,
}

/// One line of a bundle's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleEntry {
    pub path: String,
    pub sha256: Digest,
    pub bytes: u64,
    pub executable: bool,
}

impl Bundle {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What is in it, in the order of the paths.
    pub fn entries(&self) -> Vec<BundleEntry> {
        let entry = |(path, file): (&String, &BundleFile)| BundleEntry {
            path: path.clone(),
            sha256: file.digest,
            bytes: file.bytes.len() as u64,
            executable: file.executable,
        };
        self.files.iter().map(entry).collect()
    }

    /// The entries as JSON; what is digested.
    pub fn manifest(&self) -> Vec<u8> {
        // Strings, numbers and booleans under string keys: serialisation cannot fail.
        serde_json::to_vec(&self.entries()).unwrap_or_default()
    }

    /// Of names, contents and whether they are executable.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest())
    }

    fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes.len() as u64).sum()
    }
}

/// What was found beside a runbook.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Beside {
    pub bundle: Bundle,
    /// Why a glob's files could not be had.
    pub problems: Vec<FilesProblem>,
}

/// A problem of one glob, by its place in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesProblem {
    pub glob: usize,
    pub too_large: bool,
    pub message: String,
}

impl Beside {
    /// Files that came with a text, not from a folder.
    pub fn of(bundle: Bundle) -> Beside {
        Beside { bundle, problems: Vec::new() }
    }

    /// Files that no glob of the text names.
    pub fn unnamed(&self, text: &str) -> Vec<String> {
        let globs = globs(text);
        let is_named = |path: &&String| globs.iter().any(|glob| glob.matches(path));
        self.bundle.files.keys().filter(|path| !is_named(path)).cloned().collect()
    }

    /// What is wrong with `files:` as a whole.
    pub(super) fn excess(&self) -> Option<String> {
        if self.bundle.files.len() > MAX_BUNDLE_FILES {
            return Some(format!("a runbook has at most 1,000 files, not {}", self.bundle.files.len()));
        }
        (self.bundle.bytes() > MAX_BUNDLE_BYTES)
            .then(|| "the files of a runbook have at most 10 MiB together".to_owned())
    }
}

/// Whether the path may be that of a bundled file: relative, in parts that stay where they are put.
pub fn is_bundle_path(path: &str) -> bool {
    !path.contains(['\0', '\\']) && path.split('/').all(|part| !matches!(part, "" | "." | "..")) && path.len() <= 1_024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_stay_below_the_folder() {
        let code = |text: &str| Glob::read(0, text).map(drop).unwrap_err().0;
        for outside in ["/etc/passwd", "../x", "a/../../x", "a/..", "~/x"] {
            assert_eq!(code(outside), Code::FilesOutside, "{outside}");
        }
        assert_eq!(code("${{ params.x }}"), Code::MisplacedExpression);
        assert_eq!(code("[a"), Code::BadValue);
    }

    #[test]
    fn a_star_stays_in_its_folder() {
        let cases = [
            ("*.sh", "undo.sh", true),
            ("*.sh", "scripts/undo.sh", false),
            ("scripts/*.sh", "scripts/undo.sh", true),
            ("./scripts/*.sh", "scripts/undo.sh", true),
            ("**/*.sh", "undo.sh", true),
            ("**/*.sh", "a/b/undo.sh", true),
            ("scripts/**", "scripts/a/b", true),
            ("{a,b}.txt", "b.txt", true),
        ];
        for (glob, path, expected) in cases {
            assert_eq!(Glob::read(0, glob).unwrap().matches(path), expected, "{glob} {path}");
        }
        let glob = Glob::read(0, "scripts/deep/*.sh").unwrap();
        assert_eq!((glob.literal.as_str(), glob.is_literal), ("scripts/deep", false));
        assert!(Glob::read(0, "scripts/undo.sh").unwrap().is_literal);
    }

    #[test]
    fn a_digest_covers_names_contents_and_modes() {
        let bundle = |path: &str, bytes: &str, executable| Bundle {
            files: [(path.to_owned(), BundleFile::new(bytes.as_bytes(), executable))].into(),
        };
        let first = bundle("a", "x", false).digest();
        assert_eq!(first, bundle("a", "x", false).digest());
        for other in [bundle("b", "x", false), bundle("a", "y", false), bundle("a", "x", true)] {
            assert_ne!(first, other.digest());
        }
    }
}
