//! Between JSON and CEL values.

use std::collections::HashMap;

use cel::common::{
    types::{
        CelBool, CelDouble, CelDuration, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional, CelString,
        CelTimestamp, CelUInt,
    },
    value::Val,
};
use serde_json::{Map, Number, Value};

use super::ExprError;

/// Bytes of JSON that an expression may give, as for the outputs of a step.
const MAX_OUTPUT: usize = 256 * 1024;
/// Nesting of values in and out; conversion recurses as deep. JSON text is read no deeper than this.
const MAX_NESTING: usize = 128;

/// A CEL value that borrows its strings. Integers become `int`, which `serde` would make `uint`.
pub(super) fn from_json(json: &Value) -> Result<Box<dyn Val + '_>, ExprError> {
    convert(json, MAX_NESTING)
}

/// A CEL map.
pub(super) fn map<'v>(entries: Vec<(&'v str, Box<dyn Val + 'v>)>) -> Box<dyn Val + 'v> {
    let entries: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> =
        entries.into_iter().map(|(key, value)| (CelMapKey::String(CelString::from(key)), value)).collect();
    Box::new(CelMap::from(entries))
}

/// A value as JSON: within 256 KiB, 128 levels and the numbers that JSON has.
pub(super) fn to_json(value: &dyn Val) -> Result<Value, ExprError> {
    Writer { bytes: MAX_OUTPUT }.value(value, MAX_NESTING)
}

/// The same value, where it is not too large for a result.
pub(super) fn within_limit(json: Value) -> Result<Value, ExprError> {
    match measure(&json, MAX_OUTPUT) {
        Some(_) => Ok(json),
        None => Err(too_large()),
    }
}

fn convert(json: &Value, levels: usize) -> Result<Box<dyn Val + '_>, ExprError> {
    let Some(levels) = levels.checked_sub(1) else {
        return Err(ExprError::new(format!("a value nests deeper than {MAX_NESTING} levels")));
    };
    Ok(match json {
        Value::Null => Box::new(CelNull),
        Value::Bool(bool) => Box::new(CelBool::from(*bool)),
        Value::Number(number) => from_number(number),
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => {
            let items = items.iter().map(|item| convert(item, levels)).collect::<Result<Vec<_>, _>>()?;
            Box::new(CelList::from(items))
        }
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.as_str(), convert(value, levels)?)));
            map(entries.collect::<Result<Vec<_>, ExprError>>()?)
        }
    })
}

fn from_number(number: &Number) -> Box<dyn Val> {
    if let Some(int) = number.as_i64() {
        Box::new(CelInt::from(int))
    } else if let Some(large) = number.as_u64() {
        Box::new(CelUInt::from(large))
    } else {
        Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN)))
    }
}

fn too_large() -> ExprError {
    ExprError::new(format!("the result is larger than {} KiB", MAX_OUTPUT / 1024))
}

/// What is left of `budget` after the JSON text of the value, about.
fn measure(json: &Value, budget: usize) -> Option<usize> {
    match json {
        Value::Null | Value::Bool(_) | Value::Number(_) => budget.checked_sub(4),
        Value::String(text) => budget.checked_sub(text.len() + 2),
        Value::Array(items) => items.iter().try_fold(budget.checked_sub(2)?, |left, item| measure(item, left)),
        Value::Object(entries) => entries
            .iter()
            .try_fold(budget.checked_sub(2)?, |left, (key, value)| measure(value, left.checked_sub(key.len() + 3)?)),
    }
}

struct Writer {
    bytes: usize,
}

impl Writer {
    fn pay(&mut self, bytes: usize) -> Result<(), ExprError> {
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }

    fn value(&mut self, value: &dyn Val, levels: usize) -> Result<Value, ExprError> {
        let Some(levels) = levels.checked_sub(1) else {
            return Err(ExprError::new(format!("the result nests deeper than {MAX_NESTING} levels")));
        };
        self.pay(4)?;
        if let Some(text) = value.downcast_ref::<CelString>() {
            self.pay(text.inner().len())?;
            Ok(Value::String(text.inner().to_owned()))
        } else if let Some(list) = value.downcast_ref::<CelList>() {
            list.inner().iter().map(|item| self.value(item.as_ref(), levels)).collect()
        } else if let Some(map) = value.downcast_ref::<CelMap>() {
            self.map(map, levels)
        } else if let Some(optional) = value.downcast_ref::<CelOptional>() {
            optional.option().map_or(Ok(Value::Null), |inner| self.value(inner, levels))
        } else {
            scalar(value)
        }
    }

    /// CEL maps have no order; the keys are sorted, so that one expression always gives one text.
    fn map(&mut self, map: &CelMap, levels: usize) -> Result<Value, ExprError> {
        let mut entries = Vec::with_capacity(map.inner().len());
        for (key, value) in map.inner() {
            let key = key_text(key);
            self.pay(key.len())?;
            entries.push((key, self.value(value.as_ref(), levels)?));
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Value::Object(entries.into_iter().collect::<Map<_, _>>()))
    }
}

/// JSON has only strings as keys.
pub(super) fn key_text(key: &CelMapKey<'_>) -> String {
    match key {
        CelMapKey::String(text) => text.inner().to_owned(),
        CelMapKey::Int(int) => int.inner().to_string(),
        CelMapKey::UInt(uint) => uint.inner().to_string(),
        CelMapKey::Bool(bool) => bool.inner().to_string(),
    }
}

fn scalar(value: &dyn Val) -> Result<Value, ExprError> {
    if let Some(bool) = value.downcast_ref::<CelBool>() {
        Ok(Value::Bool(*bool.inner()))
    } else if let Some(int) = value.downcast_ref::<CelInt>() {
        Ok(Value::from(*int.inner()))
    } else if let Some(uint) = value.downcast_ref::<CelUInt>() {
        Ok(Value::from(*uint.inner()))
    } else if value.downcast_ref::<CelNull>().is_some() {
        Ok(Value::Null)
    } else if let Some(double) = value.downcast_ref::<CelDouble>() {
        let double = *double.inner();
        let number = Number::from_f64(double);
        number
            .map(Value::Number)
            .ok_or_else(|| ExprError::new(format!("the result is {double}, which JSON does not have")))
    } else if let Some(timestamp) = value.downcast_ref::<CelTimestamp>() {
        Ok(Value::String(timestamp.inner().to_rfc3339()))
    } else if let Some(duration) = value.downcast_ref::<CelDuration>() {
        Ok(Value::String(format!("{}ms", duration.inner().num_milliseconds())))
    } else {
        let name = value.get_type().name();
        Err(ExprError::new(format!("a value of the type `{name}` cannot be a result; convert it with `string(…)`")))
    }
}
