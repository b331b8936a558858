//! The stand-in for systems without the supervisor, as far as it goes.

use std::time::Duration;

use opsroom::{
    ports::{ProcessSpec, Processes as _, SpawnError},
    system::Grouped,
};
use tokio::io::AsyncReadExt as _;

use super::world::{Mark, PATIENCE, code, config, signal};

#[tokio::test]
async fn groups_start_tell_and_end() {
    let (groups, mark) = (Grouped::start(config()).await.unwrap(), Mark::new());
    let mut process = groups.spawn(mark.script("echo out; exit 7")).await.unwrap();
    let mut output = String::new();
    process.take_stdout().unwrap().read_to_string(&mut output).await.unwrap();
    assert_eq!((process.wait().await.unwrap(), output.as_str()), (code(7), "out\n"));

    let missing = groups.spawn(mark.spec(&["no-such-program"])).await.err();
    assert_eq!(missing, Some(SpawnError::NotFound { program: "no-such-program".into() }));
    let nowhere = ProcessSpec { cwd: "/no/such/folder".into(), ..mark.spec(&["true"]) };
    assert!(groups.spawn(nowhere).await.err().unwrap().to_string().contains("working directory"));
}

#[tokio::test]
async fn a_group_is_gone_when_wait_answers() {
    let (groups, mark) = (Grouped::start(config()).await.unwrap(), Mark::new());
    let mut process = groups.spawn(mark.script("$S & $S & exit 3")).await.unwrap();
    assert_eq!(process.wait().await.unwrap(), code(3));
    mark.until_none_is_left(PATIENCE).await;

    let mut process = groups.spawn(mark.script("trap '' TERM; $S & $S")).await.unwrap();
    mark.until_sleeping(2).await;
    process.terminate(Duration::MAX);
    process.terminate(Duration::from_millis(50));
    assert_eq!(process.wait().await.unwrap(), signal(9));
    mark.until_none_is_left(PATIENCE).await;

    let process = groups.spawn(mark.script("$S & $S")).await.unwrap();
    mark.until_sleeping(2).await;
    drop(process);
    mark.until_none_is_left(PATIENCE).await;
}
