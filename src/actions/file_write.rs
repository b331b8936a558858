//! `file.write`: a file in the run's workspace.
//!
//! The path is followed folder by folder, each opened inside the one before it and never through a
//! symbolic link: nothing that an earlier step has put into the workspace leads out of it.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::{Component, Path},
    sync::atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use rustix::{
    fs::{AtFlags, Mode, OFlags, fchmod, mkdirat, open, openat, renameat, unlinkat},
    io::Errno,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::attempt::{invalid, read_with, shortened, succeeded};
use crate::{
    model::{Digest, EffectModel, Failure, Success},
    ports::{AttemptContext, Executor},
    runbook::Action,
};

pub(super) const ACTION: Action = Action {
    name: "file.write",
    summary: "Writes a file in the run's workspace",
    schema,
    result: "{path, bytes, sha256}",
    example: "- id: inventory\n  uses: file.write\n  with:\n    path: inventory/hosts.json\n    content: ${{ params.hosts }}\n    mode: \"0600\"\n",
    effect: |_| EffectModel::Idempotent,
    secret_fields: &[],
};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "path": {
                "type": "string",
                "minLength": 1,
                "description": "Below the workspace; folders are made, symbolic links are not followed.",
            },
            "content": {"description": "A string is written as it is, everything else as indented JSON."},
            "mode": {
                "type": "string",
                "pattern": "^0?[0-7]{3}$",
                "default": "0644",
                "description": "The file's permissions, octal.",
            },
        },
        "required": ["path", "content"],
        "additionalProperties": false,
    })
}

#[derive(Deserialize)]
struct With {
    path: String,
    content: Value,
    mode: Option<String>,
}

#[derive(Debug)]
pub(super) struct FileWrite;

#[async_trait]
impl Executor for FileWrite {
    async fn execute(&self, context: AttemptContext) -> Result<Success, Failure> {
        let With { path, content, mode } = read_with(&context.with)?;
        let mode = u32::from_str_radix(mode.as_deref().unwrap_or("644"), 8)
            .map_err(|error| invalid(&format!("with.mode: {error}")))?;
        let content = match content {
            Value::String(text) => text.into_bytes(),
            other => format!("{other:#}\n").into_bytes(),
        };
        let mut result = json!({"path": path, "bytes": content.len(), "sha256": Digest::of(&content)});
        let (root, target) = (context.workspace.clone(), path.clone());
        let written = tokio::task::spawn_blocking(move || write(&root, &target, &content, mode)).await;
        let written = written.unwrap_or_else(|error| Err(Refusal::Io(io::Error::other(error))));
        written.map_err(|refusal| {
            let message = |why: &str| shortened(&context.log.mask().text(&format!("`{path}` {why}")), 500);
            match refusal {
                Refusal::Path(why) => Failure::permanent("FILE_FORBIDDEN_PATH", message(why)),
                Refusal::Io(error) => {
                    Failure::error("FILE_WRITE_FAILED", message(&format!("was not written: {error}")))
                }
            }
        })?;
        context.log.mask().json(&mut result);
        Ok(succeeded(result))
    }
}

enum Refusal {
    Path(&'static str),
    Io(io::Error),
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Refusal {
        Refusal::Io(error.into())
    }
}

/// Writes beside the target and then gives it its name: a reader sees the old file or the new one.
fn write(root: &Path, path: &str, content: &[u8], mode: u32) -> Result<(), Refusal> {
    let (folders, name) = parts(path)?;
    let mut folder = open(root, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    for name in folders {
        folder = enter(&folder, name)?;
    }
    let (unfinished, file) = new_file(&folder)?;
    let written = fill(file, content, mode)
        .and_then(|()| renameat(&folder, unfinished.as_str(), &folder, name).map_err(Refusal::from));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = unlinkat(&folder, unfinished.as_str(), AtFlags::empty());
    }
    written
}

fn parts(path: &str) -> Result<(Vec<&OsStr>, &OsStr), Refusal> {
    if path.contains('\0') || path.ends_with('/') {
        return Err(Refusal::Path("does not name a file"));
    }
    let mut names = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(Refusal::Path("leads out of the workspace: give a relative path without `..`"));
            }
        }
    }
    match names.pop() {
        Some(name) if !path.ends_with("/.") => Ok((names, name)),
        _ => Err(Refusal::Path("does not name a file")),
    }
}

/// Opens a folder inside another; makes it if it is not there.
fn enter(folder: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Refusal> {
    match mkdirat(folder, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty()).map_err(|error| match error {
        Errno::NOTDIR | Errno::LOOP => Refusal::Path("leads through a file or a symbolic link"),
        error => error.into(),
    })
}

fn new_file(folder: &OwnedFd) -> Result<(String, File), Refusal> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        let name = format!(".opsroom-{}-{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        match openat(folder, name.as_str(), flags, Mode::from_raw_mode(0o600)) {
            // Left behind by a process of the same number that died while it wrote.
            Err(Errno::EXIST) => {}
            Ok(file) => return Ok((name, file.into())),
            Err(error) => return Err(error.into()),
        }
    }
}

fn fill(mut file: File, content: &[u8], mode: u32) -> Result<(), Refusal> {
    file.write_all(content).map_err(Refusal::Io)?;
    // Set here and not at creation, where the umask would take away from it.
    fchmod(&file, Mode::from_raw_mode(mode)).map_err(Refusal::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::actions::testing::World;

    async fn written(world: &World, with: Value) -> Result<Value, Failure> {
        FileWrite.execute(world.context(with)).await.map(|success| success.result.unwrap())
    }

    fn names(world: &World, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(world.workspace().join(folder)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }

    #[tokio::test]
    async fn files_are_written_and_replaced() {
        let world = World::new();
        for (content, expected, mode) in
            [(json!("text ä"), "text ä", "0600"), (json!({"a": [1]}), "{\n  \"a\": [\n    1\n  ]\n}\n", "777")]
        {
            let result = written(&world, json!({"path": "./x/y.txt", "content": content, "mode": mode})).await.unwrap();
            let digest = Digest::of(expected.as_bytes());
            assert_eq!(result, json!({"path": "./x/y.txt", "bytes": expected.len(), "sha256": digest}));
            let file = world.workspace().join("x/y.txt");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), expected);
            let is = std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
            assert_eq!(is, u32::from_str_radix(mode, 8).unwrap());
        }
        assert_eq!(names(&world, "x"), ["y.txt"]);
    }

    #[tokio::test]
    async fn no_path_leads_out() {
        let world = World::new();
        let outside = world.folder.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        symlink(&outside, world.workspace().join("link")).unwrap();
        std::fs::write(world.workspace().join("file"), "").unwrap();
        for path in
            ["/etc/x", "../x", "a/../../x", "a/..", "..", ".", "", "a/", "a/.", "link/x", "link/a/x", "file/x", "a\0b"]
        {
            let failure = written(&world, json!({"path": path, "content": "x"})).await.unwrap_err();
            assert_eq!((failure.code.as_str(), failure.retryable), ("FILE_FORBIDDEN_PATH", false), "{path:?}");
        }
        assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_link_is_replaced_and_its_target_is_not_touched() {
        let world = World::new();
        let outside = world.folder.path().join("outside");
        std::fs::write(&outside, "precious").unwrap();
        symlink(&outside, world.workspace().join("link")).unwrap();
        written(&world, json!({"path": "link", "content": "new"})).await.unwrap();
        assert_eq!(std::fs::read_to_string(outside).unwrap(), "precious");
        assert_eq!(std::fs::read_to_string(world.workspace().join("link")).unwrap(), "new");
    }

    #[tokio::test]
    async fn what_fails_leaves_nothing() {
        let world = World::new();
        std::fs::create_dir(world.workspace().join("folder")).unwrap();
        let failure = written(&world, json!({"path": "folder", "content": "x"})).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retryable), ("FILE_WRITE_FAILED", true));
        assert_eq!(names(&world, ""), ["folder"]);
    }
}
