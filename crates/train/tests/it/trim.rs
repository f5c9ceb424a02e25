//! Trimming: text stays text, what stays can be reached, rows go with their tokens, layers that do
//! nothing go first.

use lacuna_prompt::{Sentinels, Tokenizer};
use lacuna_train::trainer::{Batch, Layout, Model, Row, Rows, Shape, Shards, write_shards};
use lacuna_train::trim::{
    TrimError, Trimmed, counts, least_missed, tokens, with_tokens, without_layers,
};
use serde_json::Value;

use crate::corpus;

fn trimmed(n: usize) -> Trimmed {
    let (tokenizer, _) = corpus::tokenizer();
    tokens(corpus::tokenizer_json(), &counts(&tokenizer, &corpus::documents(), 1 << 20), n)
        .expect("trims")
}

fn vocab(json: &[u8]) -> serde_json::Map<String, Value> {
    serde_json::from_slice::<Value>(json).unwrap()["model"]["vocab"].as_object().unwrap().clone()
}

#[test]
fn any_text_encodes_and_decodes_to_itself_and_markers_keep_their_ids() {
    let (whole, sentinels) = corpus::tokenizer();
    for n in [272, 300, 350, 420] {
        let Trimmed { tokenizer, kept } = trimmed(n);
        let small = Tokenizer::from_json(&tokenizer).unwrap();
        assert!(
            small.n_vocab() <= n && small.n_vocab() + 2 >= n.min(kept.len()),
            "{n}: {}",
            small.n_vocab()
        );
        assert_eq!(Sentinels::resolve(&small).unwrap(), sentinels);
        let texts = [
            corpus::python(7, 5),
            corpus::javascript(8, 5),
            "naïve 🦀\t\r\n\u{0} <|fim_middle|> ÿ".to_owned(),
            String::new(),
        ];
        for text in texts.iter().chain(corpus::documents().iter().map(|d| &d.text)) {
            let ids = small.encode(text);
            assert_eq!(small.decode(&ids), text.as_bytes(), "{n}");
            assert!(ids.len() >= whole.encode(text).len(), "{n}: fewer pieces cannot be shorter");
        }
        // Rows: a new id is the same piece as the old one.
        let (old, new) = (vocab(corpus::tokenizer_json()), vocab(&tokenizer));
        for (piece, id) in &new {
            assert_eq!(
                u64::from(kept[id.as_u64().unwrap() as usize]),
                old[piece].as_u64().unwrap(),
                "{piece}"
            );
        }
    }
    assert_eq!(trimmed(420).kept.len(), vocab(corpus::tokenizer_json()).len());
}

#[test]
fn every_kept_merge_has_its_parts_and_every_kept_piece_a_merge() {
    for n in [290, 340, 400] {
        let Trimmed { tokenizer, .. } = trimmed(n);
        let vocab = vocab(&tokenizer);
        let json: Value = serde_json::from_slice(&tokenizer).unwrap();
        let mut reached: Vec<String> = Vec::new();
        for merge in json["model"]["merges"].as_array().unwrap() {
            let parts: Vec<String> = match merge {
                Value::String(text) => text.split(' ').map(str::to_owned).collect(),
                other => serde_json::from_value(other.clone()).unwrap(),
            };
            let whole = parts.concat();
            assert!(parts.iter().chain([&whole]).all(|p| vocab.contains_key(p)), "{n}: {parts:?}");
            // A part is a byte or was made by an earlier merge.
            assert!(
                parts.iter().all(|p| p.chars().count() == 1 || reached.contains(p)),
                "{n}: {parts:?} comes too early"
            );
            reached.push(whole);
        }
        let special: Vec<&str> = json["added_tokens"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|t| t["content"].as_str())
            .collect();
        for piece in vocab.keys() {
            assert!(
                piece.chars().count() == 1
                    || special.contains(&piece.as_str())
                    || reached.contains(piece),
                "{n}: {piece:?} is never made"
            );
        }
    }
}

#[test]
fn what_code_uses_most_stays() {
    let (tokenizer, _) = corpus::tokenizer();
    let used = counts(&tokenizer, &corpus::documents(), 1 << 20);
    let (id, _) = used.iter().enumerate().max_by_key(|(_, n)| **n).unwrap();
    assert!(trimmed(300).kept.contains(&(id as u32)));
    assert!(matches!(
        tokens(corpus::tokenizer_json(), &used, 100),
        Err(TrimError::Size { wanted: 100, .. })
    ));
    assert!(matches!(
        tokens(corpus::tokenizer_json(), &used, 100_000),
        Err(TrimError::Size { .. })
    ));
}

fn shape(layers: usize) -> Shape {
    Shape {
        d: 32,
        layers,
        heads: 2,
        kv_heads: 1,
        head_dim: 16,
        ff: 48,
        vocab: 64,
        ..Shape::default()
    }
}

#[test]
fn embeddings_go_with_their_tokens() {
    let shape = shape(2);
    let p: Vec<f32> = (0..shape.n_parameters()).map(|i| i as f32).collect();
    let (small, q) = with_tokens(&p, &shape, &[0, 5, 63]);
    assert_eq!((small.vocab, q.len()), (3, small.n_parameters()));
    assert_eq!(&q[32..64], &p[5 * 32..6 * 32]);
    assert_eq!(q[3 * 32..], p[64 * 32..]);
}

#[test]
fn the_layers_that_go_are_those_without_which_the_loss_is_lowest() {
    let shape = shape(4);
    let p = Layout::new(&shape).initial(0.3, 1);
    let folder = tempfile::tempdir().unwrap();
    let rows = Rows::new((0..4 * 32).map(|i| 5 + (i * 7 % 50) as u16).collect(), 32);
    write_shards(folder.path(), &rows, &rows, 64, b"{}").unwrap();
    let shards = Shards::load(folder.path()).unwrap();
    let loss_without = |drop: &[usize]| {
        let (small, q) = without_layers(&p, &shape, drop).unwrap();
        assert_eq!(q.len(), small.n_parameters());
        let mut batch = Batch::default();
        batch.push_row(shards.validation.row(0), shards.markers, 1.0);
        Model::new(&small, Row::F32, 32).unwrap().losses(&q, &batch).unwrap().mean()
    };
    let mut told = Vec::new();
    let drop =
        least_missed(&p, &shape, &shards, (2, 1), Row::F32, &mut |l, loss| told.push((l, loss)))
            .unwrap();
    let (first, loss) = told[0];
    assert!((loss - loss_without(&[first])).abs() < 1e-4, "a layer without outputs is no layer");
    assert!((0..4).all(|l| loss_without(&[l]) >= loss - 1e-4));
    assert!((told[1].1 - loss_without(&drop)).abs() < 1e-4);
    assert!(drop.is_sorted() && drop.contains(&first) && drop.contains(&told[1].0));
    for bad in [vec![4], vec![1, 1], vec![0, 1, 2, 3]] {
        assert!(
            matches!(without_layers(&p, &shape, &bad), Err(TrimError::Layers { .. })),
            "{bad:?}"
        );
    }
    assert!(matches!(
        least_missed(&p, &shape, &shards, (4, 1), Row::F32, &mut |_, _| {}),
        Err(TrimError::Layers { .. })
    ));
}
