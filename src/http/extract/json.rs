//! JSON without surprises: no key twice, no bottomless nesting, nothing after the end, nothing unknown.

mod whole;

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeOwned, DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment, Track};

use self::whole::Whole;
use crate::http::problem::{Code, Problem};

/// The deepest nesting of a body.
const MAX_DEPTH: usize = 64;

/// Reads a document of a known shape.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let value = parse(bytes)?;
    serde_path_to_error::deserialize(Whole(value)).map_err(|error| {
        let (pointer, detail) = (pointer(error.path()), error.inner().to_string());
        let code = if detail.starts_with("unknown field") { Code::UnknownField } else { Code::BadRequest };
        let place = if pointer.is_empty() { "the body".to_owned() } else { format!("`{pointer}`") };
        Problem::new(code, format!("{place}: {detail}")).field(pointer, detail)
    })
}

fn parse(bytes: &[u8]) -> Result<Value, Problem> {
    let mut track = Track::new();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    value.and_then(|value| json.end().map(|()| value)).map_err(|error| {
        let detail = error.to_string();
        Problem::new(Code::BadJson, format!("the body is not JSON that is accepted: {detail}"))
            .field(pointer(&track.path()), detail)
    })
}

/// An RFC 6901 pointer.
fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        let token = match segment {
            Segment::Seq { index } => index.to_string(),
            Segment::Map { key } => key.replace('~', "~0").replace('/', "~1"),
            Segment::Enum { .. } | Segment::Unknown => continue,
        };
        pointer.push('/');
        pointer.push_str(&token);
    }
    pointer
}

/// Any JSON value, strictly.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn inner<E: serde::de::Error>(self) -> Result<Strict, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format!("lists and objects nest deeper than {MAX_DEPTH} levels")));
        }
        Ok(Strict { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` is there twice")));
            }
            let value = entries.next_value_seed(inner)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only read")]
        runs: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read")]
    struct Inner {
        priority: i32,
        #[serde(default)]
        params: Map<String, Value>,
    }

    fn problem(text: &str) -> (Code, String, String) {
        let problem = read::<Outer>(text.as_bytes()).unwrap_err();
        assert_eq!(problem.errors.len(), 1, "{problem:?}");
        (problem.code, problem.errors[0].pointer.clone(), problem.errors[0].detail.clone())
    }

    #[test]
    fn each_fault_has_its_place() {
        read::<Outer>(br#"{"runs": [{"priority": 1, "params": {"a": [1.5, null, "\u0000"]}}]}"#).unwrap();
        let (code, pointer, detail) = problem(r#"{"runs": [{"priority": 1}, {"priority": "high"}]}"#);
        assert_eq!((code, pointer.as_str()), (Code::BadRequest, "/runs/1/priority"), "{detail}");
        let (code, pointer, detail) = problem(r#"{"runs": [{"priority": 1, "prio": 2}]}"#);
        assert_eq!((code, pointer.as_str()), (Code::UnknownField, "/runs/0/prio"), "{detail}");
        assert!(detail.contains("`prio`"), "{detail}");
        let (code, pointer, detail) = problem(r#"{"runs": [{"priority": 1, "params": {"x/y": 1, "x/y": 2}}]}"#);
        assert_eq!((code, pointer.as_str()), (Code::BadJson, "/runs/0/params"), "{detail}");
        let (code, pointer, detail) = problem("{}");
        assert_eq!((code, pointer.as_str()), (Code::BadRequest, ""), "{detail}");
        for text in ["", "{", "{} {}", "[1,]", "{\"runs\": [1e999]}", "\u{feff}{}", "nul"] {
            assert_eq!(problem(text).0, Code::BadJson, "{text}");
        }
        assert_eq!(read::<Outer>(b"{\"runs\": \"\xff\"}").unwrap_err().code, Code::BadJson);
    }

    #[test]
    fn a_whole_number_may_be_written_as_a_fraction() {
        #[derive(Debug, PartialEq, Deserialize)]
        struct Numbers {
            list: Vec<i64>,
            option: Option<u32>,
            any: Value,
        }
        let read = read::<Numbers>(br#"{"list": [1.0, -2e3], "option": 7.0, "any": {"x": 1.0, "y": 1}}"#).unwrap();
        let any = serde_json::json!({"x": 1.0, "y": 1});
        assert_eq!(read, Numbers { list: vec![1, -2_000], option: Some(7), any });
        for text in [r#"{"list": [1.5]}"#, r#"{"list": [1e300]}"#, r#"{"list": [], "option": -1.0}"#] {
            assert_eq!(super::read::<Numbers>(text.as_bytes()).unwrap_err().code, Code::BadRequest, "{text}");
        }
    }

    #[test]
    fn nesting_has_a_bottom() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        for levels in [MAX_DEPTH + 1, 100_000] {
            assert_eq!(parse(nested(levels).as_bytes()).unwrap_err().code, Code::BadJson);
        }
    }
}
