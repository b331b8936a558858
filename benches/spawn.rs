//! What the supervisor costs: spawn and end of `true`, against the same through std alone, in turn.
//!
//! `cargo bench --bench spawn`

use std::{
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use opsroom::{
    model::WorkerId,
    ports::{ProcessSpec, Processes as _},
    system::{Supervised, SupervisorConfig},
};
use uuid::Uuid;

const ROUNDS: usize = 5;
const SPAWNS: u32 = 400;
const PROGRAM: &str = "/bin/true";

fn main() -> std::io::Result<()> {
    for (name, runtime) in [
        ("one thread", tokio::runtime::Builder::new_current_thread()),
        ("many threads", tokio::runtime::Builder::new_multi_thread()),
    ] {
        let mut runtime = runtime;
        runtime.enable_all().build()?.block_on(compare(name))?;
    }
    Ok(())
}

async fn compare(name: &str) -> std::io::Result<()> {
    let config = SupervisorConfig {
        executable: env!("CARGO_BIN_EXE_opsroom").into(),
        ..SupervisorConfig::new(WorkerId(Uuid::from_u128(u128::from(std::process::id()))))
    };
    let processes = Supervised::start(config).await?;
    let (mut plain, mut piped, mut supervised) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(each(|| spawn_plain(Stdio::null))?);
        piped.push(each(|| spawn_plain(Stdio::piped))?);
        supervised.push(each_supervised(&processes).await?);
    }
    let (plain, piped, supervised) = (median(plain), median(piped), median(supervised));
    let ratio = supervised.as_secs_f64() / plain.as_secs_f64();
    let to_piped = supervised.as_secs_f64() / piped.as_secs_f64();
    writeln!(
        std::io::stdout(),
        "{name}: std {plain:?}, std with pipes {piped:?}, supervised (with pipes) {supervised:?}: \
         {ratio:.2} x std, {to_piped:.2} x std with pipes"
    )
}

fn spawn_plain(output: fn() -> Stdio) -> std::io::Result<()> {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null()).stdout(output()).stderr(output());
    command.spawn()?.wait()?;
    Ok(())
}

fn each(mut spawn: impl FnMut() -> std::io::Result<()>) -> std::io::Result<Duration> {
    let started = Instant::now();
    for _ in 0..SPAWNS {
        spawn()?;
    }
    Ok(started.elapsed() / SPAWNS)
}

async fn each_supervised(processes: &Supervised) -> std::io::Result<Duration> {
    let started = Instant::now();
    for _ in 0..SPAWNS {
        let spec = ProcessSpec { argv: vec![PROGRAM.into()], env: [].into(), cwd: "/".into() };
        let mut process = processes.spawn(spec).await.map_err(std::io::Error::other)?;
        process.wait().await.map_err(std::io::Error::other)?;
    }
    Ok(started.elapsed() / SPAWNS)
}

fn median(mut durations: Vec<Duration>) -> Duration {
    durations.sort();
    durations[durations.len() / 2]
}
