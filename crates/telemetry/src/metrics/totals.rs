//! [`Totals`]: the sums of a group of rows, and every metric as a function of them.

use serde::Serialize;

use super::histogram::Histogram;
use crate::event::{CHECKS, Columns, Event, Int, READ_MS, Text};

/// Text left at a check that counts as still there, in thousandths.
pub const KEPT_PER_MILLE: i64 = 670;

/// What [`Totals`] and their groups are made of.
pub const COLUMNS: Columns = Columns {
    texts: &[Text::Kind, Text::Language, Text::Node, Text::Model, Text::Arms, Text::State],
    ints: &[
        Int::LatencyUs,
        Int::Chars,
        Int::Shows,
        Int::VisibleMs,
        Int::LongestMs,
        Int::AcceptedChars,
        Int::Kept30,
        Int::Kept120,
        Int::Kept300,
        Int::Kept600,
        Int::ActiveMs,
    ],
};

/// Numbers of the names that decide what a row counts for.
#[derive(Clone, Copy, Debug)]
pub struct Codes {
    pub request: u32,
    pub suggestion: u32,
    pub activity: u32,
    pub offered: u32,
    pub accepted: u32,
    pub partly: u32,
    pub typed_through: u32,
    pub dismissed: u32,
    pub superseded: u32,
}

impl Codes {
    pub fn of(names: &mut crate::Names) -> Codes {
        let mut n = |text| names.number(text);
        Codes {
            request: n("request"),
            suggestion: n("suggestion"),
            activity: n("activity"),
            offered: n("offered"),
            accepted: n("accepted"),
            partly: n("partly"),
            typed_through: n("typed-through"),
            dismissed: n("dismissed"),
            superseded: n("superseded"),
        }
    }
}

/// Sums over rows. Everything here adds up, so groups can be merged.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    pub requests: u64,
    /// Requests that were answered with a suggestion.
    pub answered: u64,
    pub suggestions: u64,
    /// Suggestions that came on screen.
    pub shown: u64,
    /// On screen for 750 ms at a stretch, or accepted.
    pub read: u64,
    pub accepted: u64,
    pub partly: u64,
    pub typed_through: u64,
    pub dismissed: u64,
    pub superseded: u64,
    /// Characters of the suggestions that were read.
    pub read_chars: u64,
    /// Characters that came in by accepting.
    pub accepted_chars: u64,
    /// Accepted (wholly or partly) suggestions whose text was looked at, by check.
    pub checked: [u64; 4],
    /// Those of which 67 % or more was left.
    pub kept: [u64; 4],
    /// Accepted characters times the share left, by check. Text that was not looked at any more
    /// counts as last seen.
    pub retained_chars: [f64; 4],
    /// Milliseconds on screen of the suggestions shown.
    pub visible_ms: u64,
    pub active_ms: u64,
    /// Characters typed by hand, and those that came from suggestions, while active.
    pub typed_chars: u64,
    pub completed_chars: u64,
    /// Latency of the requests that were answered with a suggestion.
    pub latency: Histogram,
}

impl Totals {
    pub fn add(&mut self, event: &Event, codes: &Codes) {
        let kind = event.text(Text::Kind);
        let count = |column| event.int(column).map_or(0, |v| v.max(0) as u64);
        if kind == codes.suggestion {
            self.add_suggestion(event, codes);
        } else if kind == codes.request {
            self.requests += 1;
            if event.text(Text::State) == codes.offered {
                self.answered += 1;
                if let Some(us) = event.int(Int::LatencyUs) {
                    self.latency.add(us);
                }
            }
        } else if kind == codes.activity {
            self.active_ms += count(Int::ActiveMs);
            self.typed_chars += count(Int::Chars);
            self.completed_chars += count(Int::AcceptedChars);
        }
    }

    fn add_suggestion(&mut self, event: &Event, codes: &Codes) {
        let count = |column| event.int(column).map_or(0, |v| v.max(0) as u64);
        self.suggestions += 1;
        let (shows, chars, accepted) =
            (count(Int::Shows), count(Int::Chars), count(Int::AcceptedChars));
        self.visible_ms += count(Int::VisibleMs);
        self.shown += u64::from(shows > 0);
        if accepted > 0 || shows > 0 && event.int(Int::LongestMs).unwrap_or(0) >= READ_MS {
            self.read += 1;
            self.read_chars += chars;
        }
        self.accepted_chars += accepted;
        let state = event.text(Text::State);
        self.accepted += u64::from(state == codes.accepted);
        self.partly += u64::from(state == codes.partly);
        self.typed_through += u64::from(state == codes.typed_through);
        self.dismissed += u64::from(state == codes.dismissed);
        self.superseded += u64::from(state == codes.superseded);
        if accepted > 0 {
            let mut last = 1000;
            for (i, (_, column)) in CHECKS.iter().enumerate() {
                if let Some(kept) = event.int(*column) {
                    last = kept.clamp(0, 1000);
                    self.checked[i] += 1;
                    self.kept[i] += u64::from(kept >= KEPT_PER_MILLE);
                }
                self.retained_chars[i] += accepted as f64 * last as f64 / 1000.0;
            }
        }
    }

    pub fn merge(&mut self, other: &Totals) {
        let counts = [
            (&mut self.requests, other.requests),
            (&mut self.answered, other.answered),
            (&mut self.suggestions, other.suggestions),
            (&mut self.shown, other.shown),
            (&mut self.read, other.read),
            (&mut self.accepted, other.accepted),
            (&mut self.partly, other.partly),
            (&mut self.typed_through, other.typed_through),
            (&mut self.dismissed, other.dismissed),
            (&mut self.superseded, other.superseded),
            (&mut self.read_chars, other.read_chars),
            (&mut self.accepted_chars, other.accepted_chars),
            (&mut self.visible_ms, other.visible_ms),
            (&mut self.active_ms, other.active_ms),
            (&mut self.typed_chars, other.typed_chars),
            (&mut self.completed_chars, other.completed_chars),
        ];
        counts.into_iter().for_each(|(mine, theirs)| *mine += theirs);
        for i in 0..CHECKS.len() {
            self.checked[i] += other.checked[i];
            self.kept[i] += other.kept[i];
            self.retained_chars[i] += other.retained_chars[i];
        }
        self.latency.merge(&other.latency);
    }
}

/// A metric that is a ratio of two sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Completion acceptance rate: accepted / read.
    AcceptanceRate,
    /// The same, weighted by length: accepted characters / characters read.
    WeightedAcceptanceRate,
    /// Completion persistence rate: share of the accepted of which 67 % or more is left at check
    /// `0..4`.
    PersistenceRate(u8),
    /// Accepted characters that are left at check `0..4`, by active hour.
    RetainedPerHour(u8),
    /// Share of the characters written that came from suggestions.
    CompletedRatio,
    /// Share of the read that were accepted in part only.
    PartialRate,
    /// Share of the shown that were typed by hand to the end.
    TypedThroughRate,
    /// Share of the shown that were dismissed.
    DismissalRate,
    /// Seconds on screen, by suggestion shown.
    VisibleSeconds,
}

/// Fewer suggestions say nothing about a share of them.
const LEAST_SUGGESTIONS: f64 = 10.0;
/// Less active time says nothing about an hour of it.
const LEAST_HOURS: f64 = 0.25;

impl Metric {
    /// Those that reports show, in order. Persistence is told after 30 s and 10 minutes.
    pub const SHOWN: [Metric; 11] = [
        Metric::AcceptanceRate,
        Metric::WeightedAcceptanceRate,
        Metric::PersistenceRate(0),
        Metric::PersistenceRate(3),
        Metric::RetainedPerHour(0),
        Metric::RetainedPerHour(3),
        Metric::CompletedRatio,
        Metric::PartialRate,
        Metric::TypedThroughRate,
        Metric::DismissalRate,
        Metric::VisibleSeconds,
    ];

    /// Numerator and denominator.
    pub fn sums(self, t: &Totals) -> (f64, f64) {
        let of = |a: u64, b: u64| (a as f64, b as f64);
        let check = |i: u8| usize::from(i).min(CHECKS.len() - 1);
        match self {
            Metric::AcceptanceRate => of(t.accepted, t.read),
            Metric::WeightedAcceptanceRate => of(t.accepted_chars, t.read_chars),
            Metric::PersistenceRate(i) => of(t.kept[check(i)], t.checked[check(i)]),
            Metric::RetainedPerHour(i) => {
                (t.retained_chars[check(i)], t.active_ms as f64 / 3_600_000.0)
            }
            Metric::CompletedRatio => of(t.completed_chars, t.completed_chars + t.typed_chars),
            Metric::PartialRate => of(t.partly, t.read),
            Metric::TypedThroughRate => of(t.typed_through, t.shown),
            Metric::DismissalRate => of(t.dismissed, t.shown),
            Metric::VisibleSeconds => (t.visible_ms as f64 / 1000.0, t.shown as f64),
        }
    }

    /// Numerator / denominator; `None` without a denominator.
    pub fn value(self, totals: &Totals) -> Option<f64> {
        let (numerator, denominator) = self.sums(totals);
        (denominator > 0.0).then(|| numerator / denominator)
    }

    /// Name for people.
    pub fn title(self) -> &'static str {
        match self {
            Metric::AcceptanceRate => "accepted of those read",
            Metric::WeightedAcceptanceRate => "accepted of the characters read",
            Metric::PersistenceRate(0) => "still there after 30 s",
            Metric::PersistenceRate(1) => "still there after 2 min",
            Metric::PersistenceRate(2) => "still there after 5 min",
            Metric::PersistenceRate(_) => "still there after 10 min",
            Metric::RetainedPerHour(0) => "characters kept an hour, 30 s",
            Metric::RetainedPerHour(1) => "characters kept an hour, 2 min",
            Metric::RetainedPerHour(2) => "characters kept an hour, 5 min",
            Metric::RetainedPerHour(_) => "characters kept an hour, 10 min",
            Metric::CompletedRatio => "share of the code that was suggested",
            Metric::PartialRate => "accepted in part, of those read",
            Metric::TypedThroughRate => "typed out by hand, of those shown",
            Metric::DismissalRate => "dismissed, of those shown",
            Metric::VisibleSeconds => "seconds on screen",
        }
    }

    /// [`Metric::value`] where there is enough to say something about people rather than about one
    /// keystroke: 10 suggestions, or a quarter of an active hour. Exports and JSON have every
    /// value.
    pub fn value_of_enough(self, totals: &Totals) -> Option<f64> {
        let least = if matches!(self, Metric::RetainedPerHour(_)) {
            LEAST_HOURS
        } else {
            LEAST_SUGGESTIONS
        };
        self.value(totals).filter(|_| self.sums(totals).1 >= least)
    }

    /// Name in JSON.
    pub fn key(self) -> &'static str {
        match self {
            Metric::AcceptanceRate => "acceptance_rate",
            Metric::WeightedAcceptanceRate => "weighted_acceptance_rate",
            Metric::PersistenceRate(0) => "persistence_rate_30s",
            Metric::PersistenceRate(1) => "persistence_rate_2min",
            Metric::PersistenceRate(2) => "persistence_rate_5min",
            Metric::PersistenceRate(_) => "persistence_rate_10min",
            Metric::RetainedPerHour(0) => "retained_chars_per_hour_30s",
            Metric::RetainedPerHour(1) => "retained_chars_per_hour_2min",
            Metric::RetainedPerHour(2) => "retained_chars_per_hour_5min",
            Metric::RetainedPerHour(_) => "retained_chars_per_hour_10min",
            Metric::CompletedRatio => "completed_ratio",
            Metric::PartialRate => "partial_rate",
            Metric::TypedThroughRate => "typed_through_rate",
            Metric::DismissalRate => "dismissal_rate",
            Metric::VisibleSeconds => "visible_seconds",
        }
    }

    /// A share is told in per cent, other metrics as numbers.
    pub fn is_share(self) -> bool {
        !matches!(self, Metric::RetainedPerHour(_) | Metric::VisibleSeconds)
    }
}
