//! Trees that nobody should have: bounded, and nothing hangs.

use std::fs;
use std::sync::RwLock;

use lacuna_retrieval::{Index, Limits, refresh, walk};

#[cfg(unix)]
#[test]
fn links_pipes_and_large_files_are_passed_over() {
    use nix::sys::stat::Mode;
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::create_dir_all(root.join("closed")).unwrap();
    fs::write(root.join("a/b/ok.py"), "def ok(): pass\n").unwrap();
    fs::write(root.join("closed/no.py"), "def no(): pass\n").unwrap();
    symlink(root, root.join("a/b/loop")).unwrap();
    symlink(root.join("a/b/ok.py"), root.join("a/link.py")).unwrap();
    nix::unistd::mkfifo(&root.join("pipe.py"), Mode::S_IRWXU).unwrap();
    // A hole takes no room on the disk.
    fs::File::create(root.join("large.py")).unwrap().set_len(2 << 30).unwrap();
    fs::write(root.join("binary.py"), b"def b(): pass\n\0\0").unwrap();
    fs::write(root.join("one_line.js"), format!("var x = [{}]", "1,".repeat(50_000))).unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
    let index = RwLock::new(Index::default());
    let refreshed = refresh(&index, (0, root), &(), &Limits::default(), &|_| true);
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
    let index = index.into_inner().unwrap();
    assert!(index.named("ok").next().is_some());
    assert_eq!(index.named("ok").count(), 1);
    assert!(index.named("b").next().is_none() && index.named("x").next().is_none());
    assert_eq!((refreshed.too_large, refreshed.stopped), (1, None));
}

#[test]
fn counts_and_memory_have_limits_that_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for i in 0..30 {
        fs::create_dir_all(root.join(format!("d{i}"))).unwrap();
        fs::write(root.join(format!("d{i}/f.py")), format!("def f{i}(): pass\n")).unwrap();
    }
    let limited = |limits: Limits| {
        let index = RwLock::new(Index::default());
        let refreshed = refresh(&index, (0, root), &(), &limits, &|_| true);
        let n = index.into_inner().unwrap().n_files();
        (n, refreshed.stopped)
    };
    let all = Limits::default();
    assert_eq!(limited(all), (30, None));
    assert_eq!(limited(Limits { max_files: 7, ..all }), (7, Some("files")));
    assert_eq!(limited(Limits { max_entries: 40, ..all }).1, Some("entries of folders"));
    let (n, stopped) = limited(Limits { max_index_bytes: 1, ..all });
    assert_eq!(stopped, Some("memory"), "{n}");
    // What is nearer is found first.
    fs::write(root.join("near.py"), "def near(): pass\n").unwrap();
    let walked = walk(root, &(), &Limits { max_files: 1, ..all }, &|| false);
    assert_eq!(walked.files[0].path, "near.py");
}

#[test]
fn files_that_vanish_and_folders_that_are_none_are_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.py"), "def a(): pass\n").unwrap();
    let index = RwLock::new(Index::default());
    let gone = folder.path().join("a.py");
    // It vanishes between being found and being read.
    let refreshed = refresh(&index, (0, folder.path()), &(), &Limits::default(), &|counts| {
        if counts.all > 0 {
            let _ = fs::remove_file(&gone);
        }
        true
    });
    assert_eq!((refreshed.read, refreshed.stopped), (0, None));
    let none =
        refresh(&index, (0, &folder.path().join("none")), &(), &Limits::default(), &|_| true);
    assert_eq!((none.read, none.stopped), (0, None));
}
