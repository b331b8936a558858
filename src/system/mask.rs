//! Replaces secret values by `***`.
//!
//! What is searched for (the needles) of every secret:
//!
//! - the value itself, whatever its length (a secret of one letter masks every such letter: that is
//!   ugly, but a hole would be worse), and the value without its trailing newlines;
//! - of values of at least four bytes also: each line of a multi-line value, Base64 in both
//!   alphabets wherever the value stands in what was encoded (also wrapped at 64 or 76 columns),
//!   percent-encoding as URLs and forms do it, JSON escapes, and the quoting of `bash -x`.
//!
//! Shorter lines and forms are not searched for: they would mask half of every log and say nothing.
//! Forms of parts of a value are not found; nobody can.
//!
//! Matches that overlap become one `***`. The search is one pass of an Aho-Corasick automaton, linear in
//! the input whatever the secrets, and its state knows how many of the last bytes could still become a
//! match; a stream holds back exactly those, so a prompt line is not delayed by a long secret.

mod needles;
mod stream;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aho_corasick::{
    Anchored,
    automaton::{Automaton, StateID},
    nfa::contiguous::NFA,
};
use serde_json::{Map, Value};

use self::{
    needles::{MIN_DERIVED, needles},
    stream::Stream,
};
use crate::ports::{Mask, MaskStream, Masks, SecretValue};

/// Masks the given secrets. Cheap to clone.
#[derive(Clone)]
pub struct SecretMask {
    /// `None` when there is nothing to mask.
    search: Option<Arc<Search>>,
    /// The secrets that could stand in a JSON number.
    numbers: Arc<[String]>,
}

struct Search {
    nfa: NFA,
    start: StateID,
    /// How many bytes of a needle have been seen in each state but the start.
    depth: HashMap<StateID, usize>,
}

/// Makes the masks of attempts, and keeps them: building one for a key of some kilobytes takes milliseconds.
#[derive(Debug, Clone, Default)]
pub struct SecretMasks {
    known: Arc<Mutex<Vec<Known>>>,
}

/// A set of secrets and its mask.
type Known = (Vec<SecretValue>, Arc<SecretMask>);

/// Sets of secrets whose masks are kept.
const KEPT: usize = 64;

impl Masks for SecretMasks {
    fn mask(&self, values: &[SecretValue]) -> Arc<dyn Mask> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mask)) = known.iter().find(|(of, _)| of == values) {
            return mask.clone();
        }
        let mask = Arc::new(SecretMask::new(values));
        if known.len() == KEPT {
            known.remove(0);
        }
        known.push((values.to_vec(), mask.clone()));
        mask
    }
}

impl fmt::Debug for SecretMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The automaton spells the secrets.
        f.debug_struct("SecretMask").finish_non_exhaustive()
    }
}

impl SecretMask {
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretValue>) -> SecretMask {
        let (mut all, mut numbers) = (BTreeSet::new(), Vec::new());
        for value in secrets.into_iter().map(SecretValue::expose) {
            all.extend(needles(value));
            numbers.extend(Some(value.trim()).filter(|value| is_number(value)).map(str::to_owned));
        }
        let search = (!all.is_empty()).then(|| Arc::new(Search::new(&all)));
        SecretMask { search, numbers: numbers.into() }
    }

    fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.stream();
        let mut masked = stream.push(bytes);
        masked.extend(stream.finish());
        masked
    }
}

impl Search {
    fn new(needles: &BTreeSet<Vec<u8>>) -> Search {
        // Fails beyond 2^31 bytes of needles or so; an environment variable holds at most 128 KiB.
        let nfa = NFA::new(needles).unwrap_or_else(|error| unreachable!("the secrets are too many to mask: {error}"));
        let start = step(nfa.start_state(Anchored::No));
        let mut depth = HashMap::new();
        for needle in needles {
            let mut state = start;
            for (before, byte) in needle.iter().enumerate() {
                state = nfa.next_state(Anchored::No, state, *byte);
                depth.insert(state, before + 1);
            }
        }
        Search { nfa, start, depth }
    }

    /// The length of the longest needle that ends in `state`.
    fn longest_match(&self, state: StateID) -> Option<usize> {
        if !self.nfa.is_match(state) {
            return None;
        }
        let lengths = (0..self.nfa.match_len(state)).map(|ix| self.nfa.pattern_len(self.nfa.match_pattern(state, ix)));
        lengths.max()
    }
}

fn is_number(value: &str) -> bool {
    value.len() >= MIN_DERIVED && value.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
}

fn step<E: fmt::Display>(state: Result<StateID, E>) -> StateID {
    state.unwrap_or_else(|error| unreachable!("an NFA built for every search supports unanchored ones: {error}"))
}

impl Mask for SecretMask {
    fn text(&self, text: &str) -> String {
        if self.search.is_none() {
            return text.to_owned();
        }
        // Needles are UTF-8, so what is left between them is too.
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// A number that holds a secret becomes a string. Only secrets of some length count there: a status
    /// of 200 must stay a number although somebody's secret is `0`.
    fn json(&self, value: &mut Value) {
        if self.search.is_none() {
            return;
        }
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Value::Object(map) => {
                let entries = std::mem::take(map).into_iter().map(|(key, mut value)| {
                    self.json(&mut value);
                    (self.text(&key), value)
                });
                *map = entries.collect::<Map<_, _>>();
            }
            Value::Number(number) => {
                let text = number.to_string();
                if self.numbers.iter().any(|secret| text.contains(secret)) {
                    *value = Value::String(self.text(&text));
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn stream(&self) -> Box<dyn MaskStream> {
        match &self.search {
            None => Box::new(Unmasked),
            Some(search) => Box::new(Stream::new(search.clone())),
        }
    }
}

/// The stream of a run without secrets.
struct Unmasked;

impl MaskStream for Unmasked {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }

    fn finish(&mut self) -> Vec<u8> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::*;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mask(secrets: &[&str]) -> SecretMask {
        SecretMask::new(&secrets.iter().map(|s| SecretValue::new(*s)).collect::<Vec<_>>())
    }

    fn in_pieces(mask: &SecretMask, pieces: &[&[u8]]) -> Vec<u8> {
        let mut stream = mask.stream();
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| stream.push(piece)).collect();
        out.extend(stream.finish());
        out
    }

    #[test]
    fn plain_values_and_their_neighbours() {
        let mask = mask(&["hunter2", "", "x"]);
        assert_eq!(mask.text("pw=hunter2, hunter1"), "pw=***, hunter1");
        assert_eq!(mask.text("hunter2hunter2"), "******");
        assert_eq!(mask.text("a x b"), "a *** b");
        assert_eq!(super::tests::mask(&[]).text("hunter2"), "hunter2");
    }

    #[test]
    fn overlapping_secrets_become_one() {
        let mask = mask(&["abcdef", "defghi", "cde"]);
        assert_eq!(mask.text("-abcdefghi-"), "-***-");
        assert_eq!(mask.text("-cdefghi-"), "-***-");
        assert_eq!(mask.text("-abcde-"), "-ab***-");
    }

    #[test]
    fn every_alignment_of_base64() {
        let secret = "s3cr3t-värde-0123456789";
        let mask = mask(&[secret]);
        for before in 0..7 {
            let plain = format!("{}{secret}{}", "u".repeat(before), ":after");
            for encoded in [BASE64_STANDARD.encode(&plain), BASE64_URL_SAFE_NO_PAD.encode(&plain)] {
                let masked = mask.text(&encoded);
                assert!(masked.contains("***"), "{before}: {encoded}");
                let left = BASE64_STANDARD_NO_PAD.decode(masked.split("***").next().unwrap());
                assert!(left.is_err() || left.unwrap().len() <= before + 1);
            }
        }
    }

    #[test]
    fn wrapped_base64_of_a_long_secret() {
        let secret: String = "one line of a long key\n".repeat(40);
        let mask = mask(&[&secret]);
        for width in [64, 76] {
            let encoded = BASE64_STANDARD.encode(&secret);
            let wrapped: Vec<&str> =
                encoded.as_bytes().chunks(width).map(|c| std::str::from_utf8(c).unwrap()).collect();
            let masked = mask.text(&wrapped.join("\n"));
            assert!(masked.lines().rev().skip(1).all(|line| line == "***"), "{masked}");
        }
    }

    #[test]
    fn lines_escapes_and_quotes() {
        let mask = mask(&["-----KEY\nab\ncd/\"ef'&é\n"]);
        assert_eq!(mask.text("ab, cd/\"ef'&é, -----KEY"), "ab, ***, ***");
        for form in [
            r#"-----KEY\nab\ncd/\"ef'&é\n"#,
            r#"-----KEY\nab\ncd\/\"ef'&\u00e9\n"#,
            r#"-----KEY\nab\ncd/\"ef'\u0026é\n"#,
            "-----KEY%0Aab%0Acd%2F%22ef%27%26%C3%A9",
            "-----KEY%0aab%0acd%2f%22ef%27%26%c3%a9",
            "-----KEY%0Aab%0Acd%2F%22ef'%26%C3%A9",
        ] {
            assert!(!mask.text(form).contains("ef"), "{form} → {}", mask.text(form));
        }
        assert_eq!(super::tests::mask(&["it's me"]).text(r"+ echo 'it'\''s me'"), "+ echo '***'");
        assert_eq!(super::tests::mask(&["a b&c d"]).text("q=a+b%26c+d;"), "q=***;");
    }

    #[test]
    fn json_keys_strings_and_numbers() {
        let mut value = json!({"hunter2": ["a hunter2", 91_234_567, true], "n": 12});
        mask(&["hunter2", "1234567\n", "2"]).json(&mut value);
        assert_eq!(value, json!({"***": ["a ***", "9***", true], "n": 12}));
    }

    #[test]
    fn only_what_may_become_a_secret_is_held_back() {
        let long = "long-secret-".repeat(100);
        let mask = mask(&[&long]);
        let mut stream = mask.stream();
        assert_eq!(stream.push(b"Password: "), b"Password: ");
        assert_eq!(stream.push(b"done\nlong-sec"), b"done\n");
        assert_eq!(stream.push(b"ond\n"), b"long-second\n");
        assert_eq!(stream.finish(), b"");
    }

    #[test]
    fn an_endless_overlap_is_not_kept_in_memory() {
        let mask = mask(&["aaaa"]);
        let mut stream = Stream::new(mask.search.clone().unwrap());
        let mut out = Vec::new();
        for _ in 0..1_000 {
            out.extend(stream.push(&[b'a'; 1_000]));
            assert!(stream.held() <= 4);
        }
        out.extend(stream.push(b"b"));
        out.extend(stream.finish());
        assert_eq!(out, b"***b");
    }

    /// A slow and obvious implementation: the union of all matches of all needles.
    fn reference(secrets: &[&str], bytes: &[u8]) -> Vec<u8> {
        let needles: BTreeSet<Vec<u8>> = secrets.iter().flat_map(|s| needles(s)).collect();
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for start in 0..bytes.len() {
            let longest = needles.iter().filter(|n| bytes[start..].starts_with(n)).map(Vec::len).max();
            match (longest, spans.last_mut()) {
                (Some(length), Some(last)) if last.1 > start => last.1 = last.1.max(start + length),
                (Some(length), _) => spans.push((start, start + length)),
                (None, _) => {}
            }
        }
        let (mut out, mut at) = (Vec::new(), 0);
        for (start, end) in spans {
            out.extend_from_slice(&bytes[at..start]);
            out.extend_from_slice(b"***");
            at = end;
        }
        out.extend_from_slice(&bytes[at..]);
        out
    }

    proptest! {
        #[test]
        fn any_split_gives_what_one_piece_gives(
            secrets in prop::collection::vec("[ab]{1,6}|[a-c\n]{4,12}", 1..4),
            text in "[abc\n]{0,60}",
            cuts in prop::collection::vec(0..61_usize, 0..8),
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let mask = mask(&secrets);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &text.as_bytes()[w[0]..w[1]]).collect();
            let masked = in_pieces(&mask, &pieces);
            prop_assert_eq!(&masked, &mask.text(&text).into_bytes());
            prop_assert_eq!(&masked, &reference(&secrets, text.as_bytes()));
            let shown = String::from_utf8(masked).unwrap();
            for secret in secrets {
                prop_assert!(!shown.contains(secret));
            }
        }

        #[test]
        fn bytes_that_are_no_secret_come_out_as_they_went_in(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mask = mask(&["not to be found in random bytes"]);
            let pieces: Vec<&[u8]> = bytes.chunks(7).collect();
            prop_assert_eq!(in_pieces(&mask, &pieces), bytes);
        }
    }
}
