//! The tank of an evaluation, and the functions that pay from it.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering},
};

use cel::{
    Env, ExecutionError,
    common::{
        types::{CelBool, CelBytes, CelInt, CelList, CelMap, CelMapKey, CelOptional, CelString, DYN_TYPE, Type},
        value::{CowVal, StaticVal, Val},
    },
};
use regex::RegexBuilder;

/// Units that one evaluation may use; about 100 ms and 16 MiB at the worst. A unit is a node of a loop's body, a
/// scalar or 16 bytes of text.
pub(super) const FUEL: u64 = 1_000_000;
/// The variable that holds the tank. No CEL source can name it, because of the `@`.
pub(super) const VARIABLE: &str = "@fuel";

pub(super) const CHARGE: &str = "@charge";
pub(super) const WEIGH: &str = "@weigh";
pub(super) const GLANCE: &str = "@glance";
pub(super) const MATCHES: &str = "@matches";

/// What a regular expression may occupy when it is compiled, and what compiling it costs.
const REGEX_BYTES: usize = 64 * 1024;
const REGEX_FUEL: u64 = 500;

/// The standard functions, and those of the rewritten trees.
pub(super) fn environment() -> Arc<Env> {
    static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
        let mut env = Env::stdlib();
        let dynamic = |n| std::iter::repeat_with(|| DYN_TYPE).take(n).collect();
        // The names are ours alone (`@`), so that no declaration can conflict; were one to, evaluation would say
        // that the function is not known.
        let _ = env.add_overload(CHARGE, "charge", dynamic(3), charge);
        let _ = env.add_overload(WEIGH, "weigh", dynamic(3), weigh);
        let _ = env.add_overload(GLANCE, "glance", dynamic(2), glance);
        let _ = env.add_overload(MATCHES, "matches", dynamic(3), matches);
        Arc::new(env)
    });
    Arc::clone(&ENVIRONMENT)
}

/// The tank of one evaluation.
#[derive(Debug, Clone)]
pub(super) struct Fuel(Arc<AtomicU64>);

impl Fuel {
    pub(super) fn full() -> Fuel {
        Fuel(Arc::new(AtomicU64::new(FUEL)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes units; an empty tank stays empty. An empty one does not even measure: errors may be swallowed by `||`
    /// and `exists`, and then the next turn asks again.
    fn take(&self, units: impl FnOnce() -> u64) -> Result<(), ExecutionError> {
        let left = self.0.load(Ordering::Relaxed);
        let left = if left == 0 { 0 } else { left.saturating_sub(units()) };
        self.0.store(left, Ordering::Relaxed);
        if left == 0 { Err(ExecutionError::function_error("expression", "takes too long")) } else { Ok(()) }
    }
}

impl Val for Fuel {
    fn get_type(&self) -> &Type {
        <Self as Val>::cel_type()
    }

    fn cel_type() -> &'static Type {
        static FUEL_TYPE: Type = Type::new_unspecified_type("fuel");
        &FUEL_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Fuel {}

/// `(range, weight, fuel)`: pays for a loop.
fn charge<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [range, weight, fuel] = three(args)?;
    let weight = weight.downcast_ref::<CelInt>().and_then(|int| u64::try_from(*int.inner()).ok()).unwrap_or(1);
    let length = range.as_sizer().map_or(0, |sizer| u64::try_from(*sizer.size().inner()).unwrap_or(0));
    // Each item is copied into the loop's variable.
    pay(fuel.as_ref(), || length.saturating_mul(weight).saturating_add(units(range.as_ref())))?;
    Ok(match range.downcast_ref::<CelMap>() {
        Some(map) => {
            let mut keys: Vec<&CelMapKey<'v>> = map.inner().keys().collect();
            keys.sort();
            CowVal::owned(CelList::from(keys.into_iter().map(key_value).collect::<Vec<_>>()))
        }
        None => range,
    })
}

/// `(value, divisor, fuel)`: pays for everything inside of the value.
fn weigh<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [value, divisor, fuel] = three(args)?;
    let divisor = divisor.downcast_ref::<CelInt>().and_then(|int| u64::try_from(*int.inner()).ok()).unwrap_or(1);
    pay(fuel.as_ref(), || 1 + units(value.as_ref()) / divisor.max(1))?;
    Ok(value)
}

/// `(value, fuel)`: pays for the text, where the value is one.
fn glance<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let (Some(fuel), Some(value)) = (args.pop(), args.pop()) else {
        return Err(ExecutionError::MissingArgumentOrTarget);
    };
    pay(fuel.as_ref(), || text_units(value.as_ref()).unwrap_or(1))?;
    Ok(value)
}

/// `(text, pattern, fuel)`: whether the pattern is found in the text.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, pattern, fuel] = three(args)?;
    let (Some(text), Some(pattern)) = (text.downcast_ref::<CelString>(), pattern.downcast_ref::<CelString>()) else {
        let types = [&text, &pattern].map(|operand| operand.get_type().name().to_owned());
        return Err(ExecutionError::no_such_overload("matches", types.to_vec()));
    };
    pay(fuel.as_ref(), || REGEX_FUEL + units(text) + units(pattern))?;
    let regex = RegexBuilder::new(pattern.inner()).size_limit(REGEX_BYTES).build();
    let regex = regex.map_err(|error| ExecutionError::function_error("matches", regex_problem(&error)))?;
    Ok(CowVal::owned(CelBool::from(regex.is_match(text.inner()))))
}

/// Whether a pattern can be used, and why not.
pub(super) fn check_pattern(pattern: &str) -> Result<(), String> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES).build().map(drop).map_err(|error| regex_problem(&error))
}

/// The last line of the message; those before it draw the pattern.
fn regex_problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

fn three<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<[CowVal<'b, 'v>; 3], ExecutionError> {
    args.try_into().map_err(|_| ExecutionError::MissingArgumentOrTarget)
}

fn pay(fuel: &dyn Val, units: impl FnOnce() -> u64) -> Result<(), ExecutionError> {
    fuel.downcast_ref::<Fuel>().ok_or(ExecutionError::MissingArgumentOrTarget)?.take(units)
}

fn text_units(value: &dyn Val) -> Option<u64> {
    let bytes = match value.downcast_ref::<CelString>() {
        Some(text) => text.inner().len(),
        None => value.downcast_ref::<CelBytes>()?.inner().len(),
    };
    Some(1 + bytes as u64 / 16)
}

fn units(value: &dyn Val) -> u64 {
    if let Some(list) = value.downcast_ref::<CelList>() {
        1 + list.inner().iter().map(|item| units(item.as_ref())).sum::<u64>()
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        1 + map.inner().values().map(|item| 2 + units(item.as_ref())).sum::<u64>()
    } else if let Some(inner) = value.downcast_ref::<CelOptional>().and_then(CelOptional::option) {
        1 + units(inner)
    } else {
        text_units(value).unwrap_or(1)
    }
}

fn key_value<'v>(key: &CelMapKey<'v>) -> Box<dyn Val + 'v> {
    match key {
        CelMapKey::String(text) => Box::new(text.clone()),
        CelMapKey::Int(int) => Box::new(*int),
        CelMapKey::UInt(uint) => Box::new(*uint),
        CelMapKey::Bool(bool) => Box::new(*bool),
    }
}
