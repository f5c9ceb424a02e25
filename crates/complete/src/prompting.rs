//! From a place in a document to a prompt: facts about the cursor, excerpts of what the window
//! leaves out, layout.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use lacuna_context::{Excerpt, ExcerptKind, FileFacts, cursor_facts, gather, rank};
use lacuna_prompt::excerpts::as_shown;
use lacuna_prompt::{Input, Options, Prompt, SectionKind, Sentinels, Tokenizer, build};

use crate::core::Core;
use crate::stop::Extent;
use crate::{Request, Settings};

/// Bytes on either side of the cursor that a prompt of one token can show at most.
const BYTES_PER_TOKEN: usize = 8;

/// A prompt and what it was made from.
pub(crate) struct Prepared {
    pub prompt: Prompt,
    pub extent: Extent,
    /// Text and score.
    pub excerpts: Vec<(String, f32)>,
    /// What finding out about the cursor and its surroundings took.
    pub context_time: Duration,
}

/// How far the completion may reach, if it may have so many lines.
pub(crate) fn extent(request: &Request<'_>, lines: usize) -> Extent {
    let facts = cursor_facts(request.tree, request.document.rope(), request.cursor);
    let block =
        !facts.mid_line && (facts.opens_block || facts.in_empty_block) && facts.body_is_empty;
    if block && lines > 1 { Extent::Block { lines } } else { Extent::Line }
}

impl Core {
    /// How prompts of at most `budget` tokens are built.
    pub fn options(&self, budget: usize) -> Options {
        let Settings { order, heal, seam, .. } = self.settings;
        Options { order, budget, heal, seam, ahead: 0 }
    }

    /// The prompt of a request, with windows as they will be `ahead` tokens later.
    pub fn prepare(&self, request: &Request<'_>, budget: usize, ahead: usize) -> Prepared {
        self.prepare_by(request, &Options { ahead, ..self.options(budget) })
    }

    /// The prompt of a request with the word at the cursor as it stands.
    pub fn unhealed(&self, request: &Request<'_>, budget: usize) -> Prompt {
        self.prepare_by(request, &Options { heal: false, ..self.options(budget) }).prompt
    }

    fn prepare_by(&self, request: &Request<'_>, options: &Options) -> Prepared {
        let Core { tokenizer, sentinels, settings, .. } = self;
        let begun = Instant::now();
        let extent = extent(request, settings.lines);
        let mut context_time = begun.elapsed();
        let reach = options.budget * BYTES_PER_TOKEN;
        let start = request.document.slice(0..request.cursor.saturating_sub(reach)).len();
        let prefix = request.document.slice(start..request.cursor);
        let suffix = request.document.slice(request.cursor..request.cursor.saturating_add(reach));
        let input = Input { path: request.path, excerpts: &[], prefix: &prefix, suffix: &suffix };
        let mut prompt = build(tokenizer, sentinels, &input, options);
        let mut shown = Cow::Borrowed(request.excerpts);
        if start + prompt.prefix_cut > 0 {
            // What stands above the window is told in excerpts; the window gets a little smaller
            // for them.
            let begun = Instant::now();
            shown = excerpts(sentinels, request, start + prompt.prefix_cut, options.budget).into();
            context_time += begun.elapsed();
        }
        if !shown.is_empty() {
            let texts: Vec<String> = shown.iter().map(|e| as_shown(&e.text)).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            prompt = build(tokenizer, sentinels, &Input { excerpts: &texts, ..input }, options);
        }
        prompt.prefix_cut += start;
        let excerpts = shown.iter().map(|e| (e.text.clone(), e.score)).collect();
        Prepared { prompt, extent, excerpts, context_time }
    }
}

/// What a prompt of at most `budget` tokens shows beside its window, which begins at byte
/// `window_start`: the request's excerpts, then those of the file above the window. The header is
/// the prompt's own where the model has a file marker.
pub fn excerpts(
    sentinels: &Sentinels,
    request: &Request<'_>,
    window_start: usize,
    budget: usize,
) -> Vec<Excerpt> {
    let file = FileFacts {
        path: request.path.unwrap_or(""),
        rope: request.document.rope(),
        tree: request.tree,
        cursor: request.cursor,
        window_start,
    };
    let mut own = gather(&file);
    if sentinels.file.is_some() || request.path.is_none() {
        own.retain(|excerpt| excerpt.kind != ExcerptKind::Header);
    }
    let mut all = request.excerpts.to_vec();
    all.extend(rank(own, budget / 2));
    all
}

/// Prompt text by section, markers by name, for `--explain`.
pub(crate) fn as_text(tokenizer: &Tokenizer, prompt: &Prompt) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    let mut at = 0;
    let marker = |id: u32| (tokenizer.special_name(id).unwrap_or("?").to_owned(), String::new());
    for section in &prompt.sections {
        parts.extend(prompt.ids[at..section.tokens.start].iter().map(|&id| marker(id)));
        let name = match section.kind {
            SectionKind::Header => "header",
            SectionKind::Prefix => "prefix",
            SectionKind::Suffix => "suffix",
            SectionKind::Typed => "typed",
        };
        let bytes = tokenizer.decode(&prompt.ids[section.tokens.clone()]);
        parts.push((name.to_owned(), String::from_utf8_lossy(&bytes).into_owned()));
        at = section.tokens.end;
    }
    parts.extend(prompt.ids[at..].iter().map(|&id| marker(id)));
    if prompt.healing.is_active() {
        let bytes = String::from_utf8_lossy(prompt.healing.rolled_back()).into_owned();
        parts.push(("healed".to_owned(), bytes));
    }
    parts
}
