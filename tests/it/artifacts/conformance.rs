//! What every store of artifacts does.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use opsroom::{
    model::Digest,
    ports::{ArtifactError, Artifacts, Bundles, Probe},
    runbook::{Bundle, BundleFile},
    system::{FolderArtifacts, FolderBundles, ObjectArtifacts},
};

use super::server;

pub struct World {
    pub store: Arc<dyn Artifacts>,
    probe: Arc<dyn Probe>,
    folder: tempfile::TempDir,
}

impl World {
    pub fn folder() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FolderArtifacts::new(folder.path().join("artifacts")).unwrap());
        World { store: store.clone(), probe: store, folder }
    }

    pub fn s3() -> World {
        World::of(&std::thread::spawn(|| server::config(server::port())).join().unwrap())
    }

    pub fn bucket() -> World {
        World::of(&std::thread::spawn(|| server::own_bucket(server::port())).join().unwrap())
    }

    fn of(config: &opsroom::system::ObjectConfig) -> World {
        let store = Arc::new(ObjectArtifacts::new(config).unwrap());
        World { store: store.clone(), probe: store, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, content: &[u8]) -> std::path::PathBuf {
        let file = self.folder.path().join("file");
        std::fs::write(&file, content).unwrap();
        file
    }

    async fn put(&self, key: &str, content: &str) {
        self.store.put_file(key, &self.file(content.as_bytes())).await.unwrap();
    }

    async fn text(&self, key: &str) -> String {
        String::from_utf8(self.store.get(key).await.unwrap()).unwrap()
    }
}

/// Bytes that differ everywhere.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

pub async fn what_is_put_reads_back(world: &World) {
    world.probe.probe().await.unwrap();
    for (key, content) in
        [("run/step/report.md", "# Report\n"), ("run/empty", ""), ("a", "x"), (".bundles/1/m-1_x.y", "")]
    {
        let put = world.store.put_file(key, &world.file(content.as_bytes())).await.unwrap();
        assert_eq!(put, (Digest::of(content.as_bytes()), content.len() as u64), "{key}");
        assert_eq!(world.text(key).await, content, "{key}");
        assert_eq!(world.store.open(key).await.unwrap().size(), content.len() as u64);
    }
    world.probe.probe().await.unwrap();
}

pub async fn a_key_is_replaced_as_a_whole(world: &World) {
    world.put("run/a", "a long first content").await;
    world.put("run/a", "short").await;
    assert_eq!(world.text("run/a").await, "short");
    assert_eq!(world.store.list("").await.unwrap(), ["run/a"]);
}

pub async fn what_comes_in_pieces_is_seen_when_it_is_complete(world: &World) {
    let mut writer = world.store.begin("archives/x").await.unwrap();
    writer.write(Bytes::from_static(b"one ")).await.unwrap();
    writer.write(Bytes::from_static(b"two")).await.unwrap();
    assert!(world.store.list("").await.unwrap().is_empty());
    assert_eq!(writer.finish().await.unwrap(), (Digest::of(b"one two"), 7));
    assert_eq!(world.text("archives/x").await, "one two");
    let mut dropped = world.store.begin("archives/y").await.unwrap();
    dropped.write(Bytes::from_static(b"half")).await.unwrap();
    drop(dropped);
    assert_eq!(world.store.begin("archives/z").await.unwrap().finish().await.unwrap(), (Digest::of(b""), 0));
    assert_eq!(world.store.list("archives").await.unwrap(), ["archives/x", "archives/z"]);
}

pub async fn large_ones_go_in_parts(world: &World) {
    // Less than a part, exactly one, one and a byte, several.
    for (key, length) in [("l/1", 5 << 20), ("l/2", 8 << 20), ("l/3", (8 << 20) + 1), ("l/4", 20 << 20)] {
        let content = noise(length);
        let mut writer = world.store.begin(key).await.unwrap();
        for piece in content.chunks(700_001) {
            writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), (Digest::of(&content), length as u64), "{key}");
        assert!(world.store.get(key).await.unwrap() == content, "{key}");
        assert_eq!(world.store.put_file("l/file", &world.file(&content)).await.unwrap().0, Digest::of(&content));
    }
    assert_eq!(world.store.list("l").await.unwrap().len(), 5);
}

pub async fn parts_are_read(world: &World) {
    world.put("run/a", "one two").await;
    let reader = world.store.open("run/a").await.unwrap();
    for (offset, length, expected) in [(0, 3, "one"), (4, 99, "two"), (7, 1, ""), (99, 1, ""), (3, 0, "")] {
        assert_eq!(reader.read_at(offset, length).await.unwrap(), expected, "{offset} {length}");
    }
    assert_eq!(reader.read_at(u64::MAX, usize::MAX).await.unwrap(), "");
    world.put("run/b", "").await;
    assert_eq!(world.store.open("run/b").await.unwrap().read_at(0, 10).await.unwrap(), "");
}

pub async fn a_reader_never_mixes_two(world: &World) {
    world.put("run/a", "first first").await;
    let reader = world.store.open("run/a").await.unwrap();
    assert_eq!(reader.read_at(0, 6).await.unwrap(), "first ");
    world.put("run/a", "other other").await;
    match reader.read_at(6, 5).await {
        Ok(bytes) => assert_eq!(bytes, "first"),
        Err(error) => assert_eq!(error.code(), "ARTIFACT_REPLACED"),
    }
    world.store.delete("run/a").await.unwrap();
    match reader.read_at(6, 5).await {
        Ok(bytes) => assert_eq!(bytes, "first"),
        Err(error) => assert_eq!(error.code(), "ARTIFACT_NOT_FOUND"),
    }
}

pub async fn keys_are_listed_below_a_prefix(world: &World) {
    for key in ["r1/b/z", "r1/a", "r10/c", "r1.x"] {
        world.put(key, "x").await;
    }
    assert_eq!(world.store.list("r1").await.unwrap(), ["r1/a", "r1/b/z"]);
    assert_eq!(world.store.list("r1/b/").await.unwrap(), ["r1/b/z"]);
    assert_eq!(world.store.list("r1/a").await.unwrap(), [""; 0], "a key is not below itself");
    assert_eq!(world.store.list("").await.unwrap(), ["r1.x", "r1/a", "r1/b/z", "r10/c"]);
    assert!(world.store.list("none").await.unwrap().is_empty());
}

pub async fn what_is_deleted_is_gone(world: &World) {
    for key in ["r1/a", "r1/b/c", "r2/a", "r10/a"] {
        world.put(key, "x").await;
    }
    world.store.delete("r1/a").await.unwrap();
    world.store.delete("r1/a").await.unwrap();
    assert_eq!(world.store.list("").await.unwrap(), ["r1/b/c", "r10/a", "r2/a"]);
    world.store.delete_below("r1").await.unwrap();
    world.store.delete_below("r1").await.unwrap();
    world.store.delete_below("r2/a").await.unwrap();
    assert_eq!(world.store.list("").await.unwrap(), ["r10/a", "r2/a"]);
    for bad in ["", ".", "..", "/", ".unfinished"] {
        assert!(world.store.delete_below(bad).await.is_err(), "{bad}");
    }
    assert_eq!(world.store.list("").await.unwrap().len(), 2);
}

pub async fn no_key_leads_out(world: &World) {
    let (file, long) = (world.file(b"x"), "a".repeat(256));
    let bad = ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", "./a", "a\\b", "a\0", "é", "a b", ".unfinished/x"];
    for key in bad.into_iter().chain([long.as_str()]) {
        let is_bad = |error: ArtifactError| matches!(error, ArtifactError::BadName(_));
        assert!(world.store.put_file(key, &file).await.is_err_and(is_bad), "{key:?}");
        assert!(world.store.begin(key).await.err().is_some_and(is_bad), "{key:?}");
        assert!(world.store.get(key).await.is_err_and(is_bad), "{key:?}");
        assert!(world.store.open(key).await.err().is_some_and(is_bad), "{key:?}");
        assert!(world.store.delete(key).await.is_err_and(is_bad), "{key:?}");
    }
    assert!(world.store.list("..").await.is_err());
}

pub async fn links_and_devices_are_not_copied(world: &World) {
    let link = world.folder.path().join("link");
    std::os::unix::fs::symlink("/etc/hostname", &link).unwrap();
    for file in [&link, Path::new("/dev/null"), world.folder.path(), Path::new("/nonexistent")] {
        assert!(world.store.put_file("run/x", file).await.is_err(), "{}", file.display());
    }
    assert!(world.store.list("run").await.unwrap().is_empty());
}

pub async fn what_is_not_there_is_not_found(world: &World) {
    world.put("run/a", "x").await;
    for key in ["run/b", "run", "run/a/b"] {
        let is_absent = |error: ArtifactError| matches!(&error, ArtifactError::NotFound(name) if name == key);
        assert!(world.store.get(key).await.is_err_and(is_absent), "{key}");
        assert!(world.store.open(key).await.err().is_some_and(is_absent), "{key}");
    }
}

pub async fn many_at_once(world: &World) {
    let write = async |number: usize| {
        let mut writer = world.store.begin(&format!("many/{number}")).await.unwrap();
        writer.write(noise(number * 1_000).into()).await.unwrap();
        writer.finish().await.unwrap();
    };
    futures::future::join_all((0..40).map(write)).await;
    assert_eq!(world.store.list("many").await.unwrap().len(), 40);
    for number in [0, 1, 39] {
        assert!(world.store.get(&format!("many/{number}")).await.unwrap() == noise(number * 1_000));
    }
}

/// What belongs to a runbook reaches every machine that has the store.
pub async fn bundles_are_laid(world: &World) {
    let file = |text: &str, executable| BundleFile::new(text.as_bytes(), executable);
    let files = [("scripts/undo.sh", file("echo undone\n", true)), ("with space é.txt", file("x", false))];
    let bundle = Bundle { files: files.map(|(path, file)| (path.to_owned(), file)).into() };
    let machine = |name: &str| FolderBundles::new(world.store.clone(), world.folder.path().join(name));
    machine("one").put(&bundle).await.unwrap();
    let folder = machine("other").lay(bundle.digest()).await.unwrap();
    assert_eq!(std::fs::read_to_string(folder.join("scripts/undo.sh")).unwrap(), "echo undone\n");
    assert!(folder.join("with space é.txt").exists());
}
