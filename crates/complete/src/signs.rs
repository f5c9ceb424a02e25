//! What is known of a line that was found: the signs by which it is told how likely it is right.
//!
//! Owns: which signs there are, what they are called and how they are read off a search. Does not
//! own: what they are worth (`calibration`). They depend on the text and the model alone, not on
//! what was asked before or on the clock.

use lacuna_context::{Language, balance};

use crate::request::is_beginning;
use crate::search::Line;
use crate::stop::Extent;
use crate::wishes::Wishes;
use crate::word::{is_in, leading_word};
use crate::{Nearby, Request};

/// Bytes on either side of the cursor in which words are looked for.
const WINDOW: usize = 32 << 10;
/// Nats beyond which nothing is told apart.
const DEEP: f32 = 10.0;
/// The same for the score of a whole line.
const DEEPEST: f32 = 40.0;
/// Lines refused before one is shown, and words, that are counted.
const MOST: usize = 8;
/// An end that is more or less certain than this counts as such, in log-odds.
const SURE: f32 = 6.0;

/// Where the cursor stands on its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stand {
    /// Nothing but blanks before it.
    #[default]
    BlankLine,
    Word,
    Blank,
    Dot,
    Opener,
    Other,
}

/// See the module. Log-probabilities are natural, and the model's alone unless it is said
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Signs {
    /// Of the line's tokens: the mean, the least and the first one's log-probability.
    pub mean: f32,
    pub least: f32,
    pub first: f32,
    /// Of the line as a whole, with its end, the n-grams and the wishes: what it was chosen by.
    pub score: f32,
    /// Log-probability of its end.
    pub end: f32,
    /// By how much its score exceeds that of the next line that had ended, and of what was still
    /// followed; `None`: there was none.
    pub over_ended: Option<f32>,
    pub over_followed: Option<f32>,
    /// The one next to it begins with the same word.
    pub is_alike: bool,
    /// Likelier lines that the rules refused.
    pub refused: usize,
    pub n_tokens: usize,
    pub n_chars: usize,
    /// Names and other words of two letters or more, and those of them that stand in the file
    /// elsewhere.
    pub words: usize,
    pub known_words: usize,
    pub has_quotes: bool,
    pub has_digits: bool,
    /// Brackets, commas and the like, and nothing else.
    pub is_marks: bool,
    /// Probability that nothing is missing at the cursor; `None` where the line cannot be finished
    /// as it stands.
    pub ends_here: Option<f32>,
    /// The file asks for a name to be bound; and the nats that were taken from the line for what it
    /// does not give.
    pub is_wished: bool,
    pub missed: f32,
    /// Share of the tokens that the file's n-grams foretold, and the mean of the longest context
    /// that did.
    pub foretold: f32,
    pub order: f32,
    pub stand: Stand,
    /// Letters stand on both sides of the cursor.
    pub is_in_word: bool,
    /// Characters before the cursor on its line.
    pub n_left: usize,
    /// Nothing stands right of the cursor on its line.
    pub is_rest_empty: bool,
    pub is_block: bool,
    /// A bracket is open on the line.
    pub is_in_brackets: bool,
    pub language: Option<Language>,
    /// Log-probability a token of what stands right of the cursor, behind the line; `None`: not
    /// asked.
    pub suffix: Option<f32>,
}

/// How many signs have a name.
pub const N_SIGNS: usize = 48;

impl Signs {
    /// The signs as numbers of about the same size, by name.
    pub fn named(&self) -> [(&'static str, f32); N_SIGNS] {
        let flag = |is: bool| f32::from(u8::from(is));
        let log = |n: usize| (n as f32).ln_1p();
        let deep = |nats: f32| nats.clamp(-DEEP, 0.0) / DEEP;
        let over = |margin: Option<f32>| margin.unwrap_or(DEEP).clamp(0.0, DEEP) / DEEP;
        let odds = |p: f32| (p.ln() - (1.0 - p).ln()).clamp(-SURE, SURE) / SURE;
        let is = |language: Language| flag(self.language == Some(language));
        let at = |stand: Stand| flag(self.stand == stand);
        let unknown = self.words.saturating_sub(self.known_words);
        [
            ("mean", deep(self.mean)),
            ("mean_p", self.mean.min(0.0).exp()),
            ("least", deep(self.least)),
            ("least_p", self.least.min(0.0).exp()),
            ("first", deep(self.first)),
            ("first_p", self.first.min(0.0).exp()),
            ("score", self.score.clamp(-DEEPEST, 0.0) / DEEPEST),
            ("score_p", self.score.min(0.0).exp()),
            ("end", deep(self.end)),
            ("over_ended", over(self.over_ended)),
            ("over_followed", over(self.over_followed)),
            ("close", (-self.over_ended.unwrap_or(DEEP).max(0.0)).exp()),
            ("alike", flag(self.is_alike)),
            ("refused", self.refused.min(MOST) as f32 / MOST as f32),
            ("tokens", log(self.n_tokens)),
            ("chars", log(self.n_chars)),
            ("words", self.words.min(MOST) as f32 / MOST as f32),
            ("unknown_words", unknown.min(MOST) as f32 / MOST as f32),
            ("has_unknown", flag(unknown > 0)),
            ("quotes", flag(self.has_quotes)),
            ("digits", flag(self.has_digits)),
            ("marks", flag(self.is_marks)),
            ("may_end", flag(self.ends_here.is_some())),
            ("ends_here", self.ends_here.map_or(0.0, odds)),
            ("wished", flag(self.is_wished)),
            ("missed", self.missed.clamp(-DEEP, 0.0) / DEEP),
            ("foretold", self.foretold),
            ("order", self.order),
            ("all_foretold", flag(self.foretold >= 1.0)),
            ("blank_line", at(Stand::BlankLine)),
            ("after_word", at(Stand::Word)),
            ("after_blank", at(Stand::Blank)),
            ("after_dot", at(Stand::Dot)),
            ("after_opener", at(Stand::Opener)),
            ("in_word", flag(self.is_in_word)),
            ("left", log(self.n_left)),
            ("rest_empty", flag(self.is_rest_empty)),
            ("block", flag(self.is_block)),
            ("in_brackets", flag(self.is_in_brackets)),
            ("python", is(Language::Python)),
            ("javascript", is(Language::JavaScript)),
            ("typescript", is(Language::TypeScript).max(is(Language::Tsx))),
            ("java", is(Language::Java)),
            ("rust", is(Language::Rust)),
            ("go", is(Language::Go)),
            ("c", is(Language::C).max(is(Language::Cpp))),
            ("suffix", self.suffix.map_or(0.0, |nats| nats.clamp(-DEEP, DEEP) / DEEP)),
            ("suffix_asked", flag(self.suffix.is_some())),
        ]
    }
}

/// What the search knows of a line beside the line itself.
pub(crate) struct Found<'a> {
    pub line: &'a Line,
    /// The best others: one that had ended, one that was still followed.
    pub rivals: [Option<&'a Line>; 2],
    pub extent: Extent,
    /// See [`Signs::ends_here`].
    pub ends_here: Option<f32>,
    pub wishes: Option<&'a Wishes>,
    pub nearby: Option<&'a Nearby>,
}

impl Signs {
    pub(crate) fn of(request: &Request<'_>, found: &Found<'_>) -> Signs {
        let Request { document, cursor, language, .. } = *request;
        let Found { line, rivals: [ended, followed], .. } = found;
        let before = document.slice(cursor.saturating_sub(WINDOW)..cursor);
        let after = document.slice(cursor..cursor.saturating_add(WINDOW));
        let left = before.rsplit('\n').next().unwrap_or("");
        let text = line.text.trim();
        let words = || {
            text.split(|c| !language.is_word_char(c)).filter(|word| word.chars().nth(1).is_some())
        };
        let over = |rival: &Option<&Line>| rival.map(|rival| line.score - rival.score);
        let next = ended.or(*followed);
        let (foretold, order) =
            found.nearby.map_or((0.0, 0.0), |nearby| nearby.foretold(&line.ids));
        Signs {
            mean: line.logprobs.iter().sum::<f32>() / line.logprobs.len().max(1) as f32,
            least: line.logprobs.iter().copied().fold(0.0, f32::min),
            first: line.logprobs.first().copied().unwrap_or(0.0),
            score: line.score,
            end: line.end,
            over_ended: over(ended),
            over_followed: over(followed),
            is_alike: next.is_some_and(|next| is_alike(language, next.text.trim(), text)),
            refused: line.rank,
            n_tokens: line.ids.len(),
            n_chars: text.chars().count(),
            words: words().count(),
            known_words: words().filter(|word| is_in(language, [&before, &after], word)).count(),
            has_quotes: text.contains(['"', '\'', '`']),
            has_digits: text.contains(|c: char| c.is_ascii_digit()),
            is_marks: !text.contains(char::is_alphanumeric),
            ends_here: found.ends_here,
            is_wished: found.wishes.is_some_and(Wishes::asks_for_names),
            missed: found.wishes.map_or(0.0, |wishes| wishes.bonus(&line.text)),
            foretold,
            order,
            stand: stand(language, left),
            is_in_word: [left.chars().next_back(), after.chars().next()]
                .into_iter()
                .all(|c| c.is_some_and(|c| language.is_word_char(c))),
            n_left: left.trim_start().chars().count(),
            is_rest_empty: after.lines().next().unwrap_or("").trim().is_empty(),
            is_block: found.extent != Extent::Line,
            is_in_brackets: !balance(language, left).unmatched_openers.is_empty(),
            language: Some(language),
            suffix: line
                .suffix
                .as_ref()
                .map(|all| all.iter().sum::<f32>() / all.len().max(1) as f32),
        }
    }
}

fn is_alike(language: Language, other: &str, text: &str) -> bool {
    let word = leading_word(language, text);
    !word.is_empty() && leading_word(language, other) == word || is_beginning(other, text)
}

fn stand(language: Language, left: &str) -> Stand {
    match left.chars().last() {
        _ if left.trim().is_empty() => Stand::BlankLine,
        Some(' ' | '\t') => Stand::Blank,
        Some('.' | ':' | '>') if left.ends_with(['.', ':']) || left.ends_with("->") => Stand::Dot,
        Some('(' | '[' | '{') => Stand::Opener,
        Some(c) if language.is_word_char(c) => Stand::Word,
        _ => Stand::Other,
    }
}
