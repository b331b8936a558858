//! How heavy the tests are, and where their figures go.

use std::fmt::Display;

/// Whether the full counts are asked for.
#[expect(clippy::disallowed_methods, reason = "the one switch of these tests")]
pub fn is_soak() -> bool {
    std::env::var_os("OPSROOM_SOAK").is_some_and(|value| value == "1")
}

/// How many: every day, and in a soak.
pub fn count<T>(light: T, full: T) -> T {
    if is_soak() { full } else { light }
}

/// Shows a figure, as in `bar kill: 50 kills, 0 lost`.
pub fn figure(bar: &str, what: impl Display) {
    println!("\nbar {bar}: {what}");
}

/// Times are only told, except in a soak, which is for a release build on a quiet machine.
pub fn judge(bar: &str, what: impl Display, holds: bool) {
    figure(bar, &what);
    assert!(holds || !is_soak(), "{bar}: {what}");
}
