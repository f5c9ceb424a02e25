//! Training documents of which each shows another part of a file: no window comes twice.
//!
//! A file is used for one thing, windows that cover it or its self-contained functions. Windows,
//! holes and layout are [`crate::fim`]'s; what is new here is that windows are cut once, and that
//! documents have excerpts. Start reading at [`examples_once`].

use std::ops::Range;
use std::path::Path;

use lacuna_context::Rope;
use lacuna_prompt::excerpts::fitting;
use lacuna_prompt::{Order, Sentinels, Tokenizer, layout};

use crate::excerpts::{Place, excerpts};
use crate::fim::{FimConfig, Source, head, row};
use crate::mine::Document;
use crate::mine::rng::Rng;

/// What a file is used for where every window is shown once: one thing, so that nothing is shown
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// All of the file, cut into windows.
    Tiles,
    /// Its self-contained functions.
    Functions,
}

/// Of the files with a grammar, those that give functions.
const FILES_FOR_FUNCTIONS: f64 = 0.5;

/// What documents are made with.
#[derive(Clone, Copy)]
pub struct Making<'a> {
    pub tokenizer: &'a Tokenizer,
    pub sentinels: &'a Sentinels,
    /// Ends a document.
    pub end: u16,
    pub config: &'a FimConfig,
    pub seed: u64,
}

/// A training document and how it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Ends with the end token.
    pub ids: Vec<u16>,
    /// The part of the file that it shows, excerpts apart.
    pub window: Range<usize>,
    pub has_hole: bool,
    pub is_suffix_first: bool,
    pub has_excerpts: bool,
}

/// The training documents of one file, each of another part of it: every window that `windows` asks
/// for, each kept with the chance `keep`.
///
/// `siblings` are files of the same package, for excerpts. The documents depend on file, siblings,
/// `windows`, `keep` and `seed` only.
pub fn examples_once(
    document: &Document,
    siblings: &[&Document],
    making: Making<'_>,
    windows: Windows,
    keep: f64,
) -> Vec<Example> {
    let Making { config, seed, .. } = making;
    let identity = crate::mine::dedupe::hash_bytes(
        format!("{}\0{}", document.package, document.path).as_bytes(),
    );
    let mut rng = Rng::for_stream(seed, identity);
    let has_grammar = lacuna_context::Language::from_path(Path::new(&document.path))
        != lacuna_context::Language::Text;
    let role = if has_grammar && rng.chance(FILES_FOR_FUNCTIONS) {
        Windows::Functions
    } else {
        Windows::Tiles
    };
    if role != windows || keep <= 0.0 {
        return Vec::new();
    }
    let source = Source::new(&document.text, document.language, &document.path);
    let rope = Rope::from_str(&document.text);
    let ranges = match windows {
        Windows::Tiles => source.tiles(config, &mut rng),
        Windows::Functions => source.whole_functions(config),
    };
    // Only documents with a hole can have them.
    let share = config.excerpts / (1.0 - config.plain).max(f64::MIN_POSITIVE);
    // Documents with excerpts that are due: where there is nothing to show, the next one makes up
    // for it.
    let mut due = rng.unit() + share;
    let mut made = Vec::new();
    for window in ranges {
        // Each window has draws of its own, so that `keep` decides which ones there are and not
        // what they are.
        let mut rng = Rng::for_stream(seed ^ identity, window.start as u64);
        if !rng.chance(keep) {
            continue;
        }
        let siblings = (due >= 1.0).then_some(siblings);
        if let Some(example) = once(document, &source, &rope, window, siblings, making, &mut rng) {
            let shown = if example.has_excerpts { 1.0 } else { 0.0 };
            due = (due + if example.has_hole { share } else { 0.0 } - shown).min(3.0);
            made.push(example);
        }
    }
    made
}

/// The document of one window; with excerpts if `siblings` are given and there is something to
/// show.
fn once(
    document: &Document,
    source: &Source,
    rope: &Rope,
    mut window: Range<usize>,
    siblings: Option<&[&Document]>,
    making: Making<'_>,
    rng: &mut Rng,
) -> Option<Example> {
    let Making { tokenizer, sentinels, end, config, .. } = making;
    let head = head(document, tokenizer, sentinels, config, rng);
    let plain = rng.chance(config.plain);
    let order = if rng.chance(config.spm) { Order::Spm } else { Order::Psm };
    for _ in 0..5 {
        if window.len() < 16 || source.text[window.clone()].trim().is_empty() {
            return None;
        }
        // Tokens of the document without excerpts, markers, end and bos included.
        let total;
        if plain {
            let mut ids = head.clone();
            ids.extend(tokenizer.encode(&source.text[window.clone()]));
            if ids.len() < config.limit_tokens {
                let ids = row(ids, end)?;
                return Some(Example {
                    ids,
                    window,
                    has_hole: false,
                    is_suffix_first: false,
                    has_excerpts: false,
                });
            }
            total = ids.len() + 1;
        } else {
            let parts = source.draw_in(&window, config, rng)?;
            let mut prefix = tokenizer.encode(parts.prefix);
            let suffix = tokenizer.encode(parts.suffix);
            let middle = tokenizer.encode(parts.middle);
            total = head.len() + prefix.len() + suffix.len() + middle.len() + 5;
            // Excerpts need room: a window that is to have some is not as long as the row.
            let most =
                if siblings.is_some() { config.limit_tokens * 7 / 8 } else { config.limit_tokens };
            if total <= most {
                let mut shown = Vec::new();
                if let Some(siblings) = siblings {
                    let hole = parts.hole_start;
                    let (before, after) = (parts.prefix, parts.suffix);
                    let window = hole - before.len();
                    let place = Place {
                        document,
                        tree: &source.tree,
                        rope,
                        window,
                        hole,
                        prefix: before,
                        suffix: after,
                    };
                    let budget = config.limit_tokens - head.len() - 4;
                    let texts = excerpts(&place, siblings, budget, rng);
                    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                    // As much as a prompt of this length shows, and as much as the row has room
                    // for.
                    let room = suffix.len() + 4 * (config.limit_tokens - total);
                    shown = fitting(tokenizer, &texts, budget.min(room), suffix.len());
                }
                let has_excerpts = !shown.is_empty();
                shown.append(&mut prefix);
                let mut ids = layout(sentinels, order, &head, &shown, &suffix);
                ids.extend(middle);
                let ids = row(ids, end)?;
                return Some(Example {
                    ids,
                    window,
                    has_hole: true,
                    is_suffix_first: order == Order::Spm,
                    has_excerpts,
                });
            }
        }
        let share = 0.8 * (config.limit_tokens as f64 / total as f64).min(1.0);
        window.end = source
            .end_of_window(window.start, (window.len() as f64 * share) as usize)
            .min(window.end);
    }
    None
}
