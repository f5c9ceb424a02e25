//! Infilling for programs: a prefix, a suffix and limits that the caller sets, instead of a
//! document and the editor's settings.
//!
//! What other engines' HTTP interfaces ask for. The prompt is the editor's
//! ([`lacuna_prompt::build`]), the KV cache too; the stop, trim and parse rules apply only where
//! the caller wants a text [`Shape::Editor`] would show.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Instant;

use lacuna_context::{Excerpt, ExcerptKind, Language, SyntacticEnd, SyntaxTree};
use lacuna_engine::{
    Cancel, Class, Finish, OverBudget, PrefillOptions, PromptError, Sampling, prefill_with,
};
use lacuna_prompt::{Input, Options, Prompt, Tokenizer, build};
use lacuna_text::Document;

use crate::answer::{Answer, ms};
use crate::core::{Core, warm_key};
use crate::decode::Limits;
use crate::items::{Ask, How, Tools};
use crate::lines::Search;
use crate::prompting;
use crate::search::is_search;
use crate::show::show;
use crate::state::lock;
use crate::stop::{Extent, Place, StopRule, Written, valid_utf8};
use crate::{Caller, Completer, Milliseconds, Request, Tokens};

/// What becomes of the generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// All of it, until a stop or a limit.
    Raw,
    /// What an editor would show in a file of this language: to the end of the line or block, what
    /// the file already has cut off, nothing that makes the file parse worse.
    Editor(Language),
}

/// One gap between two texts.
#[derive(Clone, Debug)]
pub struct Fill<'a> {
    /// Names the KV cache that is reused from call to call.
    pub key: &'a str,
    /// Clients take turns.
    pub client: u64,
    /// Path of the file, as the model shall see it.
    pub path: Option<&'a str>,
    /// Texts of other files, most stable first.
    pub excerpts: &'a [&'a str],
    pub prefix: &'a str,
    pub suffix: &'a str,
    /// `max_tokens` 0 only warms the cache. `stops` are added to.
    pub sampling: Sampling,
    /// Texts that end the generation; they are not part of it. Empty ones are ignored.
    pub stop: &'a [String],
    pub deadline: Option<Instant>,
    pub shape: Shape,
}

/// Why the text ends where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The model said so, or the rules of [`Shape::Editor`].
    Stop,
    /// One of the caller's texts came.
    StopText(String),
    /// `max_tokens`.
    Length,
    /// The deadline: what was generated until then is there.
    Deadline,
    Cancelled,
}

/// What came out.
#[derive(Clone, Debug)]
pub struct Filled {
    pub text: String,
    /// Natural-log probability of each token, healed ones included.
    pub logprobs: Vec<f32>,
    pub ended: Ended,
    /// Whether something of prefix or suffix did not fit the prompt.
    pub truncated: bool,
    pub tokens: Tokens,
    pub ms: Milliseconds,
}

/// Why nothing could be generated.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    #[error(transparent)]
    Prompt(#[from] PromptError),
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

/// Longest stop text; a longer one is cut (it would hold back that much of a stream).
const MAX_STOP_BYTES: usize = 256;

impl Completer {
    /// Fills the gap. `on_text` gets raw text as it becomes certain, in whole characters, and may
    /// break off; a [`Shape::Editor`] text comes in one piece at the end.
    ///
    /// Errors: a prompt that the engine refuses, or no memory for it. Being cancelled is no error.
    pub fn fill(
        &self,
        fill: &Fill<'_>,
        cancel: &Cancel,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Filled, FillError> {
        self.core().fill(fill, cancel, on_text)
    }
}

/// What was generated, before it becomes a [`Filled`].
#[derive(Default)]
struct Generated {
    text: String,
    logprobs: Vec<f32>,
    /// `None`: nothing but the prompt was wanted.
    finish: Option<Finish>,
    /// One of the caller's texts.
    stopped_at: Option<String>,
}

impl Core {
    fn fill(
        &self,
        fill: &Fill<'_>,
        cancel: &Cancel,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Filled, FillError> {
        let start = Instant::now();
        let mut answer = Answer::new(false);
        let prompt = self.prompt_of(fill, true);
        answer.ms.prompt = ms(start);
        answer.tokens.prompt = prompt.ids.len();

        self.states.stop_background(fill.key);
        let state = self.states.of(fill.key);
        let mut drafter = lock(&state.drafter);
        // Warming is for texts that the next prompts begin with. It must not cost what the cache
        // holds behind them.
        let warm = &*warm_key(fill.key);
        let (key, other) =
            if fill.sampling.max_tokens == 0 { (warm, fill.key) } else { (fill.key, warm) };
        let mut donors: Vec<_> = self.pool.snapshot(other).into_iter().collect();
        let mut lease = self.pool.lease(key);
        let room = lease.capacity().saturating_sub(prompt.ids.len());
        let mut sampling = fill.sampling.clone();
        sampling.max_tokens = sampling.max_tokens.min(room);
        sampling.stops.extend_from_slice(&self.sentinels.stops);
        self.reserve(&mut lease, &mut donors, &prompt.ids, sampling.max_tokens)?;

        let turn = cancel.clone().with_turn(self.scheduler.turn(Class::Prefill, fill.client));
        let limits = Limits { deadline: fill.deadline, cancel: &turn, flight: None };
        let prefill = PrefillOptions { donors: &donors, ..PrefillOptions::default() };
        let mut tools = Tools { kv: &mut lease, drafter: &mut drafter, answer: &mut answer };
        let how = How { prompt: &prompt, limits, prefill };
        let generated = match fill.shape {
            _ if sampling.max_tokens == 0 => self.warmed(&how, &mut tools)?,
            Shape::Raw => self.raw(fill, &how, &sampling, &mut tools, on_text)?,
            Shape::Editor(language) => {
                let text = self.as_shown(fill, language, how, sampling, &mut tools)?;
                let _ = on_text(&text.text);
                text
            }
        };

        let ended = match (generated.finish, generated.stopped_at) {
            (_, Some(stop)) => Ended::StopText(stop),
            (None | Some(Finish::Length), None) => Ended::Length,
            // The caller's flag, or the deadline that was added to it.
            (Some(Finish::Cancelled), None) if cancel.is_cancelled() => Ended::Cancelled,
            (Some(Finish::Cancelled), None) => Ended::Deadline,
            (Some(Finish::Stop | Finish::Callback | Finish::Constraint), None) => Ended::Stop,
        };
        answer.ms.total = ms(start);
        Ok(Filled {
            text: generated.text,
            logprobs: generated.logprobs,
            ended,
            truncated: prompt.prefix_cut > 0 || prompt.suffix_cut > 0,
            tokens: answer.tokens,
            ms: answer.ms,
        })
    }

    /// `heal`: without the word at the cursor, which the model restates, where it does.
    fn prompt_of(&self, fill: &Fill<'_>, heal: bool) -> Prompt {
        let Fill { path, excerpts, prefix, suffix, .. } = *fill;
        // What is asked for must fit behind the prompt.
        let room = self.pool.capacity() - fill.sampling.max_tokens.min(self.pool.capacity() / 2);
        let options = self.options(self.settings.prompt_tokens.min(room));
        let options = Options { heal: heal && options.heal, ..options };
        build(&self.tokenizer, &self.sentinels, &Input { path, excerpts, prefix, suffix }, &options)
    }

    /// Nothing but the prompt's keys and values.
    fn warmed(&self, how: &How<'_>, tools: &mut Tools<'_>) -> Result<Generated, PromptError> {
        let begun = Instant::now();
        let cancel = how.limits.cancel();
        let warmed = prefill_with(&self.model, tools.kv, &how.prompt.ids, &how.prefill, &cancel);
        tools.answer.ms.prefill = ms(begun);
        match warmed {
            Ok(stats) => {
                tools.answer.tokens.cached = stats.cached + stats.resumed;
                tools.answer.tokens.prefilled = stats.prefilled;
                Ok(Generated::default())
            }
            Err(PromptError::Cancelled) => {
                Ok(Generated { finish: Some(Finish::Cancelled), ..Generated::default() })
            }
            Err(error) => Err(error),
        }
    }

    /// Token by token until one of the caller's texts comes, handed out on the way.
    fn raw(
        &self,
        fill: &Fill<'_>,
        how: &How<'_>,
        sampling: &Sampling,
        tools: &mut Tools<'_>,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Generated, PromptError> {
        let mut rule = Streamed { stops: StopTexts::new(fill.stop), on_text, emitted: 0 };
        let decoded = self.write(how, &[], sampling, &mut rule, tools)?;
        // Nothing can stop the rest any more.
        let _ = rule.emit(&decoded.text);
        let stopped_at = rule.stops.stopped_at.map(|(_, stop)| stop);
        Ok(Generated {
            text: decoded.text,
            logprobs: decoded.generation.logprobs,
            finish: Some(decoded.generation.finish),
            stopped_at,
        })
    }

    /// What an editor would show. The first line is searched for; a block goes on from there.
    fn as_shown(
        &self,
        fill: &Fill<'_>,
        language: Language,
        how: How<'_>,
        mut sampling: Sampling,
        tools: &mut Tools<'_>,
    ) -> Result<Generated, PromptError> {
        let file = File::new(fill, language);
        let request = &file.request(fill);
        let extent = prompting::extent(request, self.settings.lines);
        let place = Place { language, prefix: fill.prefix, extent };
        let ask = Ask {
            request,
            place,
            how,
            line_tokens: sampling.max_tokens,
            closers: self.closers_with(&sampling.stops),
            sampling: sampling.clone(),
            unhealed: &|| self.prompt_of(fill, false),
            caller: Caller::default(),
        };
        let mut rule = Shown { stops: StopTexts::new(fill.stop), place: &place };
        let mut begun: Vec<u32> = Vec::new();
        let mut generated = Generated::default();
        if is_search(self.settings.beam, &sampling) {
            let (hints, cancel) = (&self.hints(&ask), &how.limits.cancel());
            let mut search = Search { core: self, ask: &ask, hints, cancel, tools };
            let (searched, _) = search.found(self.settings.beam, 0.0)?;
            let is_whole = search.is_whole(&searched)?;
            let found = searched.generation;
            generated.finish = Some(found.finish);
            generated.logprobs = found.logprobs;
            sampling.max_tokens = sampling.max_tokens.saturating_sub(found.ids.len());
            begun = found.ids;
            generated.text = rule.stops.behind(how.prompt, &begun, &self.tokenizer);
            if is_whole {
                generated.text.clear();
            }
            if is_whole
                || extent == Extent::Line
                || searched.lines.is_empty()
                || rule.stops.stopped_at.is_some()
            {
                sampling.max_tokens = 0;
            }
        }
        if sampling.max_tokens > 0 {
            let decoded = self.write(&how, &begun, &sampling, &mut rule, tools)?;
            generated.text = decoded.text;
            generated.logprobs.extend(decoded.generation.logprobs);
            generated.finish = Some(decoded.generation.finish);
        }
        let text = generated.text[..place.end(&generated.text).len].trim_end();
        let is_silent = text.is_empty() || self.settings.lines <= 1 && text.contains(['\n', '\r']);
        generated.text = match is_silent {
            true => String::new(),
            false => show(request, text.to_owned(), tools.answer).unwrap_or_default(),
        };
        generated.stopped_at = rule.stops.stopped_at.map(|(_, stop)| stop);
        Ok(generated)
    }

    /// Ids that begin with a line break, and `stops`; see [`Wanted::closers`].
    fn closers_with(&self, stops: &[u32]) -> Cow<'_, [u32]> {
        let mut closers = Cow::Borrowed(&self.closers[..]);
        for stop in stops {
            if let Err(at) = closers.binary_search(stop) {
                closers.to_mut().insert(at, *stop);
            }
        }
        closers
    }
}

/// The file around the gap, for the editor's rules.
struct File {
    document: Document,
    tree: SyntaxTree,
    excerpts: Vec<Excerpt>,
}

impl File {
    fn new(fill: &Fill<'_>, language: Language) -> File {
        let document = Document::new(&format!("{}{}", fill.prefix, fill.suffix), 0);
        let tree = SyntaxTree::parse(language, document.rope());
        let excerpt = |text: &&str| Excerpt {
            kind: ExcerptKind::OtherFile,
            path: None,
            text: (*text).to_owned(),
            score: 1.0,
        };
        File { document, tree, excerpts: fill.excerpts.iter().map(excerpt).collect() }
    }

    fn request<'a>(&'a self, fill: &'a Fill<'_>) -> Request<'a> {
        let Fill { key, path, prefix, .. } = *fill;
        Request {
            excerpts: &self.excerpts,
            ..Request::at(key, path, &self.document, &self.tree, prefix.len())
        }
    }
}

/// Texts of the caller's that end a text, and are not part of it.
struct StopTexts<'a> {
    stops: Vec<&'a str>,
    /// Length of the text that has been looked over.
    seen: usize,
    /// Where the first one began, and which it was.
    stopped_at: Option<(usize, String)>,
}

impl<'a> StopTexts<'a> {
    fn new(stops: &'a [String]) -> StopTexts<'a> {
        let cut = |stop: &'a String| &stop[..stop.floor_char_boundary(MAX_STOP_BYTES)];
        let stops = stops.iter().filter(|stop| !stop.is_empty()).map(cut).collect();
        StopTexts { stops, seen: 0, stopped_at: None }
    }

    /// Whether one has come. `text` is all of it, and longer than the last time.
    fn has_come(&mut self, text: &str) -> bool {
        // One may begin in what was there before.
        let longest = self.stops.iter().map(|stop| stop.len()).max().unwrap_or(0);
        let from = text.floor_char_boundary(self.seen.saturating_sub(longest));
        self.seen = text.len();
        let places =
            self.stops.iter().filter_map(|s| text[from..].find(s).map(|at| (from + at, *s)));
        let first = places.min_by_key(|(at, _)| *at);
        self.stopped_at = first.map(|(at, stop)| (at, stop.to_owned()));
        self.stopped_at.is_some()
    }

    /// The text that these tokens behind a prompt make, up to a stop text.
    fn behind(&mut self, prompt: &Prompt, ids: &[u32], tokenizer: &Tokenizer) -> String {
        let healed = prompt.healing.rolled_back().len();
        let mut bytes: Vec<u8> = Vec::new();
        for id in ids {
            bytes.extend_from_slice(tokenizer.token_bytes(*id));
            if self.has_come(valid_utf8(bytes.get(healed..).unwrap_or(&[]))) {
                break;
            }
        }
        let text = valid_utf8(bytes.get(healed..).unwrap_or(&[]));
        text[..self.kept(text)].to_owned()
    }

    /// How much of the text stands before a stop text.
    fn kept(&self, text: &str) -> usize {
        self.stopped_at.as_ref().map_or(text.len(), |(at, _)| *at)
    }

    /// The text that no stop text can take back any more.
    fn certain<'t>(&self, text: &'t str) -> &'t str {
        let text = &text[..self.kept(text)];
        let held = self
            .stops
            .iter()
            .flat_map(|stop| stop.char_indices().skip(1).map(move |(n, _)| &stop[..n]))
            .filter(|begin| text.ends_with(begin))
            .map(str::len)
            .max()
            .unwrap_or(0);
        &text[..text.len() - held]
    }
}

/// Up to a stop text, handed out as it becomes certain: cut characters and the beginnings of stop
/// texts are held back.
struct Streamed<'a> {
    stops: StopTexts<'a>,
    on_text: &'a mut dyn FnMut(&str) -> ControlFlow<()>,
    /// Length of the text that has been handed out.
    emitted: usize,
}

impl Streamed<'_> {
    fn emit(&mut self, text: &str) -> ControlFlow<()> {
        if text.len() <= self.emitted {
            return ControlFlow::Continue(());
        }
        let from = std::mem::replace(&mut self.emitted, text.len());
        (self.on_text)(&text[from..])
    }
}

impl StopRule for Streamed<'_> {
    fn is_over(&mut self, written: &Written<'_>) -> bool {
        let text = written.text();
        self.stops.has_come(text) || self.emit(self.stops.certain(text)).is_break()
    }

    fn end(&self, text: &str) -> SyntacticEnd {
        SyntacticEnd { len: self.stops.kept(text), reached: true }
    }
}

/// Up to a stop text or the end of the line or block.
struct Shown<'a> {
    stops: StopTexts<'a>,
    place: &'a Place<'a>,
}

impl StopRule for Shown<'_> {
    fn is_over(&mut self, written: &Written<'_>) -> bool {
        let text = written.text();
        self.stops.has_come(text) || self.place.end(self.stops.certain(text)).reached
    }

    /// The whole text: the editor's rules come later.
    fn end(&self, text: &str) -> SyntacticEnd {
        SyntacticEnd { len: self.stops.kept(text), reached: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands the pieces to the rule; what was handed out while they came, the whole text, and what
    /// stopped it.
    fn run(
        healed: usize,
        stops: &[&str],
        pieces: &[&[u8]],
    ) -> (Vec<String>, String, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut out = Vec::new();
        let mut on_text = |text: &str| {
            out.push(text.to_owned());
            ControlFlow::Continue(())
        };
        let stops = StopTexts::new(&stops);
        let mut rule = Streamed { stops, on_text: &mut on_text, emitted: 0 };
        let mut bytes: Vec<u8> = Vec::new();
        for piece in pieces {
            bytes.extend_from_slice(piece);
            let written = Written { bytes: bytes.get(healed..).unwrap_or(&[]), token: piece };
            if rule.is_over(&written) {
                break;
            }
        }
        let text = valid_utf8(bytes.get(healed..).unwrap_or(&[]));
        let text = text[..rule.end(text).len].to_owned();
        let _ = rule.emit(&text);
        let stopped_at = rule.stops.stopped_at.map(|(_, stop)| stop);
        (out, text, stopped_at)
    }

    #[test]
    fn a_stop_text_across_tokens_is_held_back_and_cut() {
        let stops = ["\n\n", "END"];
        let (out, text, stopped_at) = run(0, &stops, &[b"a", b"b E", b"N", b"D c"]);
        assert_eq!((text.as_str(), stopped_at.as_deref()), ("ab ", Some("END")));
        assert_eq!(out, ["a", "b "]);
        let (out, text, stopped_at) = run(0, &stops, &[b"x\n", b"y EN"]);
        assert_eq!(
            (out.concat(), text.as_str(), stopped_at),
            ("x\ny EN".to_owned(), "x\ny EN", None)
        );
    }

    #[test]
    fn the_first_of_several_stop_texts_counts() {
        let (_, text, stopped_at) = run(0, &["c", "b"], &[b"abc"]);
        assert_eq!((text.as_str(), stopped_at.as_deref()), ("a", Some("b")));
    }

    #[test]
    fn healed_bytes_and_cut_characters_are_no_text() {
        let (first, rest) = "é".as_bytes().split_at(1);
        let (out, text, _) = run(2, &[], &[b"r", b"et", first, rest]);
        assert_eq!((out.concat(), text.as_str()), ("té".to_owned(), "té"));
        assert_eq!(run(0, &[], &[b"a", &[0xe2, 0x82]]).1, "a");
    }
}
