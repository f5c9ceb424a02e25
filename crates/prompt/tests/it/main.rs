//! The prompt crate at its boundary: a small byte-level tokenizer made here, real rules.

mod excerpts;
mod stable;
mod vocabulary;

use lacuna_prompt::{
    Input, Options, Order, SectionKind, Sentinels, Tokenizer, build, header, layout,
};

/// Every byte is a token, plus a few merges, plus the sentinels. Ids: sentinels 0–6, bytes 7–262,
/// merges after.
fn tokenizer_json(sentinels: bool) -> String {
    let names = [
        "<|endoftext|>",
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
    ];
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let mut extra = 0x100;
    let mut vocab = serde_json::Map::new();
    for (id, name) in names.iter().enumerate() {
        vocab.insert((*name).to_owned(), id.into());
    }
    for b in 0u32..256 {
        let c = if printable(b) {
            b
        } else {
            extra += 1;
            extra - 1
        };
        vocab.insert(char::from_u32(c).unwrap().to_string(), (b + 7).into());
    }
    let merges =
        [("r", "e"), ("t", "u"), ("re", "tu"), ("r", "n"), ("retu", "rn"), ("Ċ", "Ġ"), ("ĊĠ", "Ġ")];
    for (i, (a, b)) in merges.iter().enumerate() {
        vocab.insert(format!("{a}{b}"), (263 + i).into());
    }
    let added: Vec<_> = names
        .iter()
        .enumerate()
        .filter(|_| sentinels)
        .map(|(id, name)| {
            serde_json::json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
                  "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab,
                  "merges": merges.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>()},
    })
    .to_string()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(tokenizer_json(true).as_bytes()).unwrap()
}

const INPUT: Input<'_> = Input { path: Some("a.py"), excerpts: &[], prefix: "", suffix: "" };
const OPTIONS: Options =
    Options { order: Order::Spm, budget: 512, heal: true, seam: false, ahead: 0 };

fn section(prompt: &lacuna_prompt::Prompt, kind: SectionKind) -> &[u32] {
    let section = prompt.sections.iter().find(|s| s.kind == kind).unwrap();
    &prompt.ids[section.tokens.clone()]
}

#[test]
fn text_round_trips_byte_for_byte() {
    let t = tokenizer();
    for text in ["", "return x\r\n\t", "naïve 🦀 \u{0} \u{feff}", "<|fim_suffix|>", "\n    return"]
    {
        assert_eq!(t.decode(&t.encode(text)), text.as_bytes(), "{text:?}");
    }
}

#[test]
fn a_users_marker_text_never_becomes_a_sentinel() {
    let t = tokenizer();
    let s = Sentinels::resolve(&t).unwrap();
    let text = "x = '<|fim_suffix|><|endoftext|><|file_sep|>'";
    let ids = t.encode(text);
    assert!(ids.iter().all(|id| !s.stops.contains(id)));
    let prompt = build(
        &t,
        &s,
        &Input { path: Some(text), excerpts: &[text], prefix: text, suffix: text },
        &OPTIONS,
    );
    for marker in [s.prefix, s.middle, s.suffix, s.file.unwrap()] {
        assert_eq!(prompt.ids.iter().filter(|&&id| id == marker).count(), 1);
    }
}

#[test]
fn the_two_orders_are_laid_out_as_documented() {
    let t = tokenizer();
    let s = Sentinels::resolve(&t).unwrap();
    let h = header(&t, &s, "p");
    assert_eq!(h, [6, u32::from(b'p') + 7, u32::from(b'\n') + 7]);
    assert_eq!(layout(&s, Order::Psm, &h, &[100], &[200]), [6, h[1], h[2], 1, 100, 3, 200, 2]);
    assert_eq!(layout(&s, Order::Spm, &h, &[100], &[200]), [6, h[1], h[2], 3, 200, 1, 100, 2]);
}

#[test]
fn healing_takes_back_the_cut_word() {
    let t = tokenizer();
    let s = Sentinels::resolve(&t).unwrap();
    let prompt = build(&t, &s, &Input { prefix: "x\n  retu", ..INPUT }, &OPTIONS);
    assert_eq!(prompt.healing.rolled_back(), b"retu");
    assert_eq!(t.decode(section(&prompt, SectionKind::Prefix)), b"x\n  ");
    // `retur` is two tokens here: the word is taken back as a whole, so that `return` can be the
    // answer's first token.
    let split = build(&t, &s, &Input { prefix: "x = retur", ..INPUT }, &OPTIONS);
    assert_eq!(split.healing.rolled_back(), b"retur");
    assert_eq!(t.decode(section(&split, SectionKind::Prefix)), b"x = ");
    let dotted = build(&t, &s, &Input { prefix: "a.b", ..INPUT }, &OPTIONS);
    assert_eq!(dotted.healing.rolled_back(), b"b", "punctuation is a boundary");
    let without =
        build(&t, &s, &Input { prefix: "retu", ..INPUT }, &Options { heal: false, ..OPTIONS });
    assert!(!without.healing.is_active());
    assert!(
        !build(&t, &s, &INPUT, &OPTIONS).healing.is_active(),
        "nothing to heal in an empty file"
    );
    assert!(
        !build(&t, &s, &Input { prefix: "x\n", ..INPUT }, &OPTIONS).healing.is_active(),
        "a line break is a boundary"
    );
    let indented = build(&t, &s, &Input { prefix: "x\n ", ..INPUT }, &OPTIONS);
    assert_eq!(indented.healing.rolled_back(), b"\n ", "the indentation may become deeper");
}

#[test]
fn the_budget_is_exact_and_the_text_nearest_to_the_cursor_stays() {
    let t = tokenizer();
    let s = Sentinels::resolve(&t).unwrap();
    let lines: String = (0..4000).map(|i| format!("line {i} 🦀\n")).collect();
    for budget in [16, 17, 31, 64, 333, 2048] {
        for (prefix, suffix) in
            [(lines.as_str(), lines.as_str()), (&lines, ""), ("", &lines), ("ab", "cd")]
        {
            let prompt =
                build(&t, &s, &Input { prefix, suffix, ..INPUT }, &Options { budget, ..OPTIONS });
            assert!(prompt.ids.len() <= budget, "{} > {budget}", prompt.ids.len());
            let mut kept = t.decode(section(&prompt, SectionKind::Prefix));
            kept.extend_from_slice(prompt.healing.rolled_back());
            assert!(prefix.as_bytes().ends_with(&kept));
            assert!(
                suffix.as_bytes().starts_with(&t.decode(section(&prompt, SectionKind::Suffix)))
            );
            if prefix.len() > 100 && budget >= 64 {
                assert!(
                    kept.len() > budget / 3,
                    "kept only {} bytes of {budget} tokens",
                    kept.len()
                );
                assert!(kept.starts_with(b"line "), "the window starts on a line start");
            }
        }
    }
    // One endless line of multi-byte characters: no hang, the end is kept.
    let long = "🦀".repeat(5000);
    let prompt = build(
        &t,
        &s,
        &Input { prefix: &long, suffix: &long, ..INPUT },
        &Options { budget: 40, ..OPTIONS },
    );
    assert!(prompt.ids.len() <= 40 && prompt.prefix_cut > 0 && prompt.suffix_cut > 0);
}

#[test]
fn typing_does_not_move_the_start_of_the_prompt() {
    let t = tokenizer();
    let s = Sentinels::resolve(&t).unwrap();
    let file: String = (0..2000).map(|i| format!("value_{i} = {i}\n")).collect();
    let typed = "for value in values:\n    total += value\n";
    let mut moves = 0;
    let mut last: Option<Vec<u32>> = None;
    for n in 0..typed.len() {
        let prefix = format!("{file}{}", &typed[..n]);
        let ids = build(&t, &s, &Input { prefix: &prefix, suffix: &file, ..INPUT }, &OPTIONS).ids;
        if let Some(last) = last {
            let common = last.iter().zip(&ids).take_while(|(a, b)| a == b).count();
            moves += usize::from(common + 8 < last.len());
        }
        last = Some(ids);
    }
    assert!(moves <= 2, "the window moved {moves} times in {} keystrokes", typed.len());
}

#[test]
fn a_tokenizer_without_markers_is_refused_by_name() {
    let t = Tokenizer::from_json(tokenizer_json(false).as_bytes()).unwrap();
    let error = Sentinels::resolve(&t).unwrap_err().to_string();
    assert!(error.contains("fill-in-the-middle") && error.contains("<|fim_prefix|>"), "{error}");
}

#[test]
fn the_order_is_that_of_the_family() {
    let (ours, others) =
        (tokenizer_json(true).replace("<|repo_name|>", "<|reserved_0|>"), tokenizer_json(true));
    for (json, family, order) in [(ours, "lacuna", Order::Spm), (others, "fim-pipe", Order::Psm)] {
        let s = Sentinels::resolve(&Tokenizer::from_json(json.as_bytes()).unwrap()).unwrap();
        assert_eq!((s.family, s.order), (family, order));
    }
}

#[test]
fn hostile_tokenizer_files_are_errors() {
    for file in [
        "",
        "{}",
        "[]",
        "null",
        "{\"added_tokens\":[{}]}",
        "{\"added_tokens\":[{\"id\":9999999999,\"content\":\"x\"}]}",
    ] {
        assert!(Tokenizer::from_json(file.as_bytes()).is_err(), "{file}");
    }
    let truncated = tokenizer_json(true);
    assert!(Tokenizer::from_json(&truncated.as_bytes()[..truncated.len() / 2]).is_err());
}
