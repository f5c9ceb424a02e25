//! The thread team: every chunk once, whatever happens beside it; nothing left running.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lacuna_kernels::team;

fn each_once(chunks: usize, width: usize) {
    let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
    team::run(chunks, width, &|chunk| {
        counts[chunk].fetch_add(1, Ordering::Relaxed);
    });
    assert!(
        counts.iter().all(|c| c.load(Ordering::Relaxed) == 1),
        "{chunks} chunks on {width} threads"
    );
}

#[test]
fn every_chunk_runs_once() {
    for chunks in [0, 1, 2, 3, 7, 8, 64, 1000] {
        for width in [0, 1, 2, 3, 5, 16] {
            for _ in 0..50 {
                each_once(chunks, width);
            }
        }
    }
}

#[test]
fn concurrent_and_nested_regions_finish() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    each_once(9, 3);
                    let inner = AtomicUsize::new(0);
                    team::run(4, 2, &|_| {
                        team::run(5, 2, &|_| {
                            inner.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                    assert_eq!(inner.load(Ordering::Relaxed), 20);
                }
            });
        }
    });
}

#[test]
fn a_panic_reaches_the_caller_and_the_team_goes_on() {
    for bad in 0..6 {
        let done = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            team::run(6, 3, &|chunk| {
                assert!(chunk != bad, "chunk {chunk} on purpose");
                done.fetch_add(1, Ordering::Relaxed);
            });
        }));
        assert!(result.is_err(), "the panic of chunk {bad} was lost");
        assert!(done.load(Ordering::Relaxed) <= 5, "a chunk ran twice");
        each_once(20, 3);
    }
}

#[test]
fn regions_after_a_sleep_wake_the_workers() {
    for pinned in [true, false] {
        lacuna_kernels::threads::set_pinned(pinned);
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(3));
            // Long enough that a woken worker arrives; it must take part at least once in 200
            // tries.
            let caller = std::thread::current().id();
            let by_others = AtomicUsize::new(0);
            let start = Instant::now();
            while by_others.load(Ordering::Relaxed) == 0
                && start.elapsed() < Duration::from_secs(600)
            {
                team::run(8, 2, &|_| {
                    std::thread::sleep(Duration::from_micros(200));
                    if std::thread::current().id() != caller {
                        by_others.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            assert!(
                by_others.load(Ordering::Relaxed) > 0,
                "no worker ever took part (pinned: {pinned})"
            );
        }
    }
    lacuna_kernels::threads::set_pinned(true);
}

/// An idle process uses no CPU: the team's threads do not run while there is no work.
#[cfg(target_os = "linux")]
#[test]
fn idle_workers_sleep() {
    /// Clock ticks in user and system mode of all threads of the team.
    fn ticks() -> u64 {
        let mut sum = 0;
        for task in std::fs::read_dir("/proc/self/task").expect("own threads").flatten() {
            let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
            let Some((name, fields)) = stat.rsplit_once(") ") else { continue };
            if name.contains("lacuna-team") {
                let fields: Vec<&str> = fields.split(' ').collect();
                sum += fields[11].parse::<u64>().expect("utime")
                    + fields[12].parse::<u64>().expect("stime");
            }
        }
        sum
    }
    // Other tests of this binary may use the team meanwhile, so one quiet stretch of several is
    // enough.
    let quiet = (0..40).any(|_| {
        each_once(16, 3);
        std::thread::sleep(Duration::from_millis(20));
        let before = ticks();
        std::thread::sleep(Duration::from_millis(300));
        ticks() - before <= 1
    });
    assert!(quiet, "the workers never came to rest");
}
