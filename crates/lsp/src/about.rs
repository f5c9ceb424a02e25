//! What a document is called: by its client, by the engine, by the model.

/// Stays as it is while the document is open, but for what files say of it
/// ([`Status::look_at`](super::status::Status::look_at)).
#[derive(Clone, Debug, PartialEq)]
pub struct About {
    /// As its client calls it.
    pub uri: String,
    /// Its name in the engine, which clients share.
    pub key: String,
    /// As the model sees it: relative to the workspace.
    pub path: String,
    /// Its language's id, as its client calls it.
    pub language_id: String,
    /// It is to be left alone.
    pub is_left: bool,
    /// Its text must not show in the prompts of others.
    pub stays_home: bool,
}

impl About {
    /// A document that nothing is said of.
    pub fn new(uri: &str, path: &str, language_id: &str) -> About {
        About {
            uri: uri.to_owned(),
            key: uri.to_owned(),
            path: path.to_owned(),
            language_id: language_id.to_owned(),
            is_left: false,
            stays_home: false,
        }
    }
}
