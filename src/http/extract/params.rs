//! Names and values of a query string or a path, as a `serde` deserializer.

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;
use serde::{
    Deserializer,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::SeqDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::http::problem::{Code, Problem};

/// Parameters in the order in which they were first given, each with all its values.
#[derive(Debug)]
pub struct Params(Vec<(String, Vec<String>)>);

impl Params {
    /// Percent signs that are followed by no two digits stand for themselves; what is not UTF-8 is refused.
    pub fn of_query(query: &str) -> Result<Params, Problem> {
        let mut params = Params(Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| Problem::new(Code::BadRequest, "the query string is not UTF-8"))?;
            let value = decode(value).ok_or_else(|| Problem::bad_request(name.clone(), "it is not UTF-8"))?;
            params.push(name, value);
        }
        Ok(params)
    }

    pub fn of_path(pairs: impl IntoIterator<Item = (String, String)>) -> Params {
        Params(pairs.into_iter().map(|(name, value)| (name, vec![value])).collect())
    }

    pub fn into_names(self) -> Vec<String> {
        self.0.into_iter().map(|(name, _)| name).collect()
    }

    /// Reads a struct by names, a tuple in order, or the only parameter.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let only = if let [(name, _)] = self.0.as_slice() { Some(name.clone()) } else { None };
        T::deserialize(self).map_err(|error| error.at(only.as_deref().unwrap_or_default()).into())
    }

    fn push(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(value),
            None => self.0.push((name, vec![value])),
        }
    }

    /// The values of the only parameter.
    fn only(mut self) -> Result<Values, ParamsError> {
        match (self.0.pop(), self.0.is_empty()) {
            (Some((_, values)), true) => Ok(Values(values)),
            _ => Err(ParamsError::custom("not exactly one parameter")),
        }
    }
}

fn decode(text: &str) -> Option<String> {
    let spaced: Cow<str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    percent_decode_str(&spaced).decode_utf8().ok().map(Cow::into_owned)
}

/// Why the parameters do not fit.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ParamsError {
    unknown: Vec<String>,
    pointer: String,
    detail: String,
}

impl serde::de::Error for ParamsError {
    fn custom<T: fmt::Display>(detail: T) -> ParamsError {
        ParamsError { unknown: Vec::new(), pointer: String::new(), detail: detail.to_string() }
    }

    fn missing_field(field: &'static str) -> ParamsError {
        ParamsError::custom("it is required").at(field)
    }
}

impl ParamsError {
    fn at(mut self, pointer: &str) -> ParamsError {
        if self.pointer.is_empty() {
            pointer.clone_into(&mut self.pointer);
        }
        self
    }
}

impl From<ParamsError> for Problem {
    fn from(error: ParamsError) -> Problem {
        if error.unknown.is_empty() {
            return Problem::bad_request(error.pointer, error.detail);
        }
        unknown_parameters(&error.unknown, &error.detail)
    }
}

/// Parameters that the route does not have; `known` says which it has.
pub fn unknown_parameters(names: &[String], known: &str) -> Problem {
    let listed: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let problem =
        Problem::new(Code::UnknownParameter, format!("not known in the query string here: {}", listed.join(", ")));
    let problem = names.iter().fold(problem, |problem, name| problem.field(name, "not known here"));
    if known.is_empty() {
        problem.help("there are no parameters here")
    } else {
        problem.help(format!("known: {known}"))
    }
}

impl<'de> Deserializer<'de> for Params {
    type Error = ParamsError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ParamsError> {
        let unknown: Vec<String> =
            self.0.iter().map(|(name, _)| name).filter(|name| !fields.contains(&name.as_str())).cloned().collect();
        if !unknown.is_empty() {
            return Err(ParamsError { unknown, pointer: String::new(), detail: fields.join(", ") });
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_map(Entries { left: self.0.into_iter(), current: None })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_seq(Entries { left: self.0.into_iter(), current: None })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        self.only()?.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        newtype: &'static str,
        visitor: V,
    ) -> Result<V::Value, ParamsError> {
        self.only()?.deserialize_newtype_struct(newtype, visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        self.only()?.deserialize_u32(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple_struct enum identifier ignored_any
    }
}

struct Entries {
    left: std::vec::IntoIter<(String, Vec<String>)>,
    current: Option<(String, Vec<String>)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = ParamsError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ParamsError> {
        self.current = self.left.next();
        let Some((name, _)) = &self.current else { return Ok(None) };
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ParamsError> {
        let (name, values) = self.current.take().ok_or_else(|| ParamsError::custom("a value without a name"))?;
        seed.deserialize(Values(values)).map_err(|error| error.at(&name))
    }
}

impl<'de> SeqAccess<'de> for Entries {
    type Error = ParamsError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ParamsError> {
        let Some((name, values)) = self.left.next() else { return Ok(None) };
        seed.deserialize(Values(values)).map(Some).map_err(|error| error.at(&name))
    }
}

/// All values of one parameter.
#[derive(Debug)]
struct Values(Vec<String>);

impl Values {
    fn one(mut self) -> Result<String, ParamsError> {
        match (self.0.pop(), self.0.is_empty()) {
            (Some(value), true) => Ok(value),
            _ => Err(ParamsError::custom("it may be given only once")),
        }
    }

    fn parse<T: std::str::FromStr>(self, what: &str) -> Result<T, ParamsError> {
        let text = self.one()?;
        text.parse().map_err(|_| ParamsError::custom(format!("`{text}` is not {what}")))
    }
}

macro_rules! parsed {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
            visitor.$visit(self.parse::<$type>($what)?)
        }
    )*};
}

impl IntoDeserializer<'_, ParamsError> for Values {
    type Deserializer = Values;

    fn into_deserializer(self) -> Values {
        self
    }
}

impl<'de> Deserializer<'de> for Values {
    type Error = ParamsError;

    parsed! {
        deserialize_bool visit_bool bool, "`true` or `false`";
        deserialize_i8 visit_i8 i8, "a whole number in range";
        deserialize_i16 visit_i16 i16, "a whole number in range";
        deserialize_i32 visit_i32 i32, "a whole number in range";
        deserialize_i64 visit_i64 i64, "a whole number in range";
        deserialize_u8 visit_u8 u8, "a whole number in range";
        deserialize_u16 visit_u16 u16, "a whole number in range";
        deserialize_u32 visit_u32 u32, "a whole number in range";
        deserialize_u64 visit_u64 u64, "a whole number in range";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_string(self.one()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ParamsError> {
        visitor.visit_seq(SeqDeserializer::new(self.0.into_iter().map(|value| Values(vec![value]))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ParamsError> {
        let word: serde::de::value::StringDeserializer<ParamsError> = self.one()?.into_deserializer();
        word.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use uuid::Uuid;

    use super::*;
    use crate::model::{Lane, Micros, RunId};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Filter {
        lane: Vec<Lane>,
        limit: Option<u32>,
        since: Option<Micros>,
        archived: bool,
        text: Option<String>,
    }

    fn filter(query: &str) -> Filter {
        Params::of_query(query).unwrap().read().unwrap()
    }

    fn refused<T: DeserializeOwned + fmt::Debug>(params: Params) -> (Code, String) {
        let problem = params.read::<T>().unwrap_err();
        (problem.code, problem.errors[0].pointer.clone())
    }

    #[test]
    fn a_query_is_read_by_names() {
        assert_eq!(filter(""), Filter::default());
        let lanes = Filter { lane: vec![Lane::A, Lane::C], limit: Some(7), ..Filter::default() };
        assert_eq!(filter("lane=A&limit=7&lane=C"), lanes);
        let text = Filter { text: Some("a b&c+%é".to_owned()), archived: true, ..Filter::default() };
        assert_eq!(filter("text=a+b%26c%2B%%C3%A9&archived=true"), text);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (query, code, pointer) in [
            ("lane=A&lane=Z", Code::BadRequest, "lane"),
            ("limit=-1", Code::BadRequest, "limit"),
            ("limit=1&limit=2", Code::BadRequest, "limit"),
            ("lane=A&since=yesterday", Code::BadRequest, "since"),
            ("archived=1", Code::BadRequest, "archived"),
            ("limit=1&page=2", Code::UnknownParameter, "page"),
        ] {
            assert_eq!(refused::<Filter>(Params::of_query(query).unwrap()), (code, pointer.to_owned()), "{query}");
        }
        assert_eq!(Params::of_query("text=%FF").unwrap_err().errors[0].pointer, "text");
    }

    #[test]
    fn a_path_is_read_by_names_in_order_or_alone() {
        let id = Uuid::from_u128(7).to_string();
        let path = |pairs: &[(&str, &str)]| {
            Params::of_path(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
        };
        let run = RunId(Uuid::from_u128(7));
        assert_eq!(path(&[("id", &id)]).read::<RunId>().unwrap(), run);
        let both = path(&[("id", &id), ("step", "a/b")]).read::<(RunId, String)>().unwrap();
        assert_eq!(both, (run, "a/b".to_owned()));
        assert_eq!(path(&[("name", "x"), ("version", "3")]).read::<(String, u32)>().unwrap(), ("x".to_owned(), 3));
        assert_eq!(refused::<RunId>(path(&[("id", "7")])), (Code::BadRequest, "id".to_owned()));
        let second = refused::<(String, u32)>(path(&[("name", "x"), ("version", "y")]));
        assert_eq!(second, (Code::BadRequest, "version".to_owned()));
        assert_eq!(path(&[("version", "3")]).read::<u32>().unwrap(), 3);
    }
}
