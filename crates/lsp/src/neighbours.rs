//! Parts of the other open documents for a document's prompts (`context.other_files`), chosen
//! seldom: a prompt whose beginning changes at every keystroke is computed anew at every keystroke.
//!
//! A choice holds while the cursor stays near where it was made and the documents it shows are open
//! and unchanged. What is in it is text of its own: it stays as it was when it was chosen.

use std::sync::Arc;

use lacuna_context::{Excerpt, OtherFile, similar, without_secrets};
use lacuna_prompt::excerpts::excerpt;

use super::about::About;
use super::view::View;

/// Lines that the cursor may go from where the choice was made.
const KEEP_LINES: usize = 40;
/// Other documents that are looked at, the ones used last.
pub const MOST_DOCUMENTS: usize = 8;
/// Bytes of each that are looked at, around the place that was used last.
const MOST_BYTES: usize = 32 << 10;

/// What one document's prompts show of others.
pub struct Choice {
    /// When it was made, as [`super::document`] counts.
    made: u64,
    /// Of the cursor.
    line: usize,
    /// URIs of the documents that are shown.
    shown: Vec<String>,
    pub excerpts: Arc<[Excerpt]>,
}

/// A document and the byte of it that was used last, or at which the cursor is.
#[derive(Clone, Copy)]
pub struct Spot<'a> {
    pub about: &'a About,
    pub view: &'a View,
    pub at: usize,
}

impl Spot<'_> {
    fn line(&self) -> usize {
        let rope = self.view.document.rope();
        rope.byte_to_line(self.at.min(rope.len_bytes()))
    }

    /// The text left and right of it.
    fn around(&self) -> [String; 2] {
        let at = self.at.min(self.view.document.len_bytes());
        [at.saturating_sub(MOST_BYTES / 2)..at, at..at.saturating_add(MOST_BYTES / 2)]
            .map(|bytes| self.view.document.slice(bytes).into_owned())
    }
}

impl Choice {
    /// What prompts for a cursor show of `others`, at most `max_bytes`.
    pub fn new(made: u64, cursor: Spot<'_>, others: &[Spot<'_>], max_bytes: usize) -> Choice {
        let texts: Vec<String> =
            others.iter().map(|other| without_secrets(&other.around().concat())).collect();
        let files: Vec<OtherFile> = others
            .iter()
            .zip(&texts)
            .map(|(other, text)| OtherFile { path: &other.about.path, text })
            .collect();
        let [before, after] = cursor.around();
        let excerpts: Arc<[Excerpt]> =
            similar(cursor.view.language, &before, &after, &files, max_bytes, |other, text| {
                excerpt(&cursor.about.path, other, text)
            })
            .into();
        let is_shown =
            |path: &str| excerpts.iter().any(|excerpt| excerpt.path.as_deref() == Some(path));
        let shown = others.iter().filter(|other| is_shown(&other.about.path));
        let shown = shown.map(|other| other.about.uri.clone()).collect();
        Choice { made, line: cursor.line(), shown, excerpts }
    }

    /// Whether the cursor is still near and what is shown as it was; where nothing is shown,
    /// whether nothing was `opened` since. `changed`: when an open document was.
    pub fn holds(
        &self,
        cursor: Spot<'_>,
        changed: impl Fn(&str) -> Option<u64>,
        opened: u64,
    ) -> bool {
        let is_old = |uri: &String| changed(uri).is_some_and(|changed| changed <= self.made);
        self.line.abs_diff(cursor.line()) <= KEEP_LINES
            && if self.shown.is_empty() {
                opened <= self.made
            } else {
                self.shown.iter().all(is_old)
            }
    }
}

#[cfg(test)]
mod tests {
    use lacuna_context::Language;
    use lacuna_text::Encoding;

    use super::*;
    use crate::documents::Documents;
    use crate::notebooks::{Cell, Notebook};
    use crate::wire::Change;

    const CIRCLE: (&str, &str) = ("circle.py", "class Circle:\n    radius = 1\n");
    const SQUARE: (&str, &str) = ("square.py", "class Square:\n    side = 1\n");
    const HERE: &str = "here.py";

    fn open(documents: &mut Documents, (uri, text): (&str, &str)) {
        documents.open(uri, Language::Python, 1, &text.into());
    }

    fn opened(all: &[(&str, &str)]) -> Documents {
        let mut documents = Documents::default();
        all.iter().for_each(|document| open(&mut documents, *document));
        documents
    }

    /// Puts `text` into a document of its own and asks with the cursor at its end. Those in
    /// `hidden` must not be shown.
    fn ask_but(documents: &mut Documents, text: &str, hidden: &[&str]) -> Vec<String> {
        let whole = [Change::new(None, text)];
        if documents.change(HERE, None, &whole, Encoding::Utf8).is_err() {
            open(documents, (HERE, text));
        }
        let is_quiet = |about: &About| hidden.contains(&about.uri.as_str());
        let excerpts = documents.excerpts(HERE, text.len(), 1000, is_quiet);
        excerpts.iter().map(|excerpt| excerpt.text.clone()).collect()
    }

    fn ask(documents: &mut Documents, text: &str) -> Vec<String> {
        ask_but(documents, text, &[])
    }

    /// An edit that leaves the text as it is, or another text.
    fn change(documents: &mut Documents, (uri, text): (&str, &str)) {
        documents.change(uri, None, &[Change::new(None, text)], Encoding::Utf8).unwrap();
    }

    #[test]
    fn what_resembles_is_shown_and_nothing_else() {
        let text = "c = Circle(\n";
        assert_eq!(
            ask(&mut opened(&[CIRCLE, SQUARE]), text),
            ["# circle.py\nclass Circle:\n    radius = 1"]
        );
        assert!(ask(&mut opened(&[SQUARE]), text).is_empty(), "nobody has opened it");
        // One that must not be shown is not.
        assert!(ask_but(&mut opened(&[CIRCLE, SQUARE]), text, &["circle.py"]).is_empty());
        type Hide = fn(&mut Documents);
        let hides: [Hide; 3] = [
            |documents| assert!(documents.get_mut("circle.py").unwrap().lose()),
            |documents| {
                Arc::make_mut(&mut documents.get_mut("circle.py").unwrap().about).stays_home = true;
            },
            |documents| {
                let cells = [HERE, "circle.py"].map(|uri| Cell { document: uri.to_owned() });
                documents.notebooks.opened(Notebook { uri: "n".to_owned(), cells: cells.into() });
            },
        ];
        for hide in hides {
            let mut documents = opened(&[CIRCLE]);
            hide(&mut documents);
            assert!(ask(&mut documents, text).is_empty());
        }
    }

    #[test]
    fn a_choice_holds_until_the_cursor_has_gone_far_or_what_it_shows_has_changed() {
        let mut documents = opened(&[CIRCLE, SQUARE]);
        let first = ask(&mut documents, "c = Circle(\n");
        // Nearer to the square now, but on the next line.
        assert_eq!(ask(&mut documents, "c = Circle(\ns = Square(side, side=side)\n"), first);
        let far = format!("{}s = Square(side)\n", "\n".repeat(KEEP_LINES + 2));
        assert_eq!(ask(&mut documents, &far), ["# square.py\nclass Square:\n    side = 1"]);
        // A change of what is not shown changes nothing, one of what is shown does.
        change(&mut documents, ("circle.py", "side = Square(side)\n"));
        assert_eq!(ask(&mut documents, &far), ["# square.py\nclass Square:\n    side = 1"]);
        change(&mut documents, CIRCLE);
        change(&mut documents, ("square.py", "side = Square\n"));
        assert!(ask(&mut documents, &far)[0].ends_with("side = Square"));
        documents.close("square.py").unwrap();
        assert!(ask(&mut documents, &far).is_empty());
        // Where nothing was found, an edit elsewhere is no reason to look again, another document
        // is.
        change(&mut documents, ("circle.py", SQUARE.1));
        assert!(ask(&mut documents, &far).is_empty());
        open(&mut documents, SQUARE);
        assert!(!ask(&mut documents, &far).is_empty());
    }

    #[test]
    fn many_documents_and_large_ones_are_bounded() {
        let large = "side = Square\n".repeat(10_000);
        let mut documents = opened(&[(HERE, "s = Square\n")]);
        for i in 0..3 * MOST_DOCUMENTS {
            open(&mut documents, (&format!("d{i}.py"), &large));
        }
        let asked = std::cell::RefCell::new(Vec::new());
        let is_quiet = |about: &About| {
            asked.borrow_mut().push(about.uri.clone());
            false
        };
        documents.get_mut("d3.py").unwrap().used_at(usize::MAX);
        let excerpts = documents.excerpts(HERE, 11, 400, is_quiet);
        // Those that were used last.
        let asked = asked.into_inner();
        assert_eq!((asked.len(), asked[0].as_str()), (MOST_DOCUMENTS, "d3.py"));
        assert!(excerpts.iter().map(|e| e.text.len() + 1).sum::<usize>() <= 400);
    }
}
