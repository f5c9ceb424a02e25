//! Unified diffs as git writes them: parsing, applying to a text, and where the added lines end up.
//!
//! Hunks are read by the counts in their headers, so a line of code that looks like a header is
//! code. Does not own: what is made of the added lines (`blocks`).

use std::ops::Range;

/// Changes of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePatch {
    /// Path before, with `/`; none for a new file.
    pub old_path: Option<String>,
    /// Path after; none for a deleted file.
    pub new_path: Option<String>,
    pub hunks: Vec<Hunk>,
}

/// A run of changed lines with the lines around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hunk {
    /// Line in the old file, from 1; the line before where nothing was taken away.
    pub old_start: usize,
    /// Line in the new file, from 1; the line before where nothing was added.
    pub new_start: usize,
    pub lines: Vec<Line>,
}

/// A line with its line break, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    Kept(String),
    Removed(String),
    Added(String),
}

/// Why a diff cannot be read or applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("line {line} of the patch: a hunk header was expected after @@")]
    Header { line: usize },
    #[error(
        "line {line} of the patch: a hunk ends before it has the lines that its header promises"
    )]
    Short { line: usize },
    #[error("the hunk at line {old_start} does not fit the file at the base commit")]
    Mismatch { old_start: usize },
}

/// Added lines that stand together in the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// In bytes of the new file: whole lines.
    pub range: Range<usize>,
    /// First line, from 1.
    pub start_line: usize,
    pub n_lines: usize,
    /// Lines were taken away at the same place.
    pub replaces: bool,
}

/// Reads a diff; what stands before and between the files (mail headers, `index …`) is skipped.
/// Binary files have no hunks.
pub fn parse(patch: &str) -> Result<Vec<FilePatch>, PatchError> {
    let mut files: Vec<FilePatch> = Vec::new();
    let mut lines = patch.split_inclusive('\n').enumerate().peekable();
    // `---` and `+++` of a plain diff start a file where no `diff --git` did.
    let mut named = false;
    while let Some((number, line)) = lines.next() {
        let body = line.trim_end_matches(['\n', '\r']);
        if let Some(paths) = body.strip_prefix("diff --git ") {
            let (old_path, new_path) = git_paths(paths);
            files.push(FilePatch { old_path, new_path, hunks: Vec::new() });
            named = true;
        } else if let Some(path) = body.strip_prefix("--- ")
            && lines.peek().is_some_and(|(_, next)| next.starts_with("+++ "))
        {
            let new = lines.next().map_or("", |(_, next)| next.trim_end_matches(['\n', '\r']));
            if !named {
                files.push(FilePatch::default());
            }
            named = false;
            if let Some(file) = files.last_mut() {
                file.old_path = header_path(path);
                file.new_path = header_path(new.trim_start_matches("+++ "));
            }
        } else if let Some(file) = files.last_mut() {
            if let Some(path) = body.strip_prefix("rename from ") {
                file.old_path = Some(unquote(path));
            } else if let Some(path) = body.strip_prefix("rename to ") {
                file.new_path = Some(unquote(path));
            } else if body.starts_with("new file mode") {
                file.old_path = None;
            } else if body.starts_with("deleted file mode") {
                file.new_path = None;
            } else if body.starts_with("@@") {
                file.hunks.push(hunk(number, body, &mut lines)?);
            }
        }
    }
    Ok(files)
}

fn hunk<'a>(
    number: usize,
    header: &str,
    lines: &mut std::iter::Peekable<impl Iterator<Item = (usize, &'a str)>>,
) -> Result<Hunk, PatchError> {
    let bad = PatchError::Header { line: number + 1 };
    let mut parts = header.split(' ').skip(1);
    let (Some(old), Some(new)) =
        (parts.next().and_then(|p| range(p, '-')), parts.next().and_then(|p| range(p, '+')))
    else {
        return Err(bad);
    };
    let (mut old_left, mut new_left) = (old.1, new.1);
    let mut hunk = Hunk { old_start: old.0, new_start: new.0, lines: Vec::new() };
    while old_left > 0 || new_left > 0 {
        let Some((at, line)) = lines.next() else {
            return Err(PatchError::Short { line: number + 1 });
        };
        let short = PatchError::Short { line: at + 1 };
        // A context line that is empty may have lost its leading space.
        let marked = line.chars().next().map(|mark| (mark, &line[mark.len_utf8()..]));
        let (mark, text) = marked.filter(|_| !matches!(line, "\n" | "\r\n")).unwrap_or((' ', line));
        // The last line of a patch may have lost its line break.
        let text = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
        let take =
            |left: &mut usize| left.checked_sub(1).map(|n| *left = n).ok_or_else(|| short.clone());
        match mark {
            ' ' => {
                take(&mut old_left)?;
                take(&mut new_left)?;
                hunk.lines.push(Line::Kept(text));
            }
            '-' => {
                take(&mut old_left)?;
                hunk.lines.push(Line::Removed(text));
            }
            '+' => {
                take(&mut new_left)?;
                hunk.lines.push(Line::Added(text));
            }
            '\\' => no_newline(&mut hunk),
            _ => return Err(short),
        }
    }
    if lines.next_if(|(_, line)| line.starts_with('\\')).is_some() {
        no_newline(&mut hunk);
    }
    Ok(hunk)
}

/// `\ No newline at end of file` speaks of the line before it.
fn no_newline(hunk: &mut Hunk) {
    if let Some(Line::Kept(text) | Line::Removed(text) | Line::Added(text)) = hunk.lines.last_mut()
        && text.ends_with('\n')
    {
        text.pop();
    }
}

/// `-12,3` or `-12` (a count of one).
fn range(part: &str, sign: char) -> Option<(usize, usize)> {
    let part = part.strip_prefix(sign)?;
    match part.split_once(',') {
        Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
        None => Some((part.parse().ok()?, 1)),
    }
}

/// Paths of `diff --git a/X b/X`; only exact when both are equal, which is when no other line names
/// them.
fn git_paths(paths: &str) -> (Option<String>, Option<String>) {
    if paths.starts_with('"') {
        let end = closing_quote(paths);
        let (old, new) = paths.split_at(end);
        return (header_path(old), header_path(new.trim_start()));
    }
    let half = paths.len() / 2;
    match (paths.get(..half), paths.get(half + 1..)) {
        (Some(old), Some(new)) if old.get(2..) == new.get(2..) => {
            (header_path(old), header_path(new))
        }
        _ => match paths.split_once(" b/") {
            Some((old, new)) => (header_path(old), Some(new.to_owned())),
            None => (None, None),
        },
    }
}

fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return at + 1,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The path of a `---` or `+++` line: without `a/` or `b/`, without the date that `diff -u` puts
/// after a tab.
fn header_path(text: &str) -> Option<String> {
    let path = if text.starts_with('"') {
        unquote(text)
    } else {
        text.split('\t').next().unwrap_or("").trim_end().to_owned()
    };
    if path == "/dev/null" {
        return None;
    }
    Some(path.strip_prefix("a/").or_else(|| path.strip_prefix("b/")).unwrap_or(&path).to_owned())
}

/// Undoes git's C-style quoting; a text without quotes stays as it is.
fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"') else { return text.to_owned() };
    let inner = inner.strip_suffix('"').unwrap_or(inner).as_bytes();
    let mut bytes = Vec::with_capacity(inner.len());
    let mut at = 0;
    while at < inner.len() {
        let octal = (inner[at] == b'\\')
            .then(|| inner.get(at + 1..at + 4))
            .flatten()
            .and_then(|d| std::str::from_utf8(d).ok());
        if let Some(value) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(value);
            at += 4;
        } else if inner[at] == b'\\' && at + 1 < inner.len() {
            bytes.push(match inner[at + 1] {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                other => other,
            });
            at += 2;
        } else {
            bytes.push(inner[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The file after the hunks, and the blocks of lines that they added: runs that no kept line parts.
///
/// A hunk may lie elsewhere than its header says, as for `git apply`: the nearest place that fits,
/// after the hunk before it.
///
/// Errors: a hunk fits nowhere.
pub fn apply(old: &str, hunks: &[Hunk]) -> Result<(String, Vec<Block>), PatchError> {
    let old_lines: Vec<&str> = old.split_inclusive('\n').collect();
    let mut new = String::with_capacity(old.len());
    let mut blocks: Vec<Block> = Vec::new();
    let (mut at, mut new_line) = (0, 1);
    for hunk in hunks {
        let before: Vec<&str> = hunk
            .lines
            .iter()
            .filter_map(|line| match line {
                Line::Kept(text) | Line::Removed(text) => Some(text.as_str()),
                Line::Added(_) => None,
            })
            .collect();
        // Without lines of its own a hunk stands after line `old_start`.
        let stated =
            if before.is_empty() { hunk.old_start } else { hunk.old_start.saturating_sub(1) };
        let place = place(&old_lines, &before, at, stated)
            .ok_or(PatchError::Mismatch { old_start: hunk.old_start })?;
        for line in &old_lines[at..place] {
            new.push_str(line);
            new_line += 1;
        }
        at = place + before.len();
        let mut open: Option<Block> = None;
        let mut removed = false;
        for line in &hunk.lines {
            match line {
                Line::Kept(text) => {
                    blocks.extend(open.take());
                    removed = false;
                    new.push_str(text);
                    new_line += 1;
                }
                Line::Removed(_) => {
                    removed = true;
                    if let Some(block) = &mut open {
                        block.replaces = true;
                    }
                }
                Line::Added(text) => {
                    let start = new.len();
                    new.push_str(text);
                    let block = open.get_or_insert(Block {
                        range: start..start,
                        start_line: new_line,
                        n_lines: 0,
                        replaces: removed,
                    });
                    block.range.end = new.len();
                    block.n_lines += 1;
                    new_line += 1;
                }
            }
        }
        blocks.extend(open);
    }
    for line in &old_lines[at..] {
        new.push_str(line);
    }
    Ok((new, blocks))
}

/// The index from `least` on, nearest to `stated`, at which `lines` holds `wanted`.
fn place(lines: &[&str], wanted: &[&str], least: usize, stated: usize) -> Option<usize> {
    let last = lines.len().checked_sub(wanted.len())?;
    let fits = |at: usize| at >= least && at <= last && lines[at..at + wanted.len()] == *wanted;
    if wanted.is_empty() {
        return (stated >= least && stated <= last).then_some(stated);
    }
    (0..=lines.len()).find_map(|distance| {
        let below = stated.checked_sub(distance).filter(|at| fits(*at));
        below.or_else(|| Some(stated.saturating_add(distance)).filter(|at| fits(*at)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks of the patched text as `line+count: text`.
    fn blocks(old: &str, patch: &str) -> (String, Vec<String>) {
        let files = parse(patch).unwrap();
        let (new, blocks) = apply(old, &files[0].hunks).unwrap();
        let shown = blocks
            .iter()
            .map(|b| {
                format!(
                    "{}+{}{} {:?}",
                    b.start_line,
                    b.n_lines,
                    if b.replaces { "r" } else { "" },
                    &new[b.range.clone()]
                )
            })
            .collect();
        (new, shown)
    }

    #[test]
    fn added_lines_stand_together_unless_a_kept_line_parts_them() {
        let patch = "diff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1,4 +1,6 @@ fn f\n a\n-b\n+B\n+BB\n c\n+d\n-e\n+E\n";
        let (new, shown) = blocks("a\nb\nc\ne\n", patch);
        assert_eq!(new, "a\nB\nBB\nc\nd\nE\n");
        assert_eq!(shown, ["2+2r \"B\\nBB\\n\"", "5+2r \"d\\nE\\n\""]);
    }

    #[test]
    fn a_hunk_is_found_where_its_lines_are() {
        let patch = "--- x\n+++ x\n@@ -1,2 +1,3 @@\n a\n+new\n b\n";
        let (new, shown) = blocks("0\n1\n2\na\nb\n", patch);
        assert_eq!((new.as_str(), shown[0].as_str()), ("0\n1\n2\na\nnew\nb\n", "5+1 \"new\\n\""));
        let hunks = &parse(patch).unwrap()[0].hunks;
        assert_eq!(apply("a\nc\n", hunks), Err(PatchError::Mismatch { old_start: 1 }));
    }

    #[test]
    fn code_that_looks_like_a_header_is_code() {
        let patch = "--- a/x\n+++ b/x\n@@ -1,2 +1,3 @@\n a\n--- old\n+++ new\n+@@ -1 +1 @@\ndiff --git a/y b/y\n";
        let files = parse(patch).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].hunks[0].lines[1], Line::Removed("-- old\n".to_owned()));
        assert_eq!(apply("a\n-- old\n", &files[0].hunks).unwrap().0, "a\n++ new\n@@ -1 +1 @@\n");
    }

    #[test]
    fn a_missing_last_line_break_stays_missing() {
        let patch = "--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n\\ No newline at end of file\n";
        assert_eq!(blocks("a", patch), ("a\nb".to_owned(), vec!["1+2r \"a\\nb\"".to_owned()]));
    }

    #[test]
    fn new_renamed_deleted_and_binary_files() {
        let patch = "From: x\n\ndiff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1,2 @@\n+a\n+b\n\
                     diff --git a/o p b/n p\nsimilarity index 90%\nrename from o p\nrename to n p\n--- a/o p\n+++ b/n p\n@@ -1 +1 @@\n-a\n+b\n\
                     diff --git a/d b/d\ndeleted file mode 100644\n--- a/d\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n\
                     diff --git \"a/\\303\\251\" \"b/\\303\\251\"\nBinary files differ\n";
        let files = parse(patch).unwrap();
        let paths: Vec<_> = files
            .iter()
            .map(|f| (f.old_path.as_deref(), f.new_path.as_deref(), f.hunks.len()))
            .collect();
        assert_eq!(
            paths,
            [
                (None, Some("n"), 1),
                (Some("o p"), Some("n p"), 1),
                (Some("d"), None, 1),
                (Some("é"), Some("é"), 0)
            ]
        );
        assert_eq!(apply("", &files[0].hunks).unwrap().0, "a\nb\n");
        assert_eq!(apply("a\n", &files[2].hunks).unwrap(), (String::new(), vec![]));
    }

    #[test]
    fn nonsense_is_an_error() {
        assert_eq!(parse("diff --git a/x b/x\n@@ what @@\n"), Err(PatchError::Header { line: 2 }));
        assert_eq!(
            parse("diff --git a/x b/x\n@@ -1,2 +1,2 @@\n a\n"),
            Err(PatchError::Short { line: 2 })
        );
        assert_eq!(
            parse("diff --git a/x b/x\n@@ -1,2 +1,2 @@\n a\n?\n"),
            Err(PatchError::Short { line: 4 })
        );
        assert_eq!(
            parse("diff --git a/x b/x\n@@ -1,1 +1,1 @@\n+a\n+b\n"),
            Err(PatchError::Short { line: 4 })
        );
        let far = parse("--- x\n+++ x\n@@ -18446744073709551615,0 +1,1 @@\n+a\n").unwrap();
        assert_eq!(
            apply("a\n", &far[0].hunks),
            Err(PatchError::Mismatch { old_start: usize::MAX })
        );
        assert_eq!(parse(""), Ok(vec![]));
        assert_eq!(parse("é\n@@ -1 +1 @@\n"), Ok(vec![]));
    }

    /// Random edits as a diff with one line of context, then applied, give back the new file.
    #[test]
    fn a_written_patch_applies() {
        let mut state = 7u64;
        let mut next = |n: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..300 {
            let old: Vec<String> = (0..next(12)).map(|_| format!("{}\n", next(4))).collect();
            let (mut new, mut lines, mut added, mut run) =
                (String::new(), Vec::new(), Vec::new(), 0);
            for line in &old {
                for _ in 0..next(3) {
                    let text = format!("+{}\n", next(4));
                    run += 1;
                    new.push_str(&text);
                    lines.push(Line::Added(text));
                }
                if next(3) == 0 {
                    lines.push(Line::Removed(line.clone()));
                } else {
                    added.extend((run > 0).then_some(run));
                    run = 0;
                    new.push_str(line);
                    lines.push(Line::Kept(line.clone()));
                }
            }
            added.extend((run > 0).then_some(run));
            let old_start = usize::from(!old.is_empty());
            let (got, blocks) =
                apply(&old.concat(), &[Hunk { old_start, new_start: 1, lines }]).unwrap();
            assert_eq!(got, new);
            assert_eq!(blocks.iter().map(|b| b.n_lines).collect::<Vec<_>>(), added);
            for b in &blocks {
                assert_eq!(got[..b.range.start].matches('\n').count() + 1, b.start_line);
                assert_eq!(got[b.range.clone()].matches('\n').count(), b.n_lines);
            }
        }
    }
}
