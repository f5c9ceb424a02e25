//! The form in which a prompt shows text from elsewhere: parts of other files, and what the file's
//! own window leaves out.
//!
//! Models are trained on this form, so it stays: a comment with the path, in the manner of the file
//! that is being completed, the text, a line break; whole excerpts in the order given, the most
//! stable first, up to a quarter of what the suffix leaves. Which excerpts are chosen is the
//! caller's business and may change.

use crate::Tokenizer;

/// What opens and closes a comment of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comment {
    pub open: &'static str,
    /// Empty where the end of the line is the end of the comment.
    pub close: &'static str,
}

impl Comment {
    /// By the file's name; `#` where it says nothing.
    pub fn of_path(path: &str) -> Comment {
        let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        let (open, close) = match extension.as_deref().unwrap_or_default() {
            "rs" | "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx" | "go" | "java"
            | "c" | "h" | "cc" | "cpp" | "cxx" | "c++" | "hh" | "hpp" | "hxx" | "h++" | "ipp"
            | "inl" | "cu" | "cuh" | "cs" | "kt" | "kts" | "scala" | "swift" | "dart" | "php"
            | "zig" | "scss" | "less" | "proto" | "gradle" | "groovy" | "json" | "jsonc"
            | "json5" | "m" | "mm" | "fs" | "sol" => ("//", ""),
            "sql" | "lua" | "hs" | "elm" | "adb" | "ads" | "vhd" | "vhdl" => ("--", ""),
            "md" | "markdown" | "html" | "htm" | "xhtml" | "xml" | "svg" | "vue" | "svelte" => {
                ("<!--", "-->")
            }
            "css" => ("/*", "*/"),
            "el" | "lisp" | "clj" | "cljs" | "scm" => (";;", ""),
            "tex" | "erl" | "hrl" => ("%", ""),
            _ => ("#", ""),
        };
        Comment { open, close }
    }

    /// A line of this comment, without a line break; line breaks in `text` become blanks.
    pub fn line(self, text: &str) -> String {
        let text = text.replace(['\r', '\n'], " ");
        if self.close.is_empty() {
            format!("{} {text}", self.open)
        } else {
            format!("{} {text} {}", self.open, self.close)
        }
    }
}

/// A part of another file as an excerpt: its path as a comment of the file `shown_in`, then its
/// text.
pub fn excerpt(shown_in: &str, path: &str, text: &str) -> String {
    format!("{}\n{text}", Comment::of_path(shown_in).line(path))
}

/// Bytes of other files in a prompt of so many tokens: an eighth of it at three bytes a token, so
/// that the file's own excerpts still fit into the quarter that excerpts get.
pub const fn other_files_bytes(prompt_tokens: usize) -> usize {
    prompt_tokens * 3 / 8
}

/// An excerpt as it stands in a prompt.
pub fn as_shown(excerpt: &str) -> String {
    format!("{excerpt}\n")
}

/// Tokens of the excerpts that fit beside `suffix` tokens of the suffix in a text budget of
/// `budget`, in the order given. One that does not fit is left out, whole; those behind it may
/// still come in.
pub fn fitting(tokenizer: &Tokenizer, excerpts: &[&str], budget: usize, suffix: usize) -> Vec<u32> {
    // Never at the cost of most of the code before the cursor.
    let room = budget.saturating_sub(suffix) / 4;
    let mut shown: Vec<u32> = Vec::new();
    for excerpt in excerpts {
        let ids = tokenizer.encode_incremental(excerpt);
        if shown.len() + ids.len() <= room {
            shown.extend(ids);
        }
    }
    shown
}
