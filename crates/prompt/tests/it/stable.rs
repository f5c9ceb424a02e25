//! What typing costs: tokens of a changed text, and how much of a prompt stays as it was.

use lacuna_prompt::{Input, Options, Order, Prompt, Sentinels, Tokenizer, build};
use serde_json::{Value, json};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n.max(1) as u64) as usize
    }
}

fn path(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets").join(name)
}

fn embedded_json() -> Value {
    serde_json::from_slice(&std::fs::read(path("embedded/tokenizer.json")).unwrap()).unwrap()
}

fn read(json: &Value) -> Tokenizer {
    Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
}

/// The embedded vocabulary under the ways of cutting text that other models have.
fn styles() -> Vec<(&'static str, Tokenizer)> {
    use lacuna_prompt::vocabulary::{CUT_DEEPSEEK_CODER, CUT_LLAMA3, CUT_QWEN2};
    let split = |pattern: &&str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
    let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": regex});
    let sequence = |steps: Vec<Value>| json!({"type": "Sequence", "pretokenizers": steps});
    let digits = json!({"type": "Digits", "individual_digits": true});
    let splits = |cut: &[&str]| cut.iter().map(split).collect::<Vec<_>>();
    let with = |pre: Value| {
        let mut json = embedded_json();
        json["pre_tokenizer"] = pre;
        read(&json)
    };
    vec![
        ("ours", read(&embedded_json())),
        ("qwen2", with(sequence([splits(CUT_QWEN2), vec![byte_level(false)]].concat()))),
        ("llama3", with(sequence([splits(CUT_LLAMA3), vec![byte_level(false)]].concat()))),
        (
            "deepseek",
            with(sequence(
                [splits(CUT_DEEPSEEK_CODER), vec![digits.clone(), byte_level(false)]].concat(),
            )),
        ),
        ("starcoder", with(sequence(vec![digits, byte_level(true)]))),
        ("gpt2", with(byte_level(true))),
        ("whole", with(byte_level(false))),
    ]
}

/// The samples of a language, one after the other.
fn code(extension: &str) -> String {
    let mut names: Vec<_> =
        std::fs::read_dir(path("samples")).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    let of_language = |p: &&std::path::PathBuf| p.extension().is_some_and(|e| e == extension);
    names.iter().filter(of_language).map(|p| std::fs::read_to_string(p).unwrap()).collect()
}

const SNIPPETS: [&str; 16] = [
    "x",
    " ",
    "\n",
    "\n    ",
    "\r\n\t",
    " a b",
    "don't do",
    "é",
    "e\u{301} f",
    "🦀🦀",
    "  ",
    "_name a",
    "12345 67",
    "self.value = other ",
    "}\n\n",
    "a\u{0}b c",
];

#[test]
fn tokens_of_an_edited_text_are_those_of_the_whole() {
    let styles = styles();
    for (name, tokenizer) in &styles {
        assert_eq!(
            tokenizer.is_incremental(),
            *name != "whole" || !spans_words(tokenizer),
            "{name}"
        );
    }
    let random = &mut Random(5);
    let mut text = code("py");
    for round in 0..400 {
        let at = text.floor_char_boundary(random.below(text.len() + 1));
        let end = text.floor_char_boundary((at + random.below(12)).min(text.len()));
        text.replace_range(at..end.max(at), SNIPPETS[random.below(SNIPPETS.len())]);
        let start = text.floor_char_boundary(random.below(text.len()));
        let window = &text
            [start..text.floor_char_boundary((start + 200 + random.below(3000)).min(text.len()))];
        let (name, tokenizer) = &styles[round % styles.len()];
        assert_eq!(
            tokenizer.encode_incremental(window),
            tokenizer.encode(window),
            "{name}, round {round}"
        );
    }
}

fn spans_words(tokenizer: &Tokenizer) -> bool {
    (0..tokenizer.n_vocab() as u32).any(|id| {
        tokenizer
            .token_bytes(id)
            .windows(2)
            .any(|pair| pair[0].is_ascii_alphabetic() && pair[1] == b' ')
    })
}

#[test]
fn a_vocabulary_that_spans_words_is_not_cut() {
    let mut json = embedded_json();
    json["model"]["vocab"]["aĠb"] = json!(json["model"]["vocab"].as_object().unwrap().len() + 64);
    assert!(!read(&json).is_incremental());
    let mut unknown = embedded_json();
    unknown["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(r"\w+ \w+|.");
    assert!(!read(&unknown).is_incremental());
}

struct Setup {
    tokenizer: Tokenizer,
    sentinels: Sentinels,
}

impl Setup {
    fn new() -> Setup {
        let tokenizer = read(&embedded_json());
        let sentinels = Sentinels::resolve(&tokenizer).unwrap();
        Setup { tokenizer, sentinels }
    }

    fn prompt(&self, text: &str, cursor: usize, options: &Options) -> Prompt {
        let input = Input {
            path: Some("src/a.rs"),
            excerpts: &[],
            prefix: &text[..cursor],
            suffix: &text[cursor..],
        };
        build(&self.tokenizer, &self.sentinels, &input, options)
    }
}

const SPM: Options = Options { order: Order::Spm, budget: 1024, heal: true, seam: false, ahead: 0 };
const LAYOUTS: [Options; 3] =
    [SPM, Options { seam: true, ..SPM }, Options { order: Order::Psm, seam: true, ..SPM }];

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[test]
fn typing_leaves_nearly_all_of_the_prompt_as_it_was() {
    let setup = Setup::new();
    for options in LAYOUTS {
        for (extension, seed) in [("rs", 1), ("py", 2), ("ts", 3)] {
            let whole = code(extension);
            let random = &mut Random(seed);
            let (mut reused, mut all) = (0, 0);
            for _ in 0..6 {
                // A stretch of the file is typed where it stands, character by character.
                let start =
                    whole.floor_char_boundary(whole.len() / 4 + random.below(whole.len() / 2));
                let end = whole.floor_char_boundary(start + 300);
                let rest = &whole[end..];
                let mut last: Option<Vec<u32>> = None;
                for (i, c) in whole[start..end].char_indices() {
                    let prefix = &whole[..start + i + c.len_utf8()];
                    let ids = setup.prompt(&format!("{prefix}{rest}"), prefix.len(), &options).ids;
                    assert!(ids.len() <= options.budget);
                    if let Some(last) = last {
                        reused += common(&last, &ids);
                        all += ids.len();
                    }
                    last = Some(ids);
                }
            }
            let ratio = reused as f64 / all as f64;
            assert!(
                ratio >= 0.95,
                "{extension}, {:?}, seam {}: {ratio:.3}",
                options.order,
                options.seam
            );
        }
    }
}

#[test]
fn a_line_inserted_above_leaves_most_of_the_prompt_as_it_was() {
    let setup = Setup::new();
    for options in LAYOUTS {
        let whole = [code("rs"), code("py"), code("ts")].concat();
        let random = &mut Random(7);
        let (mut reused, mut all) = (0, 0);
        for _ in 0..120 {
            let cursor = whole.floor_char_boundary(whole.len() / 2 + random.below(whole.len() / 2));
            let at = whole[..random.below(cursor)].rfind('\n').map_or(0, |at| at + 1);
            let line = "use std::collections::BTreeMap; // a new line\n";
            let edited = format!("{}{line}{}", &whole[..at], &whole[at..]);
            let before = setup.prompt(&whole, cursor, &options).ids;
            let after = setup.prompt(&edited, cursor + line.len(), &options).ids;
            reused += common(&before, &after);
            all += after.len();
        }
        let ratio = reused as f64 / all as f64;
        assert!(ratio >= 0.8, "{:?}, seam {}: {ratio:.3}", options.order, options.seam);
    }
}

#[test]
fn what_is_warmed_ahead_is_what_will_be_asked() {
    let setup = Setup::new();
    let whole = code("rs");
    let (mut moves, mut foreseen) = (0, 0);
    for options in LAYOUTS {
        let start = whole.len() / 2;
        let mut last: Option<(Vec<u32>, Vec<u32>)> = None;
        for cursor in (start..whole.len() - 10).step_by(7).map(|at| whole.floor_char_boundary(at)) {
            let ids = setup.prompt(&whole, cursor, &options).ids;
            // The suffix is held still: only the prefix window is looked at.
            let input = |cursor: usize| Input {
                path: Some("a.rs"),
                excerpts: &[],
                prefix: &whole[..cursor],
                suffix: "\n}\n",
            };
            let of = |options: &Options| {
                build(&setup.tokenizer, &setup.sentinels, &input(cursor), options).ids
            };
            let (now, ahead) = (of(&options), of(&Options { ahead: 48, ..options }));
            if let Some((last, last_ahead)) = &last
                && !options.seam
                && common(last, &now) * 2 < now.len()
            {
                moves += 1;
                foreseen += usize::from(common(last_ahead, &now) * 2 > now.len());
            }
            last = Some((now, ahead));
            drop(ids);
        }
    }
    assert!(moves > 0 && foreseen * 10 >= moves * 9, "{foreseen} of {moves} moves were foreseen");
}

#[test]
fn the_seam_splits_the_prefix_and_nothing_else() {
    let setup = Setup::new();
    let whole = code("py");
    let random = &mut Random(11);
    for _ in 0..200 {
        let cursor = whole.floor_char_boundary(random.below(whole.len() + 1));
        for order in [Order::Psm, Order::Spm] {
            let options = Options { order, seam: true, budget: 64 + random.below(900), ..SPM };
            let prompt = setup.prompt(&whole, cursor, &options);
            assert!(prompt.ids.len() <= options.budget);
            let mut shown = Vec::new();
            for kind in [lacuna_prompt::SectionKind::Prefix, lacuna_prompt::SectionKind::Typed] {
                let section = prompt.sections.iter().find(|s| s.kind == kind).unwrap();
                shown.extend(setup.tokenizer.decode(&prompt.ids[section.tokens.clone()]));
            }
            shown.extend_from_slice(prompt.healing.rolled_back());
            assert_eq!(String::from_utf8(shown).unwrap(), whole[prompt.prefix_cut..cursor]);
            let middle = prompt.ids.iter().position(|id| *id == setup.sentinels.middle).unwrap();
            let typed = prompt.sections.last().unwrap();
            assert_eq!((typed.tokens.start, typed.tokens.end), (middle + 1, prompt.ids.len()));
        }
    }
}

#[test]
fn texts_without_lines_or_words_have_windows_that_hold_still_too() {
    let setup = Setup::new();
    let random = &mut Random(3);
    let endless: String = (0..40_000).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    let words: String = (0..9_000)
        .map(|_| if random.below(5) == 0 { ' ' } else { char::from(b'a' + random.below(26) as u8) })
        .collect();
    for text in [endless, words] {
        let (mut reused, mut all) = (0, 0);
        let mut last: Option<Vec<u32>> = None;
        for cursor in text.len() - 300..text.len() {
            let ids = setup.prompt(&text[..cursor], cursor, &SPM).ids;
            if let Some(last) = last {
                reused += common(&last, &ids);
                all += ids.len();
            }
            last = Some(ids);
        }
        assert!(reused as f64 / all as f64 > 0.9, "{reused} of {all}");
    }
}
