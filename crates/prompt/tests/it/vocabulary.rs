//! A tokenizer laid open: hostile and foreign files give an error that names the thing.

use lacuna_prompt::vocabulary::{PieceKind, Vocabulary};
use serde_json::{Value, json};

fn small() -> Value {
    json!({
        "added_tokens": [{"id": 3, "content": "<|end|>", "special": true}, {"id": 5, "content": "<tool>", "special": false}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "<|end|>": 3}, "merges": [["a", "b"]]},
    })
}

fn read(json: &Value, n_ids: usize) -> Result<Vocabulary, String> {
    Vocabulary::from_json(json.to_string().as_bytes(), n_ids).map_err(|e| e.to_string())
}

#[test]
fn pieces_kinds_merges_and_holes() {
    let open = read(&small(), 7).expect("a tokenizer");
    let kinds: Vec<(&str, PieceKind)> = open.pieces.iter().map(|(p, k)| (p.as_str(), *k)).collect();
    use PieceKind::{Control, Normal, Unused, Whole};
    let expected = [
        ("a", Normal),
        ("b", Normal),
        ("ab", Normal),
        ("<|end|>", Control),
        ("[PAD4]", Unused),
        ("<tool>", Whole),
        ("[PAD6]", Unused),
    ];
    assert_eq!(kinds, expected);
    assert_eq!(open.merges, ["a b"]);
    assert_eq!((open.cut, open.id("ab"), open.id("x")), (Some("gpt-2"), Some(2), None));
    let mut old = small();
    old["model"]["merges"] = json!(["a b"]);
    assert_eq!(read(&old, 7).expect("a tokenizer"), open, "both ways of writing merges");
}

#[test]
fn files_that_do_not_fit() {
    type Edit = fn(&mut Value);
    let cases: [(Edit, &str); 9] = [
        (|t| t["model"]["type"] = json!("Unigram"), "Unigram"),
        (|t| t["model"]["type"] = json!("WordPiece"), "WordPiece"),
        (|t| t["model"]["byte_fallback"] = json!(true), "SentencePiece"),
        (|t| t["pre_tokenizer"] = json!({"type": "Metaspace"}), "SentencePiece"),
        (|t| t["model"]["vocab"]["ab"] = json!(7), "7 rows"),
        (|t| t["model"]["vocab"]["ab"] = json!(u64::MAX), "7 rows"),
        (|t| t["model"]["vocab"]["ab"] = json!(1), "at id 1"),
        (|t| t["model"]["merges"] = json!([["a"]]), "merges"),
        (|t| t["added_tokens"][0]["id"] = json!("x"), "added_tokens"),
    ];
    for (edit, name) in cases {
        let mut file = small();
        edit(&mut file);
        let error = read(&file, 7).expect_err(name);
        assert!(error.contains(name), "no {name:?} in {error:?}");
    }
    for text in ["", "[]", "{", "null", "{}"] {
        Vocabulary::from_json(text.as_bytes(), 7).expect_err(text);
    }
}
