//! Repeated timing: medians with their range, cases taken in turn so that a busy minute hits all of
//! them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The middle and the ends of repeated measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
    pub repeats: usize,
}

impl Spread {
    /// Panics: no values.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let median = if n.is_multiple_of(2) {
            (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0
        } else {
            sorted[n / 2]
        };
        Spread { median, least: sorted[0], most: sorted[n - 1], repeats: n }
    }
}

/// Times taken of a case, each over one or more calls.
const REPEATS: usize = 7;

/// Something to time.
pub struct Case<'a, T> {
    pub about: T,
    pub call: Box<dyn FnMut() + 'a>,
}

/// Times all cases in turn, each for about `time` in all; seconds a call.
///
/// A case whose one call takes longer than its share of the time is called fewer times, once at
/// least.
pub fn in_turn<T>(cases: Vec<Case<T>>, time: Duration) -> Vec<(T, Spread)> {
    let start = Instant::now();
    in_turn_by(cases, time, &|| start.elapsed())
}

/// The same by any clock: `now` is the time since some moment.
fn in_turn_by<T>(
    mut cases: Vec<Case<T>>,
    time: Duration,
    now: &dyn Fn() -> Duration,
) -> Vec<(T, Spread)> {
    let share = time.as_secs_f64() / REPEATS as f64;
    let mut plans = Vec::new();
    for case in &mut cases {
        // The first call grows buffers and wakes threads; the second tells how long one takes.
        let first = seconds(1, &mut case.call, now);
        let one = if first > time.as_secs_f64() { first } else { seconds(1, &mut case.call, now) };
        let calls = (share / one).clamp(1.0, 1e6) as usize;
        let repeats = (time.as_secs_f64() / one).clamp(1.0, REPEATS as f64) as usize;
        plans.push((calls, repeats, Vec::with_capacity(REPEATS)));
    }
    for repeat in 0..REPEATS {
        for (case, (calls, repeats, times)) in cases.iter_mut().zip(&mut plans) {
            if repeat < *repeats {
                times.push(seconds(*calls, &mut case.call, now) / *calls as f64);
            }
        }
    }
    cases
        .into_iter()
        .zip(plans)
        .map(|(case, (_, _, times))| (case.about, Spread::of(&times)))
        .collect()
}

fn seconds(calls: usize, call: &mut dyn FnMut(), now: &dyn Fn() -> Duration) -> f64 {
    let start = now();
    for _ in 0..calls {
        call();
    }
    // A clock too coarse for the call must not give a rate of infinity.
    (now() - start).as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    #[test]
    fn the_spread_of_even_and_odd_numbers_of_values() {
        assert_eq!(
            Spread::of(&[3.0, 1.0, 2.0]),
            Spread { median: 2.0, least: 1.0, most: 3.0, repeats: 3 }
        );
        assert_eq!(
            Spread::of(&[4.0, 1.0, 2.0, 9.0]),
            Spread { median: 3.0, least: 1.0, most: 9.0, repeats: 4 }
        );
    }

    /// By a clock that only the calls move: what a machine does besides must not decide a test.
    #[test]
    fn cases_take_turns_and_slow_ones_are_cut_short() {
        let order = RefCell::new(String::new());
        let clock = Cell::new(Duration::ZERO);
        let case = |name: char, ms: u64| Case {
            about: name,
            call: Box::new({
                let (order, clock) = (&order, &clock);
                move || {
                    order.borrow_mut().push(name);
                    clock.set(clock.get() + Duration::from_millis(ms));
                }
            }),
        };
        let cases = vec![case('a', 1), case('b', 2), case('s', 30)];
        let timed = in_turn_by(cases, Duration::from_millis(21), &|| clock.get());
        let spread = |seconds: f64, repeats| Spread {
            median: seconds,
            least: seconds,
            most: seconds,
            repeats,
        };
        let expected = [('a', spread(0.001, 7)), ('b', spread(0.002, 7)), ('s', spread(0.03, 1))];
        for ((name, spread), (expected_name, expected)) in timed.iter().zip(&expected) {
            assert_eq!((name, spread.repeats), (expected_name, expected.repeats));
            for (value, wanted) in [
                (spread.median, expected.median),
                (spread.least, expected.least),
                (spread.most, expected.most),
            ] {
                assert!((value - wanted).abs() < 1e-9, "{name}: {spread:?}");
            }
        }
        // Two trial calls each, one of what takes longer than its time; then in turn, three calls
        // of the quick one in its share.
        assert_eq!(order.into_inner(), format!("aabbsaaabs{}", "aaab".repeat(6)));
    }
}
