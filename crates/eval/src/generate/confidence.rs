//! What is known of the lines that are shown, and whether they are right: the rows that a
//! [`lacuna_complete::Calibration`] is fitted on.

use std::fmt::Write;

use lacuna_complete::{Completer, Outcome, Request, Signs};
use lacuna_context::{ParseLimit, SyntaxTree};
use lacuna_engine::Cancel;
use lacuna_text::Document;

use super::path;
use crate::Example;
use crate::metric::line_exact_match;

/// What a line goes on below with, that ends in one of these.
const GOES_ON: [char; 18] =
    [':', '{', '(', '[', ',', '\\', '-', '+', '*', '/', '=', '.', '<', '>', '|', '&', '?', ' '];
const GOES_ON_BEHIND: [&str; 7] = ["and", "or", "not", "in", "else", "do", "then"];

/// The names of the fields of [`confidence`], as its first line.
pub fn confidence_header() -> String {
    let mut header = "id\tgroup\tplace\tlanguage\tsilence\tright\tmean\tmay_end".to_owned();
    for (name, _) in Signs::default().named() {
        let _ = write!(header, "\t{name}");
    }
    header.push('\n');
    header
}

/// A line for the example and, where its middle is one line, one for the same place with the middle
/// there: at the end of a finished line, and inside one, nothing is missing, and whatever is shown
/// is wrong. Fields by [`confidence_header`]; a silence has its reason and no signs.
pub fn confidence(completer: &Completer, example: &Example, cancel: &Cancel) -> String {
    let mut rows = String::new();
    row(
        completer,
        example,
        &example.prefix,
        &example.middle,
        &example.node_kind.clone().unwrap_or_default(),
        cancel,
        &mut rows,
    );
    let finished = format!("{}{}", example.prefix, example.middle);
    let is_inside = !example.suffix.lines().next().unwrap_or("").trim().is_empty();
    if !example.middle.contains('\n') && (is_inside || is_finished(&finished)) {
        let place = if is_inside { "inside" } else { "end" };
        row(completer, example, &finished, "", place, cancel, &mut rows);
    }
    rows
}

fn is_finished(prefix: &str) -> bool {
    let line = prefix.rsplit('\n').next().unwrap_or("").trim_end();
    let last = line.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
    !line.trim().is_empty() && !line.ends_with(GOES_ON) && !GOES_ON_BEHIND.contains(&last)
}

fn row(
    completer: &Completer,
    example: &Example,
    prefix: &str,
    middle: &str,
    place: &str,
    cancel: &Cancel,
    rows: &mut String,
) {
    let document = Document::new(&format!("{prefix}{}", example.suffix), 0);
    let tree = SyntaxTree::parse_within(example.syntax(), document.rope(), ParseLimit::REPEATABLE);
    completer.forget("eval");
    let path = path(example);
    let request = Request {
        explain: true,
        ..Request::at("eval", Some(&path), &document, &tree, prefix.len())
    };
    let reply = completer.complete(&request, cancel);
    let group = &example.group;
    let _ = write!(
        rows,
        "{}\t{group}\t{place}\t{}",
        example.id.replace(['\t', '\n'], " "),
        example.language
    );
    let signs = reply.explanation.and_then(|explanation| explanation.signs);
    match (&reply.outcome, signs) {
        (Outcome::Suggest(items), Some(signs)) => {
            let is_right = !middle.is_empty() && line_exact_match(&items[0].text, middle);
            let _ = write!(
                rows,
                "\t\t{}\t{:e}\t{:e}",
                u8::from(is_right),
                items[0].mean,
                signs.ends_here.unwrap_or(-1.0)
            );
            for (_, value) in signs.named() {
                let _ = write!(rows, "\t{value}");
            }
        }
        (Outcome::Suggest(_), None) => rows.push_str("\tno-signs"),
        (Outcome::Silence(reason), _) => drop(write!(rows, "\t{}", reason.code())),
    }
    rows.push('\n');
}
