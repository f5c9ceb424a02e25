//! Our side: the language server's documents and completer, in this process, without the pipe.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use lacuna_complete::{Caller, Completer, Exactly, Outcome, Reason, Reply};
use lacuna_config::ShowConfig;
use lacuna_context::Language;
use lacuna_lsp::documents::Documents;
use lacuna_lsp::inline::{Site, automatic, site};
use lacuna_lsp::manners::Asking;
use lacuna_lsp::requests::Ticket;
use lacuna_lsp::{About, quiet_advice, wire};
use lacuna_text::Encoding;

use super::editor::{Change, Editor};
use super::summary::{How, Key};
use super::trace::{Event, Kind, Trace};

/// The server's state for the traces of a run.
pub struct Ours {
    documents: Mutex<Documents>,
    completer: Arc<Completer>,
    /// When nothing is offered.
    show: Arc<ShowConfig>,
    /// See `--tokens`.
    tokens: Option<usize>,
}

/// A keystroke's answer and the text that was shown.
pub struct Answer {
    pub key: Key,
    pub text: Option<String>,
}

impl Ours {
    /// `show`: when nothing is offered. `tokens`: write exactly so many after each keystroke instead.
    pub fn new(completer: Completer, show: &ShowConfig, tokens: Option<usize>) -> Ours {
        Ours {
            documents: Mutex::default(),
            completer: Arc::new(completer),
            show: Arc::new(show.clone()),
            tokens,
        }
    }

    fn documents(&self) -> MutexGuard<'_, Documents> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing is left to do in the background.
    pub fn settle(&self) {
        self.completer.settle();
    }

    pub fn open(&self, trace: &Trace) {
        let language = match Language::from_lsp_id(&trace.language) {
            Language::Text => Language::from_path(std::path::Path::new(&trace.path)),
            language => language,
        };
        let (mut documents, uri) = (self.documents(), uri(trace));
        let document = documents.open(&uri, language, 0, &trace.before.as_str().into());
        document.about = Arc::new(About::new(&uri, &trace.path, &trace.language));
        document.show = Arc::clone(&self.show);
    }

    pub fn close(&self, trace: &Trace) {
        self.documents().close(&uri(trace));
        self.completer.forget(&uri(trace));
    }

    /// The edit of an event, as `didChange` has it, and the request that follows it.
    fn ask(
        &self,
        trace: &Trace,
        editor: &Editor,
        change: Option<Change>,
        version: i32,
    ) -> anyhow::Result<(Site, Ticket)> {
        let uri = uri(trace);
        if let Some(change) = change {
            let edit = [wire::Change::new(Some(change.range), &change.text)];
            let edited = self.documents().change(&uri, Some(version), &edit, Encoding::Utf32);
            let edited = edited.map_err(|_| anyhow!("the edit was refused"))?;
            self.completer.edited(edited.snapshot());
        }
        let ticket = Ticket::default();
        let mut documents = self.documents();
        let document = documents.get_mut(&uri).context("the document is not open")?;
        let asked = automatic(&uri, editor.position(editor.cursor));
        let site = site(document.begin(&ticket), &asked, Encoding::Utf32);
        document.locate(&ticket, site.cursor());
        Ok((site, ticket))
    }

    fn answer(&self, trace: &Trace, site: &Site, ticket: &Ticket) -> Reply {
        let caller = Caller {
            client: 0,
            flight: Some(&ticket.flight),
            refused: &[],
            eagerness: self.show.eagerness.into(),
        };
        let key = uri(trace);
        let request = site.request((&key, &trace.path), &[]);
        let Some(tokens) = self.tokens else {
            return self.completer.complete_for(&request, caller, &ticket.cancel);
        };
        let mut rule = Exactly::new(tokens);
        let sampling = rule.sampling();
        self.completer.write(&request, (&sampling, &mut rule), caller, &ticket.cancel)
    }

    /// A keystroke, and the answer at the cursor, waited for; manners may forbid one.
    pub fn typed(
        &self,
        trace: &Trace,
        editor: &mut Editor,
        event: &Event,
        version: i32,
    ) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let change = editor.apply(event)?;
        let (site, ticket) = self.ask(trace, editor, change, version)?;
        if let Some(silence) = self.objection(trace, &site) {
            return Ok(silent(event, silence, begun.elapsed()));
        }
        let reply = self.answer(trace, &site, &ticket);
        self.offered(trace, &site, &reply);
        Ok(answer(event, &reply, Some(begun.elapsed())))
    }

    /// An edit that leaves the cursor where it is, and the answer at the cursor, waited for.
    pub fn elsewhere(
        &self,
        trace: &Trace,
        editor: &mut Editor,
        event: &Event,
        version: i32,
    ) -> anyhow::Result<Answer> {
        let begun = Instant::now();
        let change = editor.apply_elsewhere(event)?;
        let (site, ticket) = self.ask(trace, editor, change, version)?;
        let reply = self.answer(trace, &site, &ticket);
        Ok(answer(event, &reply, Some(begun.elapsed())))
    }

    /// Why there is no answer, whatever the model would say.
    fn objection(&self, trace: &Trace, site: &Site) -> Option<&'static str> {
        // Who wants equal work wants it at every key.
        if self.tokens.is_some() {
            return None;
        }
        let documents = self.documents();
        let document = documents.get(&uri(trace))?;
        let asking = Asking { view: &document.view, cursor: site.cursor(), is_automatic: true };
        let quiet = document.manners.objection(&document.show, &asking);
        quiet.map(|quiet| quiet_advice(quiet).code)
    }

    fn offered(&self, trace: &Trace, site: &Site, reply: &Reply) {
        let mut documents = self.documents();
        let (Outcome::Suggest(items), Some(document)) =
            (&reply.outcome, documents.get_mut(&uri(trace)))
        else {
            return;
        };
        let asking = Asking { view: &document.view, cursor: site.cursor(), is_automatic: true };
        let items = items.iter().map(|item| (String::new(), item.text.clone()));
        document.manners.offered(&asking, items);
    }

    /// All keystrokes of a trace when they come: a request is superseded by the next keystroke, as
    /// it is in an editor.
    pub fn in_real_time(&self, trace: &Trace, events: &[Event]) -> anyhow::Result<Vec<Answer>> {
        let mut editor = Editor::new(trace);
        let begun = Instant::now();
        let first = events.first().map_or(0, |e| e.t);
        let (done, results) = mpsc::channel();
        std::thread::scope(|scope| {
            for (i, event) in events.iter().enumerate() {
                let due = begun + Duration::from_millis(event.t.saturating_sub(first));
                // The pace of the trace is what is replayed.
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                let typed = Instant::now();
                let change = editor.apply(event)?;
                let (site, ticket) = self.ask(trace, &editor, change, i as i32 + 1)?;
                let done = done.clone();
                if let Some(silence) = self.objection(trace, &site) {
                    let _ = done.send((i, silent(event, silence, typed.elapsed())));
                    continue;
                }
                scope.spawn(move || {
                    let reply = self.answer(trace, &site, &ticket);
                    if !ticket.is_stale() {
                        self.offered(trace, &site, &reply);
                    }
                    let in_time =
                        !ticket.is_stale() && reply.outcome != Outcome::Silence(Reason::Cancelled);
                    let _ = done.send((i, answer(event, &reply, in_time.then(|| typed.elapsed()))));
                });
            }
            drop(done);
            let mut answers: Vec<(usize, Answer)> = results.iter().collect();
            answers.sort_by_key(|(i, _)| *i);
            Ok(answers.into_iter().map(|(_, answer)| answer).collect())
        })
    }
}

fn uri(trace: &Trace) -> String {
    format!("trace:///{}/{}", trace.id, trace.path)
}

/// A keystroke after which nothing is asked of the model.
fn silent(event: &Event, reason: &str, elapsed: Duration) -> Answer {
    let key = Key {
        how: How::Memory,
        ms: Some(elapsed.as_secs_f64() * 1e3),
        silence: Some(reason.to_owned()),
        ..Key::of(Kind::of(event))
    };
    Answer { key, text: None }
}

/// `elapsed` is none for a request that the next keystroke came before.
fn answer(event: &Event, reply: &Reply, elapsed: Option<Duration>) -> Answer {
    let t = reply.tokens;
    let how = if reply.from_memory {
        How::Memory
    } else if t.shifted > 0 {
        How::Shifted
    } else if t.cached + t.resumed >= t.prompt / 2 {
        How::Warm
    } else {
        How::Cold
    };
    let (text, silence) = match &reply.outcome {
        Outcome::Suggest(items) => (Some(items[0].text.clone()), None),
        Outcome::Silence(reason) => (None, Some(reason.code().to_owned())),
    };
    let key = Key {
        kind: Kind::of(event),
        how,
        prompt: t.prompt,
        cached: t.cached + t.resumed,
        shifted: t.shifted,
        prefilled: t.prefilled + t.repaired,
        generated: t.generated,
        drafted: t.drafted,
        accepted: t.accepted,
        ms: elapsed.map(|d| d.as_secs_f64() * 1e3),
        silence,
        ..Key::of(Kind::of(event))
    };
    Answer { key, text }
}
