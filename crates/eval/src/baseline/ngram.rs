//! An n-gram model of the one file: what followed the last few tokens elsewhere in it.

use std::collections::HashMap;

use lacuna_context::{LexKind, Lexer};

use super::windows;
use crate::Example;

/// Most tokens that a guess is made from.
const ORDER: usize = 5;
/// Most tokens of an answer.
const MAX_TOKENS: usize = 64;

/// Continues the prefix to the end of the line: at each step the token that most often followed the
/// longest run of last tokens that the file has elsewhere (the one nearest to the hole wins a tie),
/// with runs of 5 tokens down to 1. Stops where nothing is known.
pub fn continue_by_ngrams(example: &Example) -> String {
    let (prefix, suffix) = windows(example);
    let before = tokens(example, prefix);
    let after = tokens(example, suffix);
    let mut seen: HashMap<&[&str], HashMap<&str, (usize, usize)>> = HashMap::new();
    // The later a run was learned, the nearer it lies to the hole: the suffix from its end, then
    // the prefix from its start.
    let suffix_runs = (1..after.len()).rev().map(|i| (&after, i));
    let prefix_runs = (1..before.len()).map(|i| (&before, i));
    for (when, (text, i)) in suffix_runs.chain(prefix_runs).enumerate() {
        for n in 1..=ORDER.min(i) {
            let counts = seen.entry(&text[i - n..i]).or_default();
            let entry = counts.entry(text[i]).or_default();
            *entry = (entry.0 + 1, when);
        }
    }
    let mut last: Vec<&str> = before[before.len().saturating_sub(ORDER)..].to_vec();
    let mut answer = String::new();
    for _ in 0..MAX_TOKENS {
        let next = (1..=last.len()).rev().find_map(|n| {
            let counts = seen.get(&last[last.len() - n..])?;
            counts.iter().max_by_key(|(_, rank)| **rank).map(|(token, _)| *token)
        });
        let Some(token) = next.filter(|token| !is_line_end(token)) else { break };
        answer.push_str(token);
        last.push(token);
        if last.len() > ORDER {
            last.remove(0);
        }
    }
    answer
}

fn is_line_end(token: &str) -> bool {
    token.starts_with(['\n', '\r'])
}

fn tokens<'a>(example: &Example, text: &'a str) -> Vec<&'a str> {
    // A comment or string of many lines is one token: it is not a line to continue with.
    Lexer::new(example.syntax(), text)
        .filter(|l| !(l.kind == LexKind::Comment && text[l.range.clone()].contains('\n')))
        .map(|l| &text[l.range])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(prefix: &str, suffix: &str) -> String {
        let (prefix, suffix) = (prefix.to_owned(), suffix.to_owned());
        continue_by_ngrams(&Example {
            language: "python".to_owned(),
            prefix,
            suffix,
            ..Example::default()
        })
    }

    #[test]
    fn what_followed_before_follows_again() {
        assert_eq!(answer("self.a = a\nself.b = b\nself.", "\n"), "b = b");
        assert_eq!(answer("x = f(1)\n", "y = g(1)\nx"), "x = f(1)");
        assert_eq!(answer("", ""), "");
        assert_eq!(answer("print(", "\nprint(value)\n"), "value)");
    }

    #[test]
    fn it_ends() {
        // A loop in the text is no endless answer.
        assert_eq!(answer("a a a a a ", ""), "a ".repeat(32));
    }
}
