//! The trained tokenizer: round trips, where tokens may not reach, specials, repeatability,
//! refusals.

use std::sync::atomic::AtomicBool;

use lacuna_train::tokenizer::{SPECIALS, TokenizerConfig, TokenizerTrainError, train};

use crate::corpus;

#[test]
fn any_text_round_trips() {
    let (tokenizer, _) = corpus::tokenizer();
    for text in [
        "",
        "def f(x):\r\n\treturn x\r\n",
        "\n\n\n    \n",
        "tabs\t\tand  spaces   \t mixed \n \t x",
        "emoji 🦀👩‍👩‍👧 and 漢字 and é e\u{301} ﬀ",
        "nul \0 bell \u{7} delete \u{7f}",
        "lone \r carriage, form \u{c} feed, nbsp \u{a0}, line \u{2028} separator, bom \u{feff}",
        "<|fim_prefix|> typed by a user <|endoftext|>",
        "1234567890 0x1F 1_000 3.14e-10 ٣٤٥",
        "__init__ _x __ a_b_c self._private $var @dec #tag ->=>!==",
    ] {
        let ids = tokenizer.encode(text);
        assert_eq!(tokenizer.decode(&ids), text.as_bytes(), "{text:?}");
        assert!(
            ids.iter().all(|&id| id >= SPECIALS.len() as u32),
            "{text:?} became a special token"
        );
    }
}

#[test]
fn tokens_hold_a_line_break_only_at_their_start_and_before_indentation() {
    let (tokenizer, _) = corpus::tokenizer();
    for id in 0..tokenizer.n_vocab() as u32 {
        let bytes = tokenizer.token_bytes(id);
        let after = bytes.strip_prefix(b"\r").unwrap_or(bytes);
        if let Some(at) = after.iter().position(|b| *b == b'\n') {
            assert_eq!(at, 0, "token {id} {:?}", String::from_utf8_lossy(bytes));
            assert!(
                after[1..].iter().all(|b| matches!(b, b' ' | b'\t')),
                "token {id} {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        let digits = bytes.iter().filter(|b| b.is_ascii_digit()).count();
        assert!(digits <= 3, "token {id} {:?}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn specials_have_the_ids_of_the_contract() {
    let (tokenizer, sentinels) = corpus::tokenizer();
    for (id, text) in SPECIALS.iter().enumerate() {
        assert_eq!(tokenizer.special(text), Some(id as u32), "{text}");
    }
    assert_eq!((sentinels.prefix, sentinels.middle, sentinels.suffix), (1, 2, 3));
    assert_eq!(
        (sentinels.pad, sentinels.repo, sentinels.file, sentinels.bos),
        (Some(4), Some(5), Some(6), None)
    );
    assert_eq!(tokenizer.n_vocab(), 420);
}

#[test]
fn training_is_repeatable() {
    let config = TokenizerConfig { n_vocab: 420, ..Default::default() };
    let again = train(&corpus::documents(), &config, &AtomicBool::new(false)).unwrap();
    assert_eq!(again, corpus::tokenizer_json());
}

#[test]
fn too_little_text_and_a_stop_are_said_plainly() {
    let stop = AtomicBool::new(false);
    let config = TokenizerConfig::default();
    assert!(matches!(train(&[], &config, &stop), Err(TokenizerTrainError::NoDocuments)));
    let refused = train(&corpus::documents(), &config, &stop);
    assert!(matches!(refused, Err(TokenizerTrainError::TooSmall { wanted: 16_384, .. })));
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(
        train(&corpus::documents(), &config, &stop),
        Err(TokenizerTrainError::Cancelled)
    ));
}
