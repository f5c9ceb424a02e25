//! How chosen definitions are shown: signatures in the order of their file, members below their
//! type, an excerpt a file.

use std::collections::BTreeSet;

use lacuna_context::{Excerpt, ExcerptKind};

use crate::choose::{ByFile, Candidate, Chosen};
use crate::index::{Index, Symbol};

/// What is shown of one file.
#[derive(Default)]
struct Shown {
    symbols: BTreeSet<usize>,
    reasons: Vec<String>,
    score: f32,
    text: String,
}

/// Excerpts of the best candidates (which are sorted) that fit into `max_bytes`, a line break for
/// each included; ordered by what they say.
pub(crate) fn excerpts(
    index: &Index,
    candidates: Vec<Candidate>,
    max_bytes: usize,
    form: impl Fn(&str, &str) -> String,
) -> Vec<Chosen> {
    let mut files: ByFile<Shown> = ByFile::new();
    let mut left = max_bytes;
    for Candidate { symbol, score, reason } in candidates {
        let path = index.path(symbol.file);
        let shown = files.entry(symbol.file.0).or_default();
        let mut symbols = shown.symbols.clone();
        symbols.insert(symbol.at);
        // A member is told with its type.
        symbols.extend(type_of(index, symbol).map(|of| of.at));
        let text = form(path, &text(index, symbol, &symbols));
        let before = if shown.text.is_empty() { 0 } else { shown.text.len() + 1 };
        if text.len() + 1 > before + left {
            continue;
        }
        left = before + left - (text.len() + 1);
        shown.symbols = symbols;
        shown.score = shown.score.max(score);
        shown.text = text;
        if !shown.reasons.contains(&reason) {
            shown.reasons.push(reason);
        }
    }
    let mut chosen: Vec<Chosen> = files
        .into_iter()
        .filter(|(_, shown)| !shown.text.is_empty())
        .map(|(file, shown)| Chosen {
            excerpt: Excerpt {
                kind: ExcerptKind::Definition,
                path: Some(index.path(crate::FileId(file)).to_owned()),
                text: shown.text,
                score: shown.score,
            },
            reasons: shown.reasons,
        })
        .collect();
    // What is shown stands where it stood, whatever else comes or goes.
    chosen.sort_by_cached_key(|chosen| stable_hash(&chosen.excerpt.text));
    chosen
}

/// The type that a member belongs to, where its file defines it.
fn type_of(index: &Index, symbol: Symbol) -> Option<Symbol> {
    let owner = index.owner(symbol)?;
    index.named(owner).find(|of| {
        of.file == symbol.file && index.kind(*of) == lacuna_context::DefinitionKind::Type
    })
}

fn text(index: &Index, of: Symbol, symbols: &BTreeSet<usize>) -> String {
    let symbol = |at: usize| Symbol { file: of.file, at };
    let mut lines: Vec<String> = Vec::new();
    // Members are told below their types, which stand where the first of both stands.
    let mut told = BTreeSet::new();
    for at in symbols {
        let owner = type_of(index, symbol(*at)).map_or(*at, |owner| owner.at);
        if !told.insert(owner) {
            continue;
        }
        lines.push(index.head(symbol(owner)).to_owned());
        for member in symbols.iter().filter(|member| **member != owner) {
            if type_of(index, symbol(*member)).is_some_and(|of| of.at == owner) {
                lines.push(format!("    {}", index.head(symbol(*member))));
            }
        }
    }
    lines.dedup();
    lines.join("\n")
}

/// The same in every version of the program: FNV-1a.
fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
