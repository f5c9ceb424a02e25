//! Makes training documents from source files: windows of varied length, cut into prefix, middle
//! and suffix.
//!
//! A window is a run of whole lines (a whole function for some), the hole is one of [`HoleKind`];
//! prefix + middle + suffix is the window, byte for byte. Ids come from `lacuna_prompt`: the same
//! header and layout as in serving. Start reading at [`examples`].

use std::ops::Range;
use std::path::Path;

use lacuna_context::{NodeSpan, SpanKind, SyntaxTree};
use lacuna_prompt::{Order, Sentinels, Tokenizer, header, layout};

use crate::mine::rng::Rng;
use crate::mine::{Document, Language};

/// Shares and sizes. Shares of kinds are relative to all FIM documents and need not add up to one:
/// the rest is multi-line.
#[derive(Debug, Clone)]
pub struct FimConfig {
    /// Tokens of a document, header and sentinels included: drawn log-uniform.
    pub min_tokens: f64,
    pub max_tokens: f64,
    /// No document is longer; a window that is gets smaller.
    pub limit_tokens: usize,
    /// Plain left-to-right documents.
    pub plain: f64,
    pub line: f64,
    pub character: f64,
    pub node: f64,
    /// Documents with a file header.
    pub header: f64,
    /// Of those with a header: only the file's name.
    pub base_name: f64,
    /// Windows that begin at a function or class, in files that have one.
    pub function: f64,
    /// So many further functions are drawn and the most instructive one is taken.
    pub function_draws: usize,
    /// Of the windows that begin at a function which fits, those that end with it.
    pub function_alone: f64,
    /// Only functions worth at least this much (0..=6, see `Source::worth`) are windows; a file
    /// without any gives nothing. 0: no such rule.
    pub min_worth: u32,
    /// Documents in suffix-prefix-middle order; the rest is prefix-suffix-middle.
    pub spm: f64,
    /// Documents with excerpts, of all; only such with a hole have any. Counts for [`crate::once`]
    /// alone.
    pub excerpts: f64,
    pub empty_suffix: f64,
    pub empty_prefix: f64,
    /// Documents whose hole may lie in a comment or a string of several lines; in the others it
    /// does only if nothing else is found.
    pub prose: f64,
    /// How often each byte is seen, on average, per language that differs from 1.
    pub visits: Vec<(Language, f64)>,
}

impl Default for FimConfig {
    fn default() -> FimConfig {
        FimConfig {
            min_tokens: 96.0,
            max_tokens: 1000.0,
            limit_tokens: 1024,
            plain: 0.30,
            line: 0.38,
            character: 0.20,
            node: 0.22,
            header: 0.70,
            base_name: 0.25,
            function: 0.45,
            function_draws: 2,
            function_alone: 0.5,
            min_worth: 0,
            spm: 0.5,
            excerpts: 0.0,
            empty_suffix: 0.12,
            empty_prefix: 0.02,
            prose: 0.25,
            visits: vec![(Language::Python, 2.0)],
        }
    }
}

impl FimConfig {
    /// Self-contained functions seen whole, line by line: the case that a small model can learn
    /// best and that users meet most.
    pub fn functions() -> FimConfig {
        FimConfig {
            max_tokens: 600.0,
            plain: 0.15,
            line: 0.55,
            character: 0.16,
            node: 0.14,
            function: 1.0,
            function_draws: 0,
            function_alone: 0.8,
            min_worth: 5,
            ..FimConfig::default()
        }
    }

    /// The same with `share` of the holes being a line or its rest; the other kinds keep their
    /// proportions.
    pub fn with_lines(self, share: f64) -> FimConfig {
        let others = (1.0 - share) / (1.0 - self.line).max(f64::MIN_POSITIVE);
        FimConfig {
            line: share,
            character: self.character * others,
            node: self.node * others,
            ..self
        }
    }
}

/// What is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HoleKind {
    /// One line, with or without its indentation, or the rest of one from a point in it; never its
    /// line break.
    Line,
    /// Any run of characters, short, often within a word.
    Character,
    /// A node of the syntax tree.
    Node,
    /// 2 to 8 lines without the last line break.
    Lines,
}

/// A text with a hole: `prefix + middle + suffix` is the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'t> {
    pub prefix: &'t str,
    pub middle: &'t str,
    pub suffix: &'t str,
    pub kind: HoleKind,
    /// Where the hole begins in the file, in bytes.
    pub hole_start: usize,
}

/// What a source file offers to the choice of windows and holes; made once a file.
pub struct Source<'t> {
    pub(crate) text: &'t str,
    language: Language,
    /// Byte offsets of line starts.
    lines: Vec<usize>,
    nodes: Vec<NodeSpan>,
    /// Functions and classes, from their comment or decorator to the line break after them.
    functions: Vec<Range<usize>>,
    /// Comments and strings of several lines, by start: prose, most of it, which holes mostly
    /// avoid.
    prose: Vec<Range<usize>>,
    pub(crate) tree: SyntaxTree,
}

/// Bytes that a token holds on average: only a first guess, the true count is checked.
const BYTES_PER_TOKEN: f64 = 3.3;
const MEAN_TOKENS: f64 = 340.0;
/// Functions are shorter than the mean window: so many more windows cover the same bytes.
const FUNCTION_WINDOWS: f64 = 2.0;

impl<'t> Source<'t> {
    /// Parses `text`; a text without a tree still gives lines and characters.
    pub fn new(text: &'t str, language: Language, path: &str) -> Source<'t> {
        let mut lines: Vec<usize> = vec![0];
        lines.extend(
            text.bytes()
                .enumerate()
                .filter(|(_, b)| *b == b'\n')
                .map(|(i, _)| i + 1)
                .filter(|&i| i < text.len()),
        );
        let tree =
            SyntaxTree::parse_str(lacuna_context::Language::from_path(Path::new(path)), text);
        let nodes = tree.spans();
        let is_prose = |n: &&NodeSpan| match n.kind {
            SpanKind::Comment => true,
            SpanKind::String => text[n.range.clone()].contains('\n'),
            _ => false,
        };
        let prose = nodes.iter().filter(is_prose).map(|n| n.range.clone()).collect();
        let mut source =
            Source { text, language, lines, nodes, functions: Vec::new(), prose, tree };
        source.functions = source
            .nodes
            .iter()
            .filter(|n| matches!(n.kind, SpanKind::Function | SpanKind::Class))
            .filter_map(|n| source.whole_lines(n.range.clone()))
            .collect();
        source.functions.dedup();
        source
    }

    /// Index of the line that holds byte `at`.
    fn line_of(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at).saturating_sub(1)
    }

    fn line_start(&self, line: usize) -> usize {
        self.lines.get(line).copied().unwrap_or(self.text.len())
    }

    /// The line's text without its line break.
    fn line_text(&self, line: usize) -> &'t str {
        self.text[self.line_start(line)..self.line_start(line + 1)].trim_end_matches(['\n', '\r'])
    }

    /// The node widened to whole lines, with the comments and decorators right above it.
    fn whole_lines(&self, node: Range<usize>) -> Option<Range<usize>> {
        let mut first = self.line_of(node.start);
        if !self.text[self.line_start(first)..node.start]
            .trim()
            .chars()
            .all(|c| c.is_alphanumeric() || c == ' ' || c == '_')
        {
            return None;
        }
        let above = |line: usize| {
            let text = self.line_text(line).trim_start();
            ["//", "/*", "*", "@", "#[", "# "].iter().any(|mark| text.starts_with(mark))
        };
        while first > 0 && above(first - 1) {
            first -= 1;
        }
        let last = self.line_of(node.end.saturating_sub(1));
        Some(self.line_start(first)..self.line_start(last + 1))
    }

    /// A run of whole lines of about `bytes` bytes.
    pub fn window(&self, config: &FimConfig, bytes: usize, rng: &mut Rng) -> Range<usize> {
        if !self.functions.is_empty() && rng.chance(config.function) {
            return self.function_window(config, bytes, rng);
        }
        if self.text.len() <= bytes {
            return 0..self.text.len();
        }
        let start = if rng.chance(0.12) {
            0
        } else {
            // Windows may reach over the end, so that the last lines are as likely as others to be
            // seen.
            let at = rng.below(self.text.len());
            self.line_start(self.line_of(at.saturating_sub(rng.below(bytes / 2 + 1))))
        };
        start..self.end_of_window(start, bytes)
    }

    /// The end of the last whole line that fits; at least one line, cut at `4 × bytes` at the
    /// latest.
    pub(crate) fn end_of_window(&self, start: usize, bytes: usize) -> usize {
        let target = (start + bytes).min(self.text.len());
        if target == self.text.len() {
            return target;
        }
        let end = self.line_start(self.line_of(target));
        if end > start {
            end
        } else {
            self.text.floor_char_boundary(
                self.line_start(self.line_of(target) + 1).min(start + 4 * bytes),
            )
        }
    }

    /// Begins at a function: ends with it in half of the cases where it fits, with the functions
    /// after it otherwise.
    fn function_window(&self, config: &FimConfig, bytes: usize, rng: &mut Rng) -> Range<usize> {
        let mut chosen = self.functions[rng.below(self.functions.len())].clone();
        let mut best = self.worth(&chosen, bytes);
        for _ in 0..config.function_draws {
            let other = self.functions[rng.below(self.functions.len())].clone();
            let worth = self.worth(&other, bytes);
            if worth > best {
                (chosen, best) = (other, worth);
            }
        }
        if chosen.len() <= bytes && rng.chance(config.function_alone) {
            return chosen;
        }
        chosen.start..self.end_of_window(chosen.start, bytes)
    }

    /// How much a function teaches on its own: it fits, has a body of some lines that computes and
    /// returns something, explains itself, and leans on no object around it.
    fn worth(&self, range: &Range<usize>, bytes: usize) -> u32 {
        let text = &self.text[range.clone()];
        let lines = text.bytes().filter(|b| *b == b'\n').count();
        if range.len() > bytes || lines < 4 {
            return 0;
        }
        let alone = !text.contains("self") && !text.contains("this.");
        let explained = text.contains("\"\"\"") || text.contains("/**") || text.contains("///");
        1 + u32::from(lines <= 45)
            + u32::from(text.contains("return"))
            + u32::from(text.contains("for ") || text.contains("while ") || text.contains("if "))
            + u32::from(explained)
            + u32::from(alone)
    }

    /// The whole text as windows that do not overlap, of the sizes that are asked for.
    pub fn tiles(&self, config: &FimConfig, rng: &mut Rng) -> Vec<Range<usize>> {
        let mut tiles = Vec::new();
        let mut start = 0;
        while start < self.text.len() {
            let end = self.end_of_window(start, bytes_of_a_window(config, rng) as usize);
            tiles.push(start..end);
            start = end;
        }
        tiles
    }

    /// The functions worth `config.min_worth`, each whole; of nested ones the outermost.
    pub fn whole_functions(&self, config: &FimConfig) -> Vec<Range<usize>> {
        let longest = (config.max_tokens * BYTES_PER_TOKEN) as usize;
        let mut found: Vec<Range<usize>> = Vec::new();
        for function in &self.functions {
            if self.worth(function, longest) >= config.min_worth
                && found.last().is_none_or(|last| last.end <= function.start)
            {
                found.push(function.clone());
            }
        }
        found
    }

    /// A hole in `window`: never empty, never all white space. `None` if the window offers none of
    /// that kind.
    pub fn hole(
        &self,
        window: &Range<usize>,
        kind: HoleKind,
        config: &FimConfig,
        rng: &mut Rng,
    ) -> Option<Range<usize>> {
        let code_only = !rng.chance(config.prose);
        (0..8).find_map(|attempt| {
            let hole = match kind {
                HoleKind::Line => self.line_hole(window, rng),
                HoleKind::Character => self.character_hole(window, rng),
                HoleKind::Node => self.node_hole(window, rng),
                HoleKind::Lines => self.lines_hole(window, rng),
            }?;
            let inside =
                hole.start >= window.start && hole.end <= window.end && hole.start < hole.end;
            if !inside || (code_only && attempt < 6 && self.in_prose(hole.end - 1)) {
                return None;
            }
            (!self.text[hole.clone()].trim().is_empty()).then_some(hole)
        })
    }

    fn in_prose(&self, at: usize) -> bool {
        let next = self.prose.partition_point(|range| range.start <= at);
        next > 0 && self.prose[next - 1].contains(&at)
    }

    /// Where the hole starts: mostly in the second half, so that prefix and suffix are about 3 : 1.
    fn cursor(&self, window: &Range<usize>, rng: &mut Rng) -> usize {
        let share = if rng.chance(0.6) { 0.5 + 0.5 * rng.unit() } else { rng.unit() };
        self.text
            .floor_char_boundary(window.start + (window.len() as f64 * share) as usize)
            .clamp(window.start, window.end.saturating_sub(1))
    }

    fn line_hole(&self, window: &Range<usize>, rng: &mut Rng) -> Option<Range<usize>> {
        let line = self.line_of(self.cursor(window, rng));
        let start = self.line_start(line);
        let text = self.line_text(line);
        let indentation = text.len() - text.trim_start().len();
        let visible = text.trim_end().len();
        let at = match rng.below(100) {
            0..40 => 0,
            40..65 => indentation,
            _ => {
                let room = visible.saturating_sub(indentation);
                text.floor_char_boundary(indentation + rng.below(room.max(1)))
            }
        };
        Some(start + at..start + text.len())
    }

    fn character_hole(&self, window: &Range<usize>, rng: &mut Rng) -> Option<Range<usize>> {
        let start = self.text.floor_char_boundary(self.cursor(window, rng));
        let length = rng.log_uniform(1.0, 80.0) as usize;
        let end = self.text.ceil_char_boundary((start + length.max(1)).min(window.end));
        Some(start..end)
    }

    fn node_hole(&self, window: &Range<usize>, rng: &mut Rng) -> Option<Range<usize>> {
        // Preorder is sorted by start; what ends beyond the window or is most of it does not serve.
        let first = self.nodes.partition_point(|n| n.range.start < window.start);
        let last = self.nodes.partition_point(|n| n.range.start < window.end);
        if first == last {
            return None;
        }
        // Half of the draws insist on the larger, rarer nodes, which small expressions and names
        // would crowd out.
        let structural = rng.chance(0.5);
        let longest = (window.len() / 2).min(900);
        (0..24).find_map(|_| {
            let node = &self.nodes[first + rng.below(last - first)];
            let serves = match node.kind {
                SpanKind::Identifier | SpanKind::Type | SpanKind::String => {
                    !structural && rng.chance(0.4)
                }
                SpanKind::Comment | SpanKind::Import => rng.chance(0.2),
                SpanKind::Expression => !structural,
                SpanKind::Class => false,
                _ => true,
            };
            if !serves
                || node.range.len() < 2
                || node.range.len() > longest
                || node.range.end > window.end
            {
                return None;
            }
            let text = &self.text[node.range.clone()];
            // The inside of the brackets is what an editor asks for after typing the opening one.
            let bracketed = text.len() > 2
                && text.starts_with(['(', '[', '{'])
                && text.ends_with([')', ']', '}']);
            if bracketed && rng.chance(0.7) {
                return Some(node.range.start + 1..node.range.end - 1);
            }
            Some(node.range.clone())
        })
    }

    fn lines_hole(&self, window: &Range<usize>, rng: &mut Rng) -> Option<Range<usize>> {
        let line = self.line_of(self.cursor(window, rng));
        let n = 2 + rng.below(7);
        let mut last = (line + n - 1).min(self.line_of(window.end - 1));
        while last > line && self.line_text(last).trim().is_empty() {
            last -= 1;
        }
        let text = self.line_text(line);
        let indentation = if rng.chance(0.5) { text.len() - text.trim_start().len() } else { 0 };
        Some(
            self.line_start(line) + indentation..self.line_start(last) + self.line_text(last).len(),
        )
    }

    /// Cuts `window` at `hole`; an empty suffix or prefix shortens the window.
    fn parts(
        &self,
        window: &Range<usize>,
        hole: &Range<usize>,
        kind: HoleKind,
        config: &FimConfig,
        rng: &mut Rng,
    ) -> Parts<'t> {
        let start = if rng.chance(config.empty_prefix) { hole.start } else { window.start };
        let end = if rng.chance(config.empty_suffix) { hole.end } else { window.end };
        Parts {
            prefix: &self.text[start..hole.start],
            middle: &self.text[hole.clone()],
            suffix: &self.text[hole.end..end],
            kind,
            hole_start: hole.start,
        }
    }

    /// Draws a window of about `bytes` bytes and a hole in it.
    pub fn draw(&self, config: &FimConfig, bytes: usize, rng: &mut Rng) -> Option<Parts<'t>> {
        let window = self.window(config, bytes, rng);
        self.draw_in(&window, config, rng)
    }

    /// Draws a hole in a window.
    pub fn draw_in(
        &self,
        window: &Range<usize>,
        config: &FimConfig,
        rng: &mut Rng,
    ) -> Option<Parts<'t>> {
        if window.len() < 16 {
            return None;
        }
        let at = rng.unit();
        let kind = if at < config.line {
            HoleKind::Line
        } else if at < config.line + config.character {
            HoleKind::Character
        } else if at < config.line + config.character + config.node {
            HoleKind::Node
        } else {
            HoleKind::Lines
        };
        let (hole, kind) = match self.hole(window, kind, config, rng) {
            Some(hole) => (hole, kind),
            None => (self.hole(window, HoleKind::Line, config, rng)?, HoleKind::Line),
        };
        Some(self.parts(window, &hole, kind, config, rng))
    }

    /// The language the file was mined as.
    pub fn language(&self) -> Language {
        self.language
    }
}

/// All training documents of one file: as many windows as its length and `scale` ask for, each
/// ending with the token `end`.
///
/// `scale` multiplies the visits of every language. The ids depend on the document, `seed` and
/// `scale` only.
pub fn examples(
    document: &Document,
    tokenizer: &Tokenizer,
    sentinels: &Sentinels,
    end: u16,
    config: &FimConfig,
    scale: f64,
    seed: u64,
) -> Vec<Vec<u16>> {
    let identity = crate::mine::dedupe::hash_bytes(
        format!("{}\0{}", document.package, document.path).as_bytes(),
    );
    let mut rng = Rng::for_stream(seed, identity);
    let visits =
        config.visits.iter().find(|(l, _)| *l == document.language).map_or(1.0, |(_, v)| *v)
            * f64::from(document.weight)
            * scale;
    let expected = visits * document.text.len() as f64 / (MEAN_TOKENS * BYTES_PER_TOKEN);
    let mut n = expected as usize;
    n += usize::from(rng.chance(expected.fract()));
    if n == 0 && config.min_worth == 0 {
        return Vec::new();
    }
    let mut source = Source::new(&document.text, document.language, &document.path);
    if config.min_worth > 0 {
        // The share of the file that such functions are is the share of its windows that is made.
        let longest = (config.max_tokens * BYTES_PER_TOKEN) as usize;
        let functions = std::mem::take(&mut source.functions);
        source.functions = functions
            .into_iter()
            .filter(|f| source.worth(f, longest) >= config.min_worth)
            .collect();
        let bytes: usize = source.functions.iter().map(Range::len).sum();
        let expected =
            expected * (bytes as f64 / document.text.len() as f64).min(1.0) * FUNCTION_WINDOWS;
        n = expected as usize + usize::from(rng.chance(expected.fract()));
    }
    (0..n)
        .filter_map(|_| example(document, &source, tokenizer, sentinels, end, config, &mut rng))
        .collect()
}

fn example(
    document: &Document,
    source: &Source,
    tokenizer: &Tokenizer,
    sentinels: &Sentinels,
    end: u16,
    config: &FimConfig,
    rng: &mut Rng,
) -> Option<Vec<u16>> {
    let head = head(document, tokenizer, sentinels, config, rng);
    let plain = rng.chance(config.plain);
    let order = if rng.chance(config.spm) { Order::Spm } else { Order::Psm };
    let mut bytes = bytes_of_a_window(config, rng);
    for _ in 0..5 {
        let ids = if plain {
            let window = source.window(config, bytes as usize, rng);
            let mut ids = head.clone();
            ids.extend(tokenizer.encode(&source.text[window]));
            ids
        } else {
            let parts = source.draw(config, bytes as usize, rng)?;
            let prefix = tokenizer.encode(parts.prefix);
            let suffix = tokenizer.encode(parts.suffix);
            let mut ids = layout(sentinels, order, &head, &prefix, &suffix);
            ids.extend(tokenizer.encode(parts.middle));
            ids
        };
        if ids.len() < config.limit_tokens {
            return row(ids, end);
        }
        bytes *= 0.6;
    }
    None
}

pub(crate) fn bytes_of_a_window(config: &FimConfig, rng: &mut Rng) -> f64 {
    rng.log_uniform(config.min_tokens, config.max_tokens) * BYTES_PER_TOKEN
}

/// The file header that a document shows, if any.
pub(crate) fn head(
    document: &Document,
    tokenizer: &Tokenizer,
    sentinels: &Sentinels,
    config: &FimConfig,
    rng: &mut Rng,
) -> Vec<u32> {
    if !rng.chance(config.header) {
        return Vec::new();
    }
    let base = document.path.rsplit('/').next().unwrap_or(&document.path);
    header(tokenizer, sentinels, if rng.chance(config.base_name) { base } else { &document.path })
}

/// Ids with the end token behind them; nothing if a row cannot hold them.
pub(crate) fn row(ids: Vec<u32>, end: u16) -> Option<Vec<u16>> {
    let mut row: Vec<u16> = Vec::with_capacity(ids.len() + 1);
    for id in ids {
        row.push(u16::try_from(id).ok()?);
    }
    row.push(end);
    Some(row)
}
