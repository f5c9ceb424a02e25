//! Reading and writing examples: what is kept, what is refused, with which words.

use std::io::Write;
use std::path::{Path, PathBuf};

use lacuna_context::Language;
use lacuna_eval::Example;
use lacuna_eval::example::{ContextFile, MAX_ROW_BYTES, ReadError, Rows, Task, Test, Writer};
use lacuna_eval::format;
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// Reads a set; a bad row becomes its message without the folder.
fn read(path: &Path) -> Vec<Result<Example, String>> {
    let folder = format!("{}/", path.parent().unwrap().display());
    format::open(path)
        .unwrap()
        .map(|row| row.map_err(|e| e.to_string().replace(&folder, "")))
        .collect()
}

fn example(id: &str) -> Example {
    Example {
        id: id.to_owned(),
        set: "s".to_owned(),
        task: Task::Multi,
        language: "python".to_owned(),
        path: Some("a/b.py".to_owned()),
        prefix: "def f():\r\n".to_owned(),
        middle: "    return \"é\u{2028}\"\r\n".to_owned(),
        suffix: "\0".to_owned(),
        context: vec![ContextFile {
            path: "c.py".to_owned(),
            text: "x = 1\n".to_owned(),
            excerpt: true,
        }],
        test: Some(Test::Check { entry_point: "f".to_owned(), test: "assert f()".to_owned() }),
        ..Example::default()
    }
}

#[test]
fn what_is_written_is_read_in_every_compression_and_twice_the_same() {
    let dir = TempDir::new().unwrap();
    let mut rows = vec![example("1"), example("2")];
    rows[1].extra.insert("owner".to_owned(), serde_json::json!({"of": ["the", 1.5]}));
    for name in ["set.jsonl", "set.jsonl.gz", "set.jsonl.zst"] {
        let path = dir.path().join(name);
        let mut bytes = Vec::new();
        for _ in 0..2 {
            let mut writer = Writer::create(&path).unwrap();
            for row in &rows {
                writer.write(row).unwrap();
            }
            assert_eq!(writer.finish().unwrap(), 2);
            bytes.push(std::fs::read(&path).unwrap());
        }
        assert_eq!(bytes[0], bytes[1], "{name}: the same rows make the same bytes");
        assert_eq!(read(&path), rows.iter().cloned().map(Ok).collect::<Vec<_>>(), "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn an_unfinished_file_leaves_the_old_one() {
    let dir = TempDir::new().unwrap();
    let path = file(&dir, "set.jsonl", b"old");
    let mut writer = Writer::create(&path).unwrap();
    writer.write(&example("1")).unwrap();
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let missing = Writer::create(&dir.path().join("no/set.jsonl")).err().unwrap().to_string();
    assert!(missing.starts_with("cannot write ") && missing.contains("no/set.jsonl"), "{missing}");
}

#[test]
fn a_row_may_be_small_and_bring_its_own_columns() {
    let dir = TempDir::new().unwrap();
    let row = r#"{"id":"1","language":"go","prefix":"","middle":"x","suffix":"","stars":7}"#;
    let path = file(&dir, "set.jsonl", format!("\u{feff}\n  \r\n{row}\r\n\n{row}").as_bytes());
    let rows = read(&path);
    assert_eq!(
        rows.len(),
        2,
        "the byte-order mark, blank lines and a missing last newline are no rows"
    );
    let example = rows[0].as_ref().unwrap();
    assert_eq!(
        (example.task, example.syntax(), example.cluster()),
        (Task::Span, Language::Go, "1")
    );
    assert_eq!(
        serde_json::to_string(example).unwrap(),
        r#"{"id":"1","task":"span","language":"go","prefix":"","middle":"x","suffix":"","stars":7}"#
    );
}

#[test]
fn bad_rows_are_told_by_line_and_the_rest_is_read() {
    let dir = TempDir::new().unwrap();
    let good = r#"{"id":"1","language":"c","prefix":"","middle":"x","suffix":""}"#;
    let rows: Vec<Vec<u8>> = vec![
        good.into(),
        b"{\"id\":\"1\",".to_vec(),
        b"[1]".to_vec(),
        b"{\"id\":\"\xff\"}".to_vec(),
        br#"{"id":"1","language":"c","prefix":"","middle":"","suffix":""}"#.to_vec(),
        br#"{"id":"","language":"c","prefix":"","middle":"x","suffix":""}"#.to_vec(),
        br#"{"id":"1","language":7,"prefix":"","middle":"x","suffix":""}"#.to_vec(),
        br#"{"id":"1","language":"c","task":"poem","prefix":"","middle":"x","suffix":""}"#.to_vec(),
        br#"{"id":"1","text":"x"}"#.to_vec(),
        br#"{"id":"1","language":"c","prefix":"","middle":"x","suffix":"","provenance":{"who":1}}"#
            .to_vec(),
        br#"{"name":"n","language":"cobol","prompt":"","suffix":"","canonical_solution":"x"}"#
            .to_vec(),
        br#"{"name":"n","language":"py","prompt":3,"suffix":"","canonical_solution":"x"}"#.to_vec(),
        good.into(),
    ];
    let path = file(&dir, "set.jsonl", &rows.join(&b'\n'));
    let messages: Vec<String> = read(&path).into_iter().filter_map(Result::err).collect();
    insta::assert_snapshot!(messages.join("\n"), @r#"
    set.jsonl:2: EOF while parsing a value at column 10
    set.jsonl:3: not a JSON object
    set.jsonl:4: not UTF-8 at byte 7
    set.jsonl:5: `middle` is empty
    set.jsonl:6: `id` is empty
    set.jsonl:7: `language` is a number, not text
    set.jsonl:8: unknown variant `poem`, expected one of `line`, `multi`, `span`, `block`
    set.jsonl:9: fields of no known format; ours needs id, language, prefix, middle, suffix
    set.jsonl:10: unknown field `who`, expected one of `instance_id`, `base_commit`, `commit`, `commit_date`, `start_line`, `change`, `truncated`
    set.jsonl:11: unknown language "cobol"; known here: py, java, js
    set.jsonl:12: `prompt` is a number, not text
    "#);
    assert_eq!(read(&path).iter().filter(|r| r.is_ok()).count(), 2);
}

#[test]
fn an_endless_line_is_skipped_and_not_kept() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("set.jsonl");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let good = br#"{"id":"1","language":"c","prefix":"","middle":"x","suffix":""}"#;
    // Exactly the limit is a row (of blanks before the brace); one more is none.
    for (blanks, end) in
        [(MAX_ROW_BYTES - good.len(), ""), (MAX_ROW_BYTES - good.len() + 1, ""), (0, "\n")]
    {
        out.write_all(&vec![b' '; blanks]).unwrap();
        out.write_all(good).unwrap();
        out.write_all(if end.is_empty() { b"\n" } else { b"" }).unwrap();
    }
    drop(out);
    let rows: Vec<_> = read(&path).into_iter().map(|r| r.map(|e| e.id)).collect();
    assert_eq!(
        rows,
        [
            Ok("1".to_owned()),
            Err("set.jsonl:2: longer than 16777216 bytes".to_owned()),
            Ok("1".to_owned())
        ]
    );
}

#[test]
fn a_damaged_archive_ends_the_reading() {
    let dir = TempDir::new().unwrap();
    for name in ["set.gz", "set.zst"] {
        let path = dir.path().join(name);
        let mut writer = Writer::create(&path).unwrap();
        for i in 0..20_000u64 {
            let mut row = example(&i.to_string());
            // Text that does not compress, so that the cut file still holds rows.
            row.suffix = format!("{:x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            writer.write(&row).unwrap();
        }
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - bytes.len() / 4]).unwrap();
        let rows: Vec<Result<Example, ReadError>> = Rows::open(&path).unwrap().collect();
        let (last, before) = rows.split_last().unwrap();
        assert!(matches!(last, Err(ReadError::Damaged { .. })), "{name}: {last:?}");
        assert!(
            before.len() > 100 && before.iter().all(Result::is_ok),
            "{name}: {} rows",
            before.len()
        );
    }
    let Err(error) = format::open(&dir.path().join("absent")) else {
        panic!("opened a file that is not there")
    };
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn santacoder_rows() {
    let dir = TempDir::new().unwrap();
    let row = serde_json::json!({"name": "humaneval-HumanEval_75_is_multiply_prime.json-L24", "language": "js", "prompt": "a {",
        "suffix": "}", "canonical_solution": "  b", "tests": "t()"});
    let rows = read(&file(&dir, "set.jsonl", row.to_string().as_bytes()));
    let e = rows[0].as_ref().unwrap();
    assert_eq!((e.prefix.as_str(), e.middle.as_str(), e.suffix.as_str()), ("a {\n", "  b", "\n}"));
    assert_eq!(
        (e.id.as_str(), e.cluster()),
        ("js/humaneval-HumanEval_75_is_multiply_prime.json-L24", "HumanEval/75")
    );
    assert_eq!(e.test, Some(Test::Append { test: "t()".to_owned() }));
}

#[test]
fn typescript_with_markup_has_its_own_grammar() {
    let mut e = example("1");
    e.language = "typescript".to_owned();
    e.path = Some("a.tsx".to_owned());
    assert_eq!(e.syntax(), Language::Tsx);
    e.path = Some("a.ts".to_owned());
    assert_eq!(e.syntax(), Language::TypeScript);
    e.language = "csharp".to_owned();
    assert_eq!(e.syntax(), Language::Text);
}
