use std::os::unix::{fs::MetadataExt as _, net::UnixListener};

use super::*;
use crate::system::FolderArtifacts;

const RUN: RunId = RunId(uuid::Uuid::from_u128(7));

struct World {
    folder: tempfile::TempDir,
    artifacts: Arc<FolderArtifacts>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let artifacts = Arc::new(FolderArtifacts::new(folder.path().join("artifacts")).unwrap());
        World { folder, artifacts }
    }

    fn machine(&self, name: &str, limit: u64) -> StoredSnapshots {
        StoredSnapshots::new(self.artifacts.clone(), &self.folder.path().join(name), limit).unwrap()
    }

    /// Puts an archive of these entries in place of a snapshot.
    async fn forged(&self, entries: &[(EntryType, &str, &str)]) -> Snapshot {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, name, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // Written as it is: the library would refuse names that lead out.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            let content = if *kind == EntryType::Regular {
                content.as_bytes()
            } else {
                header.as_gnu_mut().unwrap().linkname[..content.len()].copy_from_slice(content.as_bytes());
                b""
            };
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content).unwrap();
        }
        let packed = zstd::encode_all(&*tar.into_inner().unwrap(), 1).unwrap();
        let file = self.folder.path().join("forged");
        fs::write(&file, packed).unwrap();
        let (digest, size) = self.artifacts.put_file("workspaces/forged", &file).await.unwrap();
        Snapshot { artifact: "workspaces/forged".to_owned(), size, digest }
    }
}

fn below(folder: &Path) -> Vec<(String, u32, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let content = if metadata.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else if metadata.is_dir() {
                folders.push(path.clone());
                String::new()
            } else if metadata.is_file() {
                fs::read_to_string(&path).unwrap()
            } else {
                String::new()
            };
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            found.push((name, if metadata.is_symlink() { 0 } else { metadata.mode() & 0o7777 }, content));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_folder_goes_to_another_machine_as_it_is() {
    let world = World::new();
    let (one, other) = (world.machine("one", 1 << 20), world.machine("other", 1 << 20));
    assert_ne!(one.place(), other.place());
    assert_eq!(one.place(), world.machine("one", 1).place(), "a place keeps its name");
    let folder = one.folder(RUN);
    fs::create_dir_all(folder.join("deep/er")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    fs::write(folder.join("deep/er/ünï code\n"), "x").unwrap();
    fs::write(folder.join("run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("run.sh"), Permissions::from_mode(0o4755)).unwrap();
    fs::write(folder.join("deep").join("n".repeat(200)), "long").unwrap();
    fs::hard_link(folder.join("run.sh"), folder.join("again.sh")).unwrap();
    for (link, to) in [("dangling", "nowhere"), ("out", "/etc/passwd"), ("up", "../.."), ("loop", "loop")] {
        symlink(to, folder.join(link)).unwrap();
    }
    let _socket = UnixListener::bind(folder.join("socket")).unwrap();
    fs::set_permissions(folder.join("deep/er"), Permissions::from_mode(0o500)).unwrap();
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(folder.join("deep").join("n".repeat(200))).unwrap().set_modified(at).unwrap();

    let snapshot = one.store(RUN).await.unwrap().unwrap();
    other.restore(RUN, &snapshot).await.unwrap();
    let mut expected = below(&folder);
    expected.retain(|(name, ..)| name != "socket");
    for entry in expected.iter_mut().filter(|(name, ..)| Path::new(name).extension().is_some_and(|end| end == "sh")) {
        entry.1 = 0o755;
    }
    assert_eq!(below(&other.folder(RUN)), expected);
    let restored = fs::metadata(other.folder(RUN).join("deep").join("n".repeat(200))).unwrap();
    assert_eq!(restored.modified().unwrap(), at, "`make` looks at times");
    // Again, over what is there by now.
    fs::write(other.folder(RUN).join("more"), "").unwrap();
    other.restore(RUN, &snapshot).await.unwrap();
    assert_eq!(below(&other.folder(RUN)), expected);
    let left: Vec<_> = fs::read_dir(&other.root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the folder and the name of the place: {left:?}");
    one.leave(RUN).await;
    assert!(!one.is_here(RUN).await && other.is_here(RUN).await);
}

#[tokio::test]
async fn nothing_is_stored_of_an_empty_folder() {
    let world = World::new();
    let machine = world.machine("one", 1 << 20);
    assert_eq!(machine.store(RUN).await.unwrap(), None);
    fs::create_dir_all(machine.folder(RUN)).unwrap();
    assert_eq!(machine.store(RUN).await.unwrap(), None);
    assert!(world.artifacts.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn too_much_is_refused_and_leaves_nothing() {
    let world = World::new();
    let machine = world.machine("one", 2 << 20);
    fs::create_dir_all(machine.folder(RUN)).unwrap();
    fs::write(machine.folder(RUN).join("a"), vec![0; 1 << 20]).unwrap();
    assert!(machine.store(RUN).await.unwrap().is_some());
    fs::write(machine.folder(RUN).join("b"), vec![0; 1 << 20]).unwrap();
    let error = machine.store(RUN).await.unwrap_err();
    assert_eq!((error.code(), error.is_passing()), ("WORKSPACE_TOO_LARGE", false));
    assert!(error.to_string().contains("2 MiB"), "{error}");
    assert_eq!(world.artifacts.list("workspaces").await.unwrap().len(), 1);
    assert_eq!(fs::read_dir(&machine.root).unwrap().count(), 2);
}

#[tokio::test]
async fn old_ones_are_forgotten() {
    let world = World::new();
    let machine = world.machine("one", 2 << 20);
    fs::create_dir_all(machine.folder(RUN)).unwrap();
    fs::write(machine.folder(RUN).join("a"), "1").unwrap();
    let first = machine.store(RUN).await.unwrap().unwrap();
    let second = machine.store(RUN).await.unwrap().unwrap();
    machine.forget(RUN, Some(&second)).await.unwrap();
    assert_eq!(world.artifacts.list("").await.unwrap(), std::slice::from_ref(&second.artifact));
    let error = machine.restore(RUN, &first).await.unwrap_err();
    assert_eq!(error.code(), "WORKSPACE_LOST");
    machine.forget(RUN, None).await.unwrap();
    assert!(world.artifacts.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_changed_is_not_restored() {
    let world = World::new();
    let machine = world.machine("one", 2 << 20);
    fs::create_dir_all(machine.folder(RUN)).unwrap();
    fs::write(machine.folder(RUN).join("a"), "1").unwrap();
    let snapshot = machine.store(RUN).await.unwrap().unwrap();
    let file = world.folder.path().join("artifacts").join(&snapshot.artifact);
    let mut bytes = fs::read(&file).unwrap();
    bytes[10] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(machine.restore(RUN, &snapshot).await.unwrap_err().code(), "WORKSPACE_LOST");
    assert_eq!(fs::read_to_string(machine.folder(RUN).join("a")).unwrap(), "1", "what is there stays");
}

#[tokio::test]
async fn nothing_leads_out_of_the_folder() {
    let world = World::new();
    let machine = world.machine("one", 2 << 20);
    let outside = world.folder.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let out = outside.to_str().unwrap();
    let file = EntryType::Regular;
    let absolute = format!("{out}/x");
    let cases: [&[(EntryType, &str, &str)]; 8] = [
        &[(file, "../outside/x", "x")],
        &[(file, &absolute, "x")],
        &[(EntryType::Symlink, "link", out), (file, "link/x", "x")],
        &[(EntryType::Symlink, "link", "../../../outside"), (EntryType::Directory, "link/x", "")],
        &[(EntryType::Symlink, "link", &absolute), (file, "link", "x")],
        &[(EntryType::Link, "hard", "/etc/passwd")],
        &[(EntryType::Fifo, "pipe", "")],
        &[(file, "a/../../outside/x", "x")],
    ];
    for entries in cases {
        let snapshot = world.forged(entries).await;
        let error = machine.restore(RUN, &snapshot).await.unwrap_err();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{entries:?}");
        assert!(!machine.is_here(RUN).await, "{entries:?}: {error}");
    }
}

#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    let world = World::new();
    let machine = world.machine("one", 1 << 20);
    let content = "0".repeat(8 << 20);
    let snapshot = world.forged(&[(EntryType::Regular, "bomb", &content)]).await;
    assert!(snapshot.size < 10_000);
    assert_eq!(machine.restore(RUN, &snapshot).await.unwrap_err().code(), "WORKSPACE_TOO_LARGE");
    assert_eq!(fs::read_dir(&machine.root).unwrap().count(), 1);
}
