//! The tokenizer of a synthetic model, read by what serving reads it with.

use lacuna_prompt::vocabulary::{PieceKind, Vocabulary};
use lacuna_prompt::{Order, Sentinels, Tokenizer};
use lacuna_train::synth::{Style, SynthError, tokenizer};

const OURS: &[u8] = include_bytes!("../../../../datasets/embedded/tokenizer.json");
const TEXT: &str = "def grow(self, by=10):\n    \"\"\"Größe ändern – 漢字 🦀\"\"\"\n\n\treturn self._size + 12345 * by  # don't\r\n";

/// A family and what its published tokenizer has.
struct Published {
    style: Style,
    shape: &'static str,
    n_vocab: usize,
    /// Ids in `tokenizer.json`.
    ids: usize,
    family: &'static str,
    prefix: u32,
    middle: u32,
    suffix: u32,
    bos: Option<u32>,
    cut: &'static str,
    specials: &'static [(&'static str, u32)],
}

const PUBLISHED: [Published; 4] = [
    Published {
        style: Style::Qwen,
        shape: "qwen2.5-coder-0.5b",
        n_vocab: 151_936,
        ids: 151_665,
        family: "fim-pipe",
        prefix: 151_659,
        middle: 151_660,
        suffix: 151_661,
        bos: None,
        cut: "qwen2",
        specials: &[
            ("<|endoftext|>", 151_643),
            ("<|im_start|>", 151_644),
            ("<|im_end|>", 151_645),
            ("<|fim_pad|>", 151_662),
            ("<|repo_name|>", 151_663),
            ("<|file_sep|>", 151_664),
        ],
    },
    Published {
        style: Style::DeepSeekCoder,
        shape: "deepseek-coder-1.3b",
        n_vocab: 32_256,
        ids: 32_022,
        family: "deepseek-coder",
        prefix: 32_016,
        middle: 32_017,
        suffix: 32_015,
        bos: Some(32_013),
        cut: "deepseek-coder",
        specials: &[("<｜end▁of▁sentence｜>", 32_014), ("<|EOT|>", 32_021)],
    },
    Published {
        style: Style::CodeLlama,
        shape: "codellama-7b",
        n_vocab: 32_016,
        ids: 32_016,
        family: "codellama",
        prefix: 32_007,
        middle: 32_009,
        suffix: 32_008,
        bos: Some(1),
        cut: "llama-bpe",
        specials: &[("<s>", 1), ("</s>", 2), ("▁<EOT>", 32_010)],
    },
    Published {
        style: Style::Lacuna,
        shape: "tiny",
        n_vocab: 1024,
        ids: 1024,
        family: "lacuna",
        prefix: 1,
        middle: 2,
        suffix: 3,
        bos: None,
        cut: "qwen2",
        specials: &[("<|endoftext|>", 0), ("<|file_sep|>", 6)],
    },
];

#[test]
fn markers_stand_at_the_ids_of_the_published_family() {
    for published in &PUBLISHED {
        assert_eq!(Style::of_shape(published.shape), published.style);
        let files = tokenizer(OURS, published.style, published.n_vocab).expect(published.shape);
        let read = Tokenizer::from_json(files.tokenizer.as_bytes()).expect(published.shape);
        assert_eq!(read.n_vocab(), published.ids, "{}", published.shape);
        assert_eq!(read.bos(), published.bos);
        for (name, id) in published.specials {
            assert_eq!(read.special(name), Some(*id), "{name}");
        }
        let s = Sentinels::resolve(&read).expect(published.shape);
        assert_eq!(
            (s.family, s.prefix, s.middle, s.suffix),
            (published.family, published.prefix, published.middle, published.suffix)
        );
        assert_eq!(s.order, if published.style == Style::Lacuna { Order::Spm } else { Order::Psm });
        let config: serde_json::Value = serde_json::from_str(&files.config).expect("JSON");
        let eos = config["eos_token"].as_str().expect("a name");
        assert!(s.stops.contains(&read.special(eos).expect("a marker")), "{eos}");
    }
}

#[test]
fn every_text_comes_back_and_needs_few_tokens() {
    for published in &PUBLISHED {
        let files = tokenizer(OURS, published.style, published.n_vocab).expect(published.shape);
        let read = Tokenizer::from_json(files.tokenizer.as_bytes()).expect(published.shape);
        let ids = read.encode(TEXT);
        assert_eq!(read.decode(&ids), TEXT.as_bytes(), "{}", published.shape);
        assert!(ids.iter().all(|id| read.special_name(*id).is_none()));
        // The whole vocabulary is used, not the bytes alone.
        let limit = if published.n_vocab > 2000 { 70 } else { 100 };
        assert!(
            ids.len() < limit,
            "{}: {} tokens for {} bytes",
            published.shape,
            ids.len(),
            TEXT.len()
        );
    }
}

#[test]
fn laid_open_every_id_has_one_piece_and_text_never_reaches_the_filling() {
    for published in &PUBLISHED {
        let files = tokenizer(OURS, published.style, published.n_vocab).expect(published.shape);
        let open = Vocabulary::from_json(files.tokenizer.as_bytes(), published.n_vocab)
            .expect(published.shape);
        assert_eq!(open.pieces.len(), published.n_vocab);
        assert_eq!(open.cut, Some(published.cut));
        let distinct: std::collections::HashSet<&str> =
            open.pieces.iter().map(|(p, _)| p.as_str()).collect();
        assert_eq!(distinct.len(), published.n_vocab, "pieces are distinct");
        let unused = open.pieces.iter().filter(|(_, kind)| *kind == PieceKind::Unused).count();
        assert_eq!(unused, published.n_vocab - published.ids);
        for (name, id) in published.specials {
            assert_eq!(open.id(name), Some(*id));
            assert_eq!(open.pieces[*id as usize].1, PieceKind::Control);
        }
        for merge in &open.merges {
            let (a, b) = merge.split_once(' ').expect("two parts");
            assert!(
                distinct.contains(a)
                    && distinct.contains(b)
                    && distinct.contains(format!("{a}{b}").as_str()),
                "{merge}"
            );
            assert!(!a.contains("[unused") && !b.contains("[unused"), "{merge}");
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(matches!(
        tokenizer(OURS, Style::Lacuna, 271),
        Err(SynthError::TooSmall { n_vocab: 271, needed: 272 })
    ));
    assert!(matches!(tokenizer(OURS, Style::Qwen, 151_664), Err(SynthError::TooSmall { .. })));
    assert!(matches!(tokenizer(b"[", Style::Qwen, 151_936), Err(SynthError::Base(_))));
    assert!(matches!(tokenizer(b"{}", Style::Qwen, 151_936), Err(SynthError::Base(_))));
}
