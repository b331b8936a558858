//! The processes of steps, with real processes.
use std::{path::PathBuf, time::Duration};

use opsroom::{
    model::WorkerId,
    ports::{Exit, ProcessSpec, Processes, SpawnError},
    system::{Supervised, SupervisorConfig},
};

#[expect(clippy::disallowed_methods, reason = "a test has no ids port")]
fn config() -> SupervisorConfig {
    SupervisorConfig {
        executable: env!("CARGO_BIN_EXE_opsroom").into(),
        ..SupervisorConfig::new(WorkerId(uuid::Uuid::now_v7()))
    }
}

fn spec<const N: usize>(argv: [&str; N]) -> ProcessSpec {
    ProcessSpec {
        argv: argv.map(Into::into).into(),
        env: [("PATH".into(), "/usr/bin:/bin".into())].into(),
        cwd: PathBuf::from("/"),
    }
}

#[tokio::test]
async fn exits() {
    let processes = Supervised::start(config()).await.unwrap();
    let mut p = processes.spawn(spec(["sh", "-c", "exit 7"])).await.unwrap();
    assert_eq!(p.wait().await.unwrap(), Exit { code: Some(7), signal: None });
    let mut p = processes.spawn(spec(["sleep", "1000"])).await.unwrap();
    p.terminate(Duration::from_secs(5));
    assert_eq!(p.wait().await.unwrap(), Exit { code: None, signal: Some(15) });
    let e = processes.spawn(spec(["nope"])).await.err().unwrap();
    assert_eq!(e, SpawnError::NotFound { program: "nope".into() });
    let mut p = processes.spawn(spec(["sh", "-c", "setsid sleep 1001 & sleep 1002 & exit 3"])).await.unwrap();
    assert_eq!(p.wait().await.unwrap(), Exit { code: Some(3), signal: None });
}
