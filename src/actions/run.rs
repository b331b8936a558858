//! `run`: a script or a program as a process of the step.
//!
//! [`command`] makes the program and its environment, [`pump`] carries its output to the log, [`outputs`]
//! reads what it set itself, [`files`] stores what it left behind. Params reach a script through its
//! environment only; nothing of them ever becomes program text.

mod command;
mod files;
mod outputs;
mod pump;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::join;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use self::{
    command::Scratch,
    files::Keeper,
    pump::{Captured, Pump},
};
use super::{Deps, attempt::cancelled};
use crate::{
    model::{EffectModel, Failure, FailureReason, Success},
    ports::{Artifacts, AttemptContext, Executor, Exit, LogStream, Process, Processes, SpawnError, Workspaces},
    runbook::Action,
};

/// How long output may still flow after a cancelled process has ended.
const DRAIN: Duration = Duration::from_secs(5);

pub(super) const ACTION: Action = Action {
    name: "run",
    summary: "Runs a script or a program",
    schema,
    result: "{exit_code, signal, stdout}: stdout holds the first 64 KiB, without one newline at its end",
    example: "- id: restart\n  secrets: [ssh_key]\n  env: {HOST: \"${{ item }}\"}\n  run: |\n    ssh \"$HOST\" systemctl restart web\n    echo \"host=$HOST\" >> \"$OPSROOM_OUTPUT\"\n",
    effect: |_| EffectModel::AtMostOnce,
    secret_fields: &[],
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "script": {"type": "string", "description": "The script's text, as it stands in the runbook."},
            "shell": {
                "type": "string",
                "default": "bash",
                "description": "bash (-euo pipefail), sh (-eu), python3, or a command line to which the script's path is added.",
            },
            "argv": {
                "type": "array",
                "items": {"type": ["string", "number", "boolean"]},
                "minItems": 1,
                "description": "A program and its arguments, run without a shell.",
            },
        },
        "oneOf": [{"required": ["script"]}, {"required": ["argv"]}],
        "dependentRequired": {"shell": ["script"]},
        "additionalProperties": false,
    })
}

/// Executes `run`.
pub(super) struct Run {
    processes: Arc<dyn Processes>,
    artifacts: Arc<dyn Artifacts>,
    workspaces: Arc<dyn Workspaces>,
    base_env: BTreeMap<String, String>,
}

impl Run {
    pub(super) fn new(deps: &Deps) -> Run {
        let Deps { processes, artifacts, workspaces, base_env, .. } = deps.clone();
        Run { processes, artifacts, workspaces, base_env }
    }
}

#[async_trait]
impl Executor for Run {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let scratch = Scratch::new(&context.scratch);
        let spec = command::prepare(&context, &scratch, &self.base_env)?;
        let spawned = tokio::select! {
            biased;
            // It may have to wait for its turn.
            () = context.cancel.cancelled() => return Err(cancelled()),
            spawned = self.processes.spawn(spec) => spawned,
        };
        let mut process = spawned.map_err(|error| spawn_failure(&error, &context))?;
        let (exit, stdout, stderr) = follow(&context, &mut *process).await;
        if context.cancel.is_cancelled() {
            return Err(cancelled());
        }
        let exit = exit.map_err(|error| spawn_failure(&error, &context))?;
        command::remove_script(&context, &scratch);
        // Some system calls right here, where reading what the program may have made takes a thread that can wait.
        let left = if self.workspaces.is_untouched(&scratch.folder) {
            Ok(Map::new())
        } else {
            self.left_behind(&context, &scratch, exit).await
        };
        if exit.code != Some(0) {
            if let Err(failure) = left {
                // The step has failed already, and for a reason that matters more.
                context.log.record("warn", &failure.message, Map::new()).await;
            }
            return Err(exit_failure(exit, &stderr));
        }
        let result = json!({"exit_code": exit.code, "signal": exit.signal, "stdout": stdout.text()});
        Ok(Success { outputs: left?, result: Some(result) })
    }
}

impl Run {
    /// Keeps the files of the process and answers its outputs, if it succeeded.
    async fn left_behind(
        &self,
        context: &AttemptContext,
        scratch: &Scratch,
        exit: Exit,
    ) -> Result<Map<String, Value>, Failure> {
        Keeper { artifacts: &*self.artifacts, context }.keep(scratch).await?;
        if exit.code == Some(0) { outputs::read(&scratch.output, context.log.mask()).await } else { Ok(Map::new()) }
    }
}

/// Carries the output until the process has ended, or was made to by a cancel.
async fn follow(context: &AttemptContext, process: &mut dyn Process) -> (Result<Exit, SpawnError>, Captured, Captured) {
    let ended = CancellationToken::new();
    let (stdout, stderr) = (process.take_stdout(), process.take_stderr());
    let output = join(
        Pump::new(&context.log, LogStream::Stdout).run(stdout, &ended),
        Pump::new(&context.log, LogStream::Stderr).run(stderr, &ended),
    );
    let end = async {
        let exit = tokio::select! {
            exit = process.wait() => exit,
            () = context.cancel.cancelled() => {
                process.terminate(context.grace);
                process.wait().await
            }
        };
        ended.cancel();
        exit
    };
    let output = async {
        tokio::pin!(output);
        tokio::select! {
            captured = &mut output => captured,
            // Nobody waits for the words of a step that was cancelled.
            () = async {
                ended.cancelled().await;
                context.cancel.cancelled().await;
                tokio::time::sleep(DRAIN).await;
            } => <(Captured, Captured)>::default(),
        }
    };
    let (exit, (stdout, stderr)) = join(end, output).await;
    (exit, stdout, stderr)
}

fn spawn_failure(error: &SpawnError, context: &AttemptContext) -> Failure {
    let message = context.log.mask().text(&error.to_string());
    match error {
        SpawnError::NotFound { .. } => Failure::permanent("COMMAND_NOT_FOUND", message),
        SpawnError::Failed { .. } => Failure::permanent("SPAWN_FAILED", message),
        // The owner takes this reason for what it is: the attempt is lost, and nobody knows how far it came.
        SpawnError::SupervisorLost => Failure::error("SUPERVISOR_LOST", message).because(FailureReason::WorkerLost),
    }
}

fn exit_failure(exit: Exit, stderr: &Captured) -> Failure {
    let (code, how, reason) = match (exit.code, exit.signal) {
        (Some(code), _) => ("EXIT_NONZERO", format!("exit code {code}"), FailureReason::Exit(code)),
        (None, Some(signal)) => ("KILLED_BY_SIGNAL", signal_text(signal), FailureReason::Error),
        (None, None) => ("KILLED_BY_SIGNAL", "ended in an unknown way".to_owned(), FailureReason::Error),
    };
    let message = match stderr.last_line() {
        Some(line) => format!("{how}: {line}"),
        None => how,
    };
    Failure::error(code, message).because(reason)
}

fn signal_text(signal: i32) -> String {
    let name = match signal {
        1 => " (HUP)",
        2 => " (INT)",
        3 => " (QUIT)",
        4 => " (ILL)",
        6 => " (ABRT)",
        8 => " (FPE)",
        9 => " (KILL, often out of memory)",
        11 => " (SEGV)",
        13 => " (PIPE)",
        14 => " (ALRM)",
        15 => " (TERM)",
        _ => "",
    };
    format!("killed by signal {signal}{name}")
}
