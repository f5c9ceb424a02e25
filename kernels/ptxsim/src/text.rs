//! Cuts PTX into statements. Knows braces, labels, comments and line directives; not what a
//! statement means.

use crate::fault::ParseError;

/// A piece of the text, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) ptx_line: u32,
    pub(crate) what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// `.visible .entry name(params)`, without what is said about its launch.
    Header(String),
    Open,
    Close,
    Label(String),
    /// Without the semicolon.
    Statement(String),
    /// `.loc`: number of the file, line, and the outermost line if the function was inlined.
    Line(u32, u32, Option<u32>),
    /// `.file`: number and name, without folders.
    File(u32, String),
}

/// Directives that end with their line.
const LINE_DIRECTIVES: [&str; 7] =
    [".version", ".target", ".address_size", ".maxntid", ".reqntid", ".minnctapersm", ".maxnreg"];

pub(crate) fn items(ptx: &str) -> Result<Vec<Item>, ParseError> {
    let mut items = Vec::new();
    let (mut piece, mut piece_line, mut braces) = (String::new(), 0, 0usize);
    let mut in_section = false;
    let mut in_comment = false;
    for (number, line) in (1u32..).zip(ptx.lines()) {
        let line = without_comments(line, &mut in_comment);
        let words: Vec<&str> = line.split_whitespace().collect();
        let first = words.first().copied().unwrap_or("");
        if in_section {
            // Debug information, up to the brace that closes it.
            in_section = first != "}";
            continue;
        }
        match first {
            ".section" => in_section = true,
            ".loc" => {
                let parsed = |at: usize| {
                    words.get(at).and_then(|word| word.trim_end_matches(',').parse().ok())
                };
                let outer = words
                    .iter()
                    .position(|word| *word == "inlined_at")
                    .and_then(|at| parsed(at + 2));
                let (Some(file), Some(source)) = (parsed(1), parsed(2)) else {
                    return Err(ParseError {
                        line: number,
                        problem: "a line directive",
                        text: line.trim().to_owned(),
                    });
                };
                items.push(Item { ptx_line: number, what: What::Line(file, source, outer) });
            }
            ".file" => {
                let name = line
                    .split('"')
                    .nth(1)
                    .unwrap_or("")
                    .rsplit(['/', '\\'])
                    .next()
                    .unwrap_or("")
                    .to_owned();
                let index = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(0);
                items.push(Item { ptx_line: number, what: What::File(index, name) });
            }
            _ if LINE_DIRECTIVES.contains(&first) => {}
            _ => {
                let mut rest = line.as_str();
                while let Some(c) = rest.chars().next() {
                    let after = &rest[c.len_utf8()..];
                    let empty = piece.trim().is_empty();
                    if empty {
                        piece_line = number;
                    }
                    let header = braces == 0 && c == '{' && piece.contains(".entry");
                    let what = match c {
                        '{' if header => Some(What::Header(piece.trim().to_owned())),
                        '{' if empty => Some(What::Open),
                        '}' if empty => Some(What::Close),
                        ';' => Some(What::Statement(piece.trim().to_owned())),
                        ':' if is_label(piece.trim()) && !after.starts_with(':') => {
                            Some(What::Label(piece.trim().to_owned()))
                        }
                        _ => None,
                    };
                    match what {
                        Some(what) => {
                            let empty_statement = what == What::Statement(String::new());
                            if !empty_statement {
                                items.push(Item { ptx_line: piece_line, what });
                            }
                            if header {
                                items.push(Item { ptx_line: piece_line, what: What::Open });
                            }
                            (piece, braces) = (String::new(), 0);
                        }
                        None => {
                            braces = match c {
                                '{' => braces + 1,
                                '}' => braces.saturating_sub(1),
                                _ => braces,
                            };
                            piece.push(c);
                        }
                    }
                    rest = after;
                }
                piece.push(' ');
            }
        }
    }
    if piece.trim().is_empty() {
        Ok(items)
    } else {
        Err(ParseError {
            line: piece_line,
            problem: "a statement without an end",
            text: piece.trim().to_owned(),
        })
    }
}

fn is_label(piece: &str) -> bool {
    !piece.is_empty()
        && piece.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '%'))
}

fn without_comments(line: &str, inside: &mut bool) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        if *inside {
            let Some(end) = rest.find("*/") else { break };
            (*inside, rest) = (false, &rest[end + 2..]);
        } else if rest.starts_with("//") {
            break;
        } else if let Some(after) = rest.strip_prefix("/*") {
            (*inside, rest) = (true, after);
        } else {
            let end = rest[1..].find('/').map_or(rest.len(), |at| at + 1);
            kept.push_str(&rest[..end]);
            rest = &rest[end..];
        }
    }
    kept
}

/// Cuts at commas (and at `|`, between the two results of an instruction) outside of braces,
/// brackets and parentheses.
pub(crate) fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            ',' | '|' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    let last = text[start..].trim();
    if !last.is_empty() {
        found.push(last);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_labels_braces_and_lines() {
        let ptx = "\
.version 8.4
.const .b8 t[2] = {1, 2}; // table
.visible .entry f(
 .param .u64 p
)
.maxntid 128, 1, 1
{
 .loc 2 43 67, function_name $L__info_string0, inlined_at 1 30 5
$L_1: @%p1 mma.sync {%r1, %r2}, /* two */ {%r3}; {sub.f16x2 %r1,%r2,
%r3;}
}
 .file 2 \"/some/where/a.cuh\"
 .section .debug_str
 {
$L__info_string0:
.b8 95
 }
";
        let all: Vec<_> =
            items(ptx).unwrap().into_iter().map(|item| (item.ptx_line, item.what)).collect();
        let statement = |text: &str| What::Statement(text.to_owned());
        assert_eq!(
            all,
            [
                (2, statement(".const .b8 t[2] = {1, 2}")),
                (3, What::Header(".visible .entry f(  .param .u64 p )".to_owned())),
                (3, What::Open),
                (8, What::Line(2, 43, Some(30))),
                (9, What::Label("$L_1".to_owned())),
                (9, statement("@%p1 mma.sync {%r1, %r2},  {%r3}")),
                (9, What::Open),
                (9, statement("sub.f16x2 %r1,%r2, %r3")),
                (10, What::Close),
                (11, What::Close),
                (12, What::File(2, "a.cuh".to_owned())),
            ]
        );
        assert_eq!(
            arguments("%p1|%r2, {%r1, %r2}, [%rd1+4], 5"),
            ["%p1", "%r2", "{%r1, %r2}", "[%rd1+4]", "5"]
        );
        assert_eq!(items("ret").unwrap_err().line, 1);
    }
}
