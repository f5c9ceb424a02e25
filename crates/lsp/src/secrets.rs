//! Lines with secrets are not completed, and completions do not make any.

use lacuna_complete::{Outcome, Reason, Reply};
use lacuna_context::{inside_key, looks_secret};
use lacuna_text::Document;

use super::reasons::Quiet;

/// Bytes of a line that are looked through for secrets.
const MOST: usize = 4096;
/// Bytes on either side of the cursor that are looked at: more than [`MOST`] of a line that has
/// more, even where a character is cut.
const SEEN: usize = MOST + 4;
/// Bytes above the cursor in which a private key may have begun: the largest in use are shorter.
const LONGEST_KEY: usize = 16 << 10;

/// Why the line of the cursor is left alone, if it is: it looks as if it held a key or a password,
/// or is too long to tell.
pub fn quiet_line(document: &Document, cursor: usize) -> Option<Quiet> {
    let (before, after) = around(document, cursor);
    let line = format!("{before}{after}");
    if inside_key(&document.slice(cursor.saturating_sub(LONGEST_KEY)..cursor)) {
        Some(Quiet::SecretLine)
    } else if line.trim().len() > MOST {
        Some(Quiet::LongLine)
    } else {
        looks_secret(&line).then_some(Quiet::SecretLine)
    }
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
    let left = document.slice(cursor.saturating_sub(SEEN)..cursor).into_owned();
    let right = document.slice(cursor..(cursor + SEEN).min(document.len_bytes())).into_owned();
    let start = left.rfind(['\n', '\r']).map_or(0, |at| at + 1);
    let end = right.find(['\n', '\r']).unwrap_or(right.len());
    (left[start..].to_owned(), right[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_to_look_through_says_so() {
        let quiet = |text: &str, cursor| quiet_line(&Document::new(text, 0), cursor);
        let long = |bytes: usize| format!("a = 1\n{}\nb = 2\n", "x".repeat(bytes));
        for cursor in [6, 7, 3000, 6 + MOST] {
            assert_eq!(quiet(&long(MOST), cursor), None, "{cursor}");
            assert_eq!(quiet(&long(MOST + 1), cursor), Some(Quiet::LongLine), "{cursor}");
            assert_eq!(quiet(&long(9 * MOST), cursor), Some(Quiet::LongLine), "{cursor}");
        }
        // Its neighbours are none of it, and so many bytes are looked through and no more.
        assert_eq!(quiet(&long(9 * MOST), 5), None);
        assert!(looks_secret(&"x".repeat(MOST + 1)) && !looks_secret(&"x".repeat(MOST)));
        let secret = ["token = \"ghp_", "16C7e42F292c6912E7710c838347Ae178B4a\"\n"].concat();
        assert_eq!(quiet(&secret, 3), Some(Quiet::SecretLine));
    }
}
