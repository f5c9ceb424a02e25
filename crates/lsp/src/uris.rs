//! Names of documents: as clients write them, which is not always as a URI is written.

use std::path::PathBuf;
use std::str::FromStr;

use tower_lsp::ls_types::Uri;

/// A URI that a strict parser reads: what may not stand in one (`é`, blanks, brackets) is
/// percent-encoded, what is already stays.
pub fn encoded(uri: &str) -> String {
    let mut out = String::with_capacity(uri.len());
    let bytes = uri.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        let is_escape = || matches!(bytes[i + 1..], [a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
        let stays = match byte {
            b'%' => is_escape(),
            b => b.is_ascii_alphanumeric() || b"-._~:/?#@!$&'()*+,;=".contains(b),
        };
        if stays {
            out.push(char::from(*byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The URI of a folder or file that is named by a path.
pub fn from_path(path: &str) -> String {
    let slashed = path.replace('\\', "/");
    let rooted = if slashed.starts_with('/') { slashed } else { format!("/{slashed}") };
    // In a path `?` and `#` are letters, and so is `%`.
    format!(
        "file://{}",
        encoded(&rooted.replace('%', "%25").replace('?', "%3F").replace('#', "%23"))
    )
}

/// The path of a `file` URI.
pub fn file_path(uri: &str) -> Option<PathBuf> {
    let uri = Uri::from_str(&encoded(uri)).ok()?;
    uri.to_file_path().map(|path| path.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacuna_serving::left_alone::percent_decoded;

    #[test]
    fn names_are_read_however_they_are_written() {
        for (uri, path) in [
            ("file:///w/my proj/a.py", "/w/my proj/a.py"),
            ("file:///w/my%20proj/a.py", "/w/my proj/a.py"),
            ("file:///w/é.py", "/w/é.py"),
            ("file:///w/%C3%A9.py", "/w/é.py"),
            ("file:///w/[id].py", "/w/[id].py"),
            ("file:///w/100%.py", "/w/100%.py"),
            ("file:///w/a|b^c`{d}\"<e>.py", "/w/a|b^c`{d}\"<e>.py"),
        ] {
            assert_eq!(file_path(uri), Some(PathBuf::from(path)), "{uri}");
            assert_eq!(percent_decoded(uri), format!("file://{path}"), "{uri}");
        }
        for path in ["/w/100%25 #1?.py", "/w/é x"] {
            assert_eq!(file_path(&from_path(path)), Some(PathBuf::from(path)));
        }
    }
}
