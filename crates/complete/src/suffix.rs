//! What stands right of the cursor as a witness: how likely the model, reading from left to right,
//! finds it behind each line that may be shown.
//!
//! The window before the cursor is read without markers, up to the line of the cursor, in a cache
//! of its own: typing on a line changes nothing of it, so it is warm nearly always ([`warm`]), and
//! it is the first to go when memory is short. The rest of the window, a line and what follows it
//! are tokenised as one text for each line, and all are read in one ragged pass.
//!
//! What counts are the first tokens with which the texts of **all** lines end alike: the same
//! tokens of the same bytes right of the cursor. A token that reaches from a line into what
//! follows, as `()` behind `f(` does, counts for none.
//!
//! Owns: what is read and what counts. Does not own: the pass (`lacuna_engine::score_behind`), the
//! search.

use std::time::Instant;

use lacuna_engine::{Cancel, PrefillOptions, PromptError, Reading, prefill_with, score_behind};
use lacuna_prompt::{Prompt, Sentinels, Tokenizer, plain};

use crate::core::{Core, common};
use crate::items::Ask;
use crate::request::Request;
use crate::search::Line;
use crate::show::text_after;
use crate::state::lock;
use crate::stop::Extent;

/// Bytes right of the cursor that are read at most.
const MAX_AFTER: usize = 256;
/// Bytes of the cursor's line that are read with every hypothesis at most: what stands before them
/// on a long line is held.
const MAX_BEGUN: usize = 256;
/// Tokens that are read for a hypothesis, about: to know beforehand whether there will be time.
const TOKENS_OF_A_HYPOTHESIS: usize = 24;

/// How much the text right of the cursor says of a line, and when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suffix {
    /// Nats of a line for a nat of what follows.
    pub weight: f32,
    /// Tokens of what follows that count.
    pub tokens: usize,
    /// Nats: it is asked where the second line comes so close to the best.
    pub margin: f32,
}

/// `margin`: the widest of those that `datasets/embedded/fit_suffix.py` tries with which the
/// embedded model is asked in less than 30 % of requests (27 %).
impl Default for Suffix {
    fn default() -> Suffix {
        Suffix { weight: 0.5, tokens: 12, margin: 0.4 }
    }
}

/// See the module.
pub(crate) struct Witness {
    key: String,
    /// What is held: the header and the window up to the line of the cursor.
    prefix: Vec<u32>,
    /// From there to the cursor.
    begun: String,
    /// What stands right of the cursor.
    after: String,
}

impl Witness {
    /// `window` ends at the cursor, `after` begins there; `None` where nothing stands there.
    fn new(
        (tokenizer, sentinels): (&Tokenizer, &Sentinels),
        key: &str,
        path: Option<&str>,
        window: &str,
        after: &str,
    ) -> Option<Witness> {
        let after = &after[..after.floor_char_boundary(MAX_AFTER)];
        if after.trim().is_empty() {
            return None;
        }
        let (held, begun) = window.split_at(line_of_cursor(window));
        let prefix = plain(tokenizer, sentinels, path, held);
        Some(Witness { key: key_of(key), prefix, begun: begun.to_owned(), after: after.to_owned() })
    }

    fn at(core: &Core, request: &Request<'_>, prompt: &Prompt) -> Option<Witness> {
        let window = request.document.slice(prompt.prefix_cut..request.cursor);
        let after = text_after(request.document, request.cursor);
        Witness::new((&core.tokenizer, &core.sentinels), request.key, request.path, &window, &after)
    }

    /// The tokens behind `prefix` with each of `lines`, and how many at the end of each count;
    /// those of what follows beyond `most` are left out.
    fn texts(
        &self,
        tokenizer: &Tokenizer,
        lines: &[&str],
        most: usize,
    ) -> Option<(Vec<Vec<u32>>, usize)> {
        let mut texts: Vec<Vec<u32>> = lines
            .iter()
            .map(|line| tokenizer.encode(&format!("{}{line}{}", self.begun, self.after)))
            .collect();
        let first = texts.first()?;
        let mut left = self.after.len();
        let same = first.iter().rev().enumerate().take_while(|(i, id)| {
            let bytes = tokenizer.token_bytes(**id).len();
            let is_within = bytes <= left;
            left = left.saturating_sub(bytes);
            // Something must stand before the first token that counts.
            is_within && texts.iter().all(|ids| ids.len() > i + 1 && ids[ids.len() - 1 - i] == **id)
        });
        let same = same.count();
        let n = same.min(most);
        texts.iter_mut().for_each(|ids| ids.truncate(ids.len() - (same - n)));
        (n > 0).then_some((texts, n))
    }
}

/// Where the line of the cursor begins, before its line break; in a long line, between two words
/// near its end.
fn line_of_cursor(window: &str) -> usize {
    let line = window.rfind('\n').unwrap_or(0);
    let line = if window[..line].ends_with('\r') { line - 1 } else { line };
    let near = window.ceil_char_boundary(window.len().saturating_sub(MAX_BEGUN));
    if line >= near { line } else { window[near..].find(' ').map_or(near, |blank| near + blank) }
}

/// Where the window is held.
pub(crate) fn key_of(key: &str) -> String {
    format!("{key}#plain")
}

/// Brings the window of this place into its cache; cancelled, what was computed is kept.
pub(crate) fn warm(core: &Core, request: &Request<'_>, prompt: &Prompt, cancel: &Cancel) {
    if !core.asks_suffix() {
        return;
    }
    let Some(witness) =
        Witness::at(core, request, prompt).filter(|witness| !witness.prefix.is_empty())
    else {
        return;
    };
    let Some(lease) = core.pool.try_lease(&witness.key) else { return };
    let mut lease = lease.spare();
    if lease.common_prefix(&witness.prefix) < witness.prefix.len()
        && lease.reserve(&witness.prefix, 0).is_ok()
    {
        let _ = prefill_with(
            &core.model,
            &mut lease,
            &witness.prefix,
            &PrefillOptions::default(),
            cancel,
        );
    }
}

impl Core {
    fn asks_suffix(&self) -> bool {
        self.settings.evidence.suffix && self.settings.beam > 1
    }

    /// What stands right of the cursor, where it can be asked and there will be time for it.
    /// `left`: tokens of the prompt that are to be computed, and of the line that are to be found.
    pub fn witness(&self, ask: &Ask<'_>, left: (usize, usize)) -> Option<Witness> {
        // Behind the first line of a block stands the rest of the block.
        if !self.asks_suffix() || ask.place.extent != Extent::Line {
            return None;
        }
        let witness = Witness::at(self, ask.request, ask.how.prompt)?;
        let Some(deadline) = ask.how.limits.deadline else { return Some(witness) };
        let warm =
            self.pool.snapshot(&witness.key).map_or(0, |held| common(held.ids(), &witness.prefix));
        let read = witness.prefix.len() - warm + self.settings.beam * TOKENS_OF_A_HYPOTHESIS;
        let costs = lock(&self.costs);
        let needed = costs.prefill(left.0)? + costs.tokens(left.1)? + costs.read(read)?;
        (needed <= deadline.saturating_duration_since(Instant::now())).then_some(witness)
    }

    /// Asks the witness about lines, which come in the order of their scores, and orders them anew:
    /// each loses what the text right of the cursor says less for it than for the line that it
    /// likes best. Where the best is far ahead, or there is no time or no memory, they stay as they
    /// are.
    pub fn weigh(
        &self,
        witness: &Witness,
        lines: &mut [Line],
        deadline: Option<Instant>,
        cancel: &Cancel,
    ) {
        let Suffix { weight, tokens, margin } = self.settings.suffix;
        if lines.len() < 2 || lines[0].score - lines[1].score > margin {
            return;
        }
        let shown: Vec<&str> = lines.iter().map(|line| line.shown.as_str()).collect();
        let Some((texts, n)) = witness.texts(&self.tokenizer, &shown, tokens) else { return };
        let mut lease = self.pool.lease(&witness.key).spare();
        let cold = witness.prefix.len() - lease.common_prefix(&witness.prefix);
        let read = cold + texts.iter().map(Vec::len).sum::<usize>();
        let begun = Instant::now();
        let in_time = |deadline: Instant| {
            lock(&self.costs).read(read).is_some_and(|time| begun + time <= deadline)
        };
        if !deadline.is_none_or(in_time) || lease.reserve(&witness.prefix, 0).is_err() {
            return;
        }
        let readings: Vec<Reading> =
            texts.iter().map(|ids| Reading { ids, from: ids.len() - n }).collect();
        match score_behind(&self.model, &mut lease, &witness.prefix, &readings, cancel) {
            Ok(heard) => {
                lock(&self.costs).note_read(read, begun.elapsed());
                lines.iter_mut().zip(heard).for_each(|(line, heard)| line.suffix = Some(heard));
                rank(lines, weight);
            }
            Err(PromptError::Cancelled) => {}
            Err(error) => tracing::debug!(%error, "the text right of the cursor was not asked"),
        }
    }
}

/// Orders lines by their scores with what the suffix says of them.
fn rank(lines: &mut [Line], weight: f32) {
    let said = |line: &Line| line.suffix_sum().unwrap_or(f32::NEG_INFINITY);
    let most = lines.iter().map(said).fold(f32::NEG_INFINITY, f32::max);
    if !most.is_finite() {
        return;
    }
    lines.iter_mut().for_each(|line| line.score -= weight * (most - said(line)));
    lines.sort_by(|a, b| b.score.total_cmp(&a.score));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> (Tokenizer, Sentinels) {
        let file = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../datasets/embedded/tokenizer.json"
        ))
        .expect("the embedded tokenizer");
        let tokenizer = Tokenizer::from_json(&file).expect("reads");
        let sentinels = Sentinels::resolve(&tokenizer).expect("markers");
        (tokenizer, sentinels)
    }

    fn text(tokenizer: &Tokenizer, ids: &[u32]) -> String {
        String::from_utf8(tokenizer.decode(ids)).expect("whole characters")
    }

    #[test]
    fn the_same_tokens_right_of_the_cursor_count_for_every_line() {
        let (tokenizer, sentinels) = parts();
        for (window, lines, after, counts) in [
            (
                "def f(a):\n    ",
                &["b = a", "return a + 1"][..],
                "\n    return b\n",
                "\n    return b\n",
            ),
            // `()` and `):` reach over the cursor: what follows them counts.
            ("x = f", &["(", "(a"], ")\ny = x\n", "\ny = x\n"),
            ("é = \"", &["ü\"", "\""], "\n🦀()\n", "\n🦀()\n"),
            ("a\r\n  b", &[" = c", "(d)"], "\r\ne\r\n", "\r\ne\r\n"),
        ] {
            let witness = Witness::new((&tokenizer, &sentinels), "k", Some("a.py"), window, after)
                .expect("something follows");
            let (texts, n) = witness.texts(&tokenizer, lines, 99).expect("tokens in common");
            for (line, ids) in lines.iter().zip(&texts) {
                assert_eq!(text(&tokenizer, ids), format!("{}{line}{after}", witness.begun));
                let last = text(&tokenizer, &ids[ids.len() - n..]);
                assert!(
                    after.ends_with(&last) && last.len() >= counts.len(),
                    "{last:?} of {after:?}"
                );
            }
            assert!(texts.iter().all(|ids| ids[ids.len() - n..] == texts[0][texts[0].len() - n..]));
            let (few, n) = witness.texts(&tokenizer, lines, 2).expect("tokens in common");
            assert_eq!(n, 2);
            assert!(few.iter().zip(&texts).all(|(few, all)| all.starts_with(few)));
        }
    }

    #[test]
    fn what_is_held_does_not_change_while_a_line_is_typed() {
        let (tokenizer, sentinels) = parts();
        let held = |window: &str| {
            Witness::new((&tokenizer, &sentinels), "k", None, window, "\nx")
                .expect("something follows")
        };
        let line = "    value = other(first, 1)";
        let above = "import os\n\ndef f():";
        let first = held(&format!("{above}\n")).prefix;
        for (at, _) in line.char_indices() {
            assert_eq!(held(&format!("{above}\n{}", &line[..at])).prefix, first);
        }
        assert!(held(&format!("{above}\n{line}\n")).prefix.starts_with(&first[..first.len() - 1]));
        // Everything stands in one of the two.
        for window in [
            String::new(),
            "\n".to_owned(),
            "\r\n".to_owned(),
            "é".repeat(5000),
            "ab ".repeat(5000),
            format!("\n{}", "x".repeat(5000)),
        ] {
            let witness = held(&window);
            assert!(
                witness.begun.len() <= MAX_BEGUN,
                "a long line is not read again for each hypothesis"
            );
            let header = plain(&tokenizer, &sentinels, None, "").len();
            assert_eq!(text(&tokenizer, &witness.prefix[header..]) + &witness.begun, window);
        }
        let blank = Witness::new((&tokenizer, &sentinels), "k", None, "x", " \n\n");
        assert!(blank.is_none(), "nothing follows");
    }

    #[test]
    fn what_follows_moves_a_line_by_its_weight() {
        let line = |text: &str, score, heard: &[f32]| Line {
            shown: text.to_owned(),
            score,
            suffix: Some(heard.to_vec()),
            ..Line::default()
        };
        let ranked = |weight| {
            let mut lines = [
                line("a", -1.0, &[-1.0, -2.0]),
                line("b", -1.5, &[-0.5, -1.0]),
                line("c", -1.6, &[-9.0, -9.0]),
            ];
            rank(&mut lines, weight);
            lines.map(|line| (line.shown, line.score))
        };
        assert_eq!(
            ranked(0.5),
            [("b".to_owned(), -1.5), ("a".to_owned(), -1.75), ("c".to_owned(), -9.85)]
        );
        assert_eq!(ranked(0.0).map(|line| line.1), [-1.0, -1.5, -1.6]);
    }
}
