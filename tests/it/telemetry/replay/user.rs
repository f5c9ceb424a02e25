//! The one at the keyboard: types a trace, asks after each key, and does to every seventh
//! suggestion what the script says.

use super::dialect::{Dialect, Offer};
use super::ledger::Ledger;
use super::trace::{Event, Trace};
use crate::telemetry::editor::{Desk, Editor};

/// One suggestion in so many is acted on.
const EVERY: usize = 7;
/// Shorter ones are not worth a command.
const WORTHWHILE: usize = 8;
/// Characters of a partial acceptance.
const PART: usize = 4;

/// What is done, in turn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    /// Accept it and leave it.
    Accept,
    /// Accept it and take half of it back.
    AcceptHalf,
    /// Accept it and change two characters within.
    AcceptAndChange,
    /// Accept it and take all of it back.
    AcceptAndUndo,
    /// Accept its beginning.
    AcceptPart,
    /// Write it by hand, asking after each key.
    TypeThrough,
    /// Turn it down, then write something else.
    Reject,
}

const SCRIPT: [Act; 7] = [
    Act::Accept,
    Act::AcceptHalf,
    Act::AcceptAndChange,
    Act::AcceptAndUndo,
    Act::AcceptPart,
    Act::TypeThrough,
    Act::Reject,
];

/// Text in the document that is not the trace's: at which character of the trace's text it stands,
/// and whose suggestion it was.
struct Extra {
    at: usize,
    chars: usize,
    id: Option<u64>,
}

/// What is on screen.
struct Live {
    offer: Offer,
    /// What is left of it, and the byte where it is shown.
    rest: String,
    at: usize,
}

pub struct User {
    dialect: Dialect,
    editor: Editor,
    pub ledger: Ledger,
    live: Option<Live>,
    extras: Vec<Extra>,
    /// Suggestions that could be acted on, and acts done.
    chances: usize,
    acts: usize,
}

/// Plays a trace; the server is left running.
pub fn play(desk: &Desk, dialect: Dialect, trace: &Trace) -> User {
    let editor = desk.open_as(
        &trace.name,
        &trace.language,
        &trace.before,
        dialect.introduction(),
        dialect.encoding(),
    );
    let mut user = User {
        dialect,
        editor,
        ledger: Ledger::default(),
        live: None,
        extras: Vec::new(),
        chances: 0,
        acts: 0,
    };
    for (i, event) in trace.events.iter().enumerate() {
        user.make(event);
        user.ask();
        user.act(event.at + event.ins.chars().count(), trace.events.get(i + 1));
    }
    user
}

impl User {
    /// Ends the session. Returns what must be stored.
    pub fn finish(mut self) -> Ledger {
        if let Some(live) = self.live.take() {
            self.ledger.ended(live.offer.id, "closed", false);
        }
        self.editor.finish();
        self.ledger
    }

    /// Makes an edit of the trace.
    fn make(&mut self, event: &Event) {
        let (start, end) =
            (self.byte(event.at, true), self.byte(event.at + event.del, event.del == 0));
        if event.del == 0 && event.ins.is_empty() {
            self.editor.cursor = start;
            return;
        }
        // What stood within goes with it.
        let within = |extra: &Extra| event.at < extra.at && extra.at < event.at + event.del;
        let gone: Vec<u64> =
            self.extras.iter().filter(|e| within(e)).filter_map(|e| e.id).collect();
        gone.into_iter().for_each(|id| self.ledger.kept_is_open(id));
        self.extras.retain(|e| !within(e));
        for extra in &mut self.extras {
            if extra.at > event.at {
                extra.at = extra.at - event.del + event.ins.chars().count();
            }
        }
        if start == end && self.live.as_ref().is_some_and(|l| l.at == start) {
            return self.write(&event.ins);
        }
        self.editor.edit(start..end, &event.ins, self.dialect == Dialect::WholeDocument);
        self.end("dismissed", false);
    }

    /// Writes at the cursor by hand.
    fn write(&mut self, text: &str) {
        let cursor = self.editor.cursor;
        self.editor.edit(cursor..cursor, text, self.dialect == Dialect::WholeDocument);
        let Some(live) = &mut self.live else { return };
        let Some(left) = live.rest.strip_prefix(text) else { return self.end("dismissed", false) };
        assert!(
            text.chars().count() == 1 || text.trim().is_empty(),
            "what came at once would be taken for an acceptance: {text:?}"
        );
        (live.rest, live.at) = (left.to_owned(), live.at + text.len());
        let (id, whole) = (live.offer.id, live.rest.is_empty());
        self.ledger.typed(id, text.chars().count());
        if whole {
            self.end("typed-through", false);
        }
    }

    fn end(&mut self, state: &'static str, told: bool) {
        if let Some(live) = self.live.take() {
            self.ledger.ended(live.offer.id, state, told);
        }
    }

    /// Asks at the cursor and looks at what comes.
    fn ask(&mut self) {
        if self.live.as_ref().is_some_and(|l| l.at != self.editor.cursor) {
            self.end("dismissed", false);
        }
        self.ledger.requests += 1;
        let offer = self.dialect.ask(&mut self.editor);
        let same = self.live.as_ref().map(|l| l.offer.id) == offer.as_ref().map(|o| o.id);
        if !same {
            self.end("superseded", false);
        }
        let Some(offer) = offer else { return };
        if let Some(live) = &self.live {
            assert_eq!(live.rest, offer.rest, "one suggestion has one text");
        }
        self.ledger.shown(offer.id, self.dialect.tells_shown());
        self.dialect.shown(&mut self.editor, &offer);
        self.live = Some(Live { rest: offer.rest.clone(), at: self.editor.cursor, offer });
    }

    /// Does what the script says to what is on screen; `next` is what the trace goes on with. The
    /// cursor is at character `at` of the trace's text.
    fn act(&mut self, at: usize, next: Option<&Event>) {
        let Some(live) = &self.live else { return };
        let rest = live.rest.clone();
        let goes_on =
            next.is_some_and(|e| e.ins.chars().next().is_some_and(|c| !rest.starts_with(c)));
        if rest.len() < WORTHWHILE || !rest.is_ascii() || !goes_on {
            return;
        }
        self.chances += 1;
        if !self.chances.is_multiple_of(EVERY) {
            return;
        }
        let act = SCRIPT[self.acts % SCRIPT.len()];
        self.acts += 1;
        let offer = live.offer.clone();
        match act {
            Act::Accept | Act::AcceptHalf | Act::AcceptAndChange | Act::AcceptAndUndo => {
                self.accept(&offer);
                let left = self.edit_away(act, rest.len());
                let kept = if act == Act::AcceptAndChange { rest.len() - 2 } else { left };
                let kept = (1000.0 * kept as f64 / rest.len() as f64).round() as i64;
                self.ledger.accepted(
                    offer.id,
                    rest.len(),
                    true,
                    self.dialect.tells_accepted(),
                    kept,
                );
                self.live = None;
                self.extras.push(Extra { at, chars: left, id: Some(offer.id) });
            }
            Act::AcceptPart => {
                self.accept_part(&offer, &rest[..PART]);
                self.ledger.accepted(offer.id, PART, false, self.dialect.tells_partly(), 1000);
                let live = self.live.as_mut().expect("as before");
                (live.rest, live.at) = (rest[PART..].to_owned(), live.at + PART);
                self.extras.push(Extra { at, chars: PART, id: Some(offer.id) });
            }
            Act::TypeThrough => {
                for (i, c) in rest.char_indices() {
                    self.write(&c.to_string());
                    self.extras.push(Extra { at, chars: 1, id: None });
                    if i + 1 < rest.len() {
                        self.ask();
                        assert_eq!(
                            self.live.as_ref().map(|l| l.offer.id),
                            Some(offer.id),
                            "a suggestion that is typed stays"
                        );
                    }
                }
            }
            Act::Reject => {
                if self.dialect.tells_rejected() {
                    self.dialect.rejected(&mut self.editor, &offer);
                    self.end("dismissed", true);
                }
                // Nothing is asked before the next key.
                return;
            }
        }
        self.ask();
    }

    fn accept(&mut self, offer: &Offer) {
        let (dialect, editor) = (self.dialect, &mut self.editor);
        if dialect.tells_first() {
            dialect.accepted(editor, offer);
        }
        dialect.bring(editor, offer, &offer.rest);
        if !dialect.tells_first() {
            dialect.accepted(editor, offer);
        }
    }

    fn accept_part(&mut self, offer: &Offer, text: &str) {
        let (dialect, editor) = (self.dialect, &mut self.editor);
        if dialect.tells_first() {
            dialect.accepted_partly(editor, offer, text);
        }
        dialect.bring(editor, offer, text);
        if !dialect.tells_first() {
            dialect.accepted_partly(editor, offer, text);
        }
    }

    /// What happens to `n` bytes that were accepted just now. Returns how many stand there
    /// afterwards.
    fn edit_away(&mut self, act: Act, n: usize) -> usize {
        let end = self.editor.cursor;
        let (bytes, text) = match act {
            Act::AcceptHalf => (end - n / 2..end, ""),
            Act::AcceptAndUndo => (end - n..end, ""),
            // No model of ours writes capitals.
            Act::AcceptAndChange => (end - n / 2 - 1..end - n / 2 + 1, "XY"),
            _ => return n,
        };
        let left = n - bytes.len() + text.len();
        self.editor.edit(bytes, text, self.dialect == Dialect::WholeDocument);
        self.editor.cursor = end + left - n;
        left
    }

    /// Byte of a character of the trace's text; behind or before what else stands there.
    fn byte(&self, at: usize, behind: bool) -> usize {
        let extra: usize =
            self.extras.iter().filter(|e| e.at < at || behind && e.at == at).map(|e| e.chars).sum();
        let text = self.editor.text();
        text.char_indices().nth(at + extra).map_or(text.len(), |(byte, _)| byte)
    }
}
