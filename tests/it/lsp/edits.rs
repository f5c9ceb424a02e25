//! Split invariance: whatever edits led to a text, it is completed as if it had been opened like
//! that.

use lacuna_tests::{Client, Home, Random, TinyModel, binary};
use serde_json::{Value, json};

use super::text::{Unit, offset, position};
use super::{Session, change, encodings, essence, options};

/// Scripts per unit of positions; each has its own seed, which is printed when it fails.
const SCRIPTS: u64 = 24;
const EDITS: usize = 14;
/// Places that are compared at the end of a script.
const PLACES: usize = 4;

const START: &str = "import os\r\n\n# 漢字 🦀\ndef f(x, naïve):\n\tif x > 1:\n\t\treturn '🦀' + x\n    total = 0\n    for i in range(10):\n        total += i\n    return total\n";
const PIECES: [&str; 24] = [
    "",
    "",
    "a",
    "x",
    "fo",
    "\n",
    "\r\n",
    "\r",
    "    ",
    "\t",
    "(",
    ")",
    ":",
    "\"",
    "'",
    "# ",
    "def g():\n    ",
    "return ",
    "🦀",
    "漢",
    "é",
    "e\u{301}",
    "total += 1\n",
    "if x:\n",
];

/// A character boundary of `text` that is no place between `\r` and `\n`.
fn boundary(random: &mut Random, text: &str) -> usize {
    loop {
        let at = random.below(text.len() + 1);
        if text.is_char_boundary(at)
            && !(text[..at].ends_with('\r') && text[at..].starts_with('\n'))
        {
            return at;
        }
    }
}

/// One random content change, applied to `text`.
fn edit(random: &mut Random, text: &mut String, unit: Unit) -> Value {
    if random.below(20) == 0 {
        *text = START.to_owned();
        return json!({"text": START});
    }
    let start = boundary(random, text);
    let reach = start + random.below(12);
    let mut end = start;
    while end < text.len() && end < reach {
        end += text[end..].chars().next().map_or(1, char::len_utf8);
    }
    if text[..end].ends_with('\r') && text[end..].starts_with('\n') {
        end += 1;
    }
    let piece = *random.pick(&PIECES);
    let wire = change(position(text, start, unit), position(text, end, unit), piece);
    text.replace_range(start..end, piece);
    wire
}

fn run(offered: &[&str], unit: Unit, language: &str, seeds: std::ops::Range<u64>) {
    run_in(Session::uninitialized(), offered, unit, language, seeds);
}

fn run_in(
    mut session: Session,
    offered: &[&str],
    unit: Unit,
    language: &str,
    seeds: std::ops::Range<u64>,
) {
    session.initialize(
        json!({"capabilities": encodings(offered), "initializationOptions": options()}),
    );
    let uri = format!("file:///project/sub%20dir/edited.{language}");
    let mut suggested = 0;
    let n_scripts = seeds.clone().count();
    for seed in seeds {
        let random = &mut Random::new(seed);
        let mut text = START.to_owned();
        session.open(&uri, language, &text);
        for version in 0..EDITS {
            let changes: Vec<Value> =
                (0..1 + random.below(3)).map(|_| edit(random, &mut text, unit)).collect();
            session.change(&uri, version as i64 + 2, &changes);
            if random.below(3) == 0 {
                // What was asked on the way leaves a warm cache behind, and nothing else.
                let (line, character) = position(&text, boundary(random, &text), unit);
                let id = session.complete(&uri, line, character);
                if random.below(2) == 0 {
                    session.reply(id);
                }
            }
        }
        // The last edit is left of everything: no suggestion from before can still be on screen.
        session.change(&uri, 99, &[change((0, 0), (0, 0), "z")]);
        text.insert(0, 'z');
        // Several places: inside words, and at the ends of lines that are whole, nothing is
        // suggested.
        let places: Vec<_> =
            (0..PLACES).map(|_| position(&text, boundary(random, &text), unit)).collect();
        let edited: Vec<_> =
            places.iter().map(|(line, character)| session.items(&uri, *line, *character)).collect();
        session.close(&uri);
        session.open(&uri, language, &text);
        let opened: Vec<_> =
            places.iter().map(|(line, character)| session.items(&uri, *line, *character)).collect();
        session.close(&uri);
        for ((place, edited), opened) in places.iter().zip(&edited).zip(&opened) {
            let at = offset(&text, *place, unit);
            assert_eq!(
                essence(edited),
                essence(opened),
                "seed {seed}: {:?} | {:?}",
                &text[..at],
                &text[at..]
            );
        }
        suggested += usize::from(opened.iter().any(|items| !items.is_empty()));
    }
    assert!(
        suggested * 2 > n_scripts,
        "{suggested} of {n_scripts}: the comparison was of something"
    );
}

#[test]
fn edits_in_utf_16_lead_to_the_same_completion_as_opening_the_text() {
    run(&[], Unit::Utf16, "python", 0..SCRIPTS);
    run(&["utf-16"], Unit::Utf16, "rust", 100..100 + SCRIPTS / 2);
}

#[test]
fn edits_in_utf_8_lead_to_the_same_completion_as_opening_the_text() {
    run(&["utf-8"], Unit::Utf8, "python", 200..200 + SCRIPTS);
    run(&["utf-8"], Unit::Utf8, "plaintext", 300..300 + SCRIPTS / 2);
}

#[test]
fn a_warm_cache_agrees_with_a_cold_one_on_every_kernel_row() {
    for row in ["scalar", "avx2", "avx512vnni"] {
        let home = Home::new();
        let model = TinyModel::default().write();
        let mut verify = home.command(binary());
        if lacuna_tests::run(verify.env("LACUNA_ISA", row).args(["model", "verify", model.arg()]))
            .code
            != Some(0)
        {
            eprintln!("skipped: this CPU has no {row}");
            continue;
        }
        let mut command = home.command(binary());
        command.env("LACUNA_ISA", row).args(["lsp", "--model", model.arg()]);
        let session = Session { client: Client::spawn(&mut command), _model: model };
        run_in(session, &[], Unit::Utf16, "python", 400..400 + SCRIPTS / 3);
    }
}

#[test]
fn changes_of_one_notification_are_applied_one_after_the_other() {
    let mut session = Session::on_the_scalar_row();
    let uri = "file:///project/a.txt";
    session.open(uri, "plaintext", "one two\n");
    // Each range is of the text that the one before has left.
    session.change(
        uri,
        2,
        &[
            change((0, 0), (0, 3), "three"),
            change((0, 6), (0, 9), "fo"),
            change((0, 0), (0, 0), "🦀"),
        ],
    );
    let edited = session.items(uri, 0, 10);
    session.close(uri);
    session.open(uri, "plaintext", "🦀three fo\n");
    assert_eq!(essence(&edited), essence(&session.items(uri, 0, 10)));
    assert_eq!(edited.len(), 1);
}
