//! Progress bars, on standard error and only on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// The bar of a transfer of so many bytes.
pub fn transfer(what: &str, bytes: u64) -> ProgressBar {
    let bar = ProgressBar::new(bytes);
    styled(&bar, "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    bar.set_message(what.to_owned());
    bar
}

/// The bar of a run whose steps settle.
pub fn steps() -> ProgressBar {
    let bar = ProgressBar::new(0);
    styled(&bar, "{msg} {bar:30} {pos}/{len} steps {elapsed}");
    bar
}

fn styled(bar: &ProgressBar, template: &str) {
    // A template that cannot be read leaves the plain bar.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
