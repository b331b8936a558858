//! `opsroom init [DIR]`: a first runbook that runs as it is.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    Context,
    fault::{Fault, exit, io_fault},
};

/// Write a first runbook, runbooks/hello.yaml, that runs as it is
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  opsroom init
  opsroom init ~/ops && opsroom run ~/ops/runbooks/hello.yaml -p name=Ada

Nothing that exists is overwritten.")]
pub struct Options {
    /// Where to write it
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// The runbook that is written.
const HELLO: &str = include_str!("init/hello.yaml");

pub fn execute(context: &Context, options: &Options) -> Result<u8, Fault> {
    let file = options.folder.join("runbooks").join("hello.yaml");
    write(&file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Fault::refused("FILE_EXISTS", format!("`{}` is there already", file.display()))
            .help("remove it, or give another folder: `opsroom init DIR`"),
        _ => io_fault("FILE_UNWRITABLE", &format!("`{}`", file.display()), &error)
            .help("choose a folder that you may write to"),
    })?;
    if context.out.is_json() {
        context.out.json(&json!({"files": [file]}));
    } else {
        context.out.line(format!("wrote {}", file.display()));
        context.out.message(format!("run it: opsroom run {}", file.display()));
    }
    Ok(exit::SUCCESS)
}

fn write(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create_new(true).open(file)?.write_all(HELLO.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{actions, runbook};

    #[test]
    fn the_first_runbook_is_valid() {
        let compiled = runbook::compile("hello.yaml", HELLO, &actions::catalog()).unwrap();
        assert_eq!(compiled.plan.name, "hello");
        assert!(compiled.warnings.is_empty());
    }
}
