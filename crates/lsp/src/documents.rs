//! The open documents of one client: the one map from URI, and the one place where a document is
//! opened, changed and closed.
//!
//! Owns: what concerns several of them (notebooks, what the prompts of one show of others, which
//! was answered last). What is known of a single one is in [`OpenDocument`].

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use lacuna_context::{Excerpt, Language};
use lacuna_text::{Encoding, Utf16Text};

use super::about::About;
use super::document::{ChangeError, OpenDocument, now};
use super::neighbours::{Choice, MOST_DOCUMENTS, Spot};
use super::notebooks::{Notebooks, joined};
use super::view::{Edited, View};
use super::wire::Change;

#[derive(Default)]
pub struct Documents {
    all: HashMap<String, OpenDocument>,
    /// Which of them are cells of which notebook.
    pub notebooks: Notebooks,
    /// When one was opened last, as [`now`] counts.
    opened: u64,
}

impl Documents {
    /// Opens a document, instead of the one that had its name.
    pub fn open(
        &mut self,
        uri: &str,
        language: Language,
        version: i32,
        text: &Utf16Text,
    ) -> &mut OpenDocument {
        let document = OpenDocument::new(uri, language, version, text);
        self.opened = now();
        self.all.entry(uri.to_owned()).insert_entry(document).into_mut()
    }

    /// As [`OpenDocument::change`].
    pub fn change(
        &mut self,
        uri: &str,
        version: Option<i32>,
        changes: &[Change],
        encoding: Encoding,
    ) -> Result<Edited, ChangeError> {
        self.get_mut(uri).ok_or(ChangeError::NotOpen)?.change(version, changes, encoding)
    }

    /// Closes a document; the caller has it for as long as it has something to say of it.
    pub fn close(&mut self, uri: &str) -> Option<OpenDocument> {
        self.all.remove(uri)
    }

    /// A message that may have been a change could not be read: the documents that it names, or all
    /// if it names none, are lost. Returns those that were not lost before.
    pub fn lose_named_in(&mut self, message: &str) -> Vec<String> {
        let is_any_named = self.all.keys().any(|uri| message.contains(uri.as_str()));
        let is_meant = |uri: &str| !is_any_named || message.contains(uri);
        self.all
            .iter_mut()
            .filter_map(|(uri, document)| (is_meant(uri) && document.lose()).then(|| uri.clone()))
            .collect()
    }

    /// The same for a change of a notebook: its cells are lost, where it is known.
    pub fn lose_cells(&mut self, notebook: &str, message: &str) -> Vec<String> {
        let Documents { all, notebooks, .. } = self;
        let cells = notebooks.cells(notebook);
        if cells.is_empty() {
            return self.lose_named_in(message);
        }
        let mut lose = |cell: &String| all.get_mut(cell).is_some_and(OpenDocument::lose);
        cells.iter().filter(|cell| lose(cell)).cloned().collect()
    }

    pub fn get(&self, uri: &str) -> Option<&OpenDocument> {
        self.all.get(uri)
    }

    pub fn get_mut(&mut self, uri: &str) -> Option<&mut OpenDocument> {
        self.all.get_mut(uri)
    }

    pub fn iter(&self) -> impl Iterator<Item = &OpenDocument> {
        self.all.values()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut OpenDocument> {
        self.all.values_mut()
    }

    /// URIs of the open documents of a file, or of all files in a folder.
    pub fn at_or_below(&self, uri: &str) -> Vec<String> {
        let folder = uri.trim_end_matches('/');
        let is_below = |key: &str| {
            key.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.all.keys().filter(|key| is_below(key)).cloned().collect()
    }

    /// The document that was answered last.
    pub fn latest(&self) -> Option<&OpenDocument> {
        self.iter()
            .filter(|document| document.answered > 0)
            .max_by_key(|document| document.answered)
    }

    /// A text of a document between the texts of the other cells of its notebook in its language,
    /// and byte `cursor` of it there. Where there are none, as it is.
    pub fn joined(&self, uri: &str, view: View, cursor: usize) -> (View, usize) {
        let Some((above, below)) = self.notebooks.around(uri) else { return (view, cursor) };
        let language = view.language;
        let text = |cell: &String| {
            let cell = self.get(cell)?;
            (cell.view.language == language && !cell.out_of_step).then(|| cell.view.document.text())
        };
        joined(view, cursor, above.iter().rev().filter_map(text), below.iter().filter_map(text))
    }

    /// What prompts for byte `cursor` of a document show of others, at most `max_bytes`.
    /// `is_quiet`: whether one is left alone, and not shown then. Neither is what git does not
    /// keep; cells of the same notebook are there as text above and below.
    pub fn excerpts(
        &mut self,
        uri: &str,
        cursor: usize,
        max_bytes: usize,
        is_quiet: impl Fn(&About) -> bool,
    ) -> Arc<[Excerpt]> {
        let Some(document) = self.get(uri) else { return Arc::default() };
        let cursor = document.spot_at(cursor);
        let changed = |other: &str| self.get(other).map(|other| other.changed);
        if let Some(choice) = &document.choice
            && choice.holds(cursor, changed, self.opened)
        {
            return Arc::clone(&choice.excerpts);
        }
        let mut others: Vec<&OpenDocument> =
            self.iter().filter(|other| other.about.uri != uri).collect();
        others.sort_by_key(|other| Reverse(other.used));
        others.truncate(MOST_DOCUMENTS);
        let may_show = |other: &&OpenDocument| {
            !other.out_of_step
                && !other.about.stays_home
                && !is_quiet(&other.about)
                && !self.notebooks.share(uri, &other.about.uri)
        };
        let spots: Vec<Spot<'_>> =
            others.into_iter().filter(may_show).map(OpenDocument::spot).collect();
        let choice = Choice::new(now(), cursor, &spots, max_bytes);
        let excerpts = Arc::clone(&choice.excerpts);
        if let Some(document) = self.get_mut(uri) {
            document.choice = Some(choice);
        }
        excerpts
    }
}

#[cfg(test)]
mod tests {
    use lacuna_text::{Position, Range};

    use super::*;
    use crate::reasons::Quiet;
    use crate::record::Recorder;
    use crate::requests::Ticket;
    use crate::status::Last;
    use crate::view::Edit;

    const URI: &str = "file:///a.py";

    fn edit(start: (u32, u32), end: (u32, u32), text: &str) -> Change {
        Change::new(
            Some(Range::new(Position::new(start.0, start.1), Position::new(end.0, end.1))),
            text,
        )
    }

    fn insert(
        documents: &mut Documents,
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
        documents.get(URI).unwrap().view.document.text()
    }

    fn opened() -> Documents {
        let mut documents = Documents::default();
        documents.open(URI, Language::Python, 1, &"x = \n".into());
        documents
    }

    fn begin(documents: &mut Documents, cursor: usize) -> Ticket {
        let ticket = Ticket::default();
        let document = documents.get_mut(URI).unwrap();
        document.begin(&ticket);
        document.locate(&ticket, cursor);
        ticket
    }

    #[test]
    fn a_request_goes_on_only_while_nothing_contradicts_it() {
        let mut documents = opened();
        // Nothing has been generated yet: every edit ends it.
        let first = begin(&mut documents, 4);
        insert(&mut documents, 2, 4, "a").unwrap();
        assert!(first.cancel.is_cancelled() && first.is_stale());
        // A newer request for the same text supersedes it.
        let second = begin(&mut documents, 5);
        let third = begin(&mut documents, 5);
        assert!(second.cancel.is_cancelled() && !third.is_stale());
        // An edit elsewhere, a deletion, a close.
        documents.change(URI, Some(3), &[edit((0, 0), (0, 1), "")], Encoding::Utf8).unwrap();
        assert!(third.cancel.is_cancelled());
        let fourth = begin(&mut documents, 4);
        documents.close(URI);
        assert!(fourth.cancel.is_cancelled());
    }

    #[test]
    fn a_request_whose_answer_is_typed_flies_on_until_a_key_contradicts_it() {
        let mut documents = opened();
        let first = begin(&mut documents, 4);
        first.flight.note("return");
        for (i, typed) in ["r", "e"].into_iter().enumerate() {
            insert(&mut documents, 2 + i as i32, 4 + i as u32, typed).unwrap();
            assert!(
                first.is_stale() && !first.cancel.is_cancelled(),
                "its text is gone, its answer is wanted"
            );
            begin(&mut documents, 5 + i);
            assert!(!first.cancel.is_cancelled());
        }
        insert(&mut documents, 9, 6, "x").unwrap();
        assert!(first.cancel.is_cancelled());
    }

    #[test]
    fn old_versions_are_refused_and_change_nothing() {
        let mut documents = opened();
        insert(&mut documents, 5, 4, "a").unwrap();
        assert!(matches!(
            insert(&mut documents, 4, 4, "b"),
            Err(ChangeError::Stale { has: 5, got: 4 })
        ));
        assert_eq!(text_of(&documents), "x = a\n");
        assert!(matches!(insert(&mut Documents::default(), 1, 0, "b"), Err(ChangeError::NotOpen)));
    }

    #[test]
    fn a_document_that_missed_a_change_is_out_of_step_until_it_is_replaced_as_a_whole() {
        let whole = |text: &str| Change::new(None, text);
        let far = |text: &str| edit((0, 0), (i32::MAX as u32, 0), text);
        let losses: [fn(&mut Documents); 3] = [
            |documents| {
                let document = documents.get_mut(URI).unwrap();
                assert!(document.lose() && !document.lose());
            },
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
                let mut documents = opened();
                let running = begin(&mut documents, 0);
                lost(&mut documents);
                assert!(running.is_stale() && documents.get(URI).unwrap().out_of_step);
                assert!(matches!(
                    insert(&mut documents, 8, 0, "more"),
                    Err(ChangeError::OutOfStep)
                ));
                assert_eq!(text_of(&documents), "x = \n");
                // The version of a client that counts anew is as good as any.
                documents.change(URI, Some(1), &healing, Encoding::Utf16).unwrap();
                assert_eq!(text_of(&documents), text);
                assert!(!documents.get(URI).unwrap().out_of_step);
                insert(&mut documents, 2, 0, "#").unwrap();
            }
        }
        // Others are not concerned by what names one.
        let mut documents = opened();
        documents.open("file:///b.py", Language::Python, 1, &"".into());
        assert_eq!(documents.lose_named_in("... \"file:///b.py\" ..."), ["file:///b.py"]);
        assert!(!documents.get(URI).unwrap().out_of_step);
    }

    #[test]
    fn a_closed_document_leaves_nothing_behind_but_its_recording() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("traces.jsonl");
        let recorder = Arc::new(Recorder::new(&file).unwrap());
        let mut documents = opened();
        let document = documents.get_mut(URI).unwrap();
        document.recording = Some(recorder.begin(URI, &document.view));
        document.note(Last::quiet(URI, Quiet::Paused));
        let told = |documents: &Documents| documents.latest().and_then(|d| d.last()?.reason());
        assert_eq!(told(&documents), Some("paused"));
        insert(&mut documents, 2, 4, "a").unwrap();
        let running = begin(&mut documents, 5);
        assert!(std::fs::read_to_string(&file).unwrap().is_empty());
        drop(documents.close(URI));
        assert!(running.is_stale() && documents.iter().next().is_none());
        assert_eq!(told(&documents), None);
        let recorded = std::fs::read_to_string(&file).unwrap();
        assert_eq!((recorded.lines().count(), recorded.contains("x = ")), (1, true), "{recorded}");
        assert!(documents.close(URI).is_none());
    }

    #[test]
    fn a_client_that_does_not_count_versions_is_believed() {
        let mut documents = opened();
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
        let mut documents = Documents::default();
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
        let mut documents = Documents::default();
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
        assert_eq!(edited.snapshot().cursor, 4);
    }
}
