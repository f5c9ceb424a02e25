//! What editors say of their documents, read leniently: a message of which anything can be used is
//! used, since a change that is dropped leaves the server with a text that nobody has.

use lacuna_serving::json as lossy;
use lacuna_text::{Position, Range, Utf16Text};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::uris;

/// Text in which halves of surrogate pairs may stand alone.
#[derive(Debug, Default)]
pub struct WireText(pub Utf16Text);

impl<'de> Deserialize<'de> for WireText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<WireText, D::Error> {
        String::deserialize(from).map(|string| WireText(lossy::text(&string)))
    }
}

/// A document's name, and its version where the client counts.
#[derive(Debug, Deserialize)]
pub struct Identifier {
    pub uri: String,
    #[serde(default, deserialize_with = "integer")]
    pub version: Option<i32>,
}

/// `textDocument/didOpen`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    pub text_document: OpenedDocument,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenedDocument {
    #[serde(flatten)]
    pub identifier: Identifier,
    #[serde(default, deserialize_with = "word")]
    pub language_id: String,
    pub text: WireText,
}

/// `textDocument/didChange`. The changes are read by [`changes`]: where that fails, the name of the
/// document is known still.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changed {
    pub text_document: Identifier,
    #[serde(default)]
    pub content_changes: Value,
}

/// `textDocument/didClose`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closed {
    pub text_document: Identifier,
}

/// One edit.
#[derive(Debug, Deserialize)]
pub struct Change {
    /// `None`: the whole text.
    #[serde(default, deserialize_with = "range")]
    pub range: Option<Range>,
    pub text: WireText,
}

impl Change {
    pub fn new(range: Option<Range>, text: &str) -> Change {
        Change { range, text: WireText(text.into()) }
    }

    /// Whether nothing of the old text is left, whatever it was: no range, or one from the start to
    /// far behind any end.
    pub fn replaces_all(&self) -> bool {
        self.range.is_none_or(|range| {
            range.start == Position::default() && range.end.line >= i32::MAX as u32
        })
    }
}

/// The edits of one `didChange`, in order.
pub fn changes(value: &Value) -> Result<Vec<Change>, serde_json::Error> {
    Vec::<Change>::deserialize(value)
}

/// Makes the parameters of `initialize` such that a strict parser reads them: one list of folders,
/// from whichever field names them.
pub fn mend_initialize(params: &mut Value) {
    let Some(params) = params.as_object_mut() else { return };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let mut uris: Vec<String> = Vec::new();
    for folder in params.get("workspaceFolders").and_then(Value::as_array).into_iter().flatten() {
        uris.extend(text(&folder["uri"]));
    }
    if uris.is_empty() {
        let root = params.get("rootUri").and_then(text);
        uris.extend(
            root.or_else(|| {
                params.get("rootPath").and_then(text).map(|path| uris::from_path(&path))
            }),
        );
    }
    let folder = |uri: &String| json!({"uri": uris::encoded(uri), "name": ""});
    params.insert("workspaceFolders".to_owned(), uris.iter().map(folder).collect());
    params.remove("rootUri");
    params.remove("rootPath");
    if params.get("capabilities").is_none_or(Value::is_null) {
        params.insert("capabilities".to_owned(), json!({}));
    }
}

#[derive(Deserialize)]
struct WireRange {
    start: WirePosition,
    end: WirePosition,
}

#[derive(Deserialize)]
struct WirePosition {
    line: f64,
    character: f64,
}

impl From<WirePosition> for Position {
    /// Negative numbers mean the start, as in the libraries of editors; casts of floats saturate.
    fn from(at: WirePosition) -> Position {
        Position { line: at.line as u32, character: at.character as u32 }
    }
}

fn range<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Range>, D::Error> {
    let range = Option::<WireRange>::deserialize(from)?;
    Ok(range.map(|range| Range { start: range.start.into(), end: range.end.into() }))
}

/// `null` means what leaving it out means.
pub fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// A number, if it is one.
fn integer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i32>, D::Error> {
    Ok(Value::deserialize(from)?.as_f64().map(|number| number as i32))
}

/// A string, if it is one.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Value::deserialize(from)?.as_str().unwrap_or_default().to_owned())
}
