//! What a replay leaves of each keystroke, and what all of them together come to. No text: traces
//! may be private.

use lacuna_config::EagernessSetting;
use serde::{Deserialize, Serialize};

use super::trace::Kind;
use super::usage::Usage;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// From ghost text in memory: no call of the model.
    Memory,
    /// At least half of the prompt was in the cache.
    Warm,
    /// Part of the prompt was moved from another place of the cache.
    Shifted,
    Cold,
}

/// One keystroke on one side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Key {
    /// Index of the trace and of the event in it.
    pub trace: usize,
    pub event: usize,
    pub kind: Kind,
    pub how: How,
    /// Tokens of the prompt: all, in the cache exactly, moved, computed.
    pub prompt: usize,
    pub cached: usize,
    pub shifted: usize,
    pub prefilled: usize,
    pub generated: usize,
    pub drafted: usize,
    pub accepted: usize,
    /// From the keystroke to the answer; none when the next keystroke came first.
    pub ms: Option<f64>,
    /// Why nothing was suggested.
    pub silence: Option<String>,
    /// The text shown before agreed with this keystroke and was replaced by another.
    pub flicker: bool,
    /// A text came on screen that is not the rest of the one before.
    #[serde(default)]
    pub shown: bool,
    /// Tokens generated for a text that the next keystroke contradicted, or that was never shown.
    pub wasted: usize,
}

impl Key {
    /// A keystroke of which nothing is known yet.
    pub fn of(kind: Kind) -> Key {
        Key {
            trace: 0,
            event: 0,
            kind,
            how: How::Cold,
            prompt: 0,
            cached: 0,
            shifted: 0,
            prefilled: 0,
            generated: 0,
            drafted: 0,
            accepted: 0,
            ms: None,
            silence: None,
            flicker: false,
            shown: false,
            wasted: 0,
        }
    }
}

/// Milliseconds over all answered keystrokes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub n: usize,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    pub fn of(ms: impl Iterator<Item = f64>) -> Percentiles {
        let mut all: Vec<f64> = ms.collect();
        all.sort_by(f64::total_cmp);
        let at = |p: f64| {
            all.get(((all.len() as f64 * p).ceil() as usize).clamp(1, all.len().max(1)) - 1)
                .copied()
                .unwrap_or(0.0)
        };
        Percentiles { n: all.len(), p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

/// One system over all keystrokes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Side {
    pub name: String,
    /// What was run: model file, settings that matter.
    pub about: String,
    pub ms: Percentiles,
    /// Of these, answered by the model.
    pub model_ms: Percentiles,
    pub memory: usize,
    pub warm: usize,
    pub shifted: usize,
    pub cold: usize,
    /// Requests that the next keystroke came before.
    pub superseded: usize,
    /// Share of prompt tokens that were in the cache exactly: for keystrokes at the cursor (no
    /// arrivals), and for arrivals.
    pub reuse_typing: f64,
    pub reuse_arriving: f64,
    /// The same at the cursor after a line was inserted somewhere above it, when the trace had
    /// ended; and what these requests took.
    #[serde(default)]
    pub reuse_line_above: f64,
    #[serde(default)]
    pub line_above_ms: Percentiles,
    pub prefilled: usize,
    pub generated: usize,
    pub drafted: usize,
    pub accepted: usize,
    pub flicker: usize,
    pub wasted: usize,
    pub usage: Usage,
    pub keys: Vec<Key>,
}

impl Side {
    /// `line_above`: the requests after lines that were inserted above the cursor; they count for
    /// nothing else.
    pub fn of(
        name: String,
        about: String,
        keys: Vec<Key>,
        line_above: &[Key],
        usage: Usage,
    ) -> Side {
        let count = |how: How| keys.iter().filter(|k| k.how == how && k.ms.is_some()).count();
        let sum = |value: fn(&Key) -> usize| keys.iter().map(value).sum::<usize>();
        let share = |of: &dyn Fn(&&Key) -> bool, keys: &[Key]| {
            let of = || keys.iter().filter(of);
            of().map(|k| k.cached).sum::<usize>() as f64
                / of().map(|k| k.prompt).sum::<usize>().max(1) as f64
        };
        let reuse = |arriving: bool| share(&|k| (k.kind == Kind::Arrive) == arriving, &keys);
        Side {
            name,
            about,
            ms: Percentiles::of(keys.iter().filter_map(|k| k.ms)),
            model_ms: Percentiles::of(
                keys.iter().filter(|k| k.how != How::Memory).filter_map(|k| k.ms),
            ),
            memory: count(How::Memory),
            warm: count(How::Warm),
            shifted: count(How::Shifted),
            cold: count(How::Cold),
            superseded: keys.iter().filter(|k| k.ms.is_none()).count(),
            reuse_typing: reuse(false),
            reuse_arriving: reuse(true),
            reuse_line_above: share(&|_| true, line_above),
            line_above_ms: Percentiles::of(line_above.iter().filter_map(|k| k.ms)),
            prefilled: sum(|k| k.prefilled),
            generated: sum(|k| k.generated),
            drafted: sum(|k| k.drafted),
            accepted: sum(|k| k.accepted),
            flicker: keys.iter().filter(|k| k.flicker).count(),
            wasted: sum(|k| k.wasted),
            usage,
            keys,
        }
    }
}

/// How often something is shown at one level of `show.eagerness`, and what that costs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Level {
    pub eagerness: EagernessSetting,
    pub keystrokes: usize,
    /// Texts that came on screen; the rest of one that is typed is the same one.
    pub suggestions: usize,
    pub suggestions_per_100_keystrokes: f64,
    /// Of this process, work in the background included.
    pub cpu_seconds: f64,
    pub cpu_seconds_per_1000_keystrokes: f64,
}

impl Level {
    pub fn of(eagerness: EagernessSetting, keys: &[Key], cpu_seconds: f64) -> Level {
        let (keystrokes, suggestions) = (keys.len(), keys.iter().filter(|key| key.shown).count());
        let per = |value: f64, n: f64| value * n / keystrokes.max(1) as f64;
        Level {
            eagerness,
            keystrokes,
            suggestions,
            suggestions_per_100_keystrokes: per(suggestions as f64, 100.0),
            cpu_seconds,
            cpu_seconds_per_1000_keystrokes: per(cpu_seconds, 1000.0),
        }
    }
}

/// What is on the screen between two keystrokes: tells flicker from change that the user asked for,
/// and work that was for nothing.
#[derive(Default)]
pub struct Screen {
    shown: String,
    /// The text as it was generated, and what that cost: what of it is never typed was for nothing.
    whole_bytes: usize,
    cost: usize,
}

impl Screen {
    /// Whether a text is another than the rest of what is shown, after a keystroke that inserted
    /// this (`None`: it did something else).
    pub fn is_new(&self, inserted: Option<&str>, text: Option<&str>) -> bool {
        text.is_some_and(|text| {
            !text.is_empty()
                && inserted.and_then(|typed| self.shown.strip_prefix(typed)) != Some(text)
        })
    }

    /// Notes what a keystroke inserted (`None`: it did something else) and what was shown for it.
    ///
    /// Returns flicker, and the tokens that turned out to be for nothing: those of the text before
    /// that will not be typed now.
    pub fn keystroke(
        &mut self,
        inserted: Option<&str>,
        text: Option<&str>,
        generated: usize,
    ) -> (bool, usize) {
        let text = text.unwrap_or("");
        let expected = inserted
            .and_then(|typed| self.shown.strip_prefix(typed))
            .filter(|rest| !rest.is_empty());
        let flicker = expected.is_some_and(|rest| rest != text);
        let mut wasted = 0;
        if expected.is_none_or(|rest| rest != text) {
            let typed = inserted.filter(|typed| self.shown.starts_with(typed)).map_or(0, str::len);
            let left = self.shown.len() - typed;
            wasted = (self.cost * left).div_ceil(self.whole_bytes.max(1));
            (self.whole_bytes, self.cost) =
                (text.len(), if text.is_empty() { 0 } else { generated });
        }
        if text.is_empty() {
            wasted += generated;
        }
        self.shown = text.to_owned();
        (flicker, wasted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let p = Percentiles::of((1..=100).map(f64::from));
        assert_eq!((p.n, p.p50, p.p95, p.p99, p.max), (100, 50.0, 95.0, 99.0, 100.0));
        assert_eq!(Percentiles::of([7.0].into_iter()).p50, 7.0);
        assert_eq!(Percentiles::of(std::iter::empty()), Percentiles::default());
    }

    #[test]
    fn a_level_counts_what_came_on_screen() {
        let key = |shown| Key { shown, ..Key::of(Kind::Type) };
        let level =
            Level::of(EagernessSetting::Low, &[key(true), key(false), key(false), key(true)], 0.5);
        assert_eq!((level.keystrokes, level.suggestions), (4, 2));
        assert_eq!(
            (level.suggestions_per_100_keystrokes, level.cpu_seconds_per_1000_keystrokes),
            (50.0, 125.0)
        );
        assert_eq!(Level::of(EagernessSetting::High, &[], 0.0).suggestions_per_100_keystrokes, 0.0);
    }

    #[test]
    fn flicker_and_waste_follow_the_users_keys() {
        let mut screen = Screen::default();
        assert!(screen.is_new(Some("x"), Some("return")) && !screen.is_new(Some("x"), None));
        assert_eq!(screen.keystroke(Some("x"), Some("return"), 3), (false, 0));
        assert!(
            !screen.is_new(Some("r"), Some("eturn"))
                && screen.is_new(Some("r"), Some("aise"))
                && screen.is_new(None, Some("return"))
        );
        assert_eq!(screen.keystroke(Some("r"), Some("eturn"), 0), (false, 0));
        assert_eq!(
            screen.keystroke(Some("e"), Some("fuse"), 2),
            (true, 2),
            "agreed, and was replaced: 4 of 6 bytes"
        );
        assert_eq!(screen.keystroke(Some("x"), Some("tra"), 4), (false, 2), "contradicted");
        assert_eq!(
            screen.keystroke(None, None, 5),
            (false, 9),
            "the old text and the one never shown"
        );
        assert_eq!(screen.keystroke(Some("a"), Some("b"), 1), (false, 0));
        assert_eq!(screen.keystroke(Some("b"), None, 0), (false, 0), "typed to its end");
    }
}
