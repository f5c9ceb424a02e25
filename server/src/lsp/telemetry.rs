//! What the language server tells telemetry, in bytes and labels instead of protocol types; and which arm of which experiment holds.
//!
//! One [`Observer`] a client. Its calls cost microseconds and cannot fail; without a store, or with `telemetry.enabled = false`, there
//! is none. Source text goes no further than the memory of `lacuna_telemetry`.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use lacuna_complete::{Completer, Item, Outcome, Reason, Reply};
use lacuna_context::{CursorFacts, Language, ScopeKind};
use lacuna_telemetry::experiment::{Arm, Definition, arms_text, assign, unit_of};
use lacuna_telemetry::store::Store;
use lacuna_telemetry::track::{Answer, Edit, Signal};
use lacuna_telemetry::{Int, Ints, Label, Moment, Options, Recorder, Text};

use super::documents::{self, Open};
use crate::commands::telemetry::store_path;
use crate::config::Config;
use crate::models::{self, Loaded};

/// Text right of the cursor that telemetry is shown.
const RIGHT_BYTES: usize = 256;
/// Sent items whose text is remembered, to understand clients that count in it.
const MAX_SENT: usize = 64;

/// Watches one client's session.
pub struct Observer {
    recorder: Recorder,
    model: Label,
    experiments: Experiments,
    /// Id, length of what was restated (in characters), and text of the newest items.
    sent: Mutex<VecDeque<(u32, usize, String)>>,
}

/// A request as it comes in.
pub struct Asked {
    moment: Moment,
    begun: Instant,
    arms: Label,
    trigger: i64,
}

/// A request as it is answered.
pub struct Answered<'a> {
    pub uri: &'a str,
    /// The document as the client had it, and the client's cursor in it.
    pub open: &'a Open,
    pub cursor: usize,
    /// Byte from which on the items replace, and the text that each of them begins with.
    pub start: usize,
    pub restated: &'a str,
    pub reply: &'a Reply,
    /// Nothing was sent: the document has changed.
    pub stale: bool,
}

impl Observer {
    /// `None` if nothing is to be recorded.
    pub fn start(config: &Config, loaded: &Loaded) -> Option<Observer> {
        if !config.telemetry.enabled {
            return None;
        }
        let path = store_path(config).map_err(|e| tracing::warn!("telemetry is off: {e:#}")).ok()?;
        let experiments = Experiments::running(&path, config);
        let recorder = Recorder::start(Options { retention_days: config.telemetry.retention_days, ..Options::at(path) });
        Some(Observer { recorder, model: Label::Shared(model_label(loaded).into()), experiments, sent: Mutex::default() })
    }

    pub fn opened(&self, uri: &str, language: Language) {
        let document = uri.into();
        self.recorder.signal(Signal::Opened { document: &document, language: Label::Static(language.name()) });
    }

    pub fn changed(&self, uri: &str, edits: &[documents::Edit]) {
        let document: Arc<str> = uri.into();
        let arms = self.experiments.arms(uri, self.recorder.now().wall);
        for edit in edits {
            let trimmed = Edit::trimmed(edit.start, &edit.removed, &edit.text);
            self.recorder.signal(Signal::Edited { document: &document, edit: trimmed, arms: arms.clone() });
        }
    }

    /// A document whose file is not there (any more) was deleted or never saved.
    pub fn closed(&self, uri: &str, file: Option<&Path>) {
        let document = uri.into();
        let gone = file.is_some_and(|file| !file.exists());
        self.recorder.signal(if gone { Signal::Deleted { document: &document } } else { Signal::Closed { document: &document } });
    }

    /// `automatic`: asked for while typing, not by the user.
    pub fn asked(&self, uri: &str, cursor: usize, automatic: bool) -> Asked {
        let document = uri.into();
        let moment = self.recorder.now();
        self.recorder.signal(Signal::Requested { document: &document, cursor });
        Asked { moment, begun: Instant::now(), arms: self.experiments.arms(uri, moment.wall), trigger: if automatic { 2 } else { 1 } }
    }

    /// The completer of the arm in which a document is now; `base` where no experiment says otherwise.
    pub fn completer(&self, uri: &str, base: &Arc<Completer>, loaded: &Loaded) -> Arc<Completer> {
        self.experiments.completer(uri, self.recorder.now().wall, base, loaded)
    }

    /// The completers of arms that were made so far.
    pub fn completers(&self) -> Vec<Arc<Completer>> {
        let made = self.experiments.completers.lock().unwrap_or_else(PoisonError::into_inner);
        made.values().flatten().cloned().collect()
    }

    /// Records an answer; returns the ids of its items, for the client to send back.
    pub fn answered(&self, asked: &Asked, answered: &Answered<'_>) -> Vec<u32> {
        let Answered { uri, open, cursor, start, restated, reply, stale } = answered;
        let document: Arc<str> = (*uri).into();
        let text = &open.document;
        let stem = text.slice(*start..*cursor);
        let items: &[Item] = match &reply.outcome {
            Outcome::Suggest(items) if !stale => items,
            _ => &[],
        };
        // As the client sees them: whole items less what stands left of its cursor. (An entry of its list may be restated beyond.)
        let whole: Vec<String> = items.iter().map(|item| format!("{restated}{}", item.text)).collect();
        let inserted: Vec<&str> = whole.iter().map(|whole| whole.strip_prefix(&*stem).unwrap_or(whole)).collect();
        let line = text.position(*cursor, lacuna_text::Encoding::Utf8);
        let row = line.line as usize;
        let prefix = text.slice(cursor - line.character as usize..*cursor);
        let next = text.line(row + 1).unwrap_or_default();
        let mut texts = [const { Label::NONE }; Text::COUNT];
        texts[Text::Language as usize] = Label::Static(open.language.name());
        texts[Text::Node as usize] = Label::Static(node(open, *cursor));
        texts[Text::Model as usize] = self.model.clone();
        texts[Text::Arms as usize] = asked.arms.clone();
        let us = |ms: f64| (ms * 1000.0).round() as i64;
        let ints = Ints::default()
            .with(Int::Trigger, asked.trigger)
            .with(Int::LatencyUs, asked.begun.elapsed().as_micros() as i64)
            .with(Int::PrefillUs, us(reply.ms.prefill))
            .with(Int::DecodeUs, us(reply.ms.decode))
            .with(Int::PromptTokens, reply.tokens.prompt as i64)
            .with(Int::CachedTokens, reply.tokens.cached as i64)
            .with(Int::GeneratedTokens, reply.tokens.generated as i64)
            .with(Int::FromMemory, i64::from(reply.from_memory));
        let reason = match &reply.outcome {
            Outcome::Silence(reason) => reason.code(),
            Outcome::Suggest(_) => "",
        };
        let ids = self.recorder.answered(&Answer {
            document: &document,
            requested: asked.moment,
            cursor: *cursor,
            stem: &stem,
            line_prefix: &prefix,
            next_line: &next,
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

    /// The client accepted the first `length` UTF-16 units of the item's text, counted from its beginning.
    pub fn accepted_partly(&self, id: &str, length: usize) {
        let Ok(id) = id.parse() else { return };
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, restated, text)) = sent.iter().rev().find(|(sent, ..)| *sent == id) else { return };
        let mut units = 0;
        let taken = text.chars().take_while(|c| {
            units += c.len_utf16();
            units <= length
        });
        let chars = taken.count().saturating_sub(*restated);
        drop(sent);
        self.recorder.signal(Signal::PartlyAccepted { id, chars });
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
    let config = loaded.model.config();
    let shape = format!("{}x{}x{}", config.layers, config.hidden, config.n_vocab);
    if loaded.name == models::EMBEDDED { format!("{} {shape}", models::EMBEDDED) } else { shape }
}

/// What the cursor is in.
fn node(open: &Open, cursor: usize) -> &'static str {
    let CursorFacts { in_comment, in_string, .. } = lacuna_context::cursor_facts(&open.tree, open.document.rope(), cursor);
    if in_comment {
        return "comment";
    }
    if in_string {
        return "string";
    }
    match open.tree.scope(open.document.rope(), cursor).kind {
        ScopeKind::FileLevel => "file",
        ScopeKind::Module => "module",
        ScopeKind::Class => "class",
        ScopeKind::Function => "function",
        ScopeKind::Block => "block",
    }
}

/// The experiments that were running when the session began.
struct Experiments {
    running: Vec<(String, Definition)>,
    salt: Vec<u8>,
    config: Config,
    /// Completers by the variants that are in force; `None`: it could not be made.
    completers: Mutex<HashMap<String, Option<Arc<Completer>>>>,
}

impl Experiments {
    fn running(path: &Path, config: &Config) -> Experiments {
        let mut all = Experiments { running: Vec::new(), salt: Vec::new(), config: config.clone(), completers: Mutex::default() };
        if !path.exists() {
            return all;
        }
        let read = Store::open_to_read(path).and_then(|store| Ok((store.experiments()?, store.salt().to_vec())));
        match read {
            Ok((experiments, salt)) => {
                all.salt = salt;
                for e in experiments.into_iter().filter(|e| e.stopped.is_none()) {
                    match serde_json::from_str(&e.definition) {
                        Ok(definition) => all.running.push((e.name, definition)),
                        Err(error) => tracing::warn!(experiment = e.name, %error, "its definition cannot be read: it is left out"),
                    }
                }
            }
            Err(error) => tracing::warn!("experiments are off: {error}"),
        }
        all
    }

    /// The variants in force for a document at a time.
    fn variants<'a>(&'a self, uri: &'a str, wall: i64) -> impl Iterator<Item = (&'a str, &'a Definition, &'a str)> {
        self.running.iter().map(move |(name, definition)| {
            let variant = assign(definition, &self.salt, name, uri, wall);
            (name.as_str(), definition, variant)
        })
    }

    fn arms(&self, uri: &str, wall: i64) -> Label {
        if self.running.is_empty() {
            return Label::NONE;
        }
        let units: Vec<String> = self.running.iter().map(|(name, d)| unit_of(d, &self.salt, name, uri, wall)).collect();
        let arms = self.variants(uri, wall).zip(&units).map(|((experiment, _, variant), unit)| Arm { experiment, variant, unit });
        Label::Shared(arms_text(arms).into())
    }

    fn completer(&self, uri: &str, wall: i64, base: &Arc<Completer>, loaded: &Loaded) -> Arc<Completer> {
        let settings: std::collections::BTreeMap<_, _> =
            self.variants(uri, wall).flat_map(|(_, d, variant)| d.variant[variant].settings.clone()).collect();
        if settings.is_empty() {
            return Arc::clone(base);
        }
        let key = serde_json::to_string(&settings).unwrap_or_default();
        let mut completers = self.completers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = completers.entry(key).or_insert_with(|| {
            let make = || {
                let config = self.config.with_settings(&settings)?;
                if config.model.path == self.config.model.path {
                    loaded.serving(&config)
                } else {
                    models::load(&config.model.path)?.serving(&config)
                }
            };
            // The unit stays in its arm: who cannot have the treatment is part of what it does.
            make().map_err(|e: anyhow::Error| tracing::warn!("a variant's settings cannot be had, the usual ones serve: {e:#}")).ok()
        });
        made.clone().unwrap_or_else(|| Arc::clone(base))
    }
}
