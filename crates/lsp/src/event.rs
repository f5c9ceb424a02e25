//! What becomes of suggestions, as clients tell it.

/// What a client says became of a suggestion. `id` is the one that the suggestion was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Shown {
        id: String,
    },
    Accepted {
        id: String,
    },
    /// So many UTF-16 units of the inserted text, counted from its start; `None`: a piece of it.
    PartlyAccepted {
        id: String,
        utf16: Option<usize>,
    },
    Dismissed {
        id: String,
    },
}
