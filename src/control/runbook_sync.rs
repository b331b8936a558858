//! Follows a folder of runbooks: a file that was saved becomes a version, one with problems keeps the last good
//! version and is shown with what is wrong.
//!
//! Every pass looks at the whole folder, so nothing depends on what was seen before; what has not changed is
//! recognised by its [`Arc`] and costs nothing.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    problems::Problem,
    runbooks::{Checked, Draft, Origin, Runbooks, RunbooksError},
};
use crate::{
    model::TenantId,
    ports::{FolderFile, FolderScan, FolderText, RunbookFolder, StoreError},
    runbook::{self, Diagnostic, SHIPPED, diagnostic, diagnostic::Code},
};

/// How many rows of the store are read at once.
const PAGE: usize = 200;

/// Keeps the versions of runbooks in step with a folder.
pub struct RunbookSync {
    runbooks: Runbooks,
    folder: Arc<dyn RunbookFolder>,
    tenant: TenantId,
    /// The files by path, as the last pass left them.
    files: BTreeMap<String, Known>,
    /// The runbooks that files are or were, by path; from the store and from passes.
    names: BTreeMap<String, Arc<str>>,
}

/// A file after its last pass.
struct Known {
    content: Result<Arc<FolderText>, String>,
    /// What compiled, and whether it has been stored since.
    state: State,
}

enum State {
    Good { checked: Checked, stored: bool },
    Bad(Vec<Diagnostic>),
}

impl std::fmt::Debug for RunbookSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunbookSync").field("folder", &self.folder.name()).finish_non_exhaustive()
    }
}

impl RunbookSync {
    pub fn new(runbooks: Runbooks, folder: Arc<dyn RunbookFolder>, tenant: TenantId) -> RunbookSync {
        RunbookSync { runbooks, folder, tenant, files: BTreeMap::new(), names: BTreeMap::new() }
    }

    /// Follows the folder until the token fires. The first pass is done before it is waited for any change.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.pass().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.folder.changed() => {}
            }
        }
    }

    /// Takes in the folder as it is now.
    pub async fn pass(&mut self) {
        if let Err(error) = self.take(true).await {
            // The next pass tries again whatever was not stored.
            tracing::warn!(folder = self.folder.name(), %error, "runbooks could not be stored");
        }
    }

    /// Finds the problems of the folder without storing anything.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        self.take(false).await
    }

    async fn take(&mut self, store: bool) -> Result<(), StoreError> {
        let FolderScan { files, problem } = self.folder.scan().await;
        let is_news = self.runbooks.problems.set_folder(problem.clone());
        if let Some(problem) = problem {
            if is_news {
                let folder = self.folder.name();
                tracing::warn!(folder, problem, "the folder of runbooks cannot be read; what is stored stays");
            }
            return Ok(());
        }
        if self.names.is_empty() {
            self.learn_names().await?;
        }
        self.check(files).await;
        let mut problems = self.duplicates();
        let stored = if store { self.store(&problems).await } else { Ok(()) };
        problems.extend(self.broken());
        if store {
            // Whoever only looks need not look at the folder that the runbooks came from.
            problems.extend(self.gone());
        }
        let news = self.runbooks.problems.replace(self.tenant, problems);
        for problem in &news {
            tell(problem, &self.folder.name());
        }
        stored
    }

    /// Which files the stored runbooks came from.
    async fn learn_names(&mut self) -> Result<(), StoreError> {
        let mut after: Option<Arc<str>> = None;
        loop {
            let page = self.runbooks.rows(self.tenant, after.as_deref(), PAGE).await?;
            for row in page.items.iter().filter(|row| Origin::is_file(&row.origin)) {
                self.names.insert(row.origin.to_string(), row.name.clone());
            }
            after = page.items.last().map(|row| row.name.clone());
            if !page.more {
                return Ok(());
            }
        }
    }

    /// Compiles what has changed and forgets what is gone.
    async fn check(&mut self, files: Vec<FolderFile>) {
        let mut before = std::mem::take(&mut self.files);
        for FolderFile { path, content } in files {
            let known = before.remove(&path).filter(|known| is_same(&known.content, &content));
            let known = match known {
                Some(known) => known,
                None => Known { state: self.compile(&path, &content).await, content },
            };
            self.files.insert(path, known);
        }
    }

    async fn compile(&self, path: &str, content: &Result<Arc<FolderText>, String>) -> State {
        let content = match content {
            Ok(content) => content,
            Err(why) => return State::Bad(vec![runbook::diagnose(path, "", Code::FileUnreadable, "", why.as_str())]),
        };
        let draft = Draft { file_name: path.to_owned(), source: content.text.clone(), beside: content.beside.clone() };
        match self.runbooks.check(draft).await {
            Ok(checked) => State::Good { checked, stored: false },
            Err(RunbooksError::Invalid(diagnostics)) => State::Bad(diagnostics),
            Err(other) => State::Bad(vec![runbook::diagnose(path, "", Code::FileUnreadable, "", other.to_string())]),
        }
    }

    /// Files whose runbook another file, before it by path, is already.
    fn duplicates(&self) -> Vec<Problem> {
        let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
        let mut problems = Vec::new();
        for (path, known) in &self.files {
            let State::Good { checked, .. } = &known.state else { continue };
            let first = *owners.entry(checked.plan.name.as_str()).or_insert(path);
            if first != path {
                let (name, source) = (&checked.plan.name, &checked.draft.source);
                let message = format!("`{first}` is the runbook `{name}` already; this file is not used");
                let problem = runbook::diagnose(path, source, Code::DuplicateRunbook, "/name", message);
                let help = "give one of them another name, or remove it".to_owned();
                problems.push(self.problem(path, vec![problem.with_help(Some(help))]));
            }
        }
        problems
    }

    /// Stores what has compiled since the last time, but for these.
    async fn store(&mut self, refused: &[Problem]) -> Result<(), StoreError> {
        let mut result = Ok(());
        for (path, known) in &mut self.files {
            let State::Good { checked, stored } = &mut known.state else { continue };
            if refused.iter().any(|problem| problem.file == *path) {
                // When the other file goes away, this one is stored.
                *stored = false;
                continue;
            }
            self.names.insert(path.clone(), checked.plan.name.as_str().into());
            if *stored {
                continue;
            }
            match self.runbooks.store(self.tenant, checked.clone(), &Origin::File(path.clone())).await {
                Ok(put) => {
                    *stored = true;
                    if put.created {
                        let (name, version) = (&put.version.name, put.version.version);
                        tracing::info!(runbook = %name, version, file = %path, "runbook {name}: version {version}");
                    }
                }
                Err(RunbooksError::Store(error)) => result = Err(error),
                Err(error) => result = Err(StoreError::Unavailable(error.to_string())),
            }
        }
        result
    }

    fn broken(&self) -> Vec<Problem> {
        let bad = |(path, known): (&String, &Known)| match &known.state {
            State::Bad(diagnostics) => Some(self.problem(path, diagnostics.clone())),
            State::Good { .. } => None,
        };
        self.files.iter().filter_map(bad).collect()
    }

    /// Runbooks whose file is not there any more; their versions stay.
    fn gone(&self) -> Vec<Problem> {
        let alive: Vec<&str> = self.files.values().filter_map(|known| known.name()).collect();
        let gone =
            self.names.iter().filter(|(path, name)| !self.files.contains_key(*path) && !alive.contains(&&***name));
        let gone = gone.map(|(path, name)| {
            let message = format!("the file is gone; the last version of `{name}` stays and can be run");
            let problem = runbook::diagnose(path, "", Code::FileGone, "", message);
            Problem { name: Some(name.clone()), ..self.problem(path, vec![problem]) }
        });
        gone.collect()
    }

    fn problem(&self, path: &str, diagnostics: Vec<Diagnostic>) -> Problem {
        let known = self.files.get(path);
        let text = known.and_then(|known| known.content.as_ref().ok()).map(|content| content.text.clone());
        let text = text.unwrap_or_default();
        let own = runbook::name_of(&text).map(Arc::from);
        let stem = || {
            let stem = Path::new(path).file_stem()?.to_str()?;
            runbook::name_of(&format!("name: \"{stem}\"")).map(Arc::from)
        };
        let name = own.or_else(|| self.names.get(path).cloned()).or_else(stem);
        Problem { file: path.to_owned(), name, since: self.runbooks.now(), diagnostics, text }
    }
}

impl Known {
    fn name(&self) -> Option<&str> {
        match &self.state {
            State::Good { checked, .. } => Some(&checked.plan.name),
            State::Bad(_) => None,
        }
    }
}

fn is_same(a: &Result<Arc<FolderText>, String>, b: &Result<Arc<FolderText>, String>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => Arc::ptr_eq(a, b) || a == b,
        (Err(a), Err(b)) => a == b,
        _ => false,
    }
}

/// What people read in the log, with file, line and column.
fn tell(problem: &Problem, folder: &str) {
    let Problem { file, diagnostics, text, .. } = problem;
    let rendered = diagnostic::to_text(diagnostics, text, false);
    let good = "its last good version stays, if there is one";
    tracing::warn!(folder, file, problems = diagnostics.len(), "{folder}/{file} has problems; {good}:\n{rendered}");
}

/// Stores the runbooks that come with the program, but for those that somebody has replaced.
pub async fn put_shipped(runbooks: &Runbooks, tenant: TenantId) -> Result<(), RunbooksError> {
    for shipped in SHIPPED {
        let replaced = match runbooks.latest(tenant, shipped.name).await {
            Ok(latest) => !Origin::is_shipped(&latest.row.origin),
            Err(RunbooksError::NotFound(_)) => false,
            Err(error) => return Err(error),
        };
        if !replaced {
            runbooks.put(tenant, Draft::new(shipped.file, shipped.text), &Origin::Shipped(shipped.file)).await?;
        }
    }
    Ok(())
}
