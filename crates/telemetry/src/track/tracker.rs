//! [`Tracker`]: the documents of one session, the ghost text in them, and the rows that come of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::activity::{Activity, Stroke};
use super::anchor::Edit;
use super::ghost::{Ghost, Step, by_command};
use super::recent::{MAX_RECENT, Recent, Spot};
use super::suggestion::{State, Suggestion, Watch};
use super::watch::{Check, Watched};
use crate::clock::Moment;
use crate::event::{Draft, Int, Ints, Label, READ_MS, Text};

/// Accepted texts of a document that are watched at once; the oldest gives way.
const MAX_WATCHED: usize = 256;
/// A client that says "a piece was accepted" within this time of an edit means that edit, unless it
/// has asked for a completion since; otherwise it means the next one. Between the key that accepts
/// and a key typed before it lies more.
const SAME_ACT_MS: u64 = 100;

/// What a language server sees, besides answers ([`Tracker::answered`]).
#[derive(Clone, Debug)]
pub enum Signal<'a> {
    /// A document was opened (again).
    Opened {
        document: &'a Arc<str>,
        language: Label,
    },
    /// One edit of a document, in bytes of the text before it. `arms`: the experiments at this
    /// moment.
    Edited {
        document: &'a Arc<str>,
        edit: Edit<'a>,
        arms: Label,
    },
    /// A completion is asked for at byte `cursor`: whatever is shown elsewhere is not on screen any
    /// more.
    Requested {
        document: &'a Arc<str>,
        cursor: usize,
    },
    Closed {
        document: &'a Arc<str>,
    },
    /// The file of a document was deleted.
    Deleted {
        document: &'a Arc<str>,
    },
    /// The client says that a suggestion came on screen.
    ClientShowed {
        id: u32,
    },
    /// The client says that all (or the rest) of a suggestion was accepted; the edit may come
    /// before or after.
    Accepted {
        id: u32,
    },
    /// The client says that a piece of a suggestion was accepted: by now the first `chars`
    /// characters of what it was sent last, or, if it does not say how many, whatever the edit
    /// brings that comes just before or next.
    PartlyAccepted {
        id: u32,
        chars: Option<usize>,
    },
    /// The client says that a suggestion was rejected.
    Dismissed {
        id: u32,
    },
    /// Time has passed.
    Tick,
    /// The session ends.
    Finished,
}

/// A request and what it ended in.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub document: &'a Arc<str>,
    /// When the request came.
    pub requested: Moment,
    /// Byte of the cursor, in the text that the client has.
    pub cursor: usize,
    /// What each item restates left of the cursor; ends there.
    pub stem: &'a str,
    /// The line up to the cursor: with the item it tells whether it was shown before.
    pub line_prefix: &'a str,
    /// Some text right of the cursor (a few hundred bytes).
    pub right: &'a str,
    /// What each item inserts at the cursor; none for a silence.
    pub items: &'a [&'a str],
    /// Why it ended in silence; empty if it did not.
    pub reason: &'static str,
    /// The answer was not sent: the text had changed, or the client had lost interest.
    pub cancelled: bool,
    /// Language, node, model, arms; other texts are ignored.
    pub texts: [Label; Text::COUNT],
    /// Latency, tokens, trigger; what the tracker knows itself is overwritten.
    pub ints: Ints,
}

/// What is to be written.
#[derive(Clone, Debug)]
pub enum Change {
    /// A row, new or changed.
    Row(Box<Draft>),
    /// A look at accepted text.
    Check(Check),
}

struct Live {
    seq: u32,
    ghost: Ghost,
    /// Characters of it that had been taken over when it was sent.
    taken_before: i64,
    /// The client said before the edit that it accepts: the next edit is a command, however short.
    announced: bool,
}

/// The last piece that was taken over, in case the client says afterwards how.
struct LastStep {
    seq: u32,
    /// Steady time.
    when: u64,
    /// A completion was asked for since.
    asked_since: bool,
    at: usize,
    text: String,
    command: bool,
}

struct Open {
    language: Label,
    live: Vec<Live>,
    recent: Recent,
    watched: VecDeque<Watched>,
    last_step: Option<LastStep>,
}

impl Open {
    fn new(language: Label) -> Open {
        Open {
            language,
            live: Vec::new(),
            recent: Recent::default(),
            watched: VecDeque::new(),
            last_step: None,
        }
    }
}

/// The state of one session.
#[derive(Default)]
pub struct Tracker {
    documents: HashMap<Arc<str>, Open>,
    suggestions: HashMap<u32, Suggestion>,
    /// With more suggestions than this, those that no document holds are looked for.
    forget_above: usize,
    activity: Activity,
    last_seq: u32,
    changes: Vec<Change>,
}

impl Tracker {
    /// Takes what is to be written since the last call.
    pub fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Forgets all but which documents are open. Numbers are not given out again.
    pub fn forget(&mut self) {
        for open in self.documents.values_mut() {
            *open = Open::new(open.language.clone());
        }
        self.suggestions.clear();
        self.activity = Activity::default();
        self.changes.clear();
    }

    /// Suggestions that are held in memory.
    pub fn n_held(&self) -> usize {
        self.suggestions.len()
    }

    /// Feeds one signal. Moments must not go back.
    pub fn feed(&mut self, now: Moment, signal: Signal<'_>) {
        match signal {
            Signal::Opened { document, language } => {
                self.close(now, document, Watch::Closed);
                self.documents.insert(Arc::clone(document), Open::new(language));
            }
            Signal::Edited { document, edit, arms } => self.edited(now, document, edit, &arms),
            Signal::Requested { document, cursor } => {
                let Some(open) = self.documents.get_mut(document) else { return };
                open.last_step.iter_mut().for_each(|step| step.asked_since = true);
                if open.live.first().is_some_and(|l| l.ghost.at() != cursor) {
                    self.end_live(now, document, State::Dismissed, "moved");
                }
            }
            Signal::Closed { document } => self.close(now, document, Watch::Closed),
            Signal::Deleted { document } => self.close(now, document, Watch::Deleted),
            Signal::ClientShowed { id } => self.client_showed(now, id),
            Signal::Accepted { id } => self.client_accepted(now, id),
            Signal::PartlyAccepted { id, chars } => self.client_accepted_partly(now, id, chars),
            Signal::Dismissed { id } => {
                if let Some(document) = self.document_showing(id) {
                    self.suggestion(id, |s| s.told = true);
                    self.end_live(now, &document, State::Dismissed, "client");
                }
            }
            Signal::Tick => self.tick(now),
            Signal::Finished => {
                let all: Vec<Arc<str>> = self.documents.keys().cloned().collect();
                all.iter().for_each(|document| self.close(now, document, Watch::Ended));
                self.tick(now);
            }
        }
    }

    /// Takes an answer in; returns the ids of its items. An item that was shown before at its place
    /// has its old id.
    pub fn answered(&mut self, now: Moment, answer: &Answer<'_>) -> Vec<u32> {
        self.request_row(answer);
        if answer.cancelled || !self.documents.contains_key(answer.document) {
            return Vec::new();
        }
        let spots: Vec<Spot> = answer
            .items
            .iter()
            .map(|item| Spot::new(answer.cursor, answer.line_prefix, item))
            .collect();
        let open = &self.documents[answer.document];
        let showing = open.live.first().map(|l| l.seq);
        if showing.is_some() && showing == spots.first().and_then(|spot| open.recent.at(*spot)) {
            // The same text stays where it is: only the alternatives are new.
            self.drop_live(answer.document);
        } else {
            let (state, reason) = match answer.items {
                _ if open.live.first().is_some_and(|l| l.ghost.at() != answer.cursor) => {
                    (State::Dismissed, "moved")
                }
                [] => (State::Superseded, "withdrawn"),
                _ => (State::Superseded, "replaced"),
            };
            self.end_live(now, answer.document, state, reason);
        }
        let ids: Vec<u32> = answer
            .items
            .iter()
            .zip(&spots)
            .enumerate()
            .map(|(i, (item, spot))| self.offer(now, answer, i == 0, item, *spot))
            .collect();
        self.forget_unheld();
        ids
    }

    fn request_row(&mut self, answer: &Answer<'_>) {
        let seq = self.next_seq();
        let mut texts = answer.texts.clone();
        texts[Text::Kind as usize] = Label::Static("request");
        let state = match answer.items {
            _ if answer.cancelled => "cancelled",
            [] => "silence",
            _ => "offered",
        };
        texts[Text::State as usize] = Label::Static(state);
        texts[Text::Reason as usize] = Label::Static(answer.reason);
        let ints = answer.ints.with(Int::At, answer.requested.wall);
        let draft = Draft { seq, document: Arc::clone(answer.document), texts, ints };
        self.changes.push(Change::Row(Box::new(draft)));
    }

    /// One item of an answer: the suggestion it is, shown if it is the first.
    fn offer(
        &mut self,
        now: Moment,
        answer: &Answer<'_>,
        first: bool,
        item: &str,
        spot: Spot,
    ) -> u32 {
        let open = self.documents.get_mut(answer.document).expect("looked up by the caller");
        let old = open
            .recent
            .at(spot)
            .filter(|seq| self.suggestions.get(seq).is_some_and(|s| s.state.may_return()));
        let seq = old.unwrap_or_else(|| {
            let seq = self.last_seq + 1;
            self.last_seq = seq;
            let mut ints = Ints::default()
                .with(Int::At, answer.requested.wall)
                .with(Int::Chars, item.chars().count() as i64)
                .with(Int::Lines, 1 + item.matches('\n').count() as i64);
            for column in [Int::Trigger, Int::LatencyUs, Int::FromMemory] {
                ints.set(column, answer.ints.of(column));
            }
            let suggestion =
                Suggestion::new(seq, Arc::clone(answer.document), answer.texts.clone(), ints);
            self.suggestions.insert(seq, suggestion);
            seq
        });
        let open = self.documents.get_mut(answer.document).expect("looked up by the caller");
        open.recent.remember(spot, seq);
        let taken_before = self.suggestions.get(&seq).map_or(0, Suggestion::taken);
        let ghost = Ghost::new(answer.cursor, answer.stem, item, answer.right);
        open.live.push(Live { seq, ghost, taken_before, announced: false });
        if first && let Some(suggestion) = self.suggestions.get_mut(&seq) {
            suggestion.show(now);
        }
        self.row(now, seq);
        seq
    }

    fn edited(&mut self, now: Moment, document: &Arc<str>, edit: Edit<'_>, arms: &Label) {
        self.check_due(now, document);
        let Some(open) = self.documents.get_mut(document) else { return };
        if edit.is_empty() {
            return;
        }
        open.last_step = None;
        open.watched.iter_mut().for_each(|w| w.apply(edit));
        open.recent.follow(edit);
        let steps: Vec<Step> = open.live.iter_mut().map(|l| l.ghost.step(edit)).collect();
        let chars = edit.text.chars().count();
        let mut completed = 0;
        if let Some(taker) = steps.iter().position(|s| matches!(s, Step::Advanced { .. })) {
            // The edit chose one alternative; those that agree with it so far remain.
            let disagree: Vec<u32> = open
                .live
                .iter()
                .zip(&steps)
                .filter(|(_, s)| !matches!(s, Step::Advanced { .. }))
                .map(|(l, _)| l.seq)
                .collect();
            open.live.rotate_left(taker);
            open.live.retain(|l| !disagree.contains(&l.seq));
            for seq in disagree {
                self.end(now, seq, State::Superseded, "alternative");
            }
            let Step::Advanced { at, text } = &steps[taker] else { unreachable!("found as such") };
            completed = self.advanced(now, document, *at, text);
        } else if steps.contains(&Step::Diverged) {
            self.end_live(now, document, State::Dismissed, "diverged");
        }
        let Some(open) = self.documents.get(document) else { return };
        let language = open.language.clone();
        let stroke = Stroke {
            document,
            language: &language,
            arms,
            completed,
            other: chars.saturating_sub(completed),
        };
        let last_seq = &mut self.last_seq;
        self.activity.edited(now, &stroke, || {
            *last_seq += 1;
            *last_seq
        });
        self.forget_unheld();
    }

    /// The first live suggestion took `text` over. Returns the characters that count as completed.
    fn advanced(&mut self, now: Moment, document: &Arc<str>, at: usize, text: &str) -> usize {
        let Some(open) = self.documents.get_mut(document) else { return 0 };
        let Some(live) = open.live.first_mut() else { return 0 };
        let (seq, whole) = (live.seq, live.ghost.rest().is_empty());
        let command = std::mem::take(&mut live.announced) || by_command(text, live.ghost.rest());
        open.last_step = Some(LastStep {
            seq,
            when: now.steady,
            asked_since: false,
            at,
            text: text.to_owned(),
            command,
        });
        let chars = text.chars().count();
        if let Some(suggestion) = self.suggestions.get_mut(&seq) {
            suggestion.show(now);
            if command {
                suggestion.accepted_chars += chars as i64;
                suggestion.state = State::Partly;
                suggestion.watch = Watch::Running;
            } else {
                suggestion.typed_chars += chars as i64;
            }
        }
        if command {
            self.watch(now, document, seq, at, text);
        }
        if whole {
            self.end_live(
                now,
                document,
                if command { State::Accepted } else { State::TypedThrough },
                "",
            );
        } else {
            self.row(now, seq);
        }
        if command { chars } else { 0 }
    }

    fn watch(&mut self, now: Moment, document: &Arc<str>, seq: u32, at: usize, text: &str) {
        let Some(open) = self.documents.get_mut(document) else { return };
        if open.watched.iter_mut().any(|w| w.seq == seq && w.extend(at, text, now)) {
            return;
        }
        // Parts of one suggestion that do not touch: the newest is watched.
        open.watched.retain(|w| w.seq != seq);
        open.watched.push_back(Watched::new(seq, at, text, now));
        if open.watched.len() > MAX_WATCHED
            && let Some(oldest) = open.watched.pop_front()
        {
            self.suggestion(oldest.seq, |s| s.watch = Watch::Lost);
            self.row(now, oldest.seq);
        }
    }

    fn client_showed(&mut self, now: Moment, id: u32) {
        let Some(document) = self.document_showing(id) else { return };
        let live: Vec<u32> = self.documents[&document].live.iter().map(|l| l.seq).collect();
        for seq in live {
            self.suggestion(seq, |s| {
                if seq == id {
                    s.told = true;
                    s.show(now);
                } else {
                    s.hide(now);
                }
            });
            self.row(now, seq);
        }
        // What is on screen is looked at first.
        if let Some(open) = self.documents.get_mut(&document)
            && let Some(at) = open.live.iter().position(|l| l.seq == id)
        {
            open.live.rotate_left(at);
        }
    }

    fn client_accepted(&mut self, now: Moment, id: u32) {
        let Some(suggestion) = self.suggestions.get_mut(&id) else { return };
        suggestion.told = true;
        let document = Arc::clone(&suggestion.document);
        if let Some(live) =
            self.documents.get_mut(&document).and_then(|o| o.live.iter_mut().find(|l| l.seq == id))
        {
            // Some of it is not there yet: the edit is still to come, and what was typed before was
            // typed.
            live.announced = true;
            return self.row(now, id);
        }
        self.credit_last_step(now, &document, id);
        if self.suggestions.get(&id).is_some_and(|s| s.state == State::Accepted) {
            return self.row(now, id);
        }
        // It was inserted by an edit that did not look like it: how much of it is left cannot be
        // told.
        self.suggestion(id, |s| {
            if s.accepted_chars == 0 {
                s.accepted_chars = s.ints.of(Int::Chars).unwrap_or(0) - s.typed_chars;
                s.watch = Watch::Lost;
            }
            s.end(now, State::Accepted, "");
        });
        self.row(now, id);
    }

    fn client_accepted_partly(&mut self, now: Moment, id: u32, chars: Option<usize>) {
        let Some(suggestion) = self.suggestions.get_mut(&id) else { return };
        suggestion.told = true;
        let (document, taken) = (Arc::clone(&suggestion.document), suggestion.taken());
        let Some(open) = self.documents.get_mut(&document) else { return self.row(now, id) };
        let live = open.live.iter_mut().find(|l| l.seq == id);
        let to_come = match (chars, &live) {
            (Some(chars), Some(live)) => chars as i64 > taken - live.taken_before,
            (Some(_), None) => false,
            (None, _) => {
                let step = open.last_step.as_ref().filter(|s| s.seq == id && !s.asked_since);
                step.is_none_or(|s| now.steady.saturating_sub(s.when) > SAME_ACT_MS)
            }
        };
        match live {
            Some(live) if to_come => live.announced = true,
            _ if to_come => {}
            _ => self.credit_last_step(now, &document, id),
        }
        self.row(now, id);
    }

    /// The client says that the last piece of `id`, which looked typed, was accepted.
    fn credit_last_step(&mut self, now: Moment, document: &Arc<str>, id: u32) {
        let Some(open) = self.documents.get_mut(document) else { return };
        let Some(step) = open.last_step.take_if(|s| s.seq == id && !s.command) else { return };
        let chars = step.text.chars().count();
        self.suggestion(id, |s| {
            s.typed_chars -= chars as i64;
            s.accepted_chars += chars as i64;
            s.watch = Watch::Running;
            s.state = if s.state == State::TypedThrough { State::Accepted } else { State::Partly };
        });
        self.activity.reclassify(now, document, chars);
        self.watch(now, document, id, step.at, &step.text);
    }

    /// The document in which a suggestion is live.
    fn document_showing(&self, id: u32) -> Option<Arc<str>> {
        let document = &self.suggestions.get(&id)?.document;
        self.documents.get(document)?.live.iter().any(|l| l.seq == id).then(|| Arc::clone(document))
    }

    /// Everything that is live in a document ends.
    fn end_live(&mut self, now: Moment, document: &Arc<str>, state: State, reason: &'static str) {
        for (i, seq) in self.drop_live(document).into_iter().enumerate() {
            // Only the first is on screen; what happened to it did not happen to the others.
            let state = if i == 0 { state } else { State::Superseded };
            self.end(now, seq, state, reason);
        }
    }

    fn drop_live(&mut self, document: &Arc<str>) -> Vec<u32> {
        self.documents
            .get_mut(document)
            .map(|o| o.live.drain(..).map(|l| l.seq).collect())
            .unwrap_or_default()
    }

    fn end(&mut self, now: Moment, seq: u32, state: State, reason: &'static str) {
        self.suggestion(seq, |s| s.end(now, state, reason));
        self.row(now, seq);
    }

    fn close(&mut self, now: Moment, document: &Arc<str>, watch: Watch) {
        self.check_due(now, document);
        let reason = if watch == Watch::Ended { "ended" } else { "closed" };
        self.end_live(now, document, State::Closed, reason);
        let Some(open) = self.documents.remove(document) else { return };
        for mut watched in open.watched {
            if watch == Watch::Deleted {
                watched.deleted(|check| self.changes.push(Change::Check(check)));
            }
            self.suggestion(watched.seq, |s| s.watch = watch);
            self.row(now, watched.seq);
        }
        self.forget_unheld();
    }

    /// Makes the checks that fell due, on the text as it stands.
    fn check_due(&mut self, now: Moment, document: &Arc<str>) {
        let Some(open) = self.documents.get_mut(document) else { return };
        let changes = &mut self.changes;
        open.watched
            .iter_mut()
            .for_each(|w| w.due(now.steady, |check| changes.push(Change::Check(check))));
        let done: Vec<u32> = open.watched.iter().filter(|w| w.is_done()).map(|w| w.seq).collect();
        open.watched.retain(|w| !w.is_done());
        for seq in done {
            self.suggestion(seq, |s| s.watch = Watch::Complete);
            self.row(now, seq);
        }
    }

    fn tick(&mut self, now: Moment) {
        let all: Vec<Arc<str>> = self.documents.keys().cloned().collect();
        for document in &all {
            self.check_due(now, document);
            // What has just become read is written, in case nothing more is heard of it.
            let read = self.documents[document].live.first().map(|l| l.seq);
            let newly = read.filter(|seq| {
                self.suggestions.get_mut(seq).is_some_and(|s| s.mark_read(now, READ_MS as u64))
            });
            if let Some(seq) = newly {
                self.row(now, seq);
            }
        }
        let mut rows = Vec::new();
        self.activity.drain(now, &mut rows);
        self.changes.extend(rows.into_iter().map(|row| Change::Row(Box::new(row))));
        self.forget_unheld();
    }

    fn suggestion(&mut self, seq: u32, change: impl FnOnce(&mut Suggestion)) {
        if let Some(suggestion) = self.suggestions.get_mut(&seq) {
            change(suggestion);
        }
    }

    fn row(&mut self, now: Moment, seq: u32) {
        if let Some(suggestion) = self.suggestions.get(&seq) {
            self.changes.push(Change::Row(Box::new(suggestion.draft(now))));
        }
    }

    fn next_seq(&mut self) -> u32 {
        self.last_seq += 1;
        self.last_seq
    }

    /// Suggestions that nothing can refer to any more leave memory. Cheap unless many are held.
    fn forget_unheld(&mut self) {
        // Looked at again only when there are twice as many as were needed: closing one of many
        // documents costs little.
        if self.suggestions.len() <= self.forget_above.max(MAX_RECENT) {
            return;
        }
        let held: std::collections::HashSet<u32> = self
            .documents
            .values()
            .flat_map(|o| {
                o.live
                    .iter()
                    .map(|l| l.seq)
                    .chain(o.recent.seqs())
                    .chain(o.watched.iter().map(|w| w.seq))
            })
            .collect();
        self.suggestions.retain(|seq, _| held.contains(seq));
        self.forget_above = 2 * self.suggestions.len() + MAX_RECENT;
    }
}
