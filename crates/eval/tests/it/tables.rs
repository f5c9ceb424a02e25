//! Parquet from JSON lines and back; damaged files.

use std::path::Path;

use lacuna_eval::format;
use lacuna_eval::table::{Table, write_parquet};
use serde_json::{Value, json};
use tempfile::TempDir;

fn read(path: &Path) -> Vec<Value> {
    Table::open(path).unwrap().map(|row| row.unwrap()).collect()
}

#[test]
fn rows_come_back_as_they_were_but_for_nulls() {
    let dir = TempDir::new().unwrap();
    // More than one row group; every kind of column, mixed and missing ones.
    let rows: Vec<Value> = (0..2_345)
        .map(|i| {
            let mut row = json!({"id": format!("é\u{0}{i}"), "whole": i - 5, "number": f64::from(i) + 0.5, "truth": i % 2 == 0,
                "list": [{"a": i}, null, []], "mixed": if i % 3 == 0 { json!(i) } else { json!("3") }, "large": u64::MAX, "text": ""});
            if i % 7 == 0 {
                row.as_object_mut().unwrap().remove("truth");
            }
            row
        })
        .collect();
    let lines: String = rows.iter().map(|r| format!("{r}\n")).collect();
    let (from, to) = (dir.path().join("a.jsonl"), dir.path().join("a.parquet"));
    std::fs::write(&from, lines).unwrap();
    assert_eq!(write_parquet(&from, &to).unwrap(), rows.len() as u64);
    let first = std::fs::read(&to).unwrap();
    assert_eq!(read(&to), rows);
    write_parquet(&from, &to).unwrap();
    assert_eq!(std::fs::read(&to).unwrap(), first, "the same rows make the same bytes");

    std::fs::write(&from, "{\"id\":null,\"x\":1}\n").unwrap();
    write_parquet(&from, &to).unwrap();
    assert_eq!(read(&to), [json!({"x": 1})]);
    for (text, message) in [
        ("", "has no rows"),
        ("[1]\n", "a.jsonl:1: not a JSON object"),
        ("{}\n{", "a.jsonl:2: EOF"),
    ] {
        std::fs::write(&from, text).unwrap();
        let error = write_parquet(&from, &to).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    assert_eq!(read(&to), [json!({"x": 1})], "the old file stands");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "no temporary file is left");
}

#[test]
fn a_set_may_be_parquet() {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("a.jsonl"), dir.path().join("a.parquet"));
    let row = json!({"id": "1", "language": "c", "prefix": "", "middle": "x", "suffix": "", "context": [{"path": "a.h", "text": "int a;"}], "n_lines": 1});
    std::fs::write(&from, format!("{row}\n{{\"id\":\"2\",\"language\":\"c\"}}\n")).unwrap();
    write_parquet(&from, &to).unwrap();
    let (expected, got): (Vec<_>, Vec<_>) =
        (format::open(&from).unwrap().collect(), format::open(&to).unwrap().collect());
    assert_eq!(got[0].as_ref().unwrap(), expected[0].as_ref().unwrap());
    assert!(got[1].as_ref().unwrap_err().to_string().ends_with(
        "a.parquet:2: fields of no known format; ours needs id, language, prefix, middle, suffix"
    ));
}

#[test]
fn damaged_files_are_errors() {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("a.jsonl"), dir.path().join("a.parquet"));
    std::fs::write(
        &from,
        (0..500).map(|i| format!("{{\"id\":\"{i}\",\"n\":{i}}}\n")).collect::<String>(),
    )
    .unwrap();
    write_parquet(&from, &to).unwrap();
    let good = std::fs::read(&to).unwrap();
    let mut opened = 0;
    for cut in [4, 8, 100, good.len() / 2, good.len() - 1] {
        std::fs::write(&to, &good[..cut]).unwrap();
        assert!(Table::open(&to).is_err(), "{cut} bytes");
    }
    // One byte changed, anywhere: an error or other rows, but an end.
    for at in (4..good.len()).step_by(17) {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        std::fs::write(&to, &bad).unwrap();
        if let Ok(table) = Table::open(&to) {
            opened += 1;
            assert!(table.count() <= 501, "byte {at}");
        }
    }
    assert!(opened > 0);
}
