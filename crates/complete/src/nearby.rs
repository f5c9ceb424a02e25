//! The text of the open file and of its excerpts, as evidence for the token that comes next
//! (`lacuna_engine::Ngrams`).
//!
//! Prompts show a window of a file; here is all of it, up to [`MAX_BYTES`] on either side of the
//! cursor. It is read anew for each request (the tokenizer remembers the pieces that have not
//! changed), so what was deleted does not return, and the answer depends on the text alone. The
//! line of the cursor is left out: what is typed there must not foretell itself.

use lacuna_engine::{MAX_ORDER, Ngrams, Texts, Weights};
use lacuna_prompt::{Prompt, SectionKind, Tokenizer};

/// Bytes on either side of the cursor.
const MAX_BYTES: usize = 64 << 10;
/// The same for tokenizers that remember nothing.
const MAX_BYTES_ANEW: usize = 8 << 10;

/// Fitted by `datasets/embedded/fit_ngrams.py` on lines of the validation packages' real files.
pub const WEIGHTS: Weights = Weights {
    orders: [-2.36, -1.85, -2.18, -1.77, -2.34, -2.51, -2.16, -0.54],
    count: 0.82,
    fan_out: -1.20,
    confidence: -0.24,
};

/// See the module.
pub struct Nearby {
    ngrams: Ngrams,
    context: Vec<u32>,
}

impl Nearby {
    /// `prefix` ends at the cursor and `suffix` begins there, as far as they are needed
    /// ([`Nearby::reach`]); `prompt` is made of them.
    pub fn new(
        tokenizer: &Tokenizer,
        prefix: &str,
        suffix: &str,
        excerpts: &[&str],
        prompt: &Prompt,
    ) -> Nearby {
        let reach = Self::reach(tokenizer);
        let before = &prefix[..prefix.rfind('\n').map_or(0, |at| at + 1)];
        let before = &before[before.ceil_char_boundary(before.len().saturating_sub(reach))..];
        let after = suffix.find('\n').map_or("", |at| &suffix[at + 1..]);
        let after = &after[..after.floor_char_boundary(reach)];
        let mut texts: Vec<Vec<u32>> =
            excerpts.iter().map(|excerpt| tokenizer.encode_incremental(excerpt)).collect();
        texts.push(tokenizer.encode_incremental(before));
        let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        Nearby {
            ngrams: Ngrams::new(&texts, &tokenizer.encode_incremental(after)),
            context: context(prompt),
        }
    }

    /// Bytes on either side of the cursor that are looked at.
    pub fn reach(tokenizer: &Tokenizer) -> usize {
        if tokenizer.is_incremental() { MAX_BYTES } else { MAX_BYTES_ANEW }
    }

    pub fn ngrams(&self) -> &Ngrams {
        &self.ngrams
    }

    /// The last tokens before the cursor.
    pub fn context(&self) -> &[u32] {
        &self.context
    }

    /// Share of the ids, behind the cursor, that the texts foretold, and the mean length of the
    /// longest context that did, as a share of the longest that is looked for.
    pub(crate) fn foretold(&self, ids: &[u32]) -> (f32, f32) {
        let mut context = self.context.clone();
        let (mut n, mut orders) = (0, 0);
        for id in ids {
            let counts = self.ngrams.counts(&context);
            if let Ok(at) = counts.followers.binary_search_by_key(id, |(next, _)| *next) {
                n += 1;
                orders += counts.followers[at].1.iter().filter(|hits| **hits > 0).count();
            }
            context.push(*id);
        }
        let all = ids.len().max(1) as f32;
        (n as f32 / all, orders as f32 / (all * MAX_ORDER as f32))
    }

    pub(crate) fn texts(&self) -> Texts<'_> {
        Texts { ngrams: &self.ngrams, weights: &WEIGHTS, context: &self.context }
    }
}

/// The last tokens of a prompt that are the text before the cursor.
fn context(prompt: &Prompt) -> Vec<u32> {
    let text = prompt
        .sections
        .iter()
        .filter(|section| matches!(section.kind, SectionKind::Prefix | SectionKind::Typed));
    let ids: Vec<u32> =
        text.flat_map(|section| &prompt.ids[section.tokens.clone()]).copied().collect();
    ids[ids.len().saturating_sub(MAX_ORDER)..].to_vec()
}

#[cfg(test)]
mod tests {
    use lacuna_prompt::{Input, Options, Order, Sentinels, build};

    use super::*;

    fn nearby(prefix: &str, suffix: &str, excerpts: &[&str], heal: bool) -> (Tokenizer, Nearby) {
        let file = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../datasets/embedded/tokenizer.json"
        ))
        .expect("the embedded tokenizer");
        let tokenizer = Tokenizer::from_json(&file).expect("reads");
        let sentinels = Sentinels::resolve(&tokenizer).expect("markers");
        let input = Input { path: Some("a.py"), excerpts, prefix, suffix };
        let prompt = build(
            &tokenizer,
            &sentinels,
            &input,
            &Options { order: Order::Spm, budget: 256, heal, seam: false, ahead: 0 },
        );
        let nearby = Nearby::new(&tokenizer, prefix, suffix, excerpts, &prompt);
        (tokenizer, nearby)
    }

    /// Probability of `text` behind the cursor, by the texts alone.
    fn share(tokenizer: &Tokenizer, nearby: &Nearby, text: &str) -> f32 {
        let mut context = nearby.context().to_vec();
        let mut p = 1.0;
        for id in tokenizer.encode(text) {
            p *= nearby.ngrams().after(&context, &WEIGHTS, 0.1).of(id, 0.0);
            context.push(id);
        }
        p
    }

    #[test]
    fn the_whole_file_and_excerpts_speak_but_not_the_line_of_the_cursor() {
        let far = "def f(first):\n    return registry.lookup(first)\n\n\n";
        let filler = "x = 1\n".repeat(2000);
        let line = "def g(second):\n    return";
        for (prefix, suffix, excerpt) in [
            (format!("{far}{filler}{line}"), String::new(), ""),
            (line.to_owned(), format!("\n{filler}{far}"), ""),
            (line.to_owned(), String::new(), far),
        ] {
            let (tokenizer, with) = nearby(&prefix, &suffix, &[excerpt], false);
            assert!(
                share(&tokenizer, &with, " registry.lookup") > 0.01,
                "{}",
                share(&tokenizer, &with, " registry.lookup")
            );
        }
        let (tokenizer, without) = nearby(line, "\n", &[], false);
        assert_eq!(
            share(&tokenizer, &without, " registry.lookup"),
            0.0,
            "what was deleted does not return"
        );
        // What is typed does not foretell itself.
        let (tokenizer, typed) = nearby("a = registry", ".lookup\n", &[], true);
        assert_eq!(share(&tokenizer, &typed, " registry"), 0.0);
    }

    #[test]
    fn long_files_of_any_characters_are_read_up_to_a_limit() {
        for prefix in ["é🦀".repeat(100_000), "🦀\n".repeat(60_000), String::new(), "\n".to_owned()]
        {
            let (_, nearby) = nearby(&prefix, &prefix, &[], true);
            assert!(nearby.context().len() <= MAX_ORDER);
        }
    }
}
