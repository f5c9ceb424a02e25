//! Parts of the other open documents for a document's prompts (`context.other_files`), chosen
//! seldom: a prompt whose beginning changes at every keystroke is computed anew at every keystroke.
//!
//! A choice holds while the cursor stays near where it was made and the documents it shows are open
//! and unchanged. What is in it is text of its own: it stays as it was when it was chosen.

use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use lacuna_context::{Excerpt, OtherFile, similar, without_secrets};
use lacuna_prompt::excerpts::excerpt;

use super::documents::Open;

/// Lines that the cursor may go from where the choice was made.
const KEEP_LINES: usize = 40;
/// Other documents that are looked at, the ones used last.
const MOST_DOCUMENTS: usize = 8;
/// Bytes of each that are looked at, around the place that was edited last (else its beginning).
const MOST_BYTES: usize = 32 << 10;
/// Documents that are remembered as used.
const MOST_RECENT: usize = 64;

/// The choices of all documents.
#[derive(Default)]
pub struct Neighbours {
    chosen: DashMap<String, Choice>,
    /// Documents by when they were last used and where, the latest last.
    recent: Mutex<Vec<(String, usize)>>,
}

struct Choice {
    /// Of the cursor.
    line: usize,
    /// URIs of the documents that are shown.
    shown: Vec<String>,
    excerpts: Arc<[Excerpt]>,
}

impl Neighbours {
    /// A document was opened: what is shown of it elsewhere is chosen anew, and for documents that
    /// found nothing to show it may be right.
    pub fn opened(&self, uri: &str) {
        self.chosen.retain(|_, choice| !choice.shown.is_empty());
        self.changed(uri, 0);
    }

    /// A document was edited at byte `at`: what is shown of it elsewhere is chosen anew.
    pub fn changed(&self, uri: &str, at: usize) {
        self.forget_showing(uri);
        self.used(uri, at);
    }

    /// A completion was asked for at byte `at` of a document.
    pub fn used(&self, uri: &str, at: usize) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|(other, _)| other != uri);
        if recent.len() == MOST_RECENT {
            recent.remove(0);
        }
        recent.push((uri.to_owned(), at));
    }

    pub fn closed(&self, uri: &str) {
        self.forget_showing(uri);
        self.chosen.remove(uri);
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(other, _)| other != uri);
    }

    fn forget_showing(&self, uri: &str) {
        self.chosen.retain(|_, choice| choice.shown.iter().all(|other| other != uri));
    }

    /// What prompts for byte `cursor` of a document, shown as `path`, show of others, at most
    /// `max_bytes`. `document` gives another document with the path that the model is shown, or
    /// nothing if it is not to be shown.
    pub fn excerpts(
        &self,
        uri: &str,
        path: &str,
        open: &Open,
        cursor: usize,
        max_bytes: usize,
        document: impl Fn(&str) -> Option<(String, Open)>,
    ) -> Arc<[Excerpt]> {
        let rope = open.document.rope();
        let line = rope.byte_to_line(cursor.min(rope.len_bytes()));
        if let Some(choice) =
            self.chosen.get(uri).filter(|choice| choice.line.abs_diff(line) <= KEEP_LINES)
        {
            return Arc::clone(&choice.excerpts);
        }
        let recent: Vec<(String, usize)> = {
            let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
            recent
                .iter()
                .rev()
                .filter(|(other, _)| other != uri)
                .take(MOST_DOCUMENTS)
                .cloned()
                .collect()
        };
        let others: Vec<(String, String, String)> = recent
            .into_iter()
            .filter_map(|(other, at)| {
                let (path, open) = document(&other)?;
                let at = at.min(open.document.len_bytes());
                let text = open
                    .document
                    .slice(at.saturating_sub(MOST_BYTES / 2)..at.saturating_add(MOST_BYTES / 2))
                    .into_owned();
                Some((other, path, without_secrets(&text)))
            })
            .collect();
        let files: Vec<OtherFile> =
            others.iter().map(|(_, path, text)| OtherFile { path, text }).collect();
        let around = |range| open.document.slice(range).into_owned();
        let before = around(cursor.saturating_sub(MOST_BYTES / 2)..cursor);
        let after = around(cursor..cursor.saturating_add(MOST_BYTES / 2));
        let excerpts: Arc<[Excerpt]> =
            similar(open.language, &before, &after, &files, max_bytes, |other, text| {
                excerpt(path, other, text)
            })
            .into();
        let is_shown =
            |path: &str| excerpts.iter().any(|excerpt| excerpt.path.as_deref() == Some(path));
        let shown = others
            .iter()
            .filter(|(_, path, _)| is_shown(path))
            .map(|(other, _, _)| other.clone())
            .collect();
        self.chosen.insert(uri.to_owned(), Choice { line, shown, excerpts: Arc::clone(&excerpts) });
        excerpts
    }
}

#[cfg(test)]
mod tests {
    use lacuna_context::{Language, SyntaxTree};
    use lacuna_text::Document;

    use super::*;

    fn open(text: &str) -> Open {
        let document = Document::new(text, 1);
        let tree = SyntaxTree::parse(Language::Python, document.rope());
        Open { document, tree, language: Language::Python, out_of_step: false }
    }

    /// Opens `others` and asks for `text` with the cursor at its end.
    fn ask(neighbours: &Neighbours, text: &str, others: &[(&str, &str)]) -> Vec<String> {
        let find = |uri: &str| {
            others
                .iter()
                .find(|(other, _)| *other == uri)
                .map(|(uri, text)| (format!("{uri}.py"), open(text)))
        };
        let excerpts = neighbours.excerpts("here", "here.py", &open(text), text.len(), 1000, find);
        excerpts.iter().map(|excerpt| excerpt.text.clone()).collect()
    }

    const CIRCLE: (&str, &str) = ("circle", "class Circle:\n    radius = 1\n");
    const SQUARE: (&str, &str) = ("square", "class Square:\n    side = 1\n");

    #[test]
    fn what_resembles_is_shown_and_nothing_else() {
        let neighbours = Neighbours::default();
        for (uri, _) in [CIRCLE, SQUARE] {
            neighbours.changed(uri, 0);
        }
        assert_eq!(
            ask(&neighbours, "c = Circle(\n", &[CIRCLE, SQUARE]),
            ["# circle.py\nclass Circle:\n    radius = 1"]
        );
        // One that must not be shown is not.
        assert!(
            ask(&Neighbours::default(), "c = Circle(\n", &[CIRCLE]).is_empty(),
            "nobody has opened it"
        );
        let hidden = Neighbours::default();
        hidden.changed("circle", 0);
        assert!(ask(&hidden, "c = Circle(\n", &[SQUARE]).is_empty());
    }

    #[test]
    fn a_choice_holds_until_the_cursor_has_gone_far_or_what_it_shows_has_changed() {
        let neighbours = Neighbours::default();
        let all = [CIRCLE, SQUARE];
        all.iter().for_each(|(uri, _)| neighbours.changed(uri, 0));
        let first = ask(&neighbours, "c = Circle(\n", &all);
        // Nearer to the square now, but on the next line.
        assert_eq!(ask(&neighbours, "c = Circle(\ns = Square(side, side=side)\n", &all), first);
        let far = format!("{}s = Square(side)\n", "\n".repeat(KEEP_LINES + 2));
        assert_eq!(ask(&neighbours, &far, &all), ["# square.py\nclass Square:\n    side = 1"]);
        // A change of what is not shown changes nothing, one of what is shown does.
        neighbours.changed("circle", 0);
        assert_eq!(ask(&neighbours, &far, &[SQUARE, CIRCLE]).len(), 1);
        neighbours.changed("square", 0);
        assert!(
            ask(&neighbours, &far, &[("square", "side = Square\n")])[0].ends_with("side = Square")
        );
        neighbours.closed("square");
        assert!(ask(&neighbours, &far, &[]).is_empty());
        // Where nothing was found, an edit elsewhere is no reason to look again, another document
        // is.
        neighbours.changed("square", 0);
        assert!(ask(&neighbours, &far, &all).is_empty());
        neighbours.opened("square");
        assert_eq!(ask(&neighbours, &far, &all).len(), 1);
    }

    #[test]
    fn much_used_documents_and_large_ones_are_bounded() {
        let neighbours = Neighbours::default();
        let uris: Vec<String> = (0..3 * MOST_RECENT).map(|i| format!("d{i}")).collect();
        uris.iter().for_each(|uri| neighbours.changed(uri, usize::MAX));
        let asked = std::cell::Cell::new(0);
        let large = "side = Square\n".repeat(100_000);
        let find = |uri: &str| {
            asked.set(asked.get() + 1);
            Some((uri.to_owned(), open(&large)))
        };
        let excerpts = neighbours.excerpts("here", "here.py", &open("s = Square\n"), 11, 400, find);
        assert_eq!(asked.get(), MOST_DOCUMENTS);
        assert!(excerpts.iter().map(|e| e.text.len() + 1).sum::<usize>() <= 400);
        assert!(neighbours.recent.lock().unwrap().len() <= MOST_RECENT);
    }
}
