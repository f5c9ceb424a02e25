//! Time as telemetry needs it: one clock for durations, one for the calendar, and what happens when
//! the calendar jumps.
//!
//! State machines take a [`Moment`] with every event and read no clock, so tests need none.

use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A point in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds on a clock that only goes forward; durations are differences of these.
    pub steady: u64,
    /// Milliseconds since 1970 in UTC: what rows are dated with.
    pub wall: i64,
}

impl Moment {
    /// `ms` later on both clocks.
    pub fn after(self, ms: u64) -> Moment {
        Moment { steady: self.steady + ms, wall: self.wall + ms as i64 }
    }
}

/// Makes a calendar that never goes back out of a system clock that may.
///
/// A system clock that is set back is not followed: within one process the calendar then goes on
/// with the steady clock, so that rows keep their order and no experiment returns to a block that
/// has passed. One that is ahead is followed: that is what a computer sees that has slept (the
/// steady clock stands still meanwhile) or whose clock was corrected.
#[derive(Debug)]
pub struct Calendar {
    steady: u64,
    wall: i64,
}

/// Differences up to this are the two clocks' rates.
const SLACK_MS: i64 = 2_000;

impl Calendar {
    pub fn new(steady: u64, system: i64) -> Calendar {
        Calendar { steady, wall: system }
    }

    /// The calendar's time at `steady`, when the system clock says `system`.
    pub fn at(&mut self, steady: u64, system: i64) -> Moment {
        let steady = steady.max(self.steady);
        let carried = self.wall.saturating_add((steady - self.steady) as i64);
        let wall = if system > carried.saturating_add(SLACK_MS) { system } else { carried };
        (self.steady, self.wall) = (steady, wall);
        Moment { steady, wall }
    }
}

/// The process's clock.
pub struct Clock {
    start: Instant,
    calendar: Mutex<Calendar>,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { start: Instant::now(), calendar: Mutex::new(Calendar::new(0, system_ms())) }
    }
}

impl Clock {
    pub fn now(&self) -> Moment {
        let mut calendar = self.calendar.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock, so that later callers have later moments.
        let steady = self.start.elapsed().as_millis() as u64;
        calendar.at(steady, system_ms())
    }
}

/// Milliseconds since 1970; a clock before that reads 0.
pub fn system_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_set_back_is_not_followed() {
        let mut calendar = Calendar::new(0, 1_000_000);
        assert_eq!(calendar.at(500, 1_000_500).wall, 1_000_500);
        assert_eq!(calendar.at(600, 0).wall, 1_000_600);
        assert_eq!(calendar.at(700, 1_000_690).wall, 1_000_700);
    }

    #[test]
    fn sleep_and_corrections_forward_are_followed() {
        let mut calendar = Calendar::new(0, 1_000_000);
        // Eight hours asleep: the steady clock stood still.
        let resumed = calendar.at(10, 1_000_000 + 8 * 3_600_000);
        assert_eq!((resumed.steady, resumed.wall), (10, 1_000_000 + 8 * 3_600_000));
        // Slower or faster by less than the slack: the steady clock counts.
        assert_eq!(calendar.at(1_010, resumed.wall + 2_900).wall, resumed.wall + 1_000);
    }

    #[test]
    fn moments_never_go_back() {
        let mut calendar = Calendar::new(100, 5_000);
        let mut last = calendar.at(100, 5_000);
        for (steady, system) in
            [(90, 4_000), (101, i64::MAX / 2), (101, -5), (200, 0), (u64::MAX / 2, 7)]
        {
            let now = calendar.at(steady, system);
            assert!(now.steady >= last.steady && now.wall >= last.wall);
            last = now;
        }
    }
}
