//! Reads one file and decides whether it is hand-written source: size, encoding, shape of its
//! lines, marks of generators and compilers.

use super::Document;
use super::dedupe::hash_bytes;
use super::document::Language;
use super::walk::Candidate;

/// Limits of a document. Sizes in bytes, lengths in characters, shares in 0..1.
#[derive(Debug, Clone)]
pub struct Limits {
    pub min_bytes: usize,
    pub max_bytes: usize,
    pub max_line: usize,
    pub max_mean_line: f64,
    pub min_letter_share: f64,
    pub max_digit_share: f64,
    /// Of 100 files that open with a licence comment, so many keep it.
    pub keep_licence_percent: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            min_bytes: 200,
            max_bytes: 200_000,
            max_line: 400,
            max_mean_line: 90.0,
            min_letter_share: 0.30,
            max_digit_share: 0.18,
            keep_licence_percent: 8,
        }
    }
}

/// Reads a candidate; `Err` is the reason why it is dropped.
pub fn load(candidate: &Candidate, limits: &Limits) -> Result<Document, &'static str> {
    let length = std::fs::metadata(&candidate.file).map_err(|_| "unreadable")?.len();
    if length < limits.min_bytes as u64 {
        return Err("too short");
    }
    if length > limits.max_bytes as u64 {
        return Err("too long");
    }
    let bytes = std::fs::read(&candidate.file).map_err(|_| "unreadable")?;
    let text = String::from_utf8(bytes).map_err(|_| "not utf-8")?;
    let mut text = clean(text);
    // A few licence headers stay, as users' files have them too.
    // In Markdown `#` opens a heading, not a comment.
    let may_open_with_one = candidate.language != Language::Markdown;
    if may_open_with_one
        && hash_bytes(candidate.path.as_bytes()) % 100 >= limits.keep_licence_percent
    {
        text.drain(..licence_header(&text));
    }
    judge(&text, candidate.language, limits)?;
    Ok(Document {
        path: candidate.path.clone(),
        package: candidate.package.clone(),
        language: candidate.language,
        split: candidate.split,
        weight: 1,
        text,
    })
}

/// Takes off a byte-order mark and source-map references, which no one types.
pub fn clean(mut text: String) -> String {
    if text.starts_with('\u{feff}') {
        text.drain(..'\u{feff}'.len_utf8());
    }
    if text.contains("sourceMappingURL=") {
        let kept: Vec<&str> =
            text.split_inclusive('\n').filter(|line| !line.contains("sourceMappingURL=")).collect();
        text = kept.concat();
    }
    text
}

/// Length in bytes of the licence comment that opens `text`, blank lines after it included; 0 if it
/// opens otherwise. A first line `#!…` or `# -*- coding …` goes with it.
pub fn licence_header(text: &str) -> usize {
    let mut end = 0;
    let mut in_block = false;
    let mut started = false;
    for line in text.split_inclusive('\n') {
        let body = line.trim();
        let comment =
            in_block || body.starts_with("//") || body.starts_with('#') || body.starts_with("/*");
        // `#include` and `#[derive]` are code; `///` and `//!` document what follows.
        let code = !in_block && (body.starts_with("#[") || body.starts_with("#!["))
            || ["#include", "#if", "#define", "#pragma", "///", "//!", "/**\n"]
                .iter()
                .any(|mark| !in_block && line.trim_start().starts_with(mark));
        if code || !(comment || body.is_empty()) || (started && body.is_empty() && !in_block) {
            break;
        }
        if !in_block && body.starts_with("/*") {
            in_block = true;
        }
        if in_block && body.contains("*/") {
            in_block = false;
        }
        started |= !body.is_empty();
        end += line.len();
    }
    let head = text[..end].to_ascii_lowercase();
    if in_block || !["copyright", "license", "licence"].iter().any(|word| head.contains(word)) {
        return 0;
    }
    end + text[end..].len() - text[end..].trim_start_matches(['\n', '\r']).len()
}

/// The reason to drop `text`, if there is one.
pub fn judge(text: &str, language: Language, limits: &Limits) -> Result<(), &'static str> {
    if text.len() < limits.min_bytes {
        return Err("too short");
    }
    if text.contains('\0') {
        return Err("binary");
    }
    let (mut lines, mut longest) = (0usize, 0usize);
    for line in text.lines() {
        lines += 1;
        longest = longest.max(line.len());
    }
    // A paragraph of prose may be one line.
    let prose = if language == Language::Markdown { 4 } else { 1 };
    if longest > prose * limits.max_line {
        return Err("line too long");
    }
    if lines < 5 || text.len() as f64 / lines as f64 > prose as f64 * limits.max_mean_line {
        return Err("lines too long on average");
    }
    let (mut letters, mut digits, mut spaces) = (0usize, 0usize, 0usize);
    for c in text.chars() {
        if c.is_ascii_alphabetic() {
            letters += 1;
        } else if c.is_ascii_digit() {
            digits += 1;
        } else if c.is_whitespace() {
            spaces += 1;
        }
    }
    let visible = (text.chars().count() - spaces).max(1) as f64;
    if digits as f64 / visible > limits.max_digit_share {
        return Err("mostly digits");
    }
    if (letters as f64) / visible < limits.min_letter_share {
        return Err("few letters");
    }
    if is_generated(text) {
        return Err("generated");
    }
    if is_evaluation(text) {
        return Err("speaks of an evaluation set");
    }
    match language {
        Language::Python if is_python2(text) => Err("python 2"),
        Language::JavaScript if is_compiled(text) => Err("compiled javascript"),
        _ => Ok(()),
    }
}

/// Whether the first lines say that a program wrote the text.
pub fn is_generated(text: &str) -> bool {
    let head: String = text.lines().take(30).collect::<Vec<_>>().join("\n").to_ascii_lowercase();
    const MARKS: &[&str] = &[
        "do not edit",
        "@generated",
        "auto-generated",
        "autogenerated",
        "automatically generated",
        "generated by ",
        "this file was generated",
        "this file is generated",
        "generated code",
        "generated from",
        "code generated",
        "machine generated",
        "don't edit",
        "do not modify",
    ];
    MARKS.iter().any(|mark| head.contains(mark))
}

/// Names that only sources of evaluation sets carry. A whole class of leaks that shingles of the
/// shared half would miss.
fn is_evaluation(text: &str) -> bool {
    const MARKS: &[&str] = &[
        "humaneval",
        "human_eval",
        "human-eval",
        "canonical_solution",
        "multipl-e",
        "multipl_e",
        "swe-bench",
        "swebench",
        "swe_bench",
        "crosscodeeval",
        "cceval",
        "has_close_elements",
        "hasCloseElements",
        "mbpp",
    ];
    let lower = text.to_ascii_lowercase();
    MARKS.iter().any(|mark| lower.contains(&mark.to_ascii_lowercase()))
}

fn is_python2(text: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let print =
            line.strip_prefix("print ").is_some_and(|rest| rest.starts_with(['"', '\'', '%']));
        let except = line.starts_with("except ")
            && line.ends_with(':')
            && !line.contains(" as ")
            && !line.contains('(')
            && line.contains(',');
        print
            || except
            || line.starts_with("raise ") && line.contains(", \"") && !line.contains('(')
    })
}

fn is_compiled(text: &str) -> bool {
    const MARKS: &[&str] = &[
        "__esModule",
        "_interopRequire",
        "_classCallCheck",
        "_asyncToGenerator",
        "__awaiter",
        "__generator",
        "regeneratorRuntime",
        "__decorate",
        "__extends(",
        "_createClass",
        "__webpack_require__",
        "_inheritsLoose",
        "_jsxRuntime",
        "__spreadArray",
        "_jsx(",
        "_objectSpread",
    ];
    MARKS.iter().any(|mark| text.contains(mark)) || text.matches("__PURE__").count() > 3
}
