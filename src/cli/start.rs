//! The first and the last of a process: logging, panics, a command line that cannot be read.

use std::{
    ffi::OsString,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use tracing_subscriber::EnvFilter;

use super::{
    config::LogConfig,
    fault::{Fault, exit},
    out::{Format, Out},
};

/// Runs the program; a panic becomes one line and the exit code of our own faults.
pub fn guarded(program: impl FnOnce() -> u8) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // The message itself may hold what a step has said, a secret even: it is for the debug log only.
        let _ = writeln!(
            std::io::stderr(),
            "error[INTERNAL]: opsroom has a fault at {place}; please report it (OPSROOM_LOG=debug tells more)"
        );
        tracing::debug!(%panic, "panic");
    }));
    let code = catch_unwind(AssertUnwindSafe(program)).unwrap_or(exit::FAULT);
    ExitCode::from(code)
}

/// Logs go to standard error.
pub fn logging(config: &LogConfig) -> Result<(), Fault> {
    let filter = EnvFilter::try_new(&config.filter).map_err(|error| {
        Fault::refused("BAD_CONFIG", format!("OPSROOM_LOG is `{}`: {error}", config.filter))
            .help("write a level (`info`) or pairs of target and level (`opsroom::control=debug`)")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let coloured = Out::is_stderr_coloured();
    let installed = if config.json { builder.json().try_init() } else { builder.with_ansi(coloured).try_init() };
    installed.map_err(|error| Fault::internal("INTERNAL", format!("logging: {error}")))
}

/// Help, the version, or what is wrong with the command line; answers the exit code.
pub fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    let text = error.render();
    if !error.use_stderr() {
        Out::new(Format::Text).raw(text.ansi().to_string().as_bytes());
        return exit::SUCCESS;
    }
    let plain = text.to_string();
    let message = plain.strip_prefix("error: ").unwrap_or(&plain).trim_end().to_owned();
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        Out::new(Format::Text).message(plain.trim_end());
        return exit::REFUSED;
    }
    Fault::refused("USAGE", message).report(&Out::new(wanted_format(arguments)));
    exit::REFUSED
}

/// The output format of a command line that cannot be read as a whole.
fn wanted_format(arguments: &[OsString]) -> Format {
    let names = ["--output", "--format"];
    let joined = names.map(|name| format!("{name}=json"));
    let json = arguments.iter().enumerate().any(|(at, argument)| {
        let next = || arguments.get(at + 1).is_some_and(|next| next == "json");
        joined.iter().any(|joined| argument == joined.as_str())
            || (names.iter().any(|name| argument == *name) && next())
    });
    if json { Format::Json } else { Format::Text }
}
