//! What is wrong with files that are to become versions of runbooks. In memory: it is found again when the
//! files are read again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    model::{Micros, TenantId},
    runbook::Diagnostic,
};

/// A file that is not the latest version of its runbook, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Below the folder of runbooks.
    pub file: String,
    /// The runbook that the file is, or would be. `None` where neither the text nor the file's name tells.
    pub name: Option<Arc<str>>,
    pub since: Micros,
    pub diagnostics: Vec<Diagnostic>,
    /// The file as it was read, for showing the lines of diagnostics.
    pub text: Arc<str>,
}

type Files = BTreeMap<(TenantId, String), Problem>;

/// The problems of all files. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Problems {
    files: Arc<Mutex<Files>>,
    /// Of the folder itself.
    folder: Arc<Mutex<Option<String>>>,
}

impl Problems {
    /// Those of one runbook; where several files have some, those of the first by path.
    pub(super) fn of(&self, tenant: TenantId, name: &str) -> Option<Problem> {
        let files = self.files();
        let mut found = files.iter().filter(|((owner, _), problem)| *owner == tenant && problem.is_of(name));
        found.next().map(|(_, problem)| problem.clone())
    }

    /// One for each runbook that has some.
    pub(super) fn named(&self, tenant: TenantId) -> BTreeMap<Arc<str>, Problem> {
        let files = self.files();
        let mut named = BTreeMap::new();
        for (_, problem) in files.iter().filter(|((owner, _), _)| *owner == tenant) {
            if let Some(name) = &problem.name {
                named.entry(name.clone()).or_insert_with(|| problem.clone());
            }
        }
        named
    }

    /// Replaces all of a tenant. A file that had the same problems before keeps its time.
    ///
    /// Answers those that are new.
    pub(super) fn replace(&self, tenant: TenantId, problems: Vec<Problem>) -> Vec<Problem> {
        let mut files = self.files();
        let mut before: Files = std::mem::take(&mut *files);
        let mut news = Vec::new();
        for mut problem in problems {
            match before.remove(&(tenant, problem.file.clone())) {
                Some(known) if known.diagnostics == problem.diagnostics => problem.since = known.since,
                Some(known) => {
                    problem.since = known.since;
                    news.push(problem.clone());
                }
                None => news.push(problem.clone()),
            }
            files.insert((tenant, problem.file.clone()), problem);
        }
        files.extend(before.into_iter().filter(|((owner, _), _)| *owner != tenant));
        news
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the folder cannot be read.
    pub(super) fn folder(&self) -> Option<String> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers whether this is news.
    pub(super) fn set_folder(&self, problem: Option<String>) -> bool {
        let mut folder = self.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let news = *folder != problem;
        *folder = problem;
        news
    }
}

impl Problem {
    fn is_of(&self, name: &str) -> bool {
        self.name.as_deref() == Some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runbook::{diagnose, diagnostic::Code};

    const TENANT: TenantId = TenantId::DEFAULT;

    fn problem(file: &str, name: Option<&str>, at: i64, message: &str) -> Problem {
        let diagnostics = vec![diagnose(file, "", Code::FileUnreadable, "", message)];
        Problem { file: file.to_owned(), name: name.map(Into::into), since: Micros(at), diagnostics, text: "".into() }
    }

    #[test]
    fn a_file_stays_broken_since_it_broke() {
        let problems = Problems::default();
        assert_eq!(problems.replace(TENANT, vec![problem("a.yaml", Some("a"), 1, "x")]).len(), 1);
        assert_eq!(problems.replace(TENANT, vec![problem("a.yaml", Some("a"), 2, "x")]), []);
        let news = problems.replace(TENANT, vec![problem("a.yaml", Some("a"), 3, "y")]);
        assert_eq!(news.iter().map(|news| news.since).collect::<Vec<_>>(), [Micros(1)], "other words, same break");
        assert_eq!(problems.of(TENANT, "a").unwrap(), news[0]);
        assert_eq!(problems.replace(TENANT, Vec::new()), []);
        assert_eq!(problems.of(TENANT, "a"), None);
        let again = problems.replace(TENANT, vec![problem("a.yaml", Some("a"), 4, "y")]);
        assert_eq!(again[0].since, Micros(4));
    }

    #[test]
    fn the_first_file_of_a_name_is_shown_and_tenants_are_apart() {
        let problems = Problems::default();
        let other = TenantId(uuid::Uuid::from_u128(2));
        problems.replace(other, vec![problem("o.yaml", Some("o"), 1, "x")]);
        let all = vec![
            problem("b.yaml", Some("a"), 1, "b"),
            problem("a.yaml", Some("a"), 1, "a"),
            problem("N.yaml", None, 1, "n"),
        ];
        problems.replace(TENANT, all);
        assert_eq!(problems.of(TENANT, "a").unwrap().file, "a.yaml");
        assert_eq!(problems.named(TENANT).keys().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
        assert!(problems.of(TENANT, "o").is_none() && problems.of(other, "o").is_some());
    }
}
