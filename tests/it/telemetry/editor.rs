//! An editor for the sessions: it keeps its document, shows what it is told, and reports nothing
//! unless asked to.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use lacuna_tests::{Client, HANG, Home, ModelDir, TinyModel, binary};
use serde_json::{Value, json};

/// One document in one editor.
pub struct Editor {
    pub client: Client,
    text: String,
    pub cursor: usize,
    version: i64,
    uri: String,
    encoding: Encoding,
    pub file: PathBuf,
}

/// What columns are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16,
}

/// A home with a model whose completions are lower-case words.
pub struct Desk {
    pub home: Home,
    model: ModelDir,
}

impl Desk {
    pub fn new() -> Desk {
        Desk { home: Home::new(), model: TinyModel::default().write() }
    }

    pub fn open(&self, name: &str, text: &str) -> Editor {
        // So few tokens that no letter comes five times: that would be repetition, and not be
        // shown.
        self.open_as(
            name,
            "python",
            text,
            json!({"show": {"line_tokens": 4, "block_tokens": 4}}),
            Encoding::Utf8,
        )
    }

    /// Opens a document in an editor that says this of itself.
    pub fn open_as(
        &self,
        name: &str,
        language: &str,
        text: &str,
        introduction: Value,
        encoding: Encoding,
    ) -> Editor {
        self.open_in(self.home.command(binary()), name, language, text, introduction, encoding)
    }

    /// The same; `program` runs what comes as its arguments after `lacuna`.
    fn open_in(
        &self,
        mut program: Command,
        name: &str,
        language: &str,
        text: &str,
        introduction: Value,
        encoding: Encoding,
    ) -> Editor {
        let file = self.home.write(name, text);
        // What the tiny model says depends on the instruction set, and what a user does on what it
        // says: one row on every machine.
        program.args(["lsp", "--model", self.model.arg()]).env("LACUNA_ISA", "scalar");
        let mut client = Client::spawn(&mut program);
        let mut options = json!({"latency": {"deadline_ms": 0, "background": false}, "show": {"line_tokens": 12, "block_tokens": 12}});
        options
            .as_object_mut()
            .expect("an object")
            .extend(introduction.as_object().cloned().unwrap_or_default());
        let encodings =
            if encoding == Encoding::Utf8 { json!(["utf-8"]) } else { json!(["utf-16"]) };
        client.initialize(json!({"initializationOptions": options, "capabilities": {"general": {"positionEncodings": encodings}}}));
        let uri = format!("file://{}", file.display());
        client.open(&uri, language, text);
        Editor { client, text: text.to_owned(), cursor: 0, version: 1, uri, encoding, file }
    }

    /// An editor whose server may write no file beyond so many bytes, and what that server says on
    /// standard error, line by line.
    pub fn open_on_a_full_disk(
        &self,
        bytes: usize,
        name: &str,
        text: &str,
    ) -> (Editor, Receiver<String>) {
        let mut shell = self.home.command("sh");
        // The limit's signal is ignored, so that writing fails as it does on a disk that is full.
        // Blocks of 512 bytes.
        shell
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 512))
            .arg(binary());
        shell.stderr(Stdio::piped());
        let mut editor = self.open_in(shell, name, "python", text, json!({}), Encoding::Utf8);
        let stderr = editor.client.child().stderr.take().expect("a pipe");
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| said.send(line))
        });
        (editor, lines)
    }

    /// The rows that are committed, as an export has them.
    pub fn rows(&self) -> Vec<Value> {
        let said =
            self.home.lacuna(["telemetry", "export", "--format", "jsonl"]).expect_code(0).stdout;
        said.lines()
            .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
            .collect()
    }

    /// Waits for rows of which something is true; `meanwhile` is done before each look.
    pub fn wait_for(
        &self,
        what: &str,
        mut meanwhile: impl FnMut(),
        is_there: impl Fn(&[Value]) -> bool,
    ) {
        let deadline = Instant::now() + HANG;
        loop {
            meanwhile();
            let rows = self.rows();
            if is_there(&rows) {
                return;
            }
            assert!(Instant::now() < deadline, "no {what} within {HANG:?}: {rows:?}");
        }
    }

    pub fn report(&self) -> Value {
        let said = self.home.lacuna(["telemetry", "report", "--json"]).expect_code(0).stdout;
        serde_json::from_str(&said).expect("one JSON object")
    }
}

impl Editor {
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Line and column of a byte.
    pub fn position(&self, byte: usize) -> (usize, usize) {
        let line_start = self.text[..byte].rfind('\n').map_or(0, |at| at + 1);
        let before = &self.text[line_start..byte];
        let column = match self.encoding {
            Encoding::Utf8 => before.len(),
            Encoding::Utf16 => before.encode_utf16().count(),
        };
        (self.text[..line_start].matches('\n').count(), column)
    }

    /// Byte of a position as the protocol has it.
    pub fn byte(&self, position: &Value) -> usize {
        let number = |key: &str| position[key].as_u64().expect("a number") as usize;
        let line_start =
            self.text.split_inclusive('\n').take(number("line")).map(str::len).sum::<usize>();
        let line = &self.text[line_start..];
        (0..=line.len())
            .filter(|at| line.is_char_boundary(*at))
            .map(|at| line_start + at)
            .find(|byte| self.position(*byte).1 == number("character"))
            .expect("a place in the line")
    }

    /// Puts the cursor behind `place`.
    pub fn go_behind(&mut self, place: &str) {
        self.cursor = self.text.find(place).expect("a place in the text") + place.len();
    }

    /// Replaces bytes: as an edit of that range, or as the whole text anew.
    pub fn edit(&mut self, bytes: std::ops::Range<usize>, text: &str, whole: bool) {
        let (start, end) = (self.position(bytes.start), self.position(bytes.end));
        self.cursor = bytes.start + text.len();
        self.text.replace_range(bytes, text);
        self.version += 1;
        let change = if whole {
            json!({"text": self.text})
        } else {
            let at = |(line, character)| json!({"line": line, "character": character});
            json!({"range": {"start": at(start), "end": at(end)}, "text": text})
        };
        let document = json!({"uri": self.uri, "version": self.version});
        self.client.notify(
            "textDocument/didChange",
            json!({"textDocument": document, "contentChanges": [change]}),
        );
    }

    pub fn insert(&mut self, text: &str) {
        self.edit(self.cursor..self.cursor, text, false);
    }

    /// Asks at the cursor; the item, what it inserts there, and its id. The tiny model always has
    /// something to say.
    pub fn ask(&mut self) -> (Value, String, Value) {
        let (line, character) = self.position(self.cursor);
        let item = self.client.items(&self.uri.clone(), line, character).remove(0);
        let from = item["range"]["start"]["character"].as_u64().expect("a column") as usize;
        let text = item["insertText"].as_str().expect("a text");
        let stem = &self.text[self.cursor - (character - from)..self.cursor];
        let rest = text.strip_prefix(stem).expect("the item restates the word").to_owned();
        (item.clone(), rest, item["command"]["arguments"][0].clone())
    }

    pub fn finish(mut self) {
        assert_eq!(self.client.finish(), Some(0));
    }
}
