//! `opsroom version`.

use serde_json::json;

use super::{Context, fault::exit};
use crate::runbook::Plan;

/// Print the version of this build
#[derive(Debug, clap::Args)]
pub struct Options {}

pub fn execute(context: &Context, _: &Options) -> u8 {
    let version = env!("CARGO_PKG_VERSION");
    if context.out.is_json() {
        context.out.json(&json!({
            "name": "opsroom",
            "version": version,
            "language": 1,
            "plan_format": Plan::FORMAT,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
        }));
    } else {
        context.out.line(format!("opsroom {version}"));
    }
    exit::SUCCESS
}
