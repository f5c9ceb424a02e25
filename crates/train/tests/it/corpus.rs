//! A small made-up corpus, large enough to train a small vocabulary on. Everything is derived from
//! fixed seeds.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use lacuna_prompt::{Sentinels, Tokenizer};
use lacuna_train::mine::rng::Rng;
use lacuna_train::mine::{Document, Language, Split};
use lacuna_train::tokenizer::{TokenizerConfig, train};

const NOUNS: [&str; 16] = [
    "order", "vector", "matrix", "graph", "letter", "window", "bucket", "token", "cursor",
    "branch", "ledger", "signal", "packet", "number", "record", "symbol",
];
const VERBS: [&str; 12] = [
    "count", "merge", "split", "reverse", "collect", "filter", "rotate", "balance", "expand",
    "compare", "shift", "reduce",
];

/// A Python module of `n` functions that differ by `seed`.
pub fn python(seed: u64, n: usize) -> String {
    let mut rng = Rng::new(seed);
    let mut text = String::from("import math\nfrom typing import List\n\n\n");
    for _ in 0..n {
        let (verb, noun, other) =
            (VERBS[rng.below(12)], NOUNS[rng.below(16)], NOUNS[rng.below(16)]);
        let (a, b) = (rng.below(100), rng.below(1000));
        text.push_str(&format!(
            "def {verb}_{noun}_{b}({noun}s: List[int], {other}: int = {a}) -> int:\n    \"\"\"{verb} every {noun} by the {other}.\"\"\"\n    \
             total = {a}\n    for index, {noun} in enumerate({noun}s):\n        if {noun} > {other} + {b}:\n            \
             total += math.floor({noun} / {b}) - index\n    return total\n\n\n"
        ));
    }
    text
}

/// A JavaScript module of `n` functions that differ by `seed`.
pub fn javascript(seed: u64, n: usize) -> String {
    let mut rng = Rng::new(seed);
    let mut text = String::from("'use strict';\n\nconst tools = require('./tools');\n\n");
    for _ in 0..n {
        let (verb, noun, b) = (VERBS[rng.below(12)], NOUNS[rng.below(16)], rng.below(1000));
        text.push_str(&format!(
            "// {verb}s one {noun} after the other\nfunction {verb}{noun}{b}(list, limit) {{\n  const {noun} = list.map((item) => item + {b});\n  \
             if ({noun}.length > limit) {{\n    return tools.{verb}({noun}, {{ limit: {b} }});\n  }}\n  return {noun};\n}}\n\n"
        ));
    }
    text
}

pub fn document(package: &str, path: &str, split: Split, text: String) -> Document {
    Document {
        path: path.to_owned(),
        package: package.to_owned(),
        language: Language::of_path(path).expect("a source file"),
        split,
        weight: 1,
        text,
    }
}

/// Documents of both splits.
pub fn documents() -> Vec<Document> {
    let mut all = Vec::new();
    for i in 0..30 {
        all.push(document("pypi/made", &format!("made/part{i}.py"), Split::Train, python(i, 12)));
        all.push(document(
            "npm/made",
            &format!("lib/part{i}.js"),
            Split::Train,
            javascript(100 + i, 12),
        ));
    }
    for i in 0..4 {
        all.push(document(
            "pypi/held",
            &format!("held/part{i}.py"),
            Split::Validation,
            python(1000 + i, 12),
        ));
    }
    all
}

/// `tokenizer.json` of a small vocabulary trained on [`documents`].
pub fn tokenizer_json() -> &'static [u8] {
    static JSON: OnceLock<Vec<u8>> = OnceLock::new();
    JSON.get_or_init(|| {
        let config = TokenizerConfig { n_vocab: 420, ..Default::default() };
        train(&documents(), &config, &AtomicBool::new(false)).expect("the corpus is large enough")
    })
}

pub fn tokenizer() -> (Tokenizer, Sentinels) {
    let tokenizer = Tokenizer::from_json(tokenizer_json()).expect("our own file");
    let sentinels = Sentinels::resolve(&tokenizer).expect("our own markers");
    (tokenizer, sentinels)
}
