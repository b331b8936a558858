//! The program to start, its environment, and the files it finds.

use std::{
    collections::BTreeMap,
    fs::{DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    actions::attempt::{invalid, read_with},
    model::Failure,
    ports::{ARTIFACTS, AttemptContext, ProcessSpec},
};

#[derive(Deserialize)]
struct With {
    script: Option<String>,
    shell: Option<String>,
    argv: Option<Vec<Value>>,
}

/// The files of one attempt, all in its own folder. The program makes the ones it wants.
#[derive(Debug, Clone)]
pub(super) struct Scratch {
    pub folder: PathBuf,
    pub script: PathBuf,
    pub output: PathBuf,
    pub summary: PathBuf,
    pub artifacts: PathBuf,
}

impl Scratch {
    pub fn new(folder: &Path) -> Scratch {
        Scratch {
            folder: folder.to_owned(),
            script: folder.join("script"),
            output: folder.join("output"),
            summary: folder.join("summary.md"),
            artifacts: folder.join(ARTIFACTS),
        }
    }
}

/// Writes the script and says what to run.
pub(super) fn prepare(
    context: &AttemptContext,
    scratch: &Scratch,
    base_env: &BTreeMap<String, String>,
) -> Result<ProcessSpec, Failure> {
    let with: With = read_with(&context.with)?;
    let argv = argv(&with, &scratch.script)?;
    let env = environment(context, scratch, base_env);
    if let Some(name) = env.iter().find(|(name, value)| bad_variable(name, value)).map(|(name, _)| name) {
        return Err(invalid(&format!(
            "the environment variable {name:?} has an impossible name or a NUL in its value"
        )));
    }
    // Right here: a few small writes to memory, done sooner than another thread is woken for them.
    lay_out(scratch, with.script.as_deref())
        .map_err(|error| Failure::error("SCRATCH_FAILED", format!("the attempt's folder: {error}")))?;
    Ok(ProcessSpec { argv, env, cwd: context.workspace.clone() })
}

/// Takes the script away again, if [`prepare`] has written one: what is there now is the program's.
pub(super) fn remove_script(context: &AttemptContext, scratch: &Scratch) {
    if context.with.get("script").is_some() {
        let _ = std::fs::remove_file(&scratch.script);
    }
}

fn argv(with: &With, script: &Path) -> Result<Vec<String>, Failure> {
    let argv = match (&with.argv, &with.script) {
        (Some(argv), None) => argv.iter().map(text).collect(),
        (None, Some(_)) => shell_command(with.shell.as_deref().unwrap_or("bash"), script)?,
        _ => return Err(invalid("with: give either `script` or `argv`")),
    };
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(invalid("with: an argument contains a NUL"));
    }
    if argv.first().is_none_or(String::is_empty) {
        return Err(invalid("with: the program has no name"));
    }
    Ok(argv)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shell_command(shell: &str, script: &Path) -> Result<Vec<String>, Failure> {
    let mut argv: Vec<String> = match shell {
        "bash" => ["bash", "-euo", "pipefail"].map(str::to_owned).into(),
        "sh" => ["sh", "-eu"].map(str::to_owned).into(),
        "python3" => vec!["python3".to_owned()],
        line => words(line).ok_or_else(|| invalid(&format!("with.shell: a quote is not closed in `{line}`")))?,
    };
    if argv.is_empty() {
        return Err(invalid("with.shell: names no program"));
    }
    argv.push(script.to_string_lossy().into_owned());
    Ok(argv)
}

/// Splits a command line as a shell does, without expanding anything; `None` if a quote is not closed.
fn words(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Later ones win: the base, the step's own, its secrets, and what opsroom says itself.
fn environment(
    context: &AttemptContext,
    scratch: &Scratch,
    base_env: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut env = base_env.clone();
    env.extend(context.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    env.extend(context.secrets.iter().map(|(name, value)| (variable(name), value.expose().to_owned())));
    env.extend([
        ("OPSROOM_RUN_ID".to_owned(), context.run.to_string()),
        ("OPSROOM_STEP".to_owned(), context.step.to_string()),
        ("OPSROOM_ATTEMPT".to_owned(), context.attempt.to_string()),
        ("OPSROOM_OUTPUT".to_owned(), path(&scratch.output)),
        ("OPSROOM_SUMMARY".to_owned(), path(&scratch.summary)),
        ("OPSROOM_ARTIFACTS".to_owned(), path(&scratch.artifacts)),
    ]);
    env.extend(context.files.as_deref().map(|files| ("OPSROOM_FILES".to_owned(), path(files))));
    env
}

/// The variable in which a step finds a secret: `ssh_key` in `SSH_KEY`.
fn variable(secret: &str) -> String {
    secret.to_uppercase().replace('-', "_")
}

fn bad_variable(name: &str, value: &str) -> bool {
    name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
}

fn lay_out(scratch: &Scratch, script: Option<&str>) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(&scratch.artifacts) {
        // Left empty by the attempt before.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    if let Some(script) = script {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&scratch.script)?
            .write_all(script.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_like_a_shell_does() {
        for (line, expected) in [
            ("pwsh -NoLogo -File", vec!["pwsh", "-NoLogo", "-File"]),
            (r#"  env "A=b c"  x\ y '' 'it'"'"'s' "#, vec!["env", "A=b c", "x y", "", "it's"]),
            (r#"'a\b' "q\"q""#, vec![r"a\b", "q\"q"]),
        ] {
            assert_eq!(words(line).unwrap(), expected, "{line}");
        }
        assert_eq!(words("a 'b"), None);
        assert_eq!(words("a \\"), None);
    }

    #[test]
    fn shells_have_their_strict_flags() {
        let line = |shell| shell_command(shell, Path::new("/s")).unwrap().join(" ");
        assert_eq!(line("bash"), "bash -euo pipefail /s");
        assert_eq!(line("sh"), "sh -eu /s");
        assert_eq!(line("python3"), "python3 /s");
        assert_eq!(line("node --no-warnings"), "node --no-warnings /s");
    }

    #[test]
    fn a_program_needs_a_name_and_no_nul() {
        let argv =
            |argv: Value| argv_of(&With { script: None, shell: None, argv: serde_json::from_value(argv).unwrap() });
        assert_eq!(argv(serde_json::json!(["sleep", 1.5, true])).unwrap(), ["sleep", "1.5", "true"]);
        assert!(argv(serde_json::json!([""])).is_err());
        assert!(argv(serde_json::json!(["a", "b\0c"])).is_err());
        assert!(argv_of(&With { script: Some(String::new()), shell: Some(" ".into()), argv: None }).is_err());
    }

    fn argv_of(with: &With) -> Result<Vec<String>, Failure> {
        argv(with, Path::new("/s"))
    }
}
