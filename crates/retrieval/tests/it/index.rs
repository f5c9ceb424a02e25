//! The index: what is put in is found, what is taken out is not, and it is small.

use std::fs;
use std::sync::RwLock;

use lacuna_retrieval::{Index, Limits, Rules, Stamp, refresh};

fn names(index: &Index, name: &str) -> Vec<String> {
    index.named(name).map(|s| format!("{}:{}", index.path(s.file), index.head(s))).collect()
}

#[test]
fn files_are_put_in_changed_and_taken_out() {
    let mut index = Index::of_texts([
        ("a.py", "def f(x): pass\n"),
        ("b/c.py", "def f(y): pass\nclass C:\n    def g(self): pass\n"),
    ]);
    assert_eq!(names(&index, "f"), ["a.py:def f(x)", "b/c.py:def f(y)"]);
    assert_eq!((index.n_files(), index.n_symbols()), (2, 4));
    assert_eq!(index.members("C").map(|s| index.name(s)).collect::<Vec<_>>(), ["g"]);
    index.put(0, "a.py", Stamp::default(), "def h(): pass\n");
    index.settle();
    assert_eq!(names(&index, "f"), ["b/c.py:def f(y)"]);
    assert_eq!(names(&index, "h"), ["a.py:def h()"]);
    index.remove(0, "b");
    index.settle();
    assert!(names(&index, "f").is_empty() && index.members("C").next().is_none());
    assert_eq!((index.n_files(), index.n_symbols()), (1, 1));
    index.put(0, "d.py", Stamp::default(), "def f(): pass\n");
    index.settle();
    assert_eq!(names(&index, "f"), ["d.py:def f()"]);
}

/// Random changes lead to what a new index of the same files has.
#[test]
fn a_changed_index_is_as_one_that_is_made_anew() {
    let mut seed: u64 = 0x2545_f491_4f6c_dd1d;
    let mut below = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    let mut index = Index::default();
    let mut files = std::collections::BTreeMap::new();
    for step in 0..400 {
        let path = format!("d{}/f{}.py", below(3), below(6));
        if below(3) == 0 {
            let folder = path.split('/').next().unwrap().to_owned();
            let gone = if below(4) == 0 { folder } else { path };
            files
                .retain(|path: &String, _| *path != gone && !path.starts_with(&format!("{gone}/")));
            index.remove(0, &gone);
        } else {
            let text =
                format!("def n{}(a{}): pass\nclass C{}:\n    x = 1\n", below(5), step, below(3));
            index.put(0, &path, Stamp::default(), &text);
            files.insert(path, text);
        }
        if below(2) == 0 {
            continue;
        }
        index.settle();
        let anew = Index::of_texts(files.iter().map(|(path, text)| (path.as_str(), text.as_str())));
        assert_eq!((index.n_files(), index.n_symbols()), (anew.n_files(), anew.n_symbols()));
        for name in ["n0", "n1", "n2", "n3", "n4", "C0", "C1", "C2", "x"] {
            let (mut a, mut b) = (names(&index, name), names(&anew, name));
            a.sort();
            b.sort();
            assert_eq!(a, b, "step {step}: {name}");
        }
    }
}

#[test]
fn a_symbol_takes_less_than_200_bytes() {
    let text: String = (0..2000)
        .map(|i| format!("def some_function_{i}(argument: int, other: str = \"value\") -> Result[int]:\n    \"\"\"Does what number {i} does, and a little more.\"\"\"\n    return argument\n\n"))
        .collect();
    let paths: Vec<String> = (0..20).map(|i| format!("package/module_{i}.py")).collect();
    let index = Index::of_texts(paths.iter().map(|path| (path.as_str(), text.as_str())));
    let bytes = index.n_bytes() / index.n_symbols();
    assert!(bytes <= 200, "{bytes}");
}

struct Hidden;

impl Rules for Hidden {
    fn leaves(&self, path: &std::path::Path, _: bool) -> bool {
        path.to_string_lossy().contains("hidden")
    }
}

#[test]
fn a_folder_is_read_once_and_what_changed_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("src/hidden")).unwrap();
    fs::create_dir_all(root.join("node_modules/x")).unwrap();
    fs::create_dir_all(root.join("env/lib")).unwrap();
    for (path, text) in [
        ("src/a.py", "def a(): pass\n"),
        ("src/b.py", "def b(): pass\n"),
        ("src/latin.py", "def l(): pass # caf\u{e9}\n"),
        ("src/hidden/c.py", "def c(): pass\n"),
        ("src/hidden.py", "def d(): pass\n"),
        ("node_modules/x/e.js", "function e() {}\n"),
        ("env/pyvenv.cfg", ""),
        ("env/lib/f.py", "def f(): pass\n"),
        ("src/notes.txt", "def g(): pass\n"),
        ("src/key.py", "AWS = \"AKIAQ3EGRTVBZ7YXNMPL\"\ndef k(): pass\n"),
    ] {
        fs::write(root.join(path), text).unwrap();
    }
    fs::write(root.join("src/bad.py"), b"def bad(): pass # \xff\xfe\n").unwrap();
    let index = RwLock::new(Index::default());
    let go =
        |index: &RwLock<Index>| refresh(index, (0, root), &Hidden, &Limits::default(), &|_| true);
    let first = go(&index);
    assert_eq!((first.read, first.kept, first.removed, first.stopped), (5, 0, 0, None));
    let known = |name: &str| names(&index.read().unwrap(), name).len();
    assert_eq!(["a", "b", "l", "k", "bad"].map(known), [1; 5]);
    assert_eq!(["c", "d", "e", "f", "g", "AWS"].map(known), [0; 6]);
    let again = go(&index);
    assert_eq!((again.read, again.kept, again.removed), (0, 5, 0));
    fs::write(root.join("src/a.py"), "def changed(): pass\n").unwrap();
    fs::remove_file(root.join("src/b.py")).unwrap();
    let third = go(&index);
    assert_eq!((third.read, third.kept, third.removed), (1, 3, 1));
    assert_eq!(["a", "b", "changed"].map(known), [0, 0, 1]);
    // It ends when it shall.
    let stopped = refresh(&RwLock::default(), (0, root), &(), &Limits::default(), &|_| false);
    assert_eq!((stopped.read, stopped.stopped), (0, Some("cancelled")));
}
