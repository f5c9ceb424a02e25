//! The store: what is written is read, and what is damaged is not.

use lacuna_retrieval::{Index, StoreError, read_store, write_store};

fn index() -> Index {
    Index::of_texts([
        ("a.py", "from b import c\nclass A:\n    \"\"\"Of it.\"\"\"\n    def f(self, x): pass\n"),
        ("tsconfig.json", "{\"compilerOptions\": {\"baseUrl\": \"src\"}}"),
        ("Cargo.toml", "[package]\nname = \"x\"\n"),
        ("src/é.rs", "pub fn g() {}\n"),
    ])
}

#[test]
fn what_is_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index");
    write_store(&file, "here", &index()).unwrap();
    let read = read_store(&file, "here").unwrap();
    assert_eq!((read.n_files(), read.n_symbols()), (4, 3));
    let f = read.named("f").next().unwrap();
    let told = (read.path(f.file), read.head(f), read.owner(f), read.line(f));
    assert_eq!(told, ("a.py", "def f(self, x)", Some("A"), 3));
    let a = read.named("A").next().unwrap();
    assert_eq!(read.doc(a), "Of it.");
    // Written again, it is the same.
    let again = folder.path().join("again");
    write_store(&again, "here", &read).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), std::fs::read(&again).unwrap());
    assert!(matches!(read_store(&file, "there"), Err(StoreError::Foreign)));
    assert!(matches!(read_store(&folder.path().join("none"), "here"), Err(StoreError::Io(_))));
    assert!(matches!(read_store(folder.path(), "here"), Err(StoreError::Foreign)));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn every_damage_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("index");
    write_store(&file, "here", &index()).unwrap();
    let whole = std::fs::read(&file).unwrap();
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        read_store(&file, "here").is_ok()
    };
    assert!(read(&whole));
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(!read(&bytes), "byte {at}");
    }
    for n in (0..whole.len()).step_by(7) {
        assert!(!read(&whole[..n]));
        // Without its hash too, nothing panics.
        lacuna_retrieval::read_unchecked(&whole[28.min(n)..n]);
    }
}
