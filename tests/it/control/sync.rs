//! A real folder of runbooks, followed into a real store.

use std::{
    fs,
    future::Future,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use opsroom::{
    actions,
    control::{Draft, Origin, Plans, RunbookSync, RunbookView, Runbooks, RunbooksError, put_shipped},
    model::TenantId,
    runbook::{SHIPPED, diagnostic::Code},
    store::SqliteStore,
    system::{FolderArtifacts, FolderBundles, NotifiedFolder, SystemClock},
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::world::PATIENCE;

const TENANT: TenantId = TenantId::DEFAULT;

struct Books {
    folder: tempfile::TempDir,
    runbooks: Runbooks,
    store: Arc<SqliteStore>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Books {
    /// A folder `books`, which is empty and not followed yet.
    async fn new() -> Books {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir(folder.path().join("books")).unwrap();
        let store = Arc::new(SqliteStore::open(&folder.path().join("opsroom.db")).await.unwrap());
        let runbooks = Books::service(&folder, &store);
        Books { folder, runbooks, store, tasks: JoinSet::new(), stop: CancellationToken::new() }
    }

    fn service(folder: &tempfile::TempDir, store: &Arc<SqliteStore>) -> Runbooks {
        let artifacts = Arc::new(FolderArtifacts::new(folder.path().join("artifacts")).unwrap());
        let bundles = Arc::new(FolderBundles::new(artifacts, folder.path().join("bundles")));
        let plans = Plans::new(store.clone());
        Runbooks::new(store.clone(), bundles, Arc::new(SystemClock), plans, Arc::new(actions::catalog()))
    }

    fn sync(&self) -> RunbookSync {
        RunbookSync::new(self.runbooks.clone(), Arc::new(NotifiedFolder::new(self.path(""))), TENANT)
    }

    /// Follows the folder from now on.
    fn follow(&mut self) {
        self.tasks.spawn(self.sync().run(self.stop.clone()));
    }

    /// As after a restart: nothing is remembered but what is stored.
    async fn restart(&mut self) {
        self.stop.cancel();
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        self.stop = CancellationToken::new();
        self.runbooks = Books::service(&self.folder, &self.store);
        self.follow();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("books").join(name)
    }

    /// As most editors save: a file beside it takes its name.
    fn save(&self, name: &str, text: &str) {
        let beside = self.path(&format!("{name}.new-{}", text.len()));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    async fn version(&self, name: &str) -> u32 {
        self.runbooks.latest(TENANT, name).await.map_or(0, |latest| latest.row.version)
    }

    async fn source(&self, name: &str) -> String {
        let version = self.version(name).await;
        self.runbooks.source(TENANT, name, version).await.unwrap().1
    }

    async fn view(&self, name: &str) -> RunbookView {
        self.runbooks.view(TENANT, name).await.unwrap()
    }

    /// The codes of the problem that a runbook shows.
    async fn codes(&self, name: &str) -> Vec<Code> {
        let view = self.runbooks.view(TENANT, name).await;
        let problem = view.ok().and_then(|view| view.problem);
        problem.into_iter().flat_map(|problem| problem.diagnostics).map(|diagnostic| diagnostic.code).collect()
    }

    async fn until<F: Future<Output = bool>>(&self, what: &str, holds: impl Fn() -> F) -> Duration {
        let begin = Instant::now();
        while !holds().await {
            assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        begin.elapsed()
    }

    async fn until_version(&self, name: &str, version: u32) -> Duration {
        self.until(&format!("{name}@{version}"), async || self.version(name).await == version).await
    }

    /// Long enough that whatever was to happen has happened.
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn text(name: &str, says: &str) -> String {
    format!("version: 1\nname: {name}\nsteps:\n  - {{id: a, run: echo {says}}}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_file_is_a_version_soon() {
    let mut books = Books::new().await;
    fs::write(books.path("a.yaml"), text("a", "1")).unwrap();
    books.follow();
    books.until_version("a", 1).await;
    let mut took = Vec::new();
    for number in 2..=11 {
        books.save("a.yaml", &text("a", &number.to_string()));
        took.push(books.until_version("a", number).await);
    }
    took.sort();
    assert!(took[5] < Duration::from_millis(300), "the median save took {:?}: {took:?}", took[5]);
    assert_eq!(&*books.view("a").await.latest.unwrap().row.origin, "a.yaml");
    fs::create_dir_all(books.path("deep/er")).unwrap();
    fs::write(books.path("deep/er/b.yml"), text("b", "1")).unwrap();
    books.until_version("b", 1).await;
    assert_eq!(&*books.view("b").await.latest.unwrap().row.origin, "deep/er/b.yml");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_an_editor_saves() {
    let mut books = Books::new().await;
    books.save("a.yaml", &text("a", "1"));
    books.follow();
    books.until_version("a", 1).await;
    // In place.
    fs::write(books.path("a.yaml"), text("a", "2")).unwrap();
    books.until_version("a", 2).await;
    // As vim does: a probe, a swap file, the old file moved away, a new one written, the old one removed.
    fs::write(books.path("4913"), "").unwrap();
    fs::remove_file(books.path("4913")).unwrap();
    fs::write(books.path(".a.yaml.swp"), "b0VIM").unwrap();
    fs::rename(books.path("a.yaml"), books.path("a.yaml~")).unwrap();
    fs::write(books.path("a.yaml"), text("a", "3")).unwrap();
    fs::remove_file(books.path("a.yaml~")).unwrap();
    fs::remove_file(books.path(".a.yaml.swp")).unwrap();
    books.until_version("a", 3).await;
    // What lies around is no runbook.
    symlink("ann@host.1234", books.path(".#a.yaml")).unwrap();
    for name in ["#a.yaml#", "a.yaml~", ".hidden.yaml", "a.yaml.tmp", "notes.txt"] {
        fs::write(books.path(name), text("other", "x")).unwrap();
    }
    fs::create_dir(books.path(".git")).unwrap();
    fs::write(books.path(".git/other.yaml"), text("other", "x")).unwrap();
    // The same content once more, and only a newer time.
    books.save("a.yaml", &text("a", "3"));
    books.rest().await;
    assert_eq!((books.version("a").await, books.version("other").await), (3, 0));
    let page = books.runbooks.list(TENANT, None, 10).await.unwrap();
    assert_eq!(page.items.iter().map(|view| &*view.name).collect::<Vec<_>>(), ["a"]);
    assert_eq!(books.codes("a").await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_keeps_the_last_good_version() {
    let mut books = Books::new().await;
    books.save("a.yaml", &text("a", "1"));
    books.follow();
    books.until_version("a", 1).await;
    books.save("a.yaml", "version: 1\nname: a\nsteps:\n  - {id: a, ru: echo}\n");
    books.until("it is shown", async || !books.codes("a").await.is_empty()).await;
    let view = books.view("a").await;
    let problem = view.problem.unwrap();
    assert_eq!((view.latest.unwrap().row.version, problem.file.as_str()), (1, "a.yaml"));
    assert!(problem.diagnostics.iter().any(|found| found.code == Code::UnknownKey && found.line == 4));
    // Broken in another way, so that not even the name can be read.
    books.save("a.yaml", "{[");
    books.until("it is no YAML", async || books.codes("a").await.contains(&Code::YamlSyntax)).await;
    assert_eq!(books.view("a").await.problem.unwrap().since, problem.since, "it is broken since it broke");
    books.save("a.yaml", &text("a", "2"));
    books.until_version("a", 2).await;
    books.until("nothing is wrong", async || books.codes("a").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_never_were_good_are_listed() {
    let mut books = Books::new().await;
    books.save("stem.yaml", "{[");
    books.save("other.yaml", "name: named\nsteps: []\n");
    books.save("Not A Name.yaml", "{[");
    fs::write(books.path("latin.yaml"), b"name: latin\n# \xe4\n").unwrap();
    fs::File::create(books.path("huge.yaml")).unwrap().set_len(3 << 20).unwrap();
    books.follow();
    books.until("all are listed", async || books.runbooks.list(TENANT, None, 10).await.unwrap().items.len() == 4).await;
    let page = books.runbooks.list(TENANT, None, 10).await.unwrap();
    let listed: Vec<(&str, bool, &str)> = page
        .items
        .iter()
        .map(|view| (&*view.name, view.latest.is_some(), view.problem.as_ref().unwrap().file.as_str()))
        .collect();
    let expected = [("huge", "huge.yaml"), ("latin", "latin.yaml"), ("named", "other.yaml"), ("stem", "stem.yaml")];
    assert_eq!(listed, expected.map(|(name, file)| (name, false, file)));
    assert_eq!(books.codes("huge").await, [Code::FileUnreadable]);
    assert!(books.view("latin").await.problem.unwrap().diagnostics[0].message.contains("line 2"));
    let missing = books.runbooks.view(TENANT, "missing").await;
    assert!(matches!(missing, Err(RunbooksError::NotFound(_))), "{missing:?}");
    // Pages go through all of them.
    let first = books.runbooks.list(TENANT, None, 3).await.unwrap();
    let rest = books.runbooks.list(TENANT, Some(&first.items[2].name), 3).await.unwrap();
    assert_eq!((first.items.len(), first.more, rest.items.len(), rest.more), (3, true, 1, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_files_of_a_name_the_first_counts() {
    let mut books = Books::new().await;
    books.save("b.yaml", &text("x", "b"));
    books.follow();
    books.until_version("x", 1).await;
    books.save("c.yaml", &text("x", "c"));
    books.until("it is refused", async || books.codes("x").await == [Code::DuplicateRunbook]).await;
    let problem = books.view("x").await.problem.unwrap();
    assert_eq!(problem.file, "c.yaml");
    let diagnostic = &problem.diagnostics[0];
    assert!(
        diagnostic.message.contains("`b.yaml`") && (diagnostic.line, diagnostic.column) == (2, 7),
        "{diagnostic:?}"
    );
    assert_eq!(books.version("x").await, 1);
    fs::remove_file(books.path("b.yaml")).unwrap();
    books.until_version("x", 2).await;
    assert!(books.source("x").await.contains("echo c"));
    books.until("nothing is wrong", async || books.codes("x").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_stays_and_says_so() {
    let mut books = Books::new().await;
    books.save("a.yaml", &text("a", "1"));
    books.save("b.yaml", &text("b", "1"));
    books.follow();
    books.until_version("b", 1).await;
    fs::remove_file(books.path("a.yaml")).unwrap();
    books.until("it is gone", async || books.codes("a").await == [Code::FileGone]).await;
    assert_eq!(books.version("a").await, 1);
    fs::rename(books.path("b.yaml"), books.path("c.yaml")).unwrap();
    books.rest().await;
    assert_eq!(books.codes("b").await, [], "a file that was renamed is not gone");
    books.restart().await;
    books.until("still gone", async || books.codes("a").await == [Code::FileGone]).await;
    books.save("a.yaml", &text("a", "1"));
    books.until("it is back", async || books.codes("a").await.is_empty()).await;
    assert_eq!(books.version("a").await, 1, "as it was: no version");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_quick_saves_end_with_the_last() {
    let mut books = Books::new().await;
    books.follow();
    for number in 1..=200 {
        if number % 2 == 0 {
            books.save("a.yaml", &text("a", &number.to_string()));
        } else {
            fs::write(books.path("a.yaml"), text("a", &number.to_string())).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    books
        .until("the last one", async || books.version("a").await > 0 && books.source("a").await == text("a", "200"))
        .await;
    let count = books.version("a").await;
    let versions = books.runbooks.versions(TENANT, "a", None, 1_000).await.unwrap();
    assert_eq!(versions.items.len(), count as usize);
    for number in 1..=count {
        let (_, source) = books.runbooks.source(TENANT, "a", number).await.unwrap();
        assert!(source.ends_with("}\n"), "version {number} is a part of a file: {source:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_stay_in_the_folder() {
    let mut books = Books::new().await;
    // As a ConfigMap is mounted.
    fs::create_dir(books.path("..2026")).unwrap();
    fs::write(books.path("..2026/in.yaml"), text("in", "1")).unwrap();
    symlink("..2026", books.path("..data")).unwrap();
    symlink("..data/in.yaml", books.path("in.yaml")).unwrap();
    fs::write(books.folder.path().join("secret.yaml"), text("secret", "1")).unwrap();
    symlink("../secret.yaml", books.path("out.yaml")).unwrap();
    symlink("/", books.path("root")).unwrap();
    symlink("nowhere", books.path("dangling.yaml")).unwrap();
    books.follow();
    books.until_version("in", 1).await;
    books.until("the other is refused", async || books.codes("out").await == [Code::FileUnreadable]).await;
    assert!(books.view("out").await.problem.unwrap().diagnostics[0].message.contains("leads out"));
    assert_eq!(books.version("secret").await, 0);
    assert_eq!(books.codes("dangling").await, [Code::FileUnreadable]);
    // The swap of a mount.
    fs::create_dir(books.path("..2027")).unwrap();
    fs::write(books.path("..2027/in.yaml"), text("in", "2")).unwrap();
    symlink("..2027", books.path("..next")).unwrap();
    fs::rename(books.path("..next"), books.path("..data")).unwrap();
    books.until_version("in", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_may_go_away_and_come_back() {
    let mut books = Books::new().await;
    books.save("a.yaml", &text("a", "1"));
    books.follow();
    books.until_version("a", 1).await;
    let away = books.folder.path().join("away");
    fs::rename(books.path(""), &away).unwrap();
    books.rest().await;
    assert_eq!(books.codes("a").await, [], "a folder that is away says nothing of its files");
    fs::create_dir(books.path("")).unwrap();
    books.save("a.yaml", &text("a", "2"));
    books.until_version("a", 2).await;
    // It is followed again, not only polled.
    books.rest().await;
    books.save("a.yaml", &text("a", "3"));
    let took = books.until_version("a", 3).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_of_a_runbook_are_followed_too() {
    let mut books = Books::new().await;
    fs::create_dir(books.path("deep")).unwrap();
    fs::write(books.path("deep/x.sh"), "1").unwrap();
    books.save("deep/a.yaml", &text("a", "1").replace("steps", "files: ['*.sh']\nsteps"));
    books.follow();
    books.until_version("a", 1).await;
    fs::write(books.path("deep/x.sh"), "2").unwrap();
    books.until_version("a", 2).await;
    let one = books.runbooks.version(TENANT, "a", 1).await.unwrap();
    let two = books.runbooks.version(TENANT, "a", 2).await.unwrap();
    assert_eq!(one.plan.source, two.plan.source);
    assert_ne!((one.row.bundle, one.row.plan, one.row.digest), (two.row.bundle, two.row.plan, two.row.digest));
    fs::remove_file(books.path("deep/x.sh")).unwrap();
    books.until("it is missed", async || books.codes("a").await == [Code::FilesUnmatched]).await;
    fs::write(books.path("deep/y.sh"), "2").unwrap();
    books.until_version("a", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_does_not_undo_what_came_from_elsewhere() {
    let mut books = Books::new().await;
    books.save("a.yaml", &text("a", "1"));
    books.follow();
    books.until_version("a", 1).await;
    let api = Origin::Api("ada".to_owned());
    let put = books.runbooks.put_named(TENANT, "a", Draft::new("a", text("a", "2")), &api).await.unwrap();
    assert_eq!((put.version.version, put.created, &*put.version.origin), (2, true, "api: ada"));
    books.restart().await;
    books.rest().await;
    assert_eq!(books.version("a").await, 2);
    books.save("a.yaml", &text("a", "3"));
    books.until_version("a", 3).await;
    let wrong = books.runbooks.put_named(TENANT, "b", Draft::new("a", text("a", "4")), &api).await;
    assert!(matches!(wrong, Err(RunbooksError::NameMismatch(ref found)) if found[0].line == 2), "{wrong:?}");
    assert_eq!(books.version("b").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shipped_runbooks_are_stored_once_and_may_be_replaced() {
    let books = Books::new().await;
    for _ in 0..2 {
        put_shipped(&books.runbooks, TENANT).await.unwrap();
        for shipped in SHIPPED {
            assert_eq!(books.version(shipped.name).await, 1, "{}", shipped.name);
            assert_eq!(books.source(shipped.name).await, shipped.text);
        }
    }
    let mine = text("disk-usage", "mine");
    books.runbooks.put(TENANT, Draft::new("x", mine.as_str()), &Origin::Api("ada".to_owned())).await.unwrap();
    put_shipped(&books.runbooks, TENANT).await.unwrap();
    assert_eq!((books.version("disk-usage").await, books.source("disk-usage").await), (2, mine));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_stores_nothing() {
    let books = Books::new().await;
    books.save("a.yaml", &text("a", "1"));
    books.save("b.yaml", "{[");
    let mut sync = books.sync();
    sync.look().await.unwrap();
    tokio::time::sleep(Duration::from_millis(120)).await;
    sync.look().await.unwrap();
    assert_eq!((books.version("a").await, books.codes("b").await), (0, vec![Code::YamlSyntax]));
    assert!(!Path::new(&books.path("opsroom.db")).exists());
}
