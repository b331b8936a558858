//! The forms in which a secret's value may show up in output.

use std::fmt::Write as _;

use base64::prelude::*;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Values, lines and forms shorter than this are too common to be searched for (except a whole value).
pub(super) const MIN_DERIVED: usize = 4;

/// RFC 3986: everything but the unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// What JavaScript's `encodeURIComponent` encodes.
const COMPONENT: &AsciiSet = &UNRESERVED.remove(b'!').remove(b'\'').remove(b'(').remove(b')').remove(b'*');
/// What JavaScript's `encodeURI` encodes.
const URI: &AsciiSet = &COMPONENT
    .remove(b';')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b'#');
/// What `application/x-www-form-urlencoded` encodes; there a space becomes `+`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_').remove(b' ');

/// Everything to search for on account of one secret; may hold duplicates.
pub(super) fn needles(value: &str) -> Vec<Vec<u8>> {
    let bare = value.trim_end_matches(['\n', '\r']);
    let mut found = vec![value.to_owned(), bare.to_owned()];
    found.retain(|form| !form.is_empty());
    if bare.len() >= MIN_DERIVED {
        let mut derived: Vec<String> = value.lines().map(str::to_owned).collect();
        base64_forms(bare, &mut derived);
        base64_forms(value, &mut derived);
        percent_forms(bare, &mut derived);
        json_forms(bare, &mut derived);
        derived.push(bare.replace('\'', r"'\''"));
        derived.push(bare.replace('\n', "\r\n"));
        derived.retain(|form| form.len() >= MIN_DERIVED);
        found.append(&mut derived);
    }
    found.into_iter().map(String::into_bytes).collect()
}

/// Base64 of the value wherever it stands in the encoded bytes: at each of the three alignments, only
/// the characters that its neighbours have no part in. And wrapped, where it stands at the beginning.
fn base64_forms(value: &str, forms: &mut Vec<String>) {
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(value.as_bytes());
        let fixed = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        forms.push(BASE64_STANDARD_NO_PAD.encode(&bytes)[fixed.clone()].to_owned());
        forms.push(BASE64_URL_SAFE_NO_PAD.encode(&bytes)[fixed].to_owned());
    }
    let whole = BASE64_STANDARD.encode(value);
    for width in [64, 76] {
        if whole.len() > width {
            // A last line of a few characters is not worth the false alarms.
            let lines = whole.as_bytes().chunks(width).filter(|line| line.len() >= 2 * MIN_DERIVED);
            forms.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
        }
    }
}

fn percent_forms(value: &str, forms: &mut Vec<String>) {
    for set in [UNRESERVED, COMPONENT, URI] {
        let upper = utf8_percent_encode(value, set).to_string();
        forms.push(lower_hex(&upper));
        forms.push(upper);
    }
    let form = utf8_percent_encode(value, FORM).to_string().replace(' ', "+");
    forms.push(lower_hex(&form));
    forms.push(form);
}

/// `%2F` as `%2f`.
fn lower_hex(encoded: &str) -> String {
    let mut digits = 0;
    let lower = encoded.chars().map(|c| {
        if c == '%' {
            digits = 2;
            return c;
        }
        let is_digit = digits > 0;
        digits = u32::saturating_sub(digits, 1);
        if is_digit { c.to_ascii_lowercase() } else { c }
    });
    lower.collect()
}

/// The value inside a JSON string, as the encoders of the common languages write it.
fn json_forms(value: &str, forms: &mut Vec<String>) {
    let quoted = serde_json::Value::from(value).to_string();
    let inner = &quoted[1..quoted.len() - 1];
    let slashes = inner.replace('/', r"\/");
    let html = inner.replace('<', r"\u003c").replace('>', r"\u003e").replace('&', r"\u0026");
    for form in [inner, &slashes, &html] {
        forms.push(ascii_only(form));
        forms.push(form.to_owned());
    }
}

fn ascii_only(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a string cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
    }
    ascii
}
