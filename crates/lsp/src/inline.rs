//! `textDocument/inlineCompletion`: from a position to items, and from a suggestion to what clients
//! want to see.

use lacuna_complete::{Asked, Caller, Completer, Reply, Request};
use lacuna_context::{Excerpt, cursor_facts};
use lacuna_engine::Cancel;
use lacuna_text::{Document, Encoding, Position};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::view::View;
use super::wire::or_default;

/// Command that clients run after accepting; its only argument is the item's id.
pub const ACCEPTED: &str = "lacuna.accepted";

/// LSP 3.18 parameters, read leniently: `context` is absent in some clients.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Params {
    pub text_document: TextDocument,
    pub position: WirePosition,
    #[serde(default, deserialize_with = "or_default")]
    pub context: Context,
}

#[derive(Debug, Deserialize)]
pub struct TextDocument {
    pub uri: String,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
pub struct WirePosition {
    pub line: u32,
    pub character: u32,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq)]
pub struct WireRange {
    pub start: WirePosition,
    pub end: WirePosition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Context {
    /// 1: asked for by the user, several items; 2: while typing.
    #[serde(deserialize_with = "or_default")]
    trigger_kind: u8,
    selected_completion_info: Option<Selected>,
}

/// The entry of the suggestion list that is highlighted: items must begin with its text and use its
/// range.
#[derive(Debug, Deserialize)]
struct Selected {
    range: WireRange,
    text: String,
}

/// An item as clients want it: a one-line range from the start of the typed word to the cursor, and
/// text that restates it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WireItem {
    insert_text: String,
    range: WireRange,
    command: Command,
    /// What tabby's clients send back in their events.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl WireItem {
    /// `data`: what the client sends back in its events; `accepted`: the command that it runs after
    /// accepting.
    pub fn new(
        place: &Place,
        text: &str,
        data: Option<Value>,
        id: String,
        accepted: &'static str,
    ) -> WireItem {
        let insert_text = format!("{}{text}", place.restated);
        WireItem {
            insert_text,
            range: place.range,
            command: Command { title: "Accepted", command: accepted, arguments: [id] },
            data,
        }
    }
}

#[derive(Debug, Serialize)]
struct Command {
    title: &'static str,
    command: &'static str,
    arguments: [String; 1],
}

/// Alternatives for an explicit request.
const ALTERNATIVES: usize = 3;
const TRIGGER_INVOKED: u8 = 1;

impl From<WirePosition> for Position {
    fn from(p: WirePosition) -> Position {
        Position { line: p.line, character: p.character }
    }
}

impl From<Position> for WirePosition {
    fn from(p: Position) -> WirePosition {
        WirePosition { line: p.line, character: p.character }
    }
}

/// The request that an editor sends while the user types.
pub fn automatic(uri: &str, position: Position) -> Params {
    Params {
        text_document: TextDocument { uri: uri.to_owned() },
        position: position.into(),
        context: Context::default(),
    }
}

impl Params {
    /// Asked for while typing, not by the user.
    pub fn is_automatic(&self) -> bool {
        self.context.trigger_kind != TRIGGER_INVOKED
    }

    /// A request of a client that speaks another dialect.
    pub fn at(uri: &str, position: WirePosition, several: bool) -> Params {
        let params = automatic(uri, position.into());
        if several { params.several() } else { params }
    }

    /// The same place, asked for by the user: several items.
    pub fn several(mut self) -> Params {
        self.context.trigger_kind = TRIGGER_INVOKED;
        self
    }
}

/// What items replace and restate.
#[derive(Clone, Debug)]
pub struct Place {
    /// Replaced by each item; ends at the client's cursor (or at the selected entry's range).
    pub range: WireRange,
    /// Text that each item begins with.
    pub restated: String,
}

/// Where the items go.
pub struct Site {
    view: View,
    cursor: usize,
    place: Place,
    asked: Asked,
}

/// Finds the place of the request in a snapshot of the document.
pub fn site(mut view: View, params: &Params, encoding: Encoding) -> Site {
    let asked = if params.is_automatic() { Asked::Automatically } else { Asked::Explicitly };
    if let Some(selected) = &params.context.selected_completion_info
        && let Some(cursor) = select(&mut view, selected, encoding)
    {
        let place = Place { range: selected.range, restated: selected.text.clone() };
        return Site { view, cursor, place, asked };
    }
    let cursor = view.document.offset_clamped(params.position.into(), encoding);
    let facts = cursor_facts(&view.tree, view.document.rope(), cursor);
    let word = view.document.slice(facts.word_start..cursor).into_owned();
    let start = view.document.position(facts.word_start, encoding);
    let range =
        WireRange { start: start.into(), end: view.document.position(cursor, encoding).into() };
    Site { view, cursor, place: Place { range, restated: word }, asked }
}

/// Puts the selected entry into the snapshot, as if it had been accepted. Returns the cursor behind
/// it.
fn select(view: &mut View, selected: &Selected, encoding: Encoding) -> Option<usize> {
    let range =
        lacuna_text::Range { start: selected.range.start.into(), end: selected.range.end.into() };
    // A list that was made for another text.
    if range.start.line != range.end.line
        || range.end < range.start
        || range.end.line as usize >= view.document.n_lines()
    {
        return None;
    }
    let mut document: Document = view.document.clone();
    let edit = document.apply(range, encoding, &selected.text);
    view.tree.edit(&edit);
    view.tree.reparse(document.rope());
    view.document = document;
    Some(edit.new_end_byte)
}

impl Site {
    /// The same place in a larger text, which `embed` makes of the document and a byte of it.
    pub fn within(self, embed: impl FnOnce(View, usize) -> (View, usize)) -> Site {
        let (view, cursor) = embed(self.view, self.cursor);
        Site { view, cursor, ..self }
    }

    /// Where the items begin to replace, and what each begins with.
    pub fn restated(&self) -> (Position, &str) {
        (self.place.range.start.into(), &self.place.restated)
    }

    /// What each item's text is preceded by right of the client's cursor, byte `cursor` of `asked`:
    /// the part of the restated text that is not there yet.
    pub fn lead(&self, asked: &View, cursor: usize, encoding: Encoding) -> String {
        let start =
            asked.document.offset_clamped(self.place.range.start.into(), encoding).min(cursor);
        let stem = asked.document.slice(start..cursor);
        self.place.restated.strip_prefix(&*stem).unwrap_or_default().to_owned()
    }

    /// Byte offset at which the items' new text goes.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Runs the completer; blocks. `excerpts`: what the prompt shows of other files.
    pub fn complete(
        &self,
        completer: &Completer,
        of: (&str, &str),
        excerpts: &[Excerpt],
        caller: Caller<'_>,
        cancel: &Cancel,
    ) -> Reply {
        completer.complete_for(&self.request(of, excerpts), caller, cancel)
    }

    /// What the completer is asked.
    pub fn request<'a>(
        &'a self,
        (key, path): (&'a str, &'a str),
        excerpts: &'a [Excerpt],
    ) -> Request<'a> {
        Request {
            key,
            path: Some(path),
            language: self.view.language,
            document: &self.view.document,
            tree: &self.view.tree,
            cursor: self.cursor,
            excerpts,
            n: if self.asked == Asked::Explicitly { ALTERNATIVES } else { 1 },
            asked: self.asked,
            explain: false,
        }
    }

    pub fn into_place(self) -> Place {
        self.place
    }
}
