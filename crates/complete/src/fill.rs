//! Infilling for programs: a prefix, a suffix and limits that the caller sets, instead of a
//! document and the editor's settings.
//!
//! What other engines' HTTP interfaces ask for. The prompt is the editor's
//! ([`lacuna_prompt::build`]), the KV cache too; the stop, trim and parse rules apply only where
//! the caller wants a text [`Shape::Editor`] would show.

use std::ops::ControlFlow;
use std::time::Instant;

use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::{
    Cancel, Class, Finish, GenerateOptions, Generation, OverBudget, PrefillOptions, PromptError,
    Sampling, generate_with, prefill_with,
};
use lacuna_prompt::{Input, Options, Prompt, build};
use lacuna_text::Document;

use crate::answer::{Answer, ms};
use crate::completer::{Core, warm_key};
use crate::decode::{Engine, Extent, Heal, Place, end, is_search, valid_utf8};
use crate::prompting;
use crate::search::{Line, Wanted, closers, ends_here, search};
use crate::show::{show, shown};
use crate::state::lock;
use crate::wishes::Wishes;
use crate::{Completer, Milliseconds, Nearby, Reason, Request, Tokens};

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

impl Core {
    fn fill(
        &self,
        fill: &Fill<'_>,
        cancel: &Cancel,
        on_text: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Filled, FillError> {
        let start = Instant::now();
        let mut answer = Answer::new(false);
        let options = Options {
            order: self.settings.order,
            // What is asked for must fit behind the prompt.
            budget: self
                .settings
                .prompt_tokens
                .min(self.pool.capacity() - fill.sampling.max_tokens.min(self.pool.capacity() / 2)),
            heal: self.settings.heal,
            seam: self.settings.seam,
            ahead: 0,
        };
        let input = Input {
            path: fill.path,
            excerpts: fill.excerpts,
            prefix: fill.prefix,
            suffix: fill.suffix,
        };
        let prompt = build(&self.tokenizer, &self.sentinels, &input, &options);
        answer.ms.prompt = ms(start);
        answer.tokens.prompt = prompt.ids.len();
        let truncated = prompt.prefix_cut > 0 || prompt.suffix_cut > 0;

        let state = self.states.of(fill.key);
        state.stop_background();
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
        let prefill = PrefillOptions { donors: &donors, ..PrefillOptions::default() };
        let raised = cancel;
        let mut cancel = cancel.clone().with_turn(self.scheduler.turn(Class::Prefill, fill.client));
        if let Some(deadline) = fill.deadline {
            cancel = cancel.with_deadline(deadline);
        }

        if sampling.max_tokens == 0 {
            let ended = match prefill_with(&self.model, &mut lease, &prompt.ids, &prefill, &cancel)
            {
                Ok(stats) => {
                    answer.tokens.cached = stats.cached + stats.resumed;
                    answer.tokens.prefilled = stats.prefilled;
                    Ended::Length
                }
                Err(PromptError::Cancelled) => cancelled(raised),
                Err(error) => return Err(error.into()),
            };
            answer.ms.prefill = ms(start) - answer.ms.prompt;
            answer.ms.total = ms(start);
            return Ok(Filled {
                text: String::new(),
                logprobs: Vec::new(),
                ended,
                truncated,
                tokens: answer.tokens,
                ms: answer.ms,
            });
        }

        let shaped = match fill.shape {
            Shape::Raw => None,
            Shape::Editor(language) => Some(Shaped::new(fill, language, self.settings.lines)),
        };
        let mut text = Stream::new(&prompt, fill.stop);
        let beam = self.settings.beam;
        let place = shaped.as_ref().map(|shaped| shaped.place(fill.prefix));
        // The first line is searched for; a block goes on from there.
        let mut found = None;
        if let (Some(shaped), Some(place)) =
            (&shaped, place.as_ref().filter(|_| is_search(beam, &sampling)))
        {
            let engine = Engine {
                model: &self.model,
                kv: &mut lease,
                drafter: None,
                beam,
                prefill,
                tokenizer: &self.tokenizer,
            };
            let evidence = self.settings.evidence;
            let wishes = evidence.scope.then(|| Wishes::of(&shaped.request(fill))).flatten();
            let nearby =
                || Nearby::new(&self.tokenizer, fill.prefix, fill.suffix, fill.excerpts, &prompt);
            let nearby = evidence.ngrams.then(nearby);
            let (max_tokens, closers) =
                (sampling.max_tokens, closers(&self.tokenizer, &sampling.stops));
            let wanted = Wanted {
                lines: 1,
                margin: 0.0,
                max_tokens,
                stops: &sampling.stops,
                closers: &closers,
                after: fill.suffix,
                wishes: wishes.as_ref(),
                nearby: nearby.as_ref(),
                flight: None,
            };
            let mut judge = |line: &Line| shaped.judged(fill, line);
            let searched = search(engine, &prompt, place, &wanted, &cancel, &mut judge)?;
            for id in &searched.generation.ids {
                if text.stopped_at.is_none() {
                    text.push(self.tokenizer.token_bytes(*id));
                }
            }
            let is_over = if searched.is_restated {
                let engine = Engine {
                    model: &self.model,
                    kv: &mut lease,
                    drafter: None,
                    beam,
                    prefill,
                    tokenizer: &self.tokenizer,
                };
                let unhealed = build(
                    &self.tokenizer,
                    &self.sentinels,
                    &input,
                    &Options { heal: false, ..options },
                );
                ends_here(engine, &unhealed, &closers, &cancel)?
            } else {
                false
            };
            if is_over {
                text.bytes.truncate(text.healed);
            }
            let goes_on = !is_over
                && place.extent != Extent::Line
                && !searched.lines.is_empty()
                && text.stopped_at.is_none();
            sampling.max_tokens = if goes_on {
                sampling.max_tokens.saturating_sub(searched.generation.ids.len())
            } else {
                0
            };
            found = Some(searched.generation);
        }
        let generation = if sampling.max_tokens == 0
            && let Some(found) = found.take()
        {
            found
        } else {
            let begun = found.as_ref().map_or(&[][..], |found| &found.ids);
            let ids: Vec<u32> = prompt.ids.iter().chain(begun).copied().collect();
            let mut heal = Heal::begun(&prompt, &self.tokenizer, begun);
            let drafter = self.settings.drafts.then_some(&mut *drafter);
            let options = GenerateOptions {
                sampling: &sampling,
                constraint: Some(&mut heal),
                drafter,
                prefill,
            };
            let mut rest =
                generate_with(&self.model, &mut lease, &ids, options, &cancel, &mut |token| {
                    text.push(self.tokenizer.token_bytes(token.id));
                    if text.stopped_at.is_some() {
                        return ControlFlow::Break(());
                    }
                    match &place {
                        Some(place) if end(place, text.certain()).reached => ControlFlow::Break(()),
                        Some(_) => ControlFlow::Continue(()),
                        None => text.emit(on_text),
                    }
                })?;
            if let Some(mut found) = found.take() {
                found.ids.append(&mut rest.ids);
                found.logprobs.append(&mut rest.logprobs);
                found.times.decode += rest.times.prefill + rest.times.decode;
                Generation {
                    ids: found.ids,
                    logprobs: found.logprobs,
                    prefill: found.prefill,
                    times: found.times,
                    ..rest
                }
            } else {
                rest
            }
        };
        drop(lease);
        answer.count(&generation, true);

        let ended = match (generation.finish, &text.stopped_at) {
            (_, Some(stop)) => Ended::StopText(stop.clone()),
            (Finish::Length, None) => Ended::Length,
            (Finish::Cancelled, None) => cancelled(raised),
            (Finish::Stop | Finish::Callback | Finish::Constraint, None) => Ended::Stop,
        };
        let text = match shaped {
            None => {
                text.finish(on_text);
                text.into_text()
            }
            Some(shaped) => {
                let text = shaped.shown(fill, text.into_text(), &mut answer);
                let _ = on_text(&text);
                text
            }
        };
        answer.ms.total = ms(start);
        Ok(Filled {
            text,
            logprobs: generation.logprobs,
            ended,
            truncated,
            tokens: answer.tokens,
            ms: answer.ms,
        })
    }
}

/// Which of the two ended it: the caller's flag, or the deadline that was added to it.
fn cancelled(raised: &Cancel) -> Ended {
    if raised.is_cancelled() { Ended::Cancelled } else { Ended::Deadline }
}

/// The file around the gap, for the editor's rules.
struct Shaped {
    language: Language,
    document: Document,
    tree: SyntaxTree,
    extent: Extent,
    /// See [`Settings::lines`](crate::Settings).
    lines: usize,
}

impl Shaped {
    fn new(fill: &Fill<'_>, language: Language, lines: usize) -> Shaped {
        let document = Document::new(&format!("{}{}", fill.prefix, fill.suffix), 0);
        let tree = SyntaxTree::parse(language, document.rope());
        let mut shaped = Shaped { language, document, tree, extent: Extent::Line, lines };
        shaped.extent = prompting::extent(&shaped.request(fill), lines);
        shaped
    }

    fn request<'a>(&'a self, fill: &'a Fill<'_>) -> Request<'a> {
        Request::at(fill.key, fill.path, &self.document, &self.tree, fill.prefix.len())
    }

    fn place<'a>(&self, prefix: &'a str) -> Place<'a> {
        Place { language: self.language, prefix, extent: self.extent }
    }

    /// What an editor would show of a line, or why nothing.
    fn judged(&self, fill: &Fill<'_>, line: &Line) -> Result<String, Reason> {
        shown(&self.request(fill), &line.text, &mut Answer::new(false))
    }

    /// What an editor would show of the generated text; empty where it would show nothing.
    fn shown(&self, fill: &Fill<'_>, text: String, answer: &mut Answer) -> String {
        let text = text[..end(&self.place(fill.prefix), &text).len].trim_end().to_owned();
        if text.is_empty() || self.lines <= 1 && text.contains(['\n', '\r']) {
            return String::new();
        }
        show(&self.request(fill), text, answer).unwrap_or_default()
    }
}

/// Generated bytes on their way to text: the healed part is taken off, cut characters and the
/// beginnings of stop texts are held back.
struct Stream<'a> {
    bytes: Vec<u8>,
    healed: usize,
    stops: Vec<&'a str>,
    /// Length of the text that has been handed out.
    emitted: usize,
    stopped_at: Option<String>,
}

impl<'a> Stream<'a> {
    fn new(prompt: &Prompt, stops: &'a [String]) -> Stream<'a> {
        let stops = stops
            .iter()
            .filter(|s| !s.is_empty())
            .map(|s| &s[..s.floor_char_boundary(MAX_STOP_BYTES)])
            .collect();
        Stream {
            bytes: Vec::new(),
            healed: prompt.healing.rolled_back().len(),
            stops,
            emitted: 0,
            stopped_at: None,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        let before = self.text().len();
        self.bytes.extend_from_slice(piece);
        // A stop text may begin in what was there before.
        let longest = self.stops.iter().map(|s| s.len()).max().unwrap_or(0);
        let text = self.text();
        let from = text.floor_char_boundary(before.saturating_sub(longest));
        let found = self
            .stops
            .iter()
            .filter_map(|stop| text[from..].find(stop).map(|at| (from + at, *stop)))
            .min_by_key(|(at, _)| *at);
        if let Some((at, stop)) = found {
            self.stopped_at = Some(stop.to_owned());
            let end = self.healed + at;
            self.bytes.truncate(end);
        }
    }

    fn text(&self) -> &str {
        valid_utf8(self.bytes.get(self.healed..).unwrap_or(&[]))
    }

    /// The text that no stop text can take back any more.
    fn certain(&self) -> &str {
        let text = self.text();
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

    fn emit(&mut self, on_text: &mut dyn FnMut(&str) -> ControlFlow<()>) -> ControlFlow<()> {
        let certain = self.certain().len();
        if certain <= self.emitted {
            return ControlFlow::Continue(());
        }
        let flow = on_text(&self.text()[self.emitted..certain]);
        self.emitted = certain;
        flow
    }

    /// Hands out the rest: nothing can stop it any more.
    fn finish(&mut self, on_text: &mut dyn FnMut(&str) -> ControlFlow<()>) {
        let rest = &self.text()[self.emitted.min(self.text().len())..];
        if !rest.is_empty() {
            let _ = on_text(rest);
        }
        self.emitted = self.text().len();
    }

    fn into_text(self) -> String {
        self.text().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream<'a>(healed: usize, stops: &'a [String]) -> Stream<'a> {
        Stream {
            bytes: Vec::new(),
            healed,
            stops: stops.iter().map(String::as_str).collect(),
            emitted: 0,
            stopped_at: None,
        }
    }

    /// Pushes the pieces; returns what was handed out while they came, and the whole text.
    fn run(stream: &mut Stream<'_>, pieces: &[&[u8]]) -> (Vec<String>, String) {
        let mut out = Vec::new();
        for piece in pieces {
            stream.push(piece);
            if stream.stopped_at.is_some() {
                break;
            }
            let _ = stream.emit(&mut |text| {
                out.push(text.to_owned());
                ControlFlow::Continue(())
            });
        }
        stream.finish(&mut |text| {
            out.push(text.to_owned());
            ControlFlow::Continue(())
        });
        (out, stream.text().to_owned())
    }

    #[test]
    fn a_stop_text_across_tokens_is_held_back_and_cut() {
        let stops = ["\n\n".to_owned(), "END".to_owned()];
        let mut s = stream(0, &stops);
        let (out, text) = run(&mut s, &[b"a", b"b E", b"N", b"D c"]);
        assert_eq!((text.as_str(), s.stopped_at.as_deref()), ("ab ", Some("END")));
        assert_eq!(out, ["a", "b "]);
        let mut s = stream(0, &stops);
        let (out, text) = run(&mut s, &[b"x\n", b"y EN"]);
        assert_eq!(
            (out.concat(), text.as_str(), s.stopped_at),
            ("x\ny EN".to_owned(), "x\ny EN", None)
        );
    }

    #[test]
    fn the_first_of_several_stop_texts_counts() {
        let stops = ["c".to_owned(), "b".to_owned()];
        let mut s = stream(0, &stops);
        assert_eq!(run(&mut s, &[b"abc"]).1, "a");
        assert_eq!(s.stopped_at.as_deref(), Some("b"));
    }

    #[test]
    fn healed_bytes_and_cut_characters_are_no_text() {
        let mut s = stream(2, &[]);
        let (out, text) =
            run(&mut s, &[b"r", b"et", "é".as_bytes().split_at(1).0, "é".as_bytes().split_at(1).1]);
        assert_eq!((out.concat(), text.as_str()), ("té".to_owned(), "té"));
        let mut s = stream(0, &[]);
        assert_eq!(run(&mut s, &[b"a", &[0xe2, 0x82]]).1, "a");
    }
}
