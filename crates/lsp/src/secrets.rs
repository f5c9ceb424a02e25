//! Lines with secrets are not completed, and completions do not make any.

use lacuna_complete::{Outcome, Reason, Reply};
use lacuna_context::{inside_key, looks_secret};
use lacuna_text::Document;

/// Bytes of a line around the cursor that are looked at.
const MOST: usize = 4096;
/// Bytes above the cursor in which a private key may have begun: the largest in use are shorter.
const LONGEST_KEY: usize = 16 << 10;

/// Whether the line of the cursor looks as if it held a key or a password.
pub fn has_secret(document: &Document, cursor: usize) -> bool {
    let (before, after) = around(document, cursor);
    looks_secret(&format!("{before}{after}"))
        || inside_key(&document.slice(cursor.saturating_sub(LONGEST_KEY)..cursor))
}

/// Takes suggestions out of an answer that would put into the text what looks like a secret: a copy
/// of one from above.
pub fn keep_secrets(document: &Document, cursor: usize, reply: &mut Reply) {
    let Outcome::Suggest(items) = &mut reply.outcome else { return };
    let (before, _) = around(document, cursor);
    items.retain(|item| !format!("{before}{}", item.text).lines().any(looks_secret));
    if items.is_empty() {
        reply.outcome = Outcome::Silence(Reason::Empty);
    }
}

/// The line left and right of the cursor.
fn around(document: &Document, cursor: usize) -> (String, String) {
    let left = document.slice(cursor.saturating_sub(MOST)..cursor).into_owned();
    let right = document.slice(cursor..(cursor + MOST).min(document.len_bytes())).into_owned();
    let start = left.rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let end = right.find(['\n', '\r']).unwrap_or(right.len());
    (left[start..].to_owned(), right[..end].to_owned())
}
