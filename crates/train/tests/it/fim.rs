//! Fill-in-the-middle documents: parts are the window byte for byte, holes are of their kind, ids
//! are laid out as in serving.

use std::collections::HashMap;

use lacuna_train::fim::{FimConfig, HoleKind, Source, examples};
use lacuna_train::mine::rng::Rng;
use lacuna_train::mine::{Language, Split};

use crate::corpus;

const ODD: &str = "def f(x):\r\n    return '🦀é' + x  # comment\r\n\r\n\r\nclass A:\n\tdef g(self):\n\t\tif self.x:\n\t\t\treturn [1, (2, 3), {'k': 'v'}]\n\n\n\nx = f('日本語')\nno_newline = 1";

#[test]
fn parts_join_to_a_run_of_the_file() {
    let config = FimConfig::default();
    let python = corpus::python(7, 10);
    let javascript = corpus::javascript(8, 10);
    let files = [
        (python.as_str(), "a.py"),
        (javascript.as_str(), "a.js"),
        (ODD, "b.py"),
        (ODD, "unparsable.rs"),
    ];
    let mut kinds: HashMap<HoleKind, usize> = HashMap::new();
    for (text, path) in files {
        let source = Source::new(text, Language::of_path(path).unwrap(), path);
        let mut rng = Rng::new(3);
        for round in 0..2000 {
            let bytes = rng.log_uniform(20.0, 3000.0) as usize;
            let Some(parts) = source.draw(&config, bytes, &mut rng) else { continue };
            let window = format!("{}{}{}", parts.prefix, parts.middle, parts.suffix);
            assert!(text.contains(&window), "{path} round {round}: {parts:?}");
            assert!(!parts.middle.trim().is_empty(), "{path} round {round}: {parts:?}");
            match parts.kind {
                HoleKind::Line => {
                    assert!(!parts.middle.contains('\n'), "{path} round {round}: {parts:?}")
                }
                HoleKind::Lines => {
                    assert!(
                        parts.middle.lines().count() <= 8 && !parts.middle.ends_with('\n'),
                        "{path} round {round}: {parts:?}"
                    )
                }
                HoleKind::Character => {
                    assert!(parts.middle.len() <= 84, "{path} round {round}: {parts:?}")
                }
                HoleKind::Node => {}
            }
            *kinds.entry(parts.kind).or_default() += 1;
        }
    }
    for kind in [HoleKind::Line, HoleKind::Character, HoleKind::Node, HoleKind::Lines] {
        assert!(kinds.get(&kind).is_some_and(|n| *n > 500), "{kind:?}: {kinds:?}");
    }
}

#[test]
fn a_line_hole_is_followed_by_its_line_break() {
    let text = corpus::python(5, 8);
    let source = Source::new(&text, Language::Python, "a.py");
    let config = FimConfig::default();
    let mut rng = Rng::new(1);
    let window = 0..text.len();
    for _ in 0..500 {
        let hole = source.hole(&window, HoleKind::Line, &config, &mut rng).unwrap();
        assert!(matches!(text.as_bytes().get(hole.end), None | Some(b'\n')), "{:?}", &text[hole]);
    }
}

#[test]
fn holes_avoid_prose_unless_asked() {
    let text = "def f(x):\n    \"\"\"One line.\n\n    Another line.\n    A third line.\n    \"\"\"\n    # a comment\n    y = x + 1\n    return y\n";
    let source = Source::new(text, Language::Python, "a.py");
    let window = 0..text.len();
    let in_code = |config: &FimConfig| {
        let mut rng = Rng::new(1);
        let holes = (0..300).filter_map(|_| source.hole(&window, HoleKind::Line, config, &mut rng));
        holes
            .filter(|hole| {
                ["def", "y =", "return"]
                    .iter()
                    .any(|code| text[..hole.end].lines().last().unwrap().contains(code))
            })
            .count()
    };
    assert!(in_code(&FimConfig { prose: 0.0, ..Default::default() }) > 290);
    assert!(in_code(&FimConfig { prose: 1.0, ..Default::default() }) < 270);
}

#[test]
fn only_instructive_functions_become_windows_when_asked() {
    let (tokenizer, sentinels) = corpus::tokenizer();
    let config = FimConfig::functions();
    let stubs = "class A:\n    def f(self):\n        return self.x\n\n    def g(self):\n        return self.y\n".repeat(20);
    let stubs = corpus::document("pypi/made", "made/stubs.py", Split::Train, stubs);
    assert!(examples(&stubs, &tokenizer, &sentinels, 0, &config, 10.0, 1).is_empty());
    let good = corpus::document("pypi/made", "made/good.py", Split::Train, corpus::python(1, 20));
    assert!(examples(&good, &tokenizer, &sentinels, 0, &config, 10.0, 1).len() > 20);
}

#[test]
fn holes_are_lines_as_often_as_asked() {
    let text = corpus::python(5, 20);
    let source = Source::new(&text, Language::Python, "a.py");
    let share_of = |kind: HoleKind, config: &FimConfig| {
        let mut rng = Rng::new(2);
        let kinds: Vec<HoleKind> =
            (0..2000).filter_map(|_| Some(source.draw(config, 600, &mut rng)?.kind)).collect();
        kinds.iter().filter(|k| **k == kind).count() as f64 / kinds.len() as f64
    };
    for share in [0.0, 0.4, 0.9, 1.0] {
        let config = FimConfig::functions().with_lines(share);
        let got = share_of(HoleKind::Line, &config);
        // Where a window has no hole of the kind that was drawn, it gets a line.
        assert!(got > share - 0.05 && got < share + 0.1, "{share}: {got}");
        let character = share_of(HoleKind::Character, &config);
        assert!(
            (character - (1.0 - share) * 0.16 / 0.45).abs() < 0.06,
            "{share}: {character} of characters"
        );
    }
}

#[test]
fn functions_are_seen_whole() {
    let text = corpus::python(5, 8);
    let source = Source::new(&text, Language::Python, "a.py");
    let config = FimConfig { function: 1.0, ..Default::default() };
    let mut rng = Rng::new(1);
    let mut whole = 0;
    for _ in 0..400 {
        let window = &text[source.window(&config, 900, &mut rng)];
        assert!(window.starts_with("def "), "{window}");
        whole += usize::from(
            window.matches("def ").count() == 1 && window.trim_end().ends_with("return total"),
        );
    }
    assert!(whole > 100, "{whole} of 400 windows are one whole function");
}

#[test]
fn documents_are_laid_out_as_prompts_are() {
    let (tokenizer, sentinels) = corpus::tokenizer();
    let document = corpus::document("pypi/made", "made/a.py", Split::Train, corpus::python(9, 60));
    let config = FimConfig { limit_tokens: 700, ..Default::default() };
    let made = examples(&document, &tokenizer, &sentinels, 0, &config, 20.0, 1);
    assert!(made.len() > 200, "{}", made.len());
    let (mut psm, mut spm, mut plain, mut headed) = (0, 0, 0, 0);
    for ids in &made {
        assert!(ids.len() <= 700);
        assert_eq!(ids.iter().position(|t| *t == 0), Some(ids.len() - 1));
        assert!(!ids.contains(&4));
        let at = |token: u16| ids.iter().position(|t| *t == token);
        headed += usize::from(at(6) == Some(0));
        let text = |range: std::ops::Range<usize>| {
            let ids: Vec<u32> = ids[range].iter().map(|t| u32::from(*t)).collect();
            String::from_utf8(tokenizer.decode(&ids)).unwrap()
        };
        let end = ids.len() - 1;
        match (at(1), at(2), at(3)) {
            (None, None, None) => plain += 1,
            (Some(prefix), Some(middle), Some(suffix)) => {
                let whole = if prefix < suffix {
                    psm += 1;
                    text(prefix + 1..suffix) + &text(middle + 1..end) + &text(suffix + 1..middle)
                } else {
                    spm += 1;
                    text(prefix + 1..middle) + &text(middle + 1..end) + &text(suffix + 1..prefix)
                };
                assert!(document.text.contains(&whole), "{whole}");
            }
            other => panic!("a marker is missing: {other:?}"),
        }
    }
    let n = made.len() as f64;
    for (name, count, share) in
        [("plain", plain, 0.30), ("psm", psm, 0.35), ("spm", spm, 0.35), ("headed", headed, 0.70)]
    {
        assert!((count as f64 / n - share).abs() < 0.1, "{name}: {count} of {n}");
    }
}

#[test]
fn the_same_seed_makes_the_same_documents_and_another_one_does_not() {
    let (tokenizer, sentinels) = corpus::tokenizer();
    let document = &corpus::documents()[0];
    let make =
        |seed| examples(document, &tokenizer, &sentinels, 0, &FimConfig::default(), 2.0, seed);
    assert_eq!(make(1), make(1));
    assert_ne!(make(1), make(2));
}
