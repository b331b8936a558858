use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::*;

#[test]
fn a_run_that_failed_keeps_its_folder_and_one_that_succeeded_does_not() {
    let data = tempfile::tempdir().unwrap();
    let workspaces = FolderWorkspaces::new(data.path());
    let run = |n| RunId(uuid::Uuid::from_u128(n));
    for n in [1, 2] {
        let folder = workspaces.open(run(n)).unwrap();
        fs::write(folder.join("file"), "text").unwrap();
        workspaces.scratch(run(n)).unwrap();
        workspaces.close(run(n), n == 1);
    }
    assert_eq!(
        fs::read_to_string(data.path().join("workspaces").join(run(1).to_string()).join("file")).unwrap(),
        "text"
    );
    assert!(!data.path().join("workspaces").join(run(2).to_string()).exists());
    assert_eq!(fs::read_dir(data.path().join("scratch")).unwrap().count(), 0);
    assert_eq!(workspaces.tidy().unwrap(), 0, "nothing is a day old");
    workspaces.close(run(3), true);
}

type Change = fn(&Path) -> io::Result<()>;

#[test]
fn a_scratch_folder_is_handed_on_only_if_nothing_is_in_it() {
    let data = tempfile::tempdir().unwrap();
    let workspaces = FolderWorkspaces::new(data.path());
    let (run, other) = (RunId(uuid::Uuid::from_u128(1)), RunId(uuid::Uuid::from_u128(2)));
    let first = workspaces.scratch(run).unwrap();
    let artifacts = first.join(ARTIFACTS);
    fs::DirBuilder::new().mode(0o700).create(&artifacts).unwrap();
    workspaces.hand_on_scratch(run, first.clone());
    assert_ne!(workspaces.scratch(other).unwrap(), first, "it stays with its run");
    assert_eq!(workspaces.scratch(run).unwrap(), first);
    assert_ne!(workspaces.scratch(run).unwrap(), first, "one attempt at a time");

    let changes: [Change; 6] = [
        |folder| fs::write(folder.join("output"), ""),
        |folder| fs::create_dir(folder.join("folder")),
        |folder| fs::create_dir(folder.join(ARTIFACTS)),
        |folder| fs::write(folder.join(ARTIFACTS), ""),
        |folder| std::os::unix::fs::symlink("/", folder.join(ARTIFACTS)),
        |folder| fs::set_permissions(folder, fs::Permissions::from_mode(0o500)),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let folder = workspaces.scratch(run).unwrap();
        change(&folder).unwrap();
        workspaces.hand_on_scratch(run, folder.clone());
        assert!(!folder.exists(), "change {number}");
    }
    fs::write(artifacts.join("file"), "").unwrap();
    workspaces.hand_on_scratch(run, first.clone());
    assert!(!first.exists());
    let failed = workspaces.scratch(run).unwrap();
    workspaces.discard_scratch(run, &failed);
    assert!(!failed.exists() && workspaces.free().is_empty());
}

#[test]
fn a_scratch_folder_that_was_seen_untouched_is_not_looked_at_again() {
    let data = tempfile::tempdir().unwrap();
    let workspaces = FolderWorkspaces::new(data.path());
    let run = RunId(uuid::Uuid::from_u128(1));
    let folder = workspaces.scratch(run).unwrap();
    // The executor asks one clone, the attempt's owner hands the folder on to another.
    assert!(workspaces.clone().is_untouched(&folder));
    fs::write(folder.join("late"), "").unwrap();
    workspaces.hand_on_scratch(run, folder.clone());
    assert_eq!(workspaces.scratch(run).unwrap(), folder, "taken at its word");
    workspaces.hand_on_scratch(run, folder.clone());
    assert!(!folder.exists(), "the word holds for one time");

    let folder = workspaces.scratch(run).unwrap();
    assert!(workspaces.is_untouched(&folder));
    fs::write(folder.join("output"), "").unwrap();
    assert!(!workspaces.is_untouched(&folder), "the last word counts");
    workspaces.hand_on_scratch(run, folder.clone());
    assert!(!folder.exists());
    assert!(!workspaces.is_untouched(&folder), "it is gone");
    assert!(workspaces.untouched().is_empty());
}

#[test]
fn folders_of_a_run_become_those_of_the_next_only_as_they_were_made() {
    let data = tempfile::tempdir().unwrap();
    let workspaces = FolderWorkspaces::with_spares(data.path());
    let inodes = |folders: [&Path; 3]| folders.map(|folder| fs::metadata(folder).unwrap().ino());
    let mut number = 0;
    // One run with two attempts at a time; then what it leaves is changed.
    let mut run = |change: Change, keep: bool| {
        number += 1;
        let id = RunId(uuid::Uuid::from_u128(number));
        let (folder, attempt) = (workspaces.open(id).unwrap(), workspaces.scratch(id).unwrap());
        let second = workspaces.scratch(id).unwrap();
        assert_eq!(workspaces.open(id).unwrap(), folder);
        assert!(folder.ends_with(id.to_string()) && attempt.parent().unwrap().ends_with(id.to_string()));
        assert!(is_unused(&attempt).unwrap() && is_unused(&second).unwrap() && workspaces.is_empty(id));
        let made = inodes([&folder, attempt.parent().unwrap(), &attempt]);
        for scratch in [attempt.clone(), second] {
            workspaces.hand_on_scratch(id, scratch);
        }
        change(&folder).unwrap();
        change(&attempt).unwrap();
        workspaces.close(id, keep);
        assert_eq!(workspaces.runs().unwrap(), []);
        (made, [folder.exists(), attempt.parent().unwrap().exists()])
    };
    let nothing: Change = |_| Ok(());
    let first = run(nothing, false);
    assert_eq!(run(nothing, false), first, "the same folders under other names");
    let (kept, exist) = run(nothing, true);
    assert_eq!((kept, exist), (first.0, [true, false]), "the folder of a run that failed is for people");
    let changes: [Change; 4] = [
        |folder| fs::write(folder.join("file"), ""),
        |folder| fs::create_dir(folder.join("folder")),
        |folder| fs::set_permissions(folder, fs::Permissions::from_mode(0o770)),
        |folder| {
            let attribute = rustix::fs::setxattr(folder, "user.note", b"x", rustix::fs::XattrFlags::empty());
            attribute.or_else(|error| {
                if error == Errno::NOTSUP { fs::write(folder.join("file"), "") } else { Err(error.into()) }
            })
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (_, exist) = run(change, false);
        assert_eq!((exist, spares(data.path())), ([false, false], 0), "change {number}");
    }
    run(nothing, false);
    assert_eq!(spares(data.path()), 2);
    drop(workspaces);
    assert_eq!(spares(data.path()), 0);
}

fn spares(data: &Path) -> usize {
    let count = |folder| fs::read_dir(data.join(folder)).unwrap();
    let names = ["workspaces", "scratch"].into_iter().flat_map(count).map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.as_bytes().starts_with(b".spare-")).count()
}

#[test]
fn what_was_seen_of_a_scratch_folder_goes_with_it() {
    let data = tempfile::tempdir().unwrap();
    let workspaces = FolderWorkspaces::new(data.path());
    let (run, other) = (RunId(uuid::Uuid::from_u128(1)), RunId(uuid::Uuid::from_u128(2)));
    let seen = |run| {
        let folder = workspaces.scratch(run).unwrap();
        assert!(workspaces.is_untouched(&folder));
        folder
    };
    workspaces.discard_scratch(run, &seen(run));
    workspaces.hand_on_scratch(run, seen(run));
    assert!(workspaces.untouched().is_empty());
    let (_, kept) = (seen(run), seen(other));
    workspaces.close(run, false);
    assert_eq!(*workspaces.untouched(), HashSet::from([kept]));
    workspaces.close(other, true);
    assert!(workspaces.untouched().is_empty());
}

#[test]
fn the_folder_of_a_run_is_made_once_and_for_its_owner_only() {
    let data = tempfile::tempdir().unwrap();
    let workspaces = FolderWorkspaces::new(&data.path().join("not").join("yet"));
    let folder = workspaces.open(RunId(uuid::Uuid::from_u128(1))).unwrap();
    fs::write(folder.join("file"), "").unwrap();
    assert_eq!(workspaces.open(RunId(uuid::Uuid::from_u128(1))).unwrap(), folder);
    assert!(folder.join("file").exists());
    let mode = |folder: &Path| fs::metadata(folder).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&folder), mode(folder.parent().unwrap())), (MODE, MODE));
    fs::write(data.path().join("file"), "").unwrap();
    assert!(FolderWorkspaces::new(&data.path().join("file")).open(RunId(uuid::Uuid::from_u128(1))).is_err());
}

#[test]
fn unused_scratch_folders_are_bounded_and_go_with_their_run() {
    let data = tempfile::tempdir().unwrap();
    let workspaces = FolderWorkspaces::new(data.path());
    let run = RunId(uuid::Uuid::from_u128(1));
    let folders: Vec<PathBuf> = (0..FREE + 9).map(|_| workspaces.scratch(run).unwrap()).collect();
    for folder in &folders {
        workspaces.hand_on_scratch(run, folder.clone());
    }
    assert_eq!(fs::read_dir(folders[0].parent().unwrap()).unwrap().count(), FREE);
    workspaces.close(run, true);
    assert!(workspaces.free().is_empty());
    // Another worker of the same data folder does not take what is there.
    let left = workspaces.scratch(run).unwrap();
    assert_eq!(FolderWorkspaces::new(data.path()).scratch(run).unwrap().parent(), left.parent());
}
