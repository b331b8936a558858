//! Runbooks: storing their versions, checking them, showing them.
//!
//! What is wrong with files that cannot become versions is kept here too ([`problems`](super::problems)), and
//! shown with the runbook.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::{
    PlanError, Plans,
    problems::{Problem, Problems},
};
use crate::{
    model::{Digest, Micros, TenantId},
    ports::{
        BundleError, Bundles, Clock, NewRunbookVersion, Page, Probe, RunbookPut, RunbookStore, RunbookVersionRow,
        StoreError, Unready,
    },
    runbook::{self, Beside, Bundle, Catalog, Compiled, Diagnostic, Plan, diagnostic::Code},
};

/// What [`Origin::Api`] and [`Origin::Shipped`] begin with.
const API: &str = "api: ";
const SHIPPED: &str = "shipped: ";

/// Where a version comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A file, by its path below the folder of runbooks.
    File(String),
    /// Somebody who put it here.
    Api(String),
    /// A file that is part of the program.
    Shipped(&'static str),
}

impl Origin {
    /// What the store keeps, and people read.
    pub fn text(&self) -> String {
        match self {
            Origin::File(path) if path.starts_with(API) || path.starts_with(SHIPPED) => format!("./{path}"),
            Origin::File(path) => path.clone(),
            Origin::Api(actor) => format!("{API}{actor}"),
            Origin::Shipped(file) => format!("{SHIPPED}{file}"),
        }
    }

    /// Whether a version of this origin came from a file of a folder.
    pub fn is_file(text: &str) -> bool {
        !text.starts_with(API) && !text.starts_with(SHIPPED)
    }

    /// Whether a version of this origin came with the program.
    pub fn is_shipped(text: &str) -> bool {
        text.starts_with(SHIPPED)
    }
}

/// The text of a runbook with the files that belong to it.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What diagnostics call it.
    pub file_name: String,
    pub source: Arc<str>,
    pub beside: Beside,
}

impl Draft {
    pub fn new(file_name: impl Into<String>, source: impl Into<Arc<str>>) -> Draft {
        Draft { file_name: file_name.into(), source: source.into(), beside: Beside::default() }
    }

    #[must_use]
    pub fn with_files(self, bundle: Bundle) -> Draft {
        Draft { beside: Beside::of(bundle), ..self }
    }

    /// Of the source and the files that belong to it; without files, that of the source.
    pub fn digest(&self) -> Digest {
        let source = Digest::of(self.source.as_bytes());
        if self.beside.bundle.is_empty() {
            return source;
        }
        Digest::of(format!("{source}\n{}", self.beside.bundle.digest()).as_bytes())
    }
}

/// A draft that compiled.
#[derive(Debug, Clone)]
pub struct Checked {
    pub draft: Draft,
    pub plan: Arc<Plan>,
    pub warnings: Vec<Diagnostic>,
}

/// What became of a put.
#[derive(Debug, Clone)]
pub struct Put {
    /// The latest version now.
    pub version: RunbookVersionRow,
    pub plan: Arc<Plan>,
    /// Whether the put made it.
    pub created: bool,
    pub warnings: Vec<Diagnostic>,
}

/// A version with its plan: all that a run is started with.
#[derive(Debug, Clone)]
pub struct RunbookVersion {
    pub row: RunbookVersionRow,
    pub plan: Arc<Plan>,
}

/// A runbook as lists show it.
#[derive(Debug, Clone)]
pub struct RunbookView {
    pub name: Arc<str>,
    /// The latest good version; none while its only file has problems.
    pub latest: Option<RunbookVersion>,
    /// Why a newer file is not the latest version.
    pub problem: Option<Problem>,
}

#[derive(Debug, thiserror::Error)]
pub enum RunbooksError {
    /// All problems of the text, in its order.
    #[error("the runbook is not valid: {} problems", .0.iter().filter(|d| d.severity == runbook::Severity::Error).count())]
    Invalid(Vec<Diagnostic>),
    /// The runbook is to be stored under another name than it has.
    #[error("the runbook is named otherwise than the name that it is to be stored under")]
    NameMismatch(Vec<Diagnostic>),
    #[error("no `files:` of the runbook names {}", .0.join(", "))]
    UnnamedFiles(Vec<String>),
    #[error("no runbook `{0}`")]
    NotFound(String),
    #[error("runbook `{name}` has no version {version}")]
    NoSuchVersion { name: String, version: u32 },
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the compiler panicked; this is a fault of opsroom")]
    Panicked,
}

/// The service over runbooks. Cheap to clone.
#[derive(Clone)]
pub struct Runbooks {
    store: Arc<dyn RunbookStore>,
    bundles: Arc<dyn Bundles>,
    clock: Arc<dyn Clock>,
    plans: Plans,
    catalog: Arc<Catalog>,
    pub(super) problems: Problems,
}

impl std::fmt::Debug for Runbooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runbooks").finish_non_exhaustive()
    }
}

/// Ready while the folder that is followed, if any, can be read.
#[async_trait]
impl Probe for Runbooks {
    async fn probe(&self) -> Result<(), Unready> {
        match self.folder_problem() {
            None => Ok(()),
            Some(detail) => Err(Unready { code: "RUNBOOKS_UNREADABLE", detail }),
        }
    }
}

impl Runbooks {
    /// `catalog` has the actions that runbooks may use; `plans` is shared with the owners of runs.
    pub fn new(
        store: Arc<dyn RunbookStore>,
        bundles: Arc<dyn Bundles>,
        clock: Arc<dyn Clock>,
        plans: Plans,
        catalog: Arc<Catalog>,
    ) -> Runbooks {
        Runbooks { store, bundles, clock, plans, catalog, problems: Problems::default() }
    }

    /// Compiles a draft without storing anything.
    pub async fn check(&self, draft: Draft) -> Result<Checked, RunbooksError> {
        let unnamed = draft.beside.unnamed(&draft.source);
        if !unnamed.is_empty() {
            return Err(RunbooksError::UnnamedFiles(unnamed));
        }
        let catalog = self.catalog.clone();
        // A large file takes the compiler many milliseconds, which other tasks need not wait for.
        let compiling = TaskTracker::new().spawn_blocking(move || {
            let compiled = runbook::compile_with_files(&draft.file_name, &draft.source, &catalog, &draft.beside);
            (draft, compiled)
        });
        let (draft, compiled) = compiling.await.map_err(|_| RunbooksError::Panicked)?;
        let Compiled { plan, warnings } = compiled.map_err(RunbooksError::Invalid)?;
        Ok(Checked { draft, plan: Arc::new(plan), warnings })
    }

    /// Compiles a draft and stores it as the next version of the runbook that it names, unless the latest one
    /// is the same.
    pub async fn put(&self, tenant: TenantId, draft: Draft, origin: &Origin) -> Result<Put, RunbooksError> {
        let checked = self.check(draft).await?;
        self.store(tenant, checked, origin).await
    }

    /// The same for a draft that has to have this name.
    pub async fn put_named(
        &self,
        tenant: TenantId,
        name: &str,
        draft: Draft,
        origin: &Origin,
    ) -> Result<Put, RunbooksError> {
        let checked = self.check(draft).await?;
        if checked.plan.name != name {
            let message = format!("the runbook is named `{}`, not `{name}`", checked.plan.name);
            let Draft { file_name, source, .. } = &checked.draft;
            let problem = runbook::diagnose(file_name, source, Code::NameMismatch, "/name", message);
            return Err(RunbooksError::NameMismatch(vec![problem.with_fix(format!("name: {name}"))]));
        }
        self.store(tenant, checked, origin).await
    }

    /// Stores what compiled. The plan and the files come first, so that a version never refers to what is not there.
    pub(super) async fn store(
        &self,
        tenant: TenantId,
        checked: Checked,
        origin: &Origin,
    ) -> Result<Put, RunbooksError> {
        let Checked { draft, plan, warnings } = checked;
        let bundle = &draft.beside.bundle;
        if !bundle.is_empty() {
            self.bundles.put(bundle).await?;
        }
        let digest = self.plans.put(tenant, &plan, &draft.source).await?;
        let version = NewRunbookVersion {
            name: plan.name.as_str().into(),
            digest: draft.digest(),
            plan: digest,
            source: draft.source.clone(),
            bundle: plan.files,
            origin: origin.text().into(),
            once: !matches!(origin, Origin::Api(_)),
            created_at: self.clock.now(),
        };
        match self.store.put_version(tenant, &version).await? {
            RunbookPut::Created(version) => Ok(Put { version, plan, created: true, warnings }),
            RunbookPut::Unchanged(version) => {
                // It may have been compiled from the same text by another version of the compiler.
                let plan = self.plans.get(tenant, version.plan).await?;
                Ok(Put { version, plan, created: false, warnings })
            }
        }
    }

    /// The newest version of a runbook.
    pub async fn latest(&self, tenant: TenantId, name: &str) -> Result<RunbookVersion, RunbooksError> {
        let row = self.store.latest_version(tenant, name).await?;
        let row = row.ok_or_else(|| RunbooksError::NotFound(name.to_owned()))?;
        self.with_plan(tenant, row).await
    }

    /// One version of a runbook.
    pub async fn version(&self, tenant: TenantId, name: &str, version: u32) -> Result<RunbookVersion, RunbooksError> {
        match self.store.version(tenant, name, version).await? {
            Some(row) => self.with_plan(tenant, row).await,
            None => Err(self.missing(tenant, name, version).await?),
        }
    }

    /// The latest version, or the one of this number.
    pub async fn find(
        &self,
        tenant: TenantId,
        name: &str,
        version: Option<u32>,
    ) -> Result<RunbookVersion, RunbooksError> {
        match version {
            Some(version) => self.version(tenant, name, version).await,
            None => self.latest(tenant, name).await,
        }
    }

    /// The text of a version, byte for byte, and the digest of the version.
    pub async fn source(
        &self,
        tenant: TenantId,
        name: &str,
        version: u32,
    ) -> Result<(RunbookVersionRow, String), RunbooksError> {
        let row = self.store.version(tenant, name, version).await?;
        match (row, self.store.version_source(tenant, name, version).await?) {
            (Some(row), Some(source)) => Ok((row, source)),
            _ => Err(self.missing(tenant, name, version).await?),
        }
    }

    /// The versions of a runbook, newest first, only those before `before`.
    pub async fn versions(
        &self,
        tenant: TenantId,
        name: &str,
        before: Option<u32>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, RunbooksError> {
        let page = self.store.versions(tenant, name, before, limit).await?;
        if page.items.is_empty() && self.store.latest_version(tenant, name).await?.is_none() {
            return Err(RunbooksError::NotFound(name.to_owned()));
        }
        Ok(page)
    }

    /// One runbook, also one that has only a file with problems so far.
    pub async fn view(&self, tenant: TenantId, name: &str) -> Result<RunbookView, RunbooksError> {
        let problem = self.problems.of(tenant, name);
        let latest = match self.store.latest_version(tenant, name).await? {
            Some(row) => Some(self.with_plan(tenant, row).await?),
            None if problem.is_some() => None,
            None => return Err(RunbooksError::NotFound(name.to_owned())),
        };
        Ok(RunbookView { name: name.into(), latest, problem })
    }

    /// The runbooks by name, only names after `after`; with those that have only a file with problems so far.
    pub async fn list(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunbookView>, RunbooksError> {
        let stored = self.store.latest_versions(tenant, after, limit).await?;
        let last = stored.items.last().filter(|_| stored.more).map(|row| row.name.clone());
        let known: BTreeSet<Arc<str>> = stored.items.iter().map(|row| row.name.clone()).collect();
        let mut items = Vec::new();
        for row in stored.items {
            let (name, problem) = (row.name.clone(), self.problems.of(tenant, &row.name));
            items.push(RunbookView { name, latest: Some(self.with_plan(tenant, row).await?), problem });
        }
        let is_here = |name: &str| {
            after.is_none_or(|after| name > after)
                && last.as_deref().is_none_or(|last| name < last)
                && !known.contains(name)
        };
        let unborn = self.problems.named(tenant).into_iter().filter(|(name, _)| is_here(name));
        items.extend(unborn.map(|(name, problem)| RunbookView { name, latest: None, problem: Some(problem) }));
        items.sort_by(|a, b| a.name.cmp(&b.name));
        let more = stored.more || items.len() > limit;
        items.truncate(limit);
        Ok(Page { items, more })
    }

    /// The latest version of each runbook, without its plan.
    pub(super) async fn rows(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<RunbookVersionRow>, StoreError> {
        self.store.latest_versions(tenant, after, limit).await
    }

    /// Why the folder of runbooks cannot be read, if one is followed.
    pub fn folder_problem(&self) -> Option<String> {
        self.problems.folder()
    }

    pub(super) fn now(&self) -> Micros {
        self.clock.now()
    }

    async fn with_plan(&self, tenant: TenantId, row: RunbookVersionRow) -> Result<RunbookVersion, RunbooksError> {
        let plan = self.plans.get(tenant, row.plan).await?;
        Ok(RunbookVersion { row, plan })
    }

    async fn missing(&self, tenant: TenantId, name: &str, version: u32) -> Result<RunbooksError, RunbooksError> {
        let known = self.store.latest_version(tenant, name).await?.is_some();
        let name = name.to_owned();
        Ok(if known { RunbooksError::NoSuchVersion { name, version } } else { RunbooksError::NotFound(name) })
    }
}
