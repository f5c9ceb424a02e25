//! `kill -9` at any moment: the store opens, and all that was committed is there.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lacuna_telemetry::store::{Store, Window};
use lacuna_telemetry::track::Change;
use lacuna_telemetry::{Columns, Names};

use crate::store::row;

/// Rows of one batch.
const BATCH: u32 = 50;
/// Kills that one store goes through: opening looks through all of it, so one that grew for ever
/// would only test patience.
const KILLS_A_STORE: u64 = 25;
/// Stores that are written to, and killed, side by side.
const AT_ONCE: u64 = 4;

/// Not a test by itself: the process that is killed. Writes batches as fast as it can and says
/// after each commit how many rows there are.
#[test]
fn writer_that_is_to_be_killed() {
    let Some(path) = std::env::var_os("LACUNA_TEST_KILLED_STORE") else { return };
    let mut store = Store::open(Path::new(&path)).unwrap();
    let session = store.begin_session(1).unwrap();
    let mut out = std::io::stderr();
    for batch in 0.. {
        let changes: Vec<Change> = (0..BATCH).map(|i| row(1 + batch * BATCH + i, 0, 1)).collect();
        store.write(session, &changes).unwrap();
        // In one piece: a kill may fall between two writes of one line.
        out.write_all(format!("committed {session} {}\n", (batch + 1) * BATCH).as_bytes()).unwrap();
    }
}

/// 40 times; `LACUNA_TEST_KILLS` sets another number.
#[test]
fn killed_in_the_middle_of_a_batch() {
    let kills: u64 = std::env::var("LACUNA_TEST_KILLS")
        .ok()
        .map_or(40, |n| n.parse().expect("LACUNA_TEST_KILLS is a number"));
    assert!(kills > 0);
    let share = |worker: u64| kills * worker / AT_ONCE..kills * (worker + 1) / AT_ONCE;
    let done: Vec<Done> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| scope.spawn(move || kill_again_and_again(share(worker))))
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    let sum = |of: fn(&Done) -> u64| done.iter().map(of).sum::<u64>();
    assert_eq!(sum(|d| d.kills), kills);
    eprintln!(
        "{kills} kills, {} rows; in {} rounds the kill fell between a commit and its report",
        sum(|d| d.rows),
        sum(|d| d.unreported)
    );
}

#[derive(Default)]
struct Done {
    kills: u64,
    rows: u64,
    unreported: u64,
}

fn kill_again_and_again(rounds: Range<u64>) -> Done {
    let mut done = Done::default();
    let rounds: Vec<u64> = rounds.collect();
    for rounds in rounds.chunks(KILLS_A_STORE as usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("telemetry.db");
        drop(Store::open(&path).unwrap());
        let mut in_all = 0;
        for round in rounds {
            let (session, committed) = killed(&path, *round);
            let store = Store::open(&path).unwrap_or_else(|e| panic!("round {round}: {e}"));
            let found = count(&store, session << 32..(session + 1) << 32);
            assert!(found >= committed, "round {round}: {found} of {committed} rows");
            assert_eq!(
                found % u64::from(BATCH),
                0,
                "round {round}: a part of a batch was committed"
            );
            in_all += found;
            assert_eq!(
                count(&store, i64::MIN..i64::MAX),
                in_all,
                "round {round}: rows of earlier sessions"
            );
            done.kills += 1;
            done.rows += found;
            done.unreported += u64::from(found != committed);
        }
    }
    done
}

fn count(store: &Store, ids: Range<i64>) -> u64 {
    let mut n = 0;
    store
        .scan(&ids, &Window::ALL, &Columns::ALL, &mut Names::default(), |_, _| n += 1)
        .expect("a store that can be read");
    n
}

/// Starts a writer and kills it, in each round at another moment. Returns its session and how many
/// rows it said to have committed.
fn killed(path: &Path, round: u64) -> (i64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::writer_that_is_to_be_killed", "--nocapture"])
        .env("LACUNA_TEST_KILLED_STORE", path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    // Some commits, then a part of a batch (a spin, not a sleep: microseconds count).
    let first = lines.next().expect("the writer writes").unwrap();
    for _ in 0..round % 7 {
        lines.next().expect("the writer writes on").unwrap();
    }
    let until = Instant::now() + Duration::from_micros((round * 97) % 1500);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let last =
        lines.map_while(Result::ok).filter(|l| l.starts_with("committed")).last().unwrap_or(first);
    let mut words = last.split(' ').skip(1).map(|w| w.parse::<i64>().unwrap());
    (words.next().unwrap(), words.next().unwrap() as u64)
}
