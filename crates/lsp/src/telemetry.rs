//! What the language server tells telemetry, in bytes and labels instead of protocol types.
//!
//! One [`Observer`] a client. Its calls cost microseconds and cannot fail; without a store, or with
//! `telemetry.enabled = false`, there is none. Source text goes no further than the memory of
//! `lacuna_telemetry`.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lacuna_complete::{Completer, Item, Outcome, Reason, Reply};
use lacuna_config::Config;
use lacuna_context::{CursorFacts, Language, ScopeKind};
use lacuna_serving::models::{self, Loaded};
use lacuna_telemetry::track::{Answer, Edit, Signal};
use lacuna_telemetry::{Int, Ints, Label, Moment, Options, Recorder, Text};

use super::experiments::{Experiments, Standing};
use super::view::{self, View};

/// Text right of the cursor that telemetry is shown.
const RIGHT_BYTES: usize = 256;
/// Sent items whose text is remembered, to understand clients that count in it.
const MAX_SENT: usize = 64;

/// Watches one client's session.
pub struct Observer {
    recorder: Recorder,
    model: Label,
    experiments: Arc<Experiments>,
    /// Id, length of what was restated (in characters), and text of the newest items.
    sent: Mutex<VecDeque<(u32, usize, String)>>,
}

/// A request as it comes in.
pub struct Asked {
    moment: Moment,
    begun: Instant,
    /// Part of the time since, in which it was held back.
    held: Duration,
    standing: Standing,
    trigger: i64,
}

impl Asked {
    /// It was held back so long before anything was done for it.
    pub fn held(&mut self, delay: Duration) {
        self.held = delay;
    }
}

/// A request as it is answered.
pub struct Answered<'a> {
    pub uri: &'a str,
    /// The document as the client had it, and the client's cursor in it.
    pub view: &'a View,
    pub cursor: usize,
    /// Byte from which on the items replace, and the text that each of them begins with.
    pub start: usize,
    pub restated: &'a str,
    pub reply: &'a Reply,
    /// The model was not asked, for this reason.
    pub quiet: Option<&'static str>,
    /// Nothing was sent: the document has changed.
    pub stale: bool,
}

impl Observer {
    /// `None` if nothing is to be recorded.
    pub fn start(config: &Config, loaded: &Loaded) -> Option<Observer> {
        if !config.telemetry.enabled {
            return None;
        }
        let path = config
            .telemetry
            .store_path()
            .map_err(|e| tracing::warn!("telemetry is off: {e:#}"))
            .ok()?;
        let experiments = Experiments::of_store(&path, config);
        let looking = Arc::clone(&experiments);
        let options =
            Options { retention_days: config.telemetry.retention_days, ..Options::at(path) };
        let recorder = Recorder::start_with(options, Box::new(move |store| looking.look(store)));
        Some(Observer {
            recorder,
            model: Label::Shared(model_label(loaded).into()),
            experiments,
            sent: Mutex::default(),
        })
    }

    /// Takes other settings for what the arms of experiments vary.
    pub fn reconfigure(&self, config: &Config) {
        self.experiments.reconfigure(config);
    }

    pub fn opened(&self, uri: &str, language: Language) {
        let document = uri.into();
        self.recorder.signal(Signal::Opened {
            document: &document,
            language: Label::Static(language.name()),
        });
    }

    pub fn changed(&self, uri: &str, edits: &[view::Edit]) {
        let document: Arc<str> = uri.into();
        let arms = self.experiments.standing(uri, self.recorder.now().wall).arms();
        for edit in edits {
            let trimmed = Edit::trimmed(edit.start, &edit.removed, &edit.text);
            self.recorder.signal(Signal::Edited {
                document: &document,
                edit: trimmed,
                arms: arms.clone(),
            });
        }
    }

    /// A document whose file is not there (any more) was deleted or never saved.
    pub fn closed(&self, uri: &str, file: Option<&Path>) {
        let document = uri.into();
        let gone = file.is_some_and(|file| !file.exists());
        self.recorder.signal(if gone {
            Signal::Deleted { document: &document }
        } else {
            Signal::Closed { document: &document }
        });
    }

    /// The file of a document was deleted, whatever the editor does with the document.
    pub fn deleted(&self, uri: &str) {
        self.recorder.signal(Signal::Deleted { document: &uri.into() });
    }

    /// `automatic`: asked for while typing, not by the user.
    pub fn asked(&self, uri: &str, cursor: usize, automatic: bool) -> Asked {
        let document = uri.into();
        let moment = self.recorder.now();
        self.recorder.signal(Signal::Requested { document: &document, cursor });
        let standing = self.experiments.standing(uri, moment.wall);
        Asked {
            moment,
            begun: Instant::now(),
            held: Duration::ZERO,
            standing,
            trigger: if automatic { 2 } else { 1 },
        }
    }

    /// The completer for a request: that of the arm in which its row says it was.
    pub fn completer_of(
        &self,
        asked: &Asked,
        base: &Arc<Completer>,
        loaded: &Loaded,
    ) -> Arc<Completer> {
        self.experiments.completer(&asked.standing, base, loaded)
    }

    /// The completer of the arm in which a document is now.
    pub fn completer(&self, uri: &str, base: &Arc<Completer>, loaded: &Loaded) -> Arc<Completer> {
        self.experiments.completer(
            &self.experiments.standing(uri, self.recorder.now().wall),
            base,
            loaded,
        )
    }

    /// The completers of arms that were made so far.
    pub fn completers(&self) -> Vec<Arc<Completer>> {
        self.experiments.completers()
    }

    /// Records an answer; returns the ids of its items, for the client to send back.
    pub fn answered(&self, asked: &Asked, answered: &Answered<'_>) -> Vec<u32> {
        let Answered { uri, view, cursor, start, restated, reply, quiet, stale } = answered;
        let document: Arc<str> = (*uri).into();
        let text = &view.document;
        let stem = text.slice(*start..*cursor);
        let items: &[Item] = match &reply.outcome {
            Outcome::Suggest(items) if !stale => items,
            _ => &[],
        };
        // As the client sees them: whole items less what stands left of its cursor. (An entry of
        // its list may be restated beyond.)
        let whole: Vec<String> =
            items.iter().map(|item| format!("{restated}{}", item.text)).collect();
        let inserted: Vec<&str> =
            whole.iter().map(|whole| whole.strip_prefix(&*stem).unwrap_or(whole)).collect();
        let line = text.position(*cursor, lacuna_text::Encoding::Utf8);
        let prefix = text.slice(cursor - line.character as usize..*cursor);
        let mut texts = [const { Label::NONE }; Text::COUNT];
        texts[Text::Language as usize] = Label::Static(view.language.name());
        // Looking at the tree takes longer than all the rest.
        let (snapshot, at) = (View::clone(view), *cursor);
        texts[Text::Node as usize] = Label::later(move || node(&snapshot, at));
        texts[Text::Model as usize] = self.model.clone();
        texts[Text::Arms as usize] = asked.standing.arms();
        let us = |ms: f64| (ms * 1000.0).round() as i64;
        let ints = Ints::default()
            .with(Int::Trigger, asked.trigger)
            .with(
                Int::LatencyUs,
                asked.begun.elapsed().saturating_sub(asked.held).as_micros() as i64,
            )
            .with(Int::DelayUs, asked.held.as_micros() as i64)
            .with(Int::PrefillUs, us(reply.ms.prefill))
            .with(Int::DecodeUs, us(reply.ms.decode))
            .with(Int::PromptTokens, reply.tokens.prompt as i64)
            .with(Int::CachedTokens, reply.tokens.cached as i64)
            .with(Int::GeneratedTokens, reply.tokens.generated as i64)
            .with(Int::FromMemory, i64::from(reply.from_memory));
        let reason = match &reply.outcome {
            Outcome::Silence(reason) => quiet.unwrap_or(reason.code()),
            Outcome::Suggest(_) => "",
        };
        let ids = self.recorder.answered(&Answer {
            document: &document,
            requested: asked.moment,
            cursor: *cursor,
            stem: &stem,
            line_prefix: &prefix,
            right: &text.slice(*cursor..cursor + RIGHT_BYTES),
            items: &inserted,
            reason,
            cancelled: *stale || reply.outcome == Outcome::Silence(Reason::Cancelled),
            texts,
            ints,
        });
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let restated = stem.chars().count();
        sent.extend(ids.iter().zip(whole).map(|(id, whole)| (*id, restated, whole)));
        let excess = sent.len().saturating_sub(MAX_SENT);
        sent.drain(..excess);
        ids
    }

    /// The client accepted the item with this id.
    pub fn accepted(&self, id: &str) {
        if let Ok(id) = id.parse() {
            self.recorder.signal(Signal::Accepted { id });
        }
    }

    /// The client accepted a piece of the item: by now the first `length` UTF-16 units of its text;
    /// `None`: it does not say how much.
    pub fn accepted_partly(&self, id: &str, length: Option<usize>) {
        let Ok(id) = id.parse() else { return };
        let Some(length) = length else {
            return self.recorder.signal(Signal::PartlyAccepted { id, chars: None });
        };
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, restated, text)) = sent.iter().rev().find(|(sent, ..)| *sent == id) else {
            return;
        };
        let mut units = 0;
        let taken = text.chars().take_while(|c| {
            units += c.len_utf16();
            units <= length
        });
        let chars = taken.count().saturating_sub(*restated);
        drop(sent);
        self.recorder.signal(Signal::PartlyAccepted { id, chars: Some(chars) });
    }

    /// The user turned this item down.
    pub fn dismissed(&self, id: &str) {
        if let Ok(id) = id.parse() {
            self.recorder.signal(Signal::Dismissed { id });
        }
    }

    /// The client shows this item.
    pub fn showed(&self, id: &str) {
        if let Ok(id) = id.parse() {
            self.recorder.signal(Signal::ClientShowed { id });
        }
    }

    /// The session ends: everything is written.
    pub fn finish(&self) {
        self.recorder.finish();
    }
}

/// A model's shape: enough to tell models apart, nothing of where they lie.
fn model_label(loaded: &Loaded) -> String {
    let spec = loaded.model.spec();
    let shape = format!("{}x{}x{}", spec.layers(), spec.hidden, spec.n_vocab);
    if loaded.name == models::EMBEDDED { format!("{} {shape}", models::EMBEDDED) } else { shape }
}

/// What the cursor is in.
fn node(view: &View, cursor: usize) -> &'static str {
    let CursorFacts { in_comment, in_string, .. } =
        lacuna_context::cursor_facts(&view.tree, view.document.rope(), cursor);
    if in_comment {
        return "comment";
    }
    if in_string {
        return "string";
    }
    match view.tree.scope(view.document.rope(), cursor).kind {
        ScopeKind::FileLevel => "file",
        ScopeKind::Module => "module",
        ScopeKind::Class => "class",
        ScopeKind::Function => "function",
        ScopeKind::Block => "block",
    }
}
