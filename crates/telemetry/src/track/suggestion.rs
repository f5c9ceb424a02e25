//! One suggestion from its request to the end of the watch over it: the states, and the row they
//! are stored as.

use std::sync::Arc;

use crate::clock::Moment;
use crate::event::{Draft, Int, Ints, Label, Text};

/// What has become of a suggestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Sent, but not on screen: an alternative to the one that is.
    Offered,
    Shown,
    /// All that was left of it was taken over by a command.
    Accepted,
    /// A part of it was.
    Partly,
    /// The user typed all of it.
    TypedThrough,
    /// The user wrote something else, went elsewhere, or the client said so.
    Dismissed,
    /// Another answer took its place before the user did anything.
    Superseded,
    /// Its document was closed or the server ended while it was shown.
    Closed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Offered => "offered",
            State::Shown => "shown",
            State::Accepted => "accepted",
            State::Partly => "partly",
            State::TypedThrough => "typed-through",
            State::Dismissed => "dismissed",
            State::Superseded => "superseded",
            State::Closed => "closed",
        }
    }

    /// The same text at the same place continues this suggestion.
    pub fn may_return(self) -> bool {
        !matches!(self, State::Accepted | State::TypedThrough)
    }
}

/// What has become of the watch over accepted text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    None,
    Running,
    /// All checks were made.
    Complete,
    /// The document was closed before.
    Closed,
    /// The document was deleted: nothing is left of the text.
    Deleted,
    /// The server ended before.
    Ended,
    /// Where the text is could not be told.
    Lost,
}

impl Watch {
    pub fn name(self) -> &'static str {
        match self {
            Watch::None => "",
            Watch::Running => "running",
            Watch::Complete => "complete",
            Watch::Closed => "closed",
            Watch::Deleted => "deleted",
            Watch::Ended => "ended",
            Watch::Lost => "lost",
        }
    }
}

/// A longer stay on screen counts as this: the user has left.
const MAX_STAY_MS: u64 = 300_000;

#[derive(Clone, Debug)]
pub struct Suggestion {
    pub seq: u32,
    /// Language, node, model and arms are filled in; the rest is written by [`Suggestion::draft`].
    pub texts: [Label; Text::COUNT],
    /// What does not change: start, length, latency.
    pub ints: Ints,
    pub document: Arc<str>,
    pub state: State,
    pub reason: &'static str,
    /// A client event confirmed what became of it.
    pub told: bool,
    pub watch: Watch,
    pub shows: i64,
    shown_since: Option<u64>,
    visible_ms: u64,
    longest_ms: u64,
    pub typed_chars: i64,
    pub accepted_chars: i64,
    /// The row was written when it became read.
    read: bool,
}

impl Suggestion {
    pub fn new(
        seq: u32,
        document: Arc<str>,
        texts: [Label; Text::COUNT],
        ints: Ints,
    ) -> Suggestion {
        Suggestion {
            seq,
            texts,
            ints,
            document,
            state: State::Offered,
            reason: "",
            told: false,
            watch: Watch::None,
            shows: 0,
            shown_since: None,
            visible_ms: 0,
            longest_ms: 0,
            typed_chars: 0,
            accepted_chars: 0,
            read: false,
        }
    }

    /// Characters of it that stand in the document by now, typed or accepted.
    pub fn taken(&self) -> i64 {
        self.typed_chars + self.accepted_chars
    }

    /// It comes on screen. One that is there stays there.
    pub fn show(&mut self, now: Moment) {
        if self.shown_since.is_none() {
            self.shown_since = Some(now.steady);
            self.shows += 1;
        }
        // A part that was accepted remains accepted, however often the rest is shown.
        self.state = if self.accepted_chars > 0 { State::Partly } else { State::Shown };
        self.reason = "";
    }

    /// It leaves the screen.
    pub fn hide(&mut self, now: Moment) {
        if let Some(since) = self.shown_since.take() {
            let stay = now.steady.saturating_sub(since).min(MAX_STAY_MS);
            self.visible_ms += stay;
            self.longest_ms = self.longest_ms.max(stay);
        }
    }

    /// True once, when it has been on screen for `ms`.
    pub fn mark_read(&mut self, now: Moment, ms: u64) -> bool {
        !self.read && {
            self.read = self.longest_ms(now) >= ms;
            self.read
        }
    }

    /// It is over; what was accepted before stays accepted.
    pub fn end(&mut self, now: Moment, state: State, reason: &'static str) {
        self.hide(now);
        self.state = match (self.state, state) {
            (State::Accepted, _) => State::Accepted,
            (_, State::Accepted) => State::Accepted,
            _ if self.accepted_chars > 0 => State::Partly,
            // An alternative that never came on screen was neither dismissed nor superseded.
            _ if self.shows == 0 => State::Offered,
            _ => state,
        };
        self.reason = reason;
    }

    /// Its longest stay, the present one included, in milliseconds.
    pub fn longest_ms(&self, now: Moment) -> u64 {
        self.shown_since.map_or(self.longest_ms, |since| {
            self.longest_ms.max(now.steady.saturating_sub(since).min(MAX_STAY_MS))
        })
    }

    /// The row as it would be if the suggestion ended now.
    pub fn draft(&self, now: Moment) -> Draft {
        let stay =
            self.shown_since.map_or(0, |since| now.steady.saturating_sub(since).min(MAX_STAY_MS));
        let mut texts = self.texts.clone();
        texts[Text::Kind as usize] = Label::Static("suggestion");
        texts[Text::State as usize] = Label::Static(self.state.name());
        texts[Text::Reason as usize] = Label::Static(self.reason);
        texts[Text::Evidence as usize] =
            Label::Static(if self.told { "client" } else { "inferred" });
        texts[Text::Watch as usize] = Label::Static(self.watch.name());
        let ints = self
            .ints
            .with(Int::Shows, self.shows)
            .with(Int::VisibleMs, (self.visible_ms + stay) as i64)
            .with(Int::LongestMs, self.longest_ms(now) as i64)
            .with(Int::TypedChars, self.typed_chars)
            .with(Int::AcceptedChars, self.accepted_chars);
        Draft { seq: self.seq, document: Arc::clone(&self.document), texts, ints }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment { steady: ms, wall: ms as i64 }
    }

    fn new() -> Suggestion {
        Suggestion::new(1, "d".into(), [const { Label::NONE }; Text::COUNT], Ints::default())
    }

    #[test]
    fn stays_add_up_and_the_longest_counts() {
        let mut s = new();
        s.show(at(0));
        s.show(at(100));
        s.end(at(700), State::Dismissed, "moved");
        s.show(at(5_000));
        let row = s.draft(at(5_750));
        assert_eq!(row.ints.of(Int::LongestMs), Some(750));
        assert_eq!(row.ints.of(Int::VisibleMs), Some(1_450));
        assert_eq!(row.ints.of(Int::Shows), Some(2));
        assert_eq!(row.text(Text::State), "shown");
        s.end(at(10_000_000), State::Closed, "");
        assert_eq!(s.draft(at(10_000_000)).ints.of(Int::LongestMs), Some(300_000));
    }

    #[test]
    fn what_was_accepted_stays_accepted() {
        let mut s = new();
        s.show(at(0));
        s.accepted_chars = 3;
        s.end(at(1), State::Dismissed, "diverged");
        assert_eq!(s.state, State::Partly);
        s.end(at(1), State::Accepted, "");
        s.end(at(2), State::Superseded, "replaced");
        assert_eq!(s.state, State::Accepted);
        let mut never = new();
        never.end(at(1), State::Superseded, "replaced");
        assert_eq!(never.state, State::Offered);
    }
}
