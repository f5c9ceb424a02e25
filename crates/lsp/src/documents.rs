//! Open documents: text, syntax tree, and the requests that are running for each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dashmap::DashMap;
use lacuna_complete::{Flight, Snapshot};
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::Cancel;
use lacuna_text::{Document, Encoding, Utf16Text};
use tokio::sync::Notify;

use super::wire::Change;

/// One open document. Cloning is cheap: the rope and the tree share their memory with the clone.
#[derive(Clone)]
pub struct Open {
    pub document: Document,
    pub tree: SyntaxTree,
    pub language: Language,
    /// A change was missed: this is not the text that the editor has. Until the document is opened
    /// again or replaced as a whole.
    pub out_of_step: bool,
}

/// What a request holds of itself: when to stop, whether its text is still there, what it has
/// generated.
#[derive(Clone, Default)]
pub struct Ticket {
    pub cancel: Cancel,
    pub flight: Arc<Flight>,
    stale: Arc<AtomicBool>,
    stopped: Arc<Notify>,
}

impl Ticket {
    /// The text has changed or a newer request runs: what was found belongs to a text that is gone.
    pub fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire) || self.cancel.is_cancelled()
    }

    /// Ends when the request is superseded, also if it was before. For one that waits.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }
}

struct Running {
    ticket: Ticket,
    /// Byte offset of its cursor, where the answer would go; `None`: not there.
    at: Option<usize>,
    /// Typed at the cursor since.
    typed: String,
}

impl Running {
    fn stop(&self) {
        self.ticket.stale.store(true, Ordering::Release);
        self.ticket.cancel.cancel();
        self.ticket.stopped.notify_one();
    }

    /// Whether it may go on after this edit: what is typed is what it is about to say.
    fn follows(&mut self, edit: &Edit) -> bool {
        self.ticket.stale.store(true, Ordering::Release);
        let at_cursor = self.at.is_some_and(|at| at + self.typed.len() == edit.start)
            && edit.removed.is_empty();
        self.typed.push_str(&edit.text);
        at_cursor && self.ticket.flight.agrees(&self.typed)
    }
}

struct Entry {
    open: Open,
    /// The newest request.
    running: Option<Running>,
    /// An older one whose answer the user is typing: the newest waits for it.
    flying: Option<Running>,
}

impl Entry {
    fn stop(&mut self) {
        for running in [self.running.take(), self.flying.take()].into_iter().flatten() {
            running.stop();
        }
    }
}

/// An edit that was applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Edit {
    /// Byte offset.
    pub start: usize,
    pub text: String,
    pub removed: String,
    /// In characters: where, and how many went.
    pub at_char: usize,
    pub deleted_chars: usize,
}

/// A document after a change, and what the change was.
pub struct Edited {
    pub open: Open,
    pub edits: Vec<Edit>,
}

impl Edited {
    /// The document with the cursor where the last edit left it.
    pub fn snapshot(&self, key: &str, path: &str) -> Snapshot {
        let cursor = self.edits.last().map_or(0, |edit| edit.start + edit.text.len());
        let Open { document, tree, language, .. } = self.open.clone();
        let cursor = cursor.min(document.len_bytes());
        Snapshot {
            key: key.to_owned(),
            path: Some(path.to_owned()),
            language,
            cursor,
            document,
            tree,
            excerpts: Arc::default(),
        }
    }
}

/// All open documents by URI.
#[derive(Default)]
pub struct Documents {
    entries: DashMap<String, Entry>,
}

/// Why a document could not be changed.
#[derive(Debug)]
pub enum ChangeError {
    NotOpen,
    /// An older version than the one that is there: the message came late or twice.
    Stale {
        has: i32,
        got: i32,
    },
    /// An earlier change was missed; that was told then.
    OutOfStep,
}

impl Documents {
    pub fn open(&self, uri: &str, language: Language, version: i32, text: &Utf16Text) {
        let document = Document::from_utf16(text, version);
        let tree = SyntaxTree::parse(language, document.rope());
        let entry = Entry {
            open: Open { document, tree, language, out_of_step: false },
            running: None,
            flying: None,
        };
        if let Some(mut old) = self.entries.insert(uri.to_owned(), entry) {
            old.stop();
        }
    }

    /// A change of this document could not be read: its text is not known any more. Returns whether
    /// it was.
    pub fn lose(&self, uri: &str) -> bool {
        let Some(mut entry) = self.entries.get_mut(uri) else { return false };
        entry.stop();
        !std::mem::replace(&mut entry.open.out_of_step, true)
    }

    /// A message that may have been a change could not be read: the documents that it names, or all
    /// if it names none, are lost. Returns those that were not lost before.
    pub fn lose_named_in(&self, message: &str) -> Vec<String> {
        let all: Vec<String> = self.entries.iter().map(|entry| entry.key().clone()).collect();
        let named: Vec<String> =
            all.iter().filter(|uri| message.contains(uri.as_str())).cloned().collect();
        let lost = if named.is_empty() { all } else { named };
        lost.into_iter().filter(|uri| self.lose(uri)).collect()
    }

    pub fn close(&self, uri: &str) -> bool {
        match self.entries.remove(uri) {
            Some((_, mut entry)) => {
                entry.stop();
                true
            }
            None => false,
        }
    }

    /// Applies the edits of one `didChange` in order. Requests that run on the old text are
    /// cancelled, but for one whose answer is being typed. `version`: `None` for a client that does
    /// not count.
    pub fn change(
        &self,
        uri: &str,
        version: Option<i32>,
        changes: &[Change],
        encoding: Encoding,
    ) -> Result<Edited, ChangeError> {
        let mut entry = self.entries.get_mut(uri).ok_or(ChangeError::NotOpen)?;
        let has = entry.open.document.version();
        let version = version.unwrap_or(has);
        // What stands before a replacement of the whole text leaves no trace in it.
        let whole = changes.iter().rposition(Change::replaces_all);
        if whole.is_none() && (version < has || entry.open.out_of_step) {
            let error = if entry.open.out_of_step {
                ChangeError::OutOfStep
            } else {
                ChangeError::Stale { has, got: version }
            };
            entry.open.out_of_step = true;
            entry.stop();
            return Err(error);
        }
        let changes = changes.get(whole.unwrap_or(0)..).unwrap_or_default();
        let mut open = entry.open.clone();
        open.out_of_step = false;
        let mut applied = Vec::new();
        for change in changes {
            let old = open.document.clone();
            let (start, end, new_end) = match change.range {
                Some(range) => {
                    let info = open.document.apply_utf16(range, encoding, &change.text.0);
                    open.tree.edit(&info);
                    (info.start_byte, info.old_end_byte, info.new_end_byte)
                }
                None => {
                    open.document = Document::from_utf16(&change.text.0, has);
                    open.tree = SyntaxTree::parse(open.language, open.document.rope());
                    (0, old.len_bytes(), open.document.len_bytes())
                }
            };
            let chars = |byte| old.rope().byte_to_char(byte);
            let (at_char, deleted_chars) = (chars(start), chars(end) - chars(start));
            let text = open.document.slice(start..new_end).into_owned();
            applied.push(Edit {
                start,
                text,
                removed: old.slice(start..end).into_owned(),
                at_char,
                deleted_chars,
            });
        }
        let Entry { running, flying, .. } = &mut *entry;
        for request in [running, flying] {
            if let Some(now) = request
                && !matches!(applied.as_slice(), [edit] if now.follows(edit))
            {
                now.stop();
                *request = None;
            }
        }
        open.tree.reparse(open.document.rope());
        open.document.set_version(version);
        entry.open = open.clone();
        Ok(Edited { open, edits: applied })
    }

    /// A snapshot to complete on; `ticket` becomes the running request. The one before it is
    /// cancelled, unless what was typed since agrees with what it has said so far.
    pub fn begin(&self, uri: &str, ticket: &Ticket) -> Option<Open> {
        let mut entry = self.entries.get_mut(uri)?;
        if let Some(old) = entry.running.replace(Running {
            ticket: ticket.clone(),
            at: None,
            typed: String::new(),
        }) {
            if old.typed.is_empty() || entry.flying.is_some() {
                old.stop();
            } else {
                entry.flying = Some(old);
            }
        }
        Some(entry.open.clone())
    }

    /// A document as it is now.
    pub fn current(&self, uri: &str) -> Option<Open> {
        self.entries.get(uri).map(|entry| entry.open.clone())
    }

    pub fn uris(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.key().clone()).collect()
    }

    /// Open documents of a file, or of all files in a folder.
    pub fn at_or_below(&self, uri: &str) -> Vec<String> {
        let folder = uri.trim_end_matches('/');
        let below = |key: &str| {
            key.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.entries.iter().map(|entry| entry.key().clone()).filter(|key| below(key)).collect()
    }

    /// Closes every document; returns their URIs.
    pub fn close_all(&self) -> Vec<String> {
        let uris: Vec<String> = self.entries.iter().map(|entry| entry.key().clone()).collect();
        uris.into_iter().filter(|uri| self.close(uri)).collect()
    }

    /// Tells where the answer of the running request would go.
    pub fn locate(&self, uri: &str, ticket: &Ticket, cursor: usize) {
        if let Some(mut entry) = self.entries.get_mut(uri)
            && let Some(running) = &mut entry.running
            && Arc::ptr_eq(&running.ticket.stale, &ticket.stale)
        {
            running.at = Some(cursor);
        }
    }
}

#[cfg(test)]
mod tests {
    use lacuna_text::{Position, Range};

    use super::*;

    const URI: &str = "file:///a.py";

    fn edit(start: (u32, u32), end: (u32, u32), text: &str) -> Change {
        Change::new(
            Some(Range::new(Position::new(start.0, start.1), Position::new(end.0, end.1))),
            text,
        )
    }

    fn insert(
        documents: &Documents,
        version: i32,
        character: u32,
        text: &str,
    ) -> Result<Edited, ChangeError> {
        documents.change(
            URI,
            Some(version),
            &[edit((0, character), (0, character), text)],
            Encoding::Utf8,
        )
    }

    fn text_of(documents: &Documents) -> String {
        documents.current(URI).unwrap().document.text()
    }

    fn opened() -> Documents {
        let documents = Documents::default();
        documents.open(URI, Language::Python, 1, &"x = \n".into());
        documents
    }

    #[test]
    fn a_request_goes_on_only_while_nothing_contradicts_it() {
        let documents = opened();
        let begin = |cursor: usize| {
            let ticket = Ticket::default();
            documents.begin(URI, &ticket).unwrap();
            documents.locate(URI, &ticket, cursor);
            ticket
        };
        // Nothing has been generated yet: every edit ends it.
        let first = begin(4);
        insert(&documents, 2, 4, "a").unwrap();
        assert!(first.cancel.is_cancelled() && first.is_stale());
        // A newer request for the same text supersedes it.
        let second = begin(5);
        let third = begin(5);
        assert!(second.cancel.is_cancelled() && !third.is_stale());
        // An edit elsewhere, a deletion, a close.
        documents.change(URI, Some(3), &[edit((0, 0), (0, 1), "")], Encoding::Utf8).unwrap();
        assert!(third.cancel.is_cancelled());
        let fourth = begin(4);
        documents.close(URI);
        assert!(fourth.cancel.is_cancelled());
    }

    #[test]
    fn a_request_whose_answer_is_typed_flies_on_until_a_key_contradicts_it() {
        let documents = opened();
        let first = Ticket::default();
        documents.begin(URI, &first).unwrap();
        documents.locate(URI, &first, 4);
        first.flight.note("return");
        for (i, typed) in ["r", "e"].into_iter().enumerate() {
            insert(&documents, 2 + i as i32, 4 + i as u32, typed).unwrap();
            assert!(
                first.is_stale() && !first.cancel.is_cancelled(),
                "its text is gone, its answer is wanted"
            );
            let next = Ticket::default();
            documents.begin(URI, &next).unwrap();
            documents.locate(URI, &next, 5 + i);
            assert!(!first.cancel.is_cancelled());
        }
        insert(&documents, 9, 6, "x").unwrap();
        assert!(first.cancel.is_cancelled());
    }

    #[test]
    fn old_versions_are_refused_and_change_nothing() {
        let documents = opened();
        insert(&documents, 5, 4, "a").unwrap();
        assert!(matches!(
            insert(&documents, 4, 4, "b"),
            Err(ChangeError::Stale { has: 5, got: 4 })
        ));
        assert_eq!(documents.begin(URI, &Ticket::default()).unwrap().document.text(), "x = a\n");
        assert!(matches!(insert(&Documents::default(), 1, 0, "b"), Err(ChangeError::NotOpen)));
    }

    #[test]
    fn a_document_that_missed_a_change_is_out_of_step_until_it_is_replaced_as_a_whole() {
        let whole = |text: &str| Change::new(None, text);
        let far = |text: &str| edit((0, 0), (i32::MAX as u32, 0), text);
        let losses: [fn(&Documents); 3] = [
            |documents| assert!(documents.lose(URI) && !documents.lose(URI)),
            |documents| assert!(insert(documents, 0, 0, "late").is_err()),
            |documents| {
                assert_eq!(documents.lose_named_in("{\"method\": \"textDocument/didChange"), [URI])
            },
        ];
        for lost in losses {
            for (healing, text) in [
                (vec![whole("y = 1\n")], "y = 1\n"),
                (vec![edit((0, 0), (0, 0), "#"), far("z\n"), edit((0, 1), (0, 1), "!")], "z!\n"),
            ] {
                let documents = opened();
                let running = Ticket::default();
                documents.begin(URI, &running);
                lost(&documents);
                assert!(running.is_stale() && documents.current(URI).unwrap().out_of_step);
                assert!(matches!(insert(&documents, 8, 0, "more"), Err(ChangeError::OutOfStep)));
                assert_eq!(text_of(&documents), "x = \n");
                // The version of a client that counts anew is as good as any.
                documents.change(URI, Some(1), &healing, Encoding::Utf16).unwrap();
                assert_eq!(text_of(&documents), text);
                assert!(!documents.current(URI).unwrap().out_of_step);
                insert(&documents, 2, 0, "#").unwrap();
            }
        }
        // Others are not concerned by what names one.
        let documents = opened();
        documents.open("file:///b.py", Language::Python, 1, &"".into());
        assert_eq!(documents.lose_named_in("... \"file:///b.py\" ..."), ["file:///b.py"]);
        assert!(!documents.current(URI).unwrap().out_of_step);
    }

    #[test]
    fn a_client_that_does_not_count_versions_is_believed() {
        let documents = opened();
        documents.change(URI, None, &[edit((0, 4), (0, 4), "a")], Encoding::Utf16).unwrap();
        documents.change(URI, None, &[edit((9, 0), (9, 0), "b")], Encoding::Utf16).unwrap();
        assert_eq!(text_of(&documents), "x = a\nb");
    }

    /// Neovim's buffer ends in a final newline or not as the file did; what it sends leaves that
    /// open now and then.
    #[test]
    fn what_neovim_sends_leads_to_what_neovim_has() {
        use serde_json::Value;
        let conversation = include_str!("../../../tests/it/lsp/recorded/neovim-edits.jsonl");
        let documents = Documents::default();
        let (mut encoding, mut compared) = (Encoding::Utf16, 0);
        for line in conversation.lines().skip(1) {
            let step: Value = serde_json::from_str(line).unwrap();
            if let Some(text) = step["open"].as_str() {
                encoding = Encoding::from_name(step["encoding"].as_str().unwrap()).unwrap();
                documents.open(URI, Language::Python, 0, &text.into());
                continue;
            }
            for change in step["changes"].as_array().unwrap() {
                let version = change["version"].as_i64().map(|version| version as i32);
                let changes = crate::wire::changes(&change["contentChanges"]).unwrap();
                documents
                    .change(URI, version, &changes, encoding)
                    .unwrap_or_else(|e| panic!("{step}: {e:?}"));
            }
            let (text, buffer) = (text_of(&documents), step["buffer"].as_str().unwrap());
            let differs_by_a_newline =
                text.strip_suffix('\n') == Some(buffer) || buffer.strip_suffix('\n') == Some(&text);
            assert!(text == buffer || differs_by_a_newline, "{text:?} after {step}");
            compared += 1;
        }
        assert_eq!(compared, 4 * 34);
    }

    #[test]
    fn edits_are_told_in_characters_too() {
        let documents = Documents::default();
        documents.open(URI, Language::Python, 1, &"é🦀x\n".into());
        let edited =
            documents.change(URI, Some(2), &[edit((0, 2), (0, 6), "yz")], Encoding::Utf8).unwrap();
        assert_eq!(
            edited.edits,
            [Edit {
                start: 2,
                text: "yz".into(),
                removed: "🦀".into(),
                at_char: 1,
                deleted_chars: 1
            }]
        );
        assert_eq!(edited.snapshot("k", "a.py").cursor, 4);
    }
}
