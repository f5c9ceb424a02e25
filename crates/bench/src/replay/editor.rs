//! The text of a trace as the editor has it, and where its cursor is.

use anyhow::bail;
use lacuna_text::{Document, Encoding, Position, Range};

use super::trace::{Event, Trace};

/// An editor's buffer. Offsets of events are characters, those of everything else bytes.
pub struct Editor {
    pub document: Document,
    /// Byte offset.
    pub cursor: usize,
}

/// What an event was to the protocol: a range of the text before it, and what replaced it.
pub struct Change {
    pub range: Range,
    pub text: String,
}

impl Editor {
    pub fn new(trace: &Trace) -> Editor {
        Editor { document: Document::new(&trace.before, 0), cursor: 0 }
    }

    /// Applies an event; `None` when only the cursor moved. Positions are UTF-32.
    ///
    /// Errors: the event is outside of the text.
    pub fn apply(&mut self, event: &Event) -> anyhow::Result<Option<Change>> {
        let rope = self.document.rope();
        let (at, end) = (event.at, event.at.saturating_add(event.del));
        if end > rope.len_chars() {
            bail!(
                "characters {at} to {end} are outside of the text, which has {}",
                rope.len_chars()
            );
        }
        let (start, end) = (rope.char_to_byte(at), rope.char_to_byte(end));
        self.cursor = start + event.ins.len();
        if event.del == 0 && event.ins.is_empty() {
            return Ok(None);
        }
        let range = Range { start: self.position(start), end: self.position(end) };
        self.document.splice(start..end, &event.ins);
        Ok(Some(Change { range, text: event.ins.clone() }))
    }

    /// [`Editor::apply`] for an edit that the user did not make here: the cursor stays at its place
    /// in the text behind it.
    pub fn apply_elsewhere(&mut self, event: &Event) -> anyhow::Result<Option<Change>> {
        let from_end = self.document.len_bytes() - self.cursor;
        let change = self.apply(event)?;
        self.cursor = self.document.len_bytes() - from_end;
        Ok(change)
    }

    /// One of the lines above the cursor put in front of one of them (which ones, the number
    /// decides), and what takes it back; nothing where there is no line above.
    pub fn line_above(&self, random: usize) -> Option<[Event; 2]> {
        let rope = self.document.rope();
        let lines = rope.byte_to_line(self.cursor);
        let (from, to) = ((random / lines.max(1)) % lines.max(1), random.checked_rem(lines)?);
        let (at, line) = (rope.line_to_char(to), rope.line(from).to_string());
        let insert = Event { t: 0, at, del: 0, ins: line };
        let take_back = Event { t: 0, at, del: insert.ins.chars().count(), ins: String::new() };
        Some([insert, take_back])
    }

    pub fn position(&self, byte: usize) -> Position {
        self.document.position(byte, Encoding::Utf32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_count_characters() {
        let trace = Trace {
            id: "a".into(),
            path: "a.py".into(),
            language: "python".into(),
            before: "é🦀x\n".into(),
            events: Vec::new(),
        };
        let mut editor = Editor::new(&trace);
        let event = |at, del, ins: &str| Event { t: 0, at, del, ins: ins.to_owned() };
        let change = editor.apply(&event(1, 1, "yz")).unwrap().unwrap();
        assert_eq!((editor.document.text().as_str(), editor.cursor), ("éyzx\n", 4));
        assert_eq!(
            (change.range.start, change.range.end),
            (Position::new(0, 1), Position::new(0, 2))
        );
        assert!(editor.apply(&event(5, 0, "")).unwrap().is_none());
        assert!(
            editor.apply(&event(5, 1, "")).is_err()
                && editor.apply(&event(usize::MAX, 1, "")).is_err()
        );
    }
}
