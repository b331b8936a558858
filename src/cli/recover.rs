//! `opsroom recover`.
use super::{Context, fault::Fault};

#[derive(Debug, clap::Args)]
pub struct Options {}

pub fn execute(_: &Context, _: &Options) -> Result<u8, Fault> {
    Ok(0)
}
