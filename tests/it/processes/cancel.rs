//! The end of trees: cancelled, left behind, dropped.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use opsroom::ports::{Process, Processes as _};

use super::world::{Mark, PATIENCE, SHAPES, World, code, percentiles, signal};

const GRACE: Duration = Duration::from_millis(500);

/// Trees of every shape in turn, all of them up.
pub async fn forest(world: &World, count: usize) -> Vec<Box<dyn Process>> {
    let shapes: Vec<_> = SHAPES.iter().cycle().take(count).collect();
    let spawns = shapes.iter().map(|(script, _)| world.spawn(script));
    let trees = futures::future::join_all(spawns).await;
    world.mark.until_sleeping(shapes.iter().map(|(_, sleeps)| sleeps).sum()).await;
    trees
}

/// Cancels all at once; how long each took to be gone.
async fn cancel_all(mark: &Mark, trees: Vec<Box<dyn Process>>) -> Vec<Duration> {
    let started = Instant::now();
    let ends = trees.into_iter().map(|mut tree| async move {
        tree.terminate(GRACE);
        tree.wait().await.unwrap();
        started.elapsed()
    });
    let took = futures::future::join_all(ends).await;
    assert_eq!(mark.living(), Vec::<String>::new());
    took
}

#[tokio::test]
async fn two_hundred_trees_are_gone_within_grace_and_a_second() {
    let world = World::new().await;
    let trees = forest(&world, 200).await;
    let took = cancel_all(&world.mark, trees).await;
    assert!(took.iter().all(|took| *took < GRACE + Duration::from_secs(1)), "{}", percentiles(took));
}

#[tokio::test]
#[ignore = "heavy: five hundred trees"]
async fn five_hundred_trees_are_gone_in_time() {
    let world = World::new().await;
    let trees = forest(&world, 500).await;
    let took = cancel_all(&world.mark, trees).await;
    writeln!(std::io::stdout(), "500 trees, grace {GRACE:?}: {}", percentiles(took)).unwrap();
}

#[tokio::test]
async fn a_step_that_heeds_term_ends_its_own_way() {
    let world = World::new().await;
    let mut process = world.spawn("trap 'exit 5' TERM; $S & wait").await;
    world.mark.until_sleeping(1).await;
    process.terminate(PATIENCE);
    assert_eq!(process.wait().await.unwrap(), code(5));
    assert_eq!(world.mark.living(), Vec::<String>::new());
}

#[tokio::test]
async fn what_outlives_its_leader_may_use_the_grace_too() {
    let world = World::new().await;
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let done = done.to_str().unwrap();
    // The leader dies of TERM at once; the one in its own session tidies up.
    let tidy = format!("trap 'sleep 0.2; echo tidy > {done}; exit' TERM; $S & wait");
    let mut process = world.spawn(&format!("setsid sh -c \"{tidy}\" & $S")).await;
    world.mark.until_sleeping(2).await;
    process.terminate(PATIENCE);
    assert_eq!(process.wait().await.unwrap(), signal(15));
    assert_eq!(std::fs::read_to_string(done).unwrap(), "tidy\n");
    assert_eq!(world.mark.living(), Vec::<String>::new());
}

#[tokio::test]
async fn a_stopped_step_hears_term() {
    let world = World::new().await;
    let mut process = world.spawn("trap 'exit 6' TERM; kill -STOP $$").await;
    let stat = format!("/proc/{}/stat", process.id());
    let stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
    super::world::until("stopped", PATIENCE, stopped).await;
    process.terminate(PATIENCE);
    assert_eq!(process.wait().await.unwrap(), code(6));
}

#[tokio::test]
async fn a_second_cancel_shortens_the_grace() {
    let world = World::new().await;
    let mut process = world.spawn("trap '' TERM; $S").await;
    world.mark.until_sleeping(1).await;
    process.terminate(Duration::MAX);
    process.terminate(Duration::ZERO);
    assert_eq!(process.wait().await.unwrap(), signal(9));
}

#[tokio::test]
async fn what_a_finished_step_leaves_behind_is_gone_when_wait_answers() {
    let world = World::new().await;
    // Another tree lives on, untouched, and makes the supervisor tell whose children are whose.
    let mut other = world.spawn("(setsid sh -c \"$S &\" &); $S").await;
    world.mark.until_sleeping(2).await;
    let before = world.mark.living();
    for (script, _) in SHAPES {
        let script = format!("({}) & ", script.replace("wait", "true"));
        // Ends while they start.
        let mut process = world.spawn(&format!("{script} {script} exit 3")).await;
        assert_eq!(process.wait().await.unwrap(), code(3));
        assert_eq!(world.mark.living(), before, "{script}");
    }
    other.terminate(Duration::ZERO);
    other.wait().await.unwrap();
    assert_eq!(world.mark.living(), Vec::<String>::new());
}

#[tokio::test]
async fn those_that_hide_their_origin_go_with_the_last_step_that_may_own_them() {
    let world = World::new().await;
    // A limit of its own, a session, no environment: only the time of its birth is left.
    let hide = "(env -i prlimit --locks=77 setsid sh -c '$S &' &)";
    let mut older = world.spawn("$S").await;
    let mut hiding = world.spawn(&format!("{hide}; $S")).await;
    world.mark.until_sleeping(3).await;
    hiding.terminate(Duration::ZERO);
    assert_eq!(hiding.wait().await.unwrap(), signal(9));
    older.terminate(Duration::ZERO);
    older.wait().await.unwrap();
    assert_eq!(world.mark.living(), Vec::<String>::new());
}

#[tokio::test]
async fn a_fork_bomb_in_sessions_of_its_own_ends() {
    let world = World::new().await;
    // Each generation leaves session and parent behind.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb");
    std::fs::write(&path, "setsid sh \"$0\" & exit\n").unwrap();
    let path = path.to_str().unwrap();
    let mut process = world.spawn(&format!("for i in 1 2 3 4 5; do setsid sh {path} & done; $S")).await;
    world.mark.until_sleeping(1).await;
    process.terminate(Duration::ZERO);
    tokio::time::timeout(PATIENCE, process.wait()).await.unwrap().unwrap();
    assert_eq!(world.mark.living(), Vec::<String>::new());
}

#[tokio::test]
async fn dropping_a_process_kills_its_tree() {
    let world = World::new().await;
    let trees = forest(&world, SHAPES.len()).await;
    drop(trees);
    world.mark.until_none_is_left(PATIENCE).await;
    // Dropped while it is being started.
    for _ in 0..20 {
        let spawning = world.processes.spawn(world.mark.script("$S & $S"));
        let _ = tokio::time::timeout(Duration::ZERO, spawning).await;
    }
    world.mark.until_none_is_left(PATIENCE).await;
}

#[tokio::test]
async fn dropping_the_adapter_kills_every_tree() {
    let world = World::new().await;
    let mut trees = forest(&world, SHAPES.len()).await;
    drop(world.processes);
    world.mark.until_none_is_left(PATIENCE).await;
    assert!(trees[0].wait().await.is_err());
}

#[tokio::test]
async fn shutdown_answers_when_nothing_is_left() {
    let world = World::new().await;
    let mut trees = forest(&world, 24).await;
    world.processes.shutdown().await;
    assert_eq!(world.mark.living(), Vec::<String>::new());
    assert!(trees[0].wait().await.is_err());
}
