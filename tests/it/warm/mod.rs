//! The warm path in this process: however a buffer came about, it is completed the same way, and
//! what was typed is never contradicted.

mod invariants;
mod memory;
mod suffix;

use std::sync::Arc;

use lacuna_complete::{Caller, Completer, Exactly, Reply, Request, Settings};
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::{Cancel, Model, Precision};
use lacuna_prompt::{Order, Sentinels, Tokenizer};
use lacuna_tests::{Random, TinyModel};
use lacuna_text::Document;

/// The tiny model, with f32 weights: its results do not depend on how many tokens are computed at
/// once.
pub struct Tiny {
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
    sentinels: Sentinels,
}

impl Tiny {
    pub fn new() -> Tiny {
        let tiny = TinyModel::default();
        let dir = tiny.write();
        let tokenizer =
            Tokenizer::from_json(tiny.tokenizer.to_string().as_bytes()).expect("our own tokenizer");
        let sentinels = Sentinels::resolve(&tokenizer).expect("our own markers");
        let model = Model::load(dir.path(), Precision::F32).expect("our own model");
        Tiny { model: Arc::new(model), tokenizer: Arc::new(tokenizer), sentinels }
    }

    pub fn completer(&self, settings: Settings) -> Completer {
        Completer::new(
            Arc::clone(&self.model),
            Arc::clone(&self.tokenizer),
            self.sentinels.clone(),
            settings,
        )
    }
}

/// Tokens of [`write`].
const TOKENS: usize = 6;

/// What the model says, and nothing but it.
pub fn write(completer: &Completer, request: &Request<'_>, cancel: &Cancel) -> Reply {
    let mut rule = Exactly::new(TOKENS);
    let sampling = rule.sampling();
    completer.write(request, (&sampling, &mut rule), Caller::default(), cancel)
}

/// Short prompts, so that windows move.
pub fn short() -> Settings {
    Settings { prompt_tokens: 320, line_tokens: 8, block_tokens: 8, ..Settings::default() }
}

/// [`short`], with room for what [`write`] says.
pub fn by_the_model() -> Settings {
    Settings { block_tokens: Exactly::new(TOKENS).sampling().max_tokens, ..short() }
}

/// The layouts that are served.
pub const LAYOUTS: [(Order, bool); 4] =
    [(Order::Spm, false), (Order::Spm, true), (Order::Psm, true), (Order::Psm, false)];

/// A document that is edited as an editor does it: the tree is edited along.
#[derive(Clone)]
pub struct Buffer {
    pub document: Document,
    pub tree: SyntaxTree,
    pub cursor: usize,
}

impl Buffer {
    pub fn new(text: &str, cursor: usize) -> Buffer {
        let document = Document::new(text, 0);
        let tree = SyntaxTree::parse(Language::Python, document.rope());
        Buffer { document, tree, cursor }
    }

    pub fn splice(&mut self, range: std::ops::Range<usize>, text: &str) {
        let info = self.document.splice(range, text);
        self.tree.edit(&info);
        self.tree.reparse(self.document.rope());
        self.cursor = info.new_end_byte;
    }

    pub fn request<'a>(&'a self, key: &'a str, n: usize) -> Request<'a> {
        Request { n, ..Request::at(key, Some("src/a.py"), &self.document, &self.tree, self.cursor) }
    }

    pub fn complete(&self, completer: &Completer, cancel: &Cancel) -> Reply {
        completer.complete(&self.request("a", 1), cancel)
    }

    pub fn write(&self, completer: &Completer, cancel: &Cancel) -> Reply {
        write(completer, &self.request("a", 1), cancel)
    }
}

/// Lines of a program, with what breaks byte counts.
pub fn program(lines: usize, random: &mut Random) -> String {
    (0..lines).map(|i| line(i, random)).collect()
}

pub fn line(i: usize, random: &mut Random) -> String {
    match random.below(7) {
        0 => "\n".to_owned(),
        1 => format!("def function_{i}(a, b):\n"),
        2 => format!("    return a + b * {i}  # é🦀\n"),
        3 => format!("    total = total + item_{i}\r\n"),
        4 => format!("# naïve comment {i} e\u{301}\n"),
        _ => format!("    value_{i} = compute(value_{}, \"text\")\n", i / 2),
    }
}

/// A character boundary near `at`.
pub fn boundary(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}
