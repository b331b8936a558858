//! What `run` and `plan` are given: a file, or the name of a runbook.
//!
//! A name is looked for in `./runbooks`, among the stored runbooks, and among those that come with the program.
//! `NAME@3` is the third stored version.

use std::path::{Path, PathBuf};

use super::{
    Context, block_on,
    fault::Fault,
    instance::Instance,
    loading::{self, Loaded},
};
use crate::{
    control::{RunbookVersion, RunbooksError, StoredVersion},
    model::TenantId,
    runbook::{Bundle, SHIPPED, Shipped, diagnostic},
};

/// Where runbooks are by default.
pub const FOLDER: &str = "runbooks";

/// Something to run, before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file, or `-` for standard input.
    File(PathBuf),
    /// A runbook by its name, and the version where one was given.
    Name { name: String, version: Option<u32> },
}

impl Target {
    /// The name and the version, if what was given can be read as one; files are not looked for.
    pub fn name(given: &Path) -> Option<(String, Option<u32>)> {
        let text = given.to_str()?;
        let (name, version) = match text.split_once('@') {
            Some((name, number)) => (name, Some(number.parse().ok()?)),
            None => (text, None),
        };
        is_name(name).then(|| (name.to_owned(), version))
    }

    /// Reads what was given. A file that exists wins over a name; what looks like a path is one.
    pub fn read(given: &Path) -> Target {
        let file = || Target::File(given.to_owned());
        let Some((name, version)) = Target::name(given).filter(|_| !given.is_file()) else { return file() };
        if version.is_none()
            && let Some(path) = in_folder(Path::new(FOLDER), &name)
        {
            return Target::File(path);
        }
        Target::Name { name, version }
    }
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&text.len()) && text != "-" && text.bytes().all(known)
}

fn in_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    ["yaml", "yml"].map(|extension| folder.join(format!("{name}.{extension}"))).into_iter().find(|path| path.is_file())
}

/// Reads and compiles what was given.
pub fn load(context: &Context, given: &Path) -> Result<Loaded, Fault> {
    let (name, version) = match Target::read(given) {
        Target::File(path) => return loading::load(&path, &context.out),
        Target::Name { name, version } => (name, version),
    };
    // Nothing is made for a mere look: without a data folder there are no stored runbooks.
    let stored = if context.config.database.is_some() || context.config.data.database().exists() {
        block_on(async {
            let instance = Instance::open(&context.config).await?;
            let stored = find(&instance, &name, version).await;
            instance.close().await;
            stored
        })?
    } else {
        Stored { found: None, names: Vec::new() }
    };
    match (stored.found, Shipped::find(&name)) {
        (Some(loaded), _) => Ok(loaded),
        (None, Some(shipped)) if version.is_none() => loading::load_text(shipped.file, shipped.text, &context.out),
        _ => Err(not_found(&name, version, &stored.names)),
    }
}

struct Stored {
    found: Option<Loaded>,
    /// The names of others, for a suggestion.
    names: Vec<String>,
}

async fn find(instance: &Instance, name: &str, version: Option<u32>) -> Result<Stored, Fault> {
    let runbooks = &instance.runbooks;
    match runbooks.find(TenantId::DEFAULT, name, version).await {
        Ok(RunbookVersion { row, plan }) => {
            let (_, source) = runbooks.source(TenantId::DEFAULT, name, row.version).await?;
            let version = Some(StoredVersion { number: row.version, plan: row.plan });
            let loaded = Loaded { plan, source: source.into(), bundle: Bundle::default(), version };
            Ok(Stored { found: Some(loaded), names: Vec::new() })
        }
        Err(RunbooksError::NotFound(_)) => {
            let page = runbooks.list(TenantId::DEFAULT, None, 1_000).await?;
            Ok(Stored { found: None, names: page.items.iter().map(|view| view.name.to_string()).collect() })
        }
        Err(error) => Err(error.into()),
    }
}

fn not_found(name: &str, version: Option<u32>, stored: &[String]) -> Fault {
    if version.is_some() {
        return RunbooksError::NotFound(name.to_owned()).into();
    }
    let names = stored.iter().map(String::as_str).chain(SHIPPED.iter().map(|shipped| shipped.name));
    let meant = diagnostic::closest(name, names).map(|close| format!("did you mean `{close}`? "));
    let message = format!("there is no runbook `{name}`: no file of that name here, none in `{FOLDER}/`, none stored");
    Fault::refused("RUNBOOK_NOT_FOUND", message)
        .help(format!("{}`opsroom runbooks` lists the runbooks", meant.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_names_are_told_apart() {
        let read = |text: &str| Target::read(Path::new(text));
        for path in ["-", "./deploy", "deploy.yaml", "runbooks/deploy", "Deploy", "deploy@", "deploy@x", "", "a b"] {
            assert_eq!(read(path), Target::File(path.into()), "{path}");
        }
        let name = |name: &str, version| Target::Name { name: name.to_owned(), version };
        assert_eq!(read("no-such-runbook"), name("no-such-runbook", None));
        assert_eq!(read("deploy@3"), name("deploy", Some(3)));
        // Cargo runs tests where this is a file.
        assert_eq!(read("disk-usage"), Target::File("runbooks/disk-usage.yaml".into()));
        assert_eq!(read("disk-usage@1"), name("disk-usage", Some(1)));
    }
}
