//! What PostgreSQL's types are made of here: times, and text that may hold any character.
//!
//! PostgreSQL cannot store the character 0 in text or JSON, and output of programs is full of surprises: an
//! event must not be lost, nor its batch be refused, since a program printed one. So text is stored with 0
//! written as `1A 30` ("substitute", "0") and 1A itself, which is as rare, as `1A 1A`. In JSON it is the same
//! one level up: `\u0000` becomes `\u001a0`. Reading turns it round; text without either is not copied.

use std::borrow::Cow;

use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef, types::Oid},
};

use crate::model::Micros;

/// 2000-01-01 in microseconds since 1970: where PostgreSQL counts from.
const EPOCH: i64 = 946_684_800_000_000;
/// The same on every server, since types of its catalogue never change their number.
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

/// A time as `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At(pub(super) Micros);

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        ty.oid() == Some(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for At {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }

    fn array_compatible(ty: &PgTypeInfo) -> bool {
        ty.oid() == Some(TIMESTAMPTZ_ARRAY)
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0.0.saturating_sub(EPOCH).to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for At {
    fn decode(value: PgValueRef<'_>) -> Result<At, BoxDynError> {
        if value.format() != PgValueFormat::Binary {
            return Err("a time in the binary format was expected".into());
        }
        let count = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(At(Micros(count.saturating_add(EPOCH))))
    }
}

const SUBSTITUTE: char = '\u{1a}';

/// Text as PostgreSQL can store it.
pub(super) fn stored(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|byte| matches!(byte, 0 | 0x1a)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\0' => out.extend([SUBSTITUTE, '0']),
            SUBSTITUTE => out.extend([SUBSTITUTE, SUBSTITUTE]),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The text that [`stored`] was given.
pub(super) fn restored(text: String) -> String {
    if !text.contains(SUBSTITUTE) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            SUBSTITUTE if characters.next() == Some('0') => out.push('\0'),
            other => out.push(other),
        }
    }
    out
}

/// JSON text, as serde_json writes it, as PostgreSQL can store it.
pub(super) fn stored_json(json: String) -> String {
    // Where neither is there is no need to look at every backslash.
    if !json.contains("\\u00") {
        return json;
    }
    rewrite(&json, |escape, _| match escape {
        "0000" => Some(("\\u001a0", 0)),
        "001a" => Some(("\\u001a\\u001a", 0)),
        _ => None,
    })
}

/// The JSON text that [`stored_json`] was given.
pub(super) fn restored_json(json: String) -> String {
    if !json.contains("\\u001a") {
        return json;
    }
    rewrite(&json, |escape, after| match escape {
        "001a" if after.starts_with('0') => Some(("\\u0000", 1)),
        "001a" if after.starts_with("\\u001a") => Some(("\\u001a", 6)),
        _ => None,
    })
}

/// Replaces `\uXXXX` escapes: `replace` is given the four digits and what follows, and answers what to write
/// and how many bytes of what follows are to be passed over.
fn rewrite(json: &str, replace: impl Fn(&str, &str) -> Option<(&'static str, usize)>) -> String {
    let mut out = String::with_capacity(json.len() + 16);
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let digits = escape.strip_prefix("\\u").and_then(|tail| tail.get(..4));
        let found = digits.and_then(|digits| replace(digits, &escape[6..]));
        rest = if let Some((new, skip)) = found {
            out.push_str(new);
            &escape[6 + skip..]
        } else {
            // The backslash and what it escapes, so that `\\u0000` is not taken for an escape.
            let end = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
            out.push_str(&escape[..end]);
            &escape[end..]
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn any_text_comes_back(text in "[\\x00\\x1a0a\\\\\u{1f680}]{0,12}") {
            let kept = stored(&text).into_owned();
            prop_assert!(!kept.contains('\0'));
            prop_assert_eq!(restored(kept), text);
        }

        #[test]
        fn any_json_comes_back(text in "[\\x00\\x1a0au\"\\\\\u{1f680}]{0,12}", key in "[\\x00\\x1a0u1\\\\]{0,6}") {
            let value = json!({key: [text, {"plain": 1}]});
            let kept = stored_json(value.to_string());
            prop_assert!(!kept.replace("\\\\", "").contains("\\u0000"), "{}", kept);
            // What a reader of the table sees is JSON as well.
            prop_assert!(serde_json::from_str::<Value>(&kept).is_ok(), "{}", kept);
            prop_assert_eq!(restored_json(kept), value.to_string());
        }
    }

    #[test]
    fn plain_text_is_not_copied() {
        assert!(matches!(stored("plain \u{1b}[31m"), Cow::Borrowed(_)));
        assert_eq!(stored("a\0b\u{1a}"), "a\u{1a}0b\u{1a}\u{1a}");
        assert_eq!(stored_json("{\"a\":\"\\u0000\"}".to_owned()), "{\"a\":\"\\u001a0\"}");
        assert_eq!(stored_json("\"\\\\u0000\"".to_owned()), "\"\\\\u0000\"");
    }
}
