//! The database under bad conditions: killed writers, damage, newer files, two servers, full and
//! read-only disks, prying eyes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lacuna_telemetry::store::{Store, StoreError, Window, set_aside};
use lacuna_telemetry::track::{Answer, Change, Edit, Signal};
use lacuna_telemetry::{Columns, Draft, Int, Ints, Label, Names, Options, Recorder, Text};

pub fn row(seq: u32, at: i64, chars: i64) -> Change {
    let mut texts = [const { Label::NONE }; Text::COUNT];
    texts[Text::Kind as usize] = "suggestion".into();
    texts[Text::State as usize] = "shown".into();
    Change::Row(Box::new(Draft {
        seq,
        document: "file:///secret/name.py".into(),
        texts,
        ints: Ints::default().with(Int::At, at).with(Int::Chars, chars),
    }))
}

/// Sequence number (the low half of the id is not told; characters stand for it) and characters of
/// all rows.
fn chars(path: &Path) -> Vec<i64> {
    let store = Store::open_to_read(path).unwrap();
    let mut found = Vec::new();
    store
        .scan(&(i64::MIN..i64::MAX), &Window::ALL, &Columns::ALL, &mut Names::default(), |e, _| {
            found.extend(e.int(Int::Chars))
        })
        .unwrap();
    found
}

fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data").join("telemetry.db");
    (folder, path)
}

#[test]
fn rows_are_replaced_by_number_and_kept_by_session() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let (a, b) = (store.begin_session(1).unwrap(), store.begin_session(2).unwrap());
    assert_ne!(a, b);
    store.write(a, &[row(1, 0, 10), row(2, 0, 20), row(1, 0, 11)]).unwrap();
    store.write(b, &[row(1, 0, 30)]).unwrap();
    assert_eq!(chars(&path), [11, 20, 30]);
}

#[test]
fn a_row_that_comes_again_keeps_what_the_checks_found() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let session = store.begin_session(1).unwrap();
    let mut tracker = crate::Screen::new("x = |\n");
    let id = tracker.ask(&["compute(value)"])[0];
    tracker.insert("compute(value)").wait(30_000);
    let accepted = tracker.rows().to_vec();
    store.write(session, &accepted).unwrap();
    tracker.changes.clear();
    tracker.feed(Signal::Accepted { id });
    let again = tracker.rows().to_vec();
    assert!(again.iter().any(|c| matches!(c, Change::Row(d) if d.seq == id)));
    store.write(session, &again).unwrap();
    let mut kept = Vec::new();
    store
        .scan(&(i64::MIN..i64::MAX), &Window::ALL, &Columns::ALL, &mut Names::default(), |e, _| {
            kept.extend(e.int(Int::Kept30))
        })
        .unwrap();
    assert_eq!(kept, [1000]);
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let session = store.begin_session(1).unwrap();
    store.write(session, &[row(1, 0, 10)]).unwrap();
    // The disk is full: SQLite may not make the file any longer.
    let other = rusqlite::Connection::open(&path).unwrap();
    let pages: i64 = other.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
    store.limit_pages(pages).unwrap();
    let many: Vec<Change> = (2..50_000).map(|i| row(i, 0, 10)).collect();
    let error = store.write(session, &many).unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    assert_eq!(chars(&path), [10]);
    // There is room again: the same batch goes through.
    store.limit_pages(i64::from(u32::MAX) - 1).unwrap();
    store.write(session, &many).unwrap();
    assert_eq!(chars(&path).len(), 49_999);
}

#[test]
fn older_schemas_are_brought_up_to_date_with_their_rows() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let session = store.begin_session(1).unwrap();
    store.write(session, &[row(1, 0, 10)]).unwrap();
    let installation = store.installation().to_owned();
    drop(store);
    // Back to schema 1, which had no experiments.
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch("DROP TABLE experiment; DROP TABLE exposure; ALTER TABLE event DROP COLUMN delay_us; PRAGMA user_version = 1")
        .unwrap();
    drop(connection);
    let mut store = Store::open_to_read(&path).unwrap();
    assert_eq!((store.installation(), chars(&path)), (installation.as_str(), vec![10]));
    assert_eq!(store.experiments().unwrap(), []);
    store = Store::open(&path).unwrap();
    store.start_experiment("x", "{}", 5).unwrap();
    assert!(store.start_experiment("x", "{}", 6).unwrap_err().to_string().contains("is running"));
    assert!(store.stop_experiment("x", 7).unwrap() && !store.stop_experiment("x", 8).unwrap());
    assert!(
        store.start_experiment("x", "{}", 9).unwrap_err().to_string().contains("was run before")
    );
}

#[test]
fn a_newer_store_is_refused_and_left_as_it_is() {
    let (_folder, path) = place();
    drop(Store::open(&path).unwrap());
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA user_version = 99; CREATE TABLE tomorrow(x)").unwrap();
    drop(connection);
    for opened in [Store::open(&path), Store::open_to_read(&path)] {
        let error = opened.err().unwrap();
        assert!(
            matches!(error, StoreError::Newer { found: 99, .. })
                && error.to_string().contains("use the newer lacuna"),
            "{error}"
        );
    }
    // A recorder goes on without it.
    record_a_session(&path);
    let connection = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(
        connection.query_row("SELECT count(*) FROM tomorrow", [], |r| r.get::<_, i64>(0)).unwrap(),
        0
    );
    assert_eq!(
        connection.query_row("SELECT count(*) FROM event", [], |r| r.get::<_, i64>(0)).unwrap(),
        0
    );
}

#[test]
fn a_damaged_store_is_set_aside_and_a_new_one_begun() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("not a database", |path| {
            std::fs::write(path, "this is no database, whatever it is called ".repeat(50)).unwrap()
        }),
        ("overwritten pages", |path| {
            let mut bytes = std::fs::read(path).unwrap();
            let from = 4096;
            bytes[from..].fill(0xa5);
            std::fs::write(path, bytes).unwrap();
        }),
        ("cut off", |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("another program's", |path| {
            std::fs::remove_file(path).unwrap();
            let connection = rusqlite::Connection::open(path).unwrap();
            connection.execute_batch("CREATE TABLE theirs(x); PRAGMA user_version = 2").unwrap();
        }),
    ];
    for (name, damage) in cases {
        let (_folder, path) = place();
        let mut store = Store::open(&path).unwrap();
        let session = store.begin_session(1).unwrap();
        store.write(session, &(1..2_000).map(|i| row(i, 0, 1)).collect::<Vec<_>>()).unwrap();
        drop(store);
        damage(&path);
        let error = Store::open(&path).err().unwrap_or_else(|| panic!("{name} was not noticed"));
        assert!(error.is_damage(), "{name}: {error}");
        record_a_session(&path);
        assert!(!chars(&path).is_empty(), "{name}: a new store was begun");
        let aside = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let aside = aside
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains(".damaged-"))
            .count();
        assert!(aside >= 1, "{name}: the damaged file is kept");
    }
    assert!(set_aside(Path::new("/nowhere/telemetry.db")).is_err());
}

/// A session of a few answers, an acceptance and its end.
fn record_a_session(path: &Path) {
    let recorder = Recorder::start(Options {
        flush: Duration::from_millis(5),
        ..Options::at(path.to_owned())
    });
    play(&recorder, "file:///home/someone/secret_project/payroll_module.py");
    recorder.finish();
}

fn play(recorder: &Recorder, uri: &str) {
    let document: Arc<str> = uri.into();
    recorder.signal(Signal::Opened { document: &document, language: "python".into() });
    let item = "quarterly_bonus_of(employee_record)";
    let answer = Answer {
        document: &document,
        requested: recorder.now(),
        cursor: 8,
        stem: "payee_id",
        line_prefix: "payee_id",
        right: "\nconfidential_line_below",
        items: &[item],
        reason: "",
        cancelled: false,
        texts: {
            let mut texts = [const { Label::NONE }; Text::COUNT];
            texts[Text::Arms as usize] = Label::Shared("order=b@0123456789abcdef".into());
            texts
        },
        ints: Ints::default().with(Int::LatencyUs, 1234),
    };
    recorder.answered(&answer);
    let edit = Edit::new(8..8, item);
    recorder.signal(Signal::Edited { document: &document, edit, arms: Label::NONE });
}

#[test]
fn nothing_of_the_users_text_is_in_any_file() {
    let (folder, path) = place();
    record_a_session(&path);
    // Once more, and look before the store is closed: the log beside it counts too.
    let recorder = Recorder::start(Options::at(path.clone()));
    play(&recorder, "file:///home/someone/secret_project/payroll_module.py");
    recorder.flush();
    let mut files = 0;
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in [
            "secret",
            "payroll",
            "someone",
            "quarterly",
            "employee",
            "payee",
            "confidential",
            "file:",
            "home",
            ".py",
        ] {
            assert!(
                !bytes.windows(secret.len()).any(|w| w.eq_ignore_ascii_case(secret.as_bytes())),
                "{secret} is in the store"
            );
        }
        files += 1;
    }
    assert!(files >= 2, "the database and its log were looked through");
    drop(recorder);
    assert!(!chars(&path).is_empty());
    assert_eq!(
        Store::open_to_read(&path).unwrap().exposures().unwrap()[0].arms,
        "order=b@0123456789abcdef"
    );
    drop(folder);
}

#[test]
fn two_servers_write_at_once() {
    let (_folder, path) = place();
    let threads: Vec<_> = (0..2)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || {
                let recorder = Recorder::start(Options {
                    flush: Duration::from_millis(1),
                    ..Options::at(path)
                });
                for i in 0..200 {
                    play(&recorder, &format!("file:///{i}.py"));
                    if i % 10 == 0 {
                        recorder.flush();
                    }
                }
                recorder.finish();
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    let store = Store::open_to_read(&path).unwrap();
    let census = store.census().unwrap();
    let of = |kind: &str| census.kinds.iter().find(|(k, _)| k == kind).map(|(_, n)| *n);
    assert_eq!((of("request"), of("suggestion")), (Some(400), Some(400)));
    assert_eq!((census.sessions, census.lost), (2, 0));
}

#[test]
fn a_place_that_cannot_be_written_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A folder that cannot be made, for root too: its parent is a file.
    std::fs::write(folder.path().join("file"), "").unwrap();
    record_a_session(&folder.path().join("file").join("data").join("telemetry.db"));
    // A database that is a folder.
    std::fs::create_dir_all(folder.path().join("telemetry.db")).unwrap();
    record_a_session(&folder.path().join("telemetry.db"));
    let missing = Store::open_to_read(&folder.path().join("none.db")).err().unwrap();
    assert!(matches!(missing, StoreError::Missing { .. }));
}

#[test]
fn a_session_that_runs_while_the_store_is_purged_goes_on_as_another() {
    let (_folder, path) = place();
    let recorder =
        Recorder::start(Options { flush: Duration::from_secs(3600), ..Options::at(path.clone()) });
    play(&recorder, "file:///before.py");
    recorder.flush();
    assert!(!chars(&path).is_empty());
    let mut other = Store::open(&path).unwrap();
    other.purge().unwrap();
    // Who comes now gets numbers, of sessions and of names, that the running session had before.
    let (session, installation) =
        (other.begin_session(1).unwrap(), other.installation().to_owned());
    other.write(session, &[row(1, 0, 77)]).unwrap();
    recorder.signal(Signal::Closed { document: &"file:///before.py".into() });
    recorder.flush();
    play(&recorder, "file:///after.py");
    recorder.finish();
    let store = Store::open_to_read(&path).unwrap();
    assert_eq!(store.installation(), installation);
    let mut rows = Vec::new();
    store
        .scan(
            &(i64::MIN..i64::MAX),
            &Window::ALL,
            &Columns::ALL,
            &mut Names::default(),
            |e, names| {
                rows.push((
                    names.text(e.text(Text::Kind)).to_owned(),
                    names.text(e.text(Text::State)).to_owned(),
                    e.int(Int::Session),
                ));
            },
        )
        .unwrap();
    assert!(rows.iter().all(|(kind, ..)| !kind.is_empty()), "{rows:?}");
    // What was accepted before is forgotten though its document was still open then.
    assert_eq!(rows.iter().filter(|(_, state, _)| state == "accepted").count(), 1, "{rows:?}");
    assert_eq!(
        rows.iter().filter(|r| r.2 == Some(session)).count(),
        1,
        "no row took another's place: {rows:?}"
    );
    // A report reads them too.
    let parts = store.parts(2).unwrap();
    assert!(parts.first().unwrap().start == i64::MIN && parts.last().unwrap().end == i64::MAX);
    assert_eq!(store.census().unwrap().sessions, 2);
}

#[test]
fn rows_without_a_session_are_read_all_the_same() {
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let session = store.begin_session(1).unwrap();
    store.write(session, &[row(1, 0, 5)]).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM session_run", []).unwrap();
    let parts = store.parts(3).unwrap();
    assert!(matches!(&parts[..], [all] if *all == (i64::MIN..i64::MAX)), "{parts:?}");
}

#[test]
fn old_rows_go_and_purging_leaves_nothing() {
    const DAY: i64 = 86_400_000;
    let (_folder, path) = place();
    let mut store = Store::open(&path).unwrap();
    let session = store.begin_session(1).unwrap();
    let now = lacuna_telemetry::system_ms();
    store
        .write(session, &[row(1, now - 400 * DAY, 1), row(2, now - 364 * DAY, 2), row(3, now, 3)])
        .unwrap();
    let young = store.begin_session(now - 10 * DAY).unwrap();
    store.write(young, &[row(1, now - 9 * DAY, 4)]).unwrap();
    drop(store);
    record_a_session(&path);
    let kept = chars(&path);
    assert!(!kept.contains(&1) && [2, 3, 4].iter().all(|n| kept.contains(n)), "{kept:?}");
    let mut store = Store::open(&path).unwrap();
    let salt = store.salt().to_vec();
    assert!(store.purge().unwrap() >= 3);
    let census = store.census().unwrap();
    assert_eq!((census.rows, census.sessions), (0, 0));
    drop(store);
    assert_ne!(Store::open(&path).unwrap().salt(), salt);
}

#[test]
fn a_store_that_somebody_prepared_runs_nothing_and_ends() {
    let endless =
        "CREATE VIEW experiment AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
                   SELECT x AS name, '' AS definition, 0 AS started, NULL AS stopped FROM n;";
    let trigger = "CREATE TRIGGER t AFTER INSERT ON session_run BEGIN DELETE FROM meta; END;";
    for (change, ends_well) in [(endless, false), (trigger, true)] {
        let (_folder, path) = place();
        drop(Store::open(&path).unwrap());
        let connection = rusqlite::Connection::open(&path).unwrap();
        let drop_table = if ends_well { "" } else { "DROP TABLE experiment;" };
        connection.execute_batch(&format!("{drop_table}{change}")).unwrap();
        drop(connection);
        let read = Store::open(&path).and_then(|store| store.experiments());
        assert_eq!(read.is_ok(), ends_well, "{change}: {read:?}");
        if ends_well {
            let mut store = Store::open(&path).unwrap();
            store.begin_session(1).unwrap();
            drop(store);
            assert!(Store::open(&path).is_ok(), "the trigger did not run");
        }
    }
    let (_folder, path) = place();
    let victim = path.with_file_name("victim.db");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&victim, "").unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        for opened in [Store::open(&path), Store::open_to_read(&path)] {
            let error = opened.err().unwrap();
            assert!(
                matches!(error, StoreError::NoFile { .. })
                    && error.to_string().contains("telemetry.dir"),
                "{error}"
            );
        }
        assert_eq!(std::fs::metadata(&victim).unwrap().len(), 0);
    }
}

#[test]
fn a_panic_on_the_writers_thread_ends_nothing() {
    let (_folder, path) = place();
    let looked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&looked);
    let glance = move |_: &Store| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        panic!("on purpose");
    };
    let recorder = Recorder::start_with(
        Options { flush: Duration::from_millis(5), ..Options::at(path.clone()) },
        Box::new(glance),
    );
    recorder.flush();
    play(&recorder, "file:///a.py");
    recorder.flush();
    recorder.finish();
    assert!(looked.load(std::sync::atomic::Ordering::SeqCst) >= 2);
    assert!(!chars(&path).is_empty(), "what came after is written");
}
