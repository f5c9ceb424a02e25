//! What stands in the file once a suggestion was accepted: whatever a model says, nothing is there
//! twice, nothing is closed twice, and the file parses no worse.
//!
//! Models are made that say one hostile text each ([`TinyModel::saying`]) and are asked through
//! [`Completer`], at seeded places of files in many languages. The judgement here is another one
//! than the rules': of the text that results.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use lacuna_complete::{Completer, Item, Outcome, Request, Settings};
use lacuna_context::{Language, SyntaxTree, balance};
use lacuna_engine::{Cancel, Model, Precision};
use lacuna_prompt::{Sentinels, Tokenizer};
use lacuna_tests::{Random, TinyModel, workspace};
use lacuna_text::Document;

/// Files of these languages have no sample of their own.
const FILES: [(&str, &str); 9] = [
    ("list.c", include_str!("accepted/list.c")),
    ("shape.cpp", include_str!("accepted/shape.cpp")),
    ("page.html", include_str!("accepted/page.html")),
    ("page.css", include_str!("accepted/page.css")),
    ("build.yml", include_str!("accepted/build.yml")),
    ("stack.lua", include_str!("accepted/stack.lua")),
    ("install.sh", include_str!("accepted/install.sh")),
    ("project.toml", include_str!("accepted/project.toml")),
    ("report.sql", include_str!("accepted/report.sql")),
];
const SEED: u64 = 17;
/// Places of each kind in each file, and texts that are said at each. LACUNA_ACCEPTED=N asks N
/// times as many, with other seeds.
const PLACES: usize = 1;
const TEXTS: usize = 6;

/// A cursor in a text.
struct Place {
    name: String,
    kind: &'static str,
    before: String,
    after: String,
    /// What was taken out at the cursor.
    gone: String,
}

/// Places in every file, the same on every machine.
fn places(random: &mut Random) -> Vec<Place> {
    let samples = workspace().join("datasets/samples");
    let mut files: Vec<(String, String)> =
        FILES.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let mut names: Vec<_> = std::fs::read_dir(&samples)
        .expect("samples")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    for path in names.iter().filter(|path| path.extension().is_some_and(|ending| ending != "jsonl"))
    {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        files.push((name, std::fs::read_to_string(path).expect("text")));
    }
    let mut places = Vec::new();
    for (i, (name, text)) in files.iter().enumerate() {
        let text = match i % 4 {
            2 => text.replace('\n', "\r\n"),
            3 => text.replace("    ", "\t"),
            _ => text.clone(),
        };
        for kind in [
            "inside a word",
            "line's end",
            "line's tail",
            "before a closer",
            "between braces",
            "above a line",
            "below a line",
        ] {
            for _ in 0..PLACES {
                places.extend(place(name, &text, kind, random));
            }
        }
    }
    places
}

fn place(name: &str, text: &str, kind: &'static str, random: &mut Random) -> Option<Place> {
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let starts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let chosen = |ok: &dyn Fn(usize) -> bool, random: &mut Random| {
        let all: Vec<usize> = starts.iter().copied().filter(|at| ok(*at)).collect();
        (!all.is_empty()).then(|| *random.pick(&all))
    };
    let left = |at: usize| text[..at].chars().next_back();
    let right = |at: usize| text[at..].chars().next();
    let is_eol = |at: usize| matches!(right(at), Some('\n' | '\r')) && left(at) != Some('\r');
    let line_end = |at: usize| text[at..].find(['\n', '\r']).map_or(text.len(), |n| at + n);
    let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |n| n + 1);
    let new = |before: &str, after: &str, gone: &str| {
        Some(Place {
            name: name.to_owned(),
            kind,
            before: before.to_owned(),
            after: after.to_owned(),
            gone: gone.to_owned(),
        })
    };
    match kind {
        "inside a word" => {
            let at = chosen(
                &|at| left(at).is_some_and(is_word) && right(at).is_some_and(is_word),
                random,
            )?;
            new(&text[..at], &text[at..], "")
        }
        "line's end" => {
            let at =
                chosen(&|at| is_eol(at) && left(at).is_some_and(|c| !c.is_whitespace()), random)?;
            new(&text[..at], &text[at..], "")
        }
        "line's tail" => {
            let at = chosen(
                &|at| {
                    !is_eol(at)
                        && right(at).is_some_and(|c| !c.is_whitespace())
                        && !text[line_start(at)..at].trim().is_empty()
                },
                random,
            )?;
            new(&text[..at], &text[line_end(at)..], &text[at..line_end(at)])
        }
        "before a closer" => {
            let at = chosen(
                &|at| {
                    right(at).is_some_and(|c| ")]}>".contains(c))
                        && !text[line_start(at)..at].trim().is_empty()
                },
                random,
            )?;
            let from = text[..at].rfind(['(', '[', '{', '<', '"', '\n']).map_or(0, |n| n + 1);
            // With what stands between the two, or without.
            if random.below(2) == 0 {
                new(&text[..at], &text[at..], "")
            } else {
                new(&text[..from], &text[at..], &text[from..at])
            }
        }
        "between braces" => {
            let at =
                chosen(&|at| is_eol(at) && left(at).is_some_and(|c| "{([:".contains(c)), random)?;
            let opener = left(at)?;
            let depth = |line: &str| line.len() - line.trim_start().len();
            let own = depth(&text[line_start(at)..at]);
            let body: usize = text[at..]
                .split_inclusive('\n')
                .skip(1)
                .take_while(|l| l.trim().is_empty() || depth(l) > own)
                .map(str::len)
                .sum();
            let body_end = text[at..].find('\n').map_or(text.len(), |n| at + n + 1 + body);
            let closer = match opener {
                '{' => "}",
                '(' => ")",
                '[' => "]",
                _ => "",
            };
            let rest = text[body_end..].trim_start_matches([' ', '\t']);
            match rest.strip_prefix(closer).filter(|_| !closer.is_empty()) {
                // As an editor closes it by itself.
                Some(rest) => new(&text[..at], &format!("{closer}{rest}"), &text[at..body_end]),
                None => new(&text[..at], &format!("\n{}", &text[body_end..]), &text[at..body_end]),
            }
        }
        // A blank line, as deep as its neighbour, directly above or below a line.
        "above a line" | "below a line" => {
            let at = chosen(
                &|at| at == line_start(at) && !text[at..line_end(at)].trim().is_empty(),
                random,
            )?;
            let line = &text[at..line_end(at)];
            let indent = &line[..line.len() - line.trim_start().len()];
            if kind == "above a line" {
                new(&format!("{}{indent}", &text[..at]), &format!("\n{}", &text[at..]), "")
            } else {
                let end = line_end(at);
                let line_break = if text[end..].starts_with("\r\n") { "\r\n" } else { "\n" };
                new(&format!("{}{line_break}{indent}", &text[..end]), &text[end..], "")
            }
        }
        _ => unreachable!("a kind"),
    }
}

/// What a model may say there, to do harm.
fn hostile(place: &Place) -> Vec<String> {
    let Place { before, after, gone, .. } = place;
    let language = Language::from_path(Path::new(&place.name));
    let rest = after.lines().next().unwrap_or("");
    let half = |text: &str| text[..text.floor_char_boundary(text.len() / 2)].to_owned();
    let below: Vec<&str> = after.lines().skip(1).filter(|line| !line.trim().is_empty()).collect();
    let next = below.first().copied().unwrap_or("");
    let above = before.lines().rev().skip(1).find(|line| !line.trim().is_empty()).unwrap_or("");
    let left = before.rsplit('\n').next().unwrap_or("");
    let indent = &left[..left.len() - left.trim_start().len()];
    let word = |text: &str| {
        text.chars().take_while(|c| *c == '_' || c.is_alphanumeric()).collect::<String>()
    };
    let right_word = word(rest);
    let last_word: String = word(&left.chars().rev().collect::<String>()).chars().rev().collect();
    let closers: String = balance(language, before)
        .unmatched_openers
        .iter()
        .rev()
        .take(3)
        .map(|b| char::from(b.closer()))
        .collect();
    let mut texts = vec![
        rest.to_owned(),
        rest.trim().to_owned(),
        half(rest),
        format!("{rest}{rest}"),
        format!("{} + {}", rest.trim(), rest.trim()),
        format!("x{rest}"),
        format!("value, {}", rest.trim()),
        right_word.clone(),
        format!("{right_word}()"),
        format!("{right_word}{right_word}"),
        format!("_{right_word}"),
        next.to_owned(),
        next.trim().to_owned(),
        half(next.trim()),
        below.iter().take(2).copied().collect::<Vec<_>>().join("\n"),
        format!("{}\n{}", next.trim(), below.get(1).unwrap_or(&"")),
        format!("x = 1\n{next}"),
        format!("value\n{indent}{}", next.trim()),
        below.get(1).unwrap_or(&"").trim().to_owned(),
        above.trim().to_owned(),
        above.to_owned(),
        half(above.trim()),
        format!("\n{above}"),
        format!("{}\n{above}", above.trim()),
        closers.clone(),
        closers.chars().take(1).collect(),
        format!("x{closers}"),
        format!("x{};", closers.chars().take(1).collect::<String>()),
        format!("x\n{indent}{}", closers.chars().take(1).collect::<String>()),
        gone.clone(),
        gone.trim().to_owned(),
        format!("{gone}{rest}"),
        format!("{}\n{next}", gone.trim_end()),
        format!("{gone}\n{above}"),
        format!("{gone}{closers}"),
        format!("{} ", half(gone)),
        last_word.clone(),
        format!("{last_word}, {last_word}, {last_word}, {last_word}, {last_word}"),
        format!("{}\n{}\n{}", gone.trim(), gone.trim(), gone.trim()),
        format!("{left}{gone}"),
        " x y".to_owned(),
        "x)".to_owned(),
        "x]}".to_owned(),
        "x, y);".to_owned(),
        "</div>".to_owned(),
        "end".to_owned(),
        "fi".to_owned(),
        "\"".to_owned(),
        format!("x\"{rest}"),
        " {".to_owned(),
        format!("{{\n{indent}  x\n{indent}}}"),
        format!("\n{indent}    x = 1\n{indent}    y = 2\n{indent}}}"),
        format!("\n{indent}  return x;\n{indent}}}\n\n{indent}function f() {{\n"),
    ];
    texts.retain(|text| !text.trim().is_empty());
    texts.sort();
    texts.dedup();
    texts
}

/// What is wrong with a file into which `item` was inserted at the cursor, if anything is.
fn fault(place: &Place, item: &str) -> Option<String> {
    let Place { name, before, after, .. } = place;
    let language = Language::from_path(Path::new(name));
    let n_letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).count();
    let rest = after.lines().next().unwrap_or("").trim();
    let left = before.rsplit('\n').next().unwrap_or("");
    let said = item.trim();

    // Right of the cursor.
    if n_letters(rest) > 0
        && (said.starts_with(rest)
            || said.ends_with(rest)
            || n_letters(said) > 0 && rest.starts_with(said))
    {
        return Some(format!("says {rest:?} again, which stands right of the cursor"));
    }
    let is_word = |c: char| language.is_word_char(c);
    let right_word: String = after.chars().take_while(|c| is_word(*c)).collect();
    let is_inside = !right_word.is_empty() && before.chars().next_back().is_some_and(is_word);
    if is_inside
        && (item.starts_with(&right_word)
            || item.ends_with(&right_word) && right_word.chars().count() > 1)
    {
        return Some(format!("doubles the word's right half {right_word:?}"));
    }
    // Below.
    let next = after.lines().skip(1).find(|line| !line.trim().is_empty()).unwrap_or("").trim_end();
    let own = format!("{left}{}", after.lines().next().unwrap_or(""));
    let joined = format!("{left}{item}{}", after.lines().next().unwrap_or(""));
    let lines: Vec<&str> =
        joined.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    let is_own = |line: &str| line.trim() == own.trim();
    if n_letters(next) >= 4 && lines.iter().any(|line| *line == next && !is_own(line)) {
        return Some(format!("says {next:?} again, which stands below"));
    }
    let is_closing = |line: &str| {
        let line = line.trim();
        line.starts_with("</") || ["end", "fi", "done", "esac", ";;"].contains(&line)
    };
    if is_closing(next) && lines.last().is_some_and(|line| *line == next && !is_own(line)) {
        return Some(format!("closes with {next:?} again"));
    }
    // Directly above, and among the lines themselves.
    let above = before[..before.len() - left.len()].lines().next_back().unwrap_or("").trim_end();
    let neighbours: Vec<&str> = std::iter::once(above).chain(lines.iter().copied()).collect();
    if let Some(twice) = neighbours.windows(2).find(|pair| {
        n_letters(pair[0]) > 0 && pair[0] == pair[1] && !is_closing(pair[0]) && !is_own(pair[1])
    }) {
        return Some(format!("says {:?} twice, one below the other", twice[0]));
    }
    // Closers. The arms of a shell's `case` have no opener.
    let is_opened = |closer: u8| !(name.ends_with(".sh") && closer == b')');
    let unmatched = |text: &str| {
        balance(language, text)
            .unmatched_closers
            .iter()
            .filter(|closer| is_opened(closer.byte))
            .count()
    };
    let (old, new) = (format!("{before}{after}"), format!("{before}{item}{after}"));
    if unmatched(&new) > unmatched(&old) {
        return Some("closes what nothing opened".to_owned());
    }
    // The parse, with what is opened on purpose closed. What is wrong already (a line that was cut
    // off) tells nothing.
    let errors = |text: &str| SyntaxTree::parse_str(language, text).n_errors();
    let mut closed = item.to_owned();
    if language == Language::Python && said.ends_with(':') {
        closed.push_str(" pass");
    }
    closed.extend(
        balance(language, item)
            .unmatched_openers
            .iter()
            .rev()
            .map(|bracket| char::from(bracket.closer())),
    );
    let (was, is) = (errors(&old), errors(&new).min(errors(&format!("{before}{closed}{after}"))));
    (was == 0 && is > 0).then(|| format!("parses worse: {was} errors before, {is} after"))
}

fn completer(text: &str, settings: Settings) -> Completer {
    let tiny = TinyModel::saying(text);
    let tokenizer =
        Tokenizer::from_json(tiny.tokenizer.to_string().as_bytes()).expect("our own tokenizer");
    let sentinels = Sentinels::resolve(&tokenizer).expect("our own markers");
    let model = Model::from_checkpoint(
        tiny.config.to_string().as_bytes(),
        &tiny.weights.to_bytes(),
        Precision::F32,
    )
    .expect("our own model");
    Completer::new(Arc::new(model), Arc::new(tokenizer), sentinels, settings)
}

/// One question and what is wrong with the answers.
fn ask(place: &Place, text: &str, beam: usize) -> (bool, Vec<String>) {
    let language = Language::from_path(Path::new(&place.name));
    let document = Document::new(&format!("{}{}", place.before, place.after), 0);
    let tree = SyntaxTree::parse(language, document.rope());
    let completer = completer(text, Settings { prompt_tokens: 192, beam, ..Settings::default() });
    let request = Request {
        n: 2,
        ..Request::at("a", Some(&place.name), &document, &tree, place.before.len())
    };
    let Outcome::Suggest(items) = completer.complete(&request, &Cancel::default()).outcome else {
        return (false, Vec::new());
    };
    let told = |item: &Item| {
        let fault = fault(place, &item.text)?;
        let tail =
            &place.before[place.before.ceil_char_boundary(place.before.len().saturating_sub(90))..];
        let head = &place.after[..place.after.floor_char_boundary(90)];
        let Place { name, kind, .. } = place;
        Some(format!(
            "{name}, {kind}, beam {beam}: {fault}\n    {tail:?}\n  + {:?} (said {text:?})\n  + {head:?}",
            item.text
        ))
    };
    (true, items.iter().filter_map(told).collect())
}

#[test]
fn whatever_a_model_says_nothing_is_there_twice_and_nothing_parses_worse() {
    let rounds = std::env::var("LACUNA_ACCEPTED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (mut shown, mut asked, mut faults) = (BTreeMap::new(), 0, Vec::new());
    for seed in SEED..SEED + rounds {
        let random = &mut Random::new(seed);
        for place in places(random) {
            let texts = hostile(&place);
            for _ in 0..TEXTS {
                // As it is served, and token by token.
                let beam = *random.pick(&[4, 1]);
                let (is_shown, wrong) = ask(&place, random.pick::<String>(&texts), beam);
                asked += 1;
                *shown.entry(place.kind).or_insert(0) += usize::from(is_shown);
                faults.extend(wrong.into_iter().map(|fault| format!("seed {seed}: {fault}")));
            }
        }
    }
    eprintln!("{asked} asked, shown {shown:?}");
    assert!(faults.is_empty(), "{} faults in {asked}:\n{}", faults.len(), faults.join("\n"));
    assert!(
        shown.len() == 7 && shown.values().all(|n| *n >= 3),
        "something is shown at every kind of place: {shown:?}"
    );
}
