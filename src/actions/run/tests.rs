use std::{
    collections::HashMap,
    os::unix::{fs::symlink, process::ExitStatusExt},
    process::Stdio,
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncRead,
    process::{Child, Command},
};

use super::*;
use crate::{
    actions::testing::{self, GivenFolders, MemoryArtifacts, World},
    ports::{LogPayload, ProcessSpec},
};

/// Processes of this test, each a group of its own.
#[derive(Debug)]
struct LocalProcesses;

struct LocalProcess(Child);

#[async_trait]
impl Processes for LocalProcesses {
    async fn spawn(&self, spec: ProcessSpec) -> Result<Box<dyn Process>, SpawnError> {
        let program = spec.argv[0].clone();
        let child = Command::new(&program)
            .args(&spec.argv[1..])
            .env_clear()
            .envs(&spec.env)
            .current_dir(&spec.cwd)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        match child {
            Ok(child) => Ok(Box::new(LocalProcess(child))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(SpawnError::NotFound { program }),
            Err(error) => Err(SpawnError::Failed { program, why: error.to_string() }),
        }
    }
}

#[async_trait]
impl Process for LocalProcess {
    fn id(&self) -> u32 {
        self.0.id().unwrap_or(0)
    }

    fn take_stdout(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.0.stdout.take().map(|pipe| Box::new(pipe) as _)
    }

    fn take_stderr(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        self.0.stderr.take().map(|pipe| Box::new(pipe) as _)
    }

    async fn wait(&mut self) -> Result<Exit, SpawnError> {
        let status = self.0.wait().await.map_err(|_| SpawnError::SupervisorLost)?;
        Ok(Exit { code: status.code(), signal: status.signal() })
    }

    fn terminate(&mut self, _: Duration) {
        if let Some(pid) = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(pid, Signal::TERM);
        }
    }
}

#[derive(Default)]
struct Seen {
    text: HashMap<&'static str, String>,
    chunks: usize,
    bytes: usize,
    largest: usize,
}

struct Bench {
    world: World,
    artifacts: Arc<MemoryArtifacts>,
    workspaces: Arc<GivenFolders>,
    env: BTreeMap<String, String>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            world: World::with_room(4),
            artifacts: Arc::default(),
            workspaces: Arc::default(),
            env: BTreeMap::new(),
        }
    }

    fn executor(&self) -> Run {
        let base_env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("OPSROOM_STEP", "wrong")];
        Run::new(&Deps {
            processes: Arc::new(LocalProcesses),
            artifacts: self.artifacts.clone(),
            workspaces: self.workspaces.clone(),
            base_env: base_env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            ..testing::deps()
        })
    }

    /// Runs it while somebody reads the log.
    async fn run(&mut self, with: Value) -> (Result<Success, Failure>, Seen) {
        let mut context = self.world.context(with);
        context.env = self.env.clone();
        let executor = self.executor();
        let mut run = executor.execute(context);
        let mut seen = Seen::default();
        loop {
            tokio::select! {
                end = &mut run => {
                    while let Ok(chunk) = self.world.chunks.try_recv() {
                        seen.take(chunk.stream, chunk.payload);
                    }
                    return (end, seen);
                }
                Some(chunk) = self.world.chunks.recv() => seen.take(chunk.stream, chunk.payload),
            }
        }
    }

    async fn script(&mut self, script: &str) -> (Result<Success, Failure>, Seen) {
        self.run(json!({"script": script})).await
    }

    fn stored(&self, name: &str) -> Option<String> {
        let key = format!("00000000-0000-0000-0000-000000000007/step_1/{name}");
        self.artifacts.stored.lock().unwrap().get(&key).map(|bytes| String::from_utf8(bytes.clone()).unwrap())
    }
}

impl Seen {
    fn take(&mut self, stream: LogStream, payload: LogPayload) {
        let text = self.text.entry(stream.as_str()).or_default();
        match payload {
            LogPayload::Bytes(bytes) => {
                self.chunks += 1;
                self.bytes += bytes.len();
                self.largest = self.largest.max(bytes.len());
                if self.bytes < 1 << 20 {
                    text.push_str(&String::from_utf8_lossy(&bytes));
                }
            }
            LogPayload::Record { text: line, .. } => text.push_str(&line),
            LogPayload::Note { note, .. } => unreachable!("a process has nothing to note: {note:?}"),
        }
    }
}

fn stdout(success: &Success) -> &str {
    success.result.as_ref().unwrap()["stdout"].as_str().unwrap()
}

#[tokio::test]
async fn a_script_speaks_and_sets_outputs() {
    let mut bench = Bench::new();
    bench.env.insert("HOST".into(), "$(touch pwned); 'a b'".into());
    let script = r#"
        echo "to $HOST"; echo oops >&2
        echo "host=$HOST" >> "$OPSROOM_OUTPUT"
        printf 'list<<END\n1\n2\nEND\nsecret=%s\n' "$DB_PASSWORD" >> "$OPSROOM_OUTPUT"
        pwd > where; echo
    "#;
    let (end, seen) = bench.script(script).await;
    let success = end.unwrap();
    let (host, outputs) = ("$(touch pwned); 'a b'", &success.outputs);
    assert_eq!(success.result, Some(json!({"exit_code": 0, "signal": null, "stdout": format!("to {host}\n")})));
    assert_eq!(outputs, json!({"host": host, "list": "1\n2", "secret": "***"}).as_object().unwrap());
    assert_eq!(seen.text["stderr"], "oops\n");
    let workspace = bench.world.workspace();
    assert_eq!(std::fs::read_to_string(workspace.join("where")).unwrap().trim(), workspace.to_str().unwrap());
    assert!(!workspace.join("pwned").exists());
}

#[tokio::test]
async fn a_program_gets_its_arguments_as_they_are() {
    let (end, _) = Bench::new().run(json!({"argv": ["printf", "%s|", "a b", "$HOME", 7, "; ls"]})).await;
    assert_eq!(stdout(&end.unwrap()), "a b|$HOME|7|; ls|");
}

#[tokio::test]
async fn the_environment_is_exactly_what_was_given() {
    let mut bench = Bench::new();
    bench.env.insert("LANG".into(), "de_DE".into());
    let (end, _) = bench.run(json!({"argv": ["env"]})).await;
    let text = stdout(&end.unwrap()).to_owned();
    let mut names: Vec<&str> = text.lines().map(|line| line.split('=').next().unwrap()).collect();
    names.sort_unstable();
    let ours = ["ARTIFACTS", "ATTEMPT", "OUTPUT", "RUN_ID", "STEP", "SUMMARY"].map(|name| format!("OPSROOM_{name}"));
    let mut expected = vec!["DB_PASSWORD", "LANG", "PATH"];
    expected.extend(ours.iter().map(String::as_str));
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(
        text.contains("LANG=de_DE\n") && text.contains("OPSROOM_STEP=step_1\n") && text.contains("OPSROOM_ATTEMPT=1\n")
    );
    assert!(text.contains("DB_PASSWORD=***"));
}

#[tokio::test]
async fn shells_are_strict() {
    for (shell, script) in
        [("bash", "false | true; echo no"), ("sh", "echo $missing; echo no"), ("python3", "raise SystemExit(1)")]
    {
        let (end, seen) = Bench::new().run(json!({"script": script, "shell": shell})).await;
        assert!(matches!(end.unwrap_err().reason, FailureReason::Exit(1 | 2)), "{shell}");
        assert!(!seen.text.get("stdout").is_some_and(|text| text.contains("no")), "{shell}");
    }
    let (end, _) = Bench::new().run(json!({"script": "echo hi", "shell": "env 'A=b c' sh"})).await;
    assert_eq!(stdout(&end.unwrap()), "hi");
}

#[tokio::test]
async fn failures_say_how_and_why() {
    let cases: [(&str, &str, FailureReason, &str); 3] = [
        ("echo 'no disk: hunter2' >&2; exit 75", "EXIT_NONZERO", FailureReason::Exit(75), "exit code 75: no disk: ***"),
        ("exit 3", "EXIT_NONZERO", FailureReason::Exit(3), "exit code 3"),
        ("kill -TERM $$", "KILLED_BY_SIGNAL", FailureReason::Error, "killed by signal 15 (TERM)"),
    ];
    for (script, code, reason, message) in cases {
        let failure = Bench::new().script(script).await.0.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.reason, failure.message.as_str()), (code, reason, message));
        assert!(failure.retryable);
    }
    let failure = Bench::new().run(json!({"argv": ["no-such-program"]})).await.0.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("COMMAND_NOT_FOUND", false));
}

#[tokio::test]
async fn a_lost_supervisor_is_a_lost_worker() {
    let world = World::new();
    let run = Run::new(&testing::deps());
    let failure = run.execute(world.context(json!({"argv": ["true"]}))).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.reason), ("SUPERVISOR_LOST", FailureReason::WorkerLost));
}

#[tokio::test]
async fn a_cancel_ends_it_although_a_stranger_holds_the_pipe() {
    let mut bench = Bench::new();
    let (cancel, executor) = (bench.world.cancel.clone(), bench.executor());
    // `setsid` leaves the group, so the test's simple `terminate` does not reach it.
    let context = bench.world.context(json!({"script": "setsid sleep 6 & echo ready; sleep 20"}));
    let mut run = executor.execute(context);
    tokio::select! {
        _ = &mut run => unreachable!("it ended before its cancel"),
        chunk = bench.world.chunks.recv() => assert!(chunk.is_some()),
    }
    let start = Instant::now();
    cancel.cancel();
    assert_eq!(run.await.unwrap_err().code, "CANCELLED");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_flood_is_carried_whole_in_bounded_chunks() {
    let (end, seen) = Bench::new().run(json!({"argv": ["head", "-c", "20000000", "/dev/urandom"]})).await;
    assert!(stdout(&end.unwrap()).len() <= 3 * (64 << 10));
    assert_eq!(seen.bytes, 20_000_000);
    assert!(seen.largest <= 64 << 10 && seen.chunks < 320, "{} chunks up to {}", seen.chunks, seen.largest);
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_the_process() {
    let mut bench = Bench::new();
    let (cancel, executor) = (bench.world.cancel.clone(), bench.executor());
    let context = bench.world.context(json!({"script": "head -c 5000000 /dev/zero; touch done; sleep 60"}));
    let mut run = executor.execute(context);
    let waited = tokio::time::timeout(Duration::from_millis(700), &mut run).await;
    assert!(waited.is_err() && !bench.world.workspace().join("done").exists());
    // Nobody reads after the cancel either: it ends all the same.
    cancel.cancel();
    bench.world.chunks.close();
    while bench.world.chunks.try_recv().is_ok() {}
    assert_eq!(run.await.unwrap_err().code, "CANCELLED");
}

#[tokio::test]
async fn artifacts_and_the_summary_are_stored_and_masked() {
    let mut bench = Bench::new();
    let script = r##"
        mkdir -p "$OPSROOM_ARTIFACTS/logs"
        echo plain > "$OPSROOM_ARTIFACTS/a.txt"
        echo "pw $DB_PASSWORD" > "$OPSROOM_ARTIFACTS/logs/b.txt"
        echo "# Done with $DB_PASSWORD" >> "$OPSROOM_SUMMARY"
        exit ${CODE:-0}
    "##;
    for code in ["0", "9"] {
        bench.artifacts.stored.lock().unwrap().clear();
        bench.env.insert("CODE".into(), code.into());
        let (end, seen) = bench.script(script).await;
        assert_eq!(end.is_ok(), code == "0");
        assert_eq!(bench.stored("a.txt").unwrap(), "plain\n");
        assert_eq!(bench.stored("logs/b.txt").unwrap(), "pw ***\n");
        assert_eq!(bench.stored("summary.md").unwrap(), "# Done with ***\n");
        assert!(seen.text["log"].contains("artifact `logs/b.txt` contained a secret"));
        bench.world.renew_scratch();
    }
}

#[tokio::test]
async fn links_are_not_followed() {
    for script in [
        r#"ln -s /etc/hostname "$OPSROOM_ARTIFACTS/link""#,
        r#"ln -s /etc "$OPSROOM_ARTIFACTS/folder""#,
        r#"mkfifo "$OPSROOM_ARTIFACTS/pipe""#,
        r#"rmdir "$OPSROOM_ARTIFACTS"; ln -s /etc "$OPSROOM_ARTIFACTS""#,
        r#"mkdir empty; rmdir "$OPSROOM_ARTIFACTS"; ln -s "$PWD/empty" "$OPSROOM_ARTIFACTS""#,
        r#"ln -s /etc/hostname "$OPSROOM_SUMMARY""#,
    ] {
        let mut bench = Bench::new();
        let failure = bench.script(script).await.0.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("ARTIFACT_INVALID", false), "{script}");
        assert!(bench.artifacts.stored.lock().unwrap().is_empty(), "{script}");
    }
    let failure = Bench::new().script(r#"ln -s /etc/hostname "$OPSROOM_OUTPUT""#).await.0.unwrap_err();
    assert_eq!(failure.code, "OUTPUT_INVALID");
}

#[tokio::test]
async fn outputs_are_bounded_and_checked() {
    for script in [
        r#"head -c 300000 /dev/zero | tr '\0' a >> "$OPSROOM_OUTPUT""#,
        r#"printf 'a=\xff\n' >> "$OPSROOM_OUTPUT""#,
        r#"echo nonsense >> "$OPSROOM_OUTPUT""#,
        r#"mkfifo "$OPSROOM_OUTPUT""#,
    ] {
        assert_eq!(Bench::new().script(script).await.0.unwrap_err().code, "OUTPUT_INVALID", "{script}");
    }
}

#[tokio::test]
async fn the_script_is_private_and_never_reused() {
    let mut bench = Bench::new();
    let (end, _) = bench.script(r#"stat -c %a "$0" "$(dirname "$0")""#).await;
    assert_eq!(stdout(&end.unwrap()), "600\n700");
    bench.world.renew_scratch();
    symlink("/dev/null", bench.world.scratch().join("script")).unwrap();
    assert_eq!(bench.script("true").await.0.unwrap_err().code, "SCRATCH_FAILED");
}

#[tokio::test]
async fn what_a_program_leaves_is_looked_for_once_and_its_script_is_none_of_it() {
    let mut bench = Bench::new();
    let here = r#"cd "$(dirname "$OPSROOM_OUTPUT")""#;
    for (with, is_untouched) in [
        (json!({"script": "true"}), true),
        // The next one in the same folder finds `artifacts` there.
        (json!({"script": "exit 3"}), true),
        (json!({"argv": ["true"]}), true),
        (json!({"script": r#"rmdir "$OPSROOM_ARTIFACTS""#}), true),
        (json!({"script": format!("{here}; touch other")}), false),
        (json!({"script": r#"echo a=1 > "$OPSROOM_OUTPUT""#}), false),
        // A file of that name, but the program's own.
        (json!({"argv": ["sh", "-c", format!("{here}; touch script")]}), false),
    ] {
        let _ = bench.run(with.clone()).await;
        assert_eq!(std::mem::take(&mut *bench.workspaces.untouched.lock().unwrap()), [is_untouched], "{with}");
        if !is_untouched {
            bench.world.renew_scratch();
        }
    }
}

#[tokio::test]
async fn impossible_variables_are_refused() {
    let mut bench = Bench::new();
    bench.env.insert("A".into(), "b\0c".into());
    assert_eq!(bench.script("true").await.0.unwrap_err().code, "WITH_INVALID");
}
