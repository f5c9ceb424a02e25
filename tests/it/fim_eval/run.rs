//! Runs with the embedded model: what is written, that it is the same twice, and that a run is
//! taken up where it stopped.

use std::process::Stdio;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use lacuna_tests::{Home, binary, workspace};
use serde_json::{Value, json};

use super::stub::Stub;
use super::{lines, row, rows, values};

/// Holes in a sample file: every third line that has some code.
pub(super) fn holes(n: usize) -> Vec<Value> {
    let text = std::fs::read_to_string(workspace().join("datasets/samples/inventory.py"))
        .expect("a sample");
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    (0..lines.len())
        .filter(|i| lines[*i].trim().len() > 4)
        .step_by(3)
        .take(n)
        .map(|i| {
            row(
                &format!("L{i}"),
                &lines[..i].concat(),
                lines[i].trim_end_matches('\n'),
                &format!("\n{}", lines[i + 1..].concat()),
            )
        })
        .collect()
}

const STAGES: [&str; 7] = [
    "run.json",
    "examples.jsonl",
    "prompts.jsonl",
    "generations.jsonl",
    "answers.jsonl",
    "scores.jsonl",
    "summary.json",
];

pub(super) fn same(home: &Home, a: &str, b: &str) {
    for name in STAGES {
        let read = |dir: &str| {
            std::fs::read(home.work().join(dir).join(name))
                .unwrap_or_else(|e| panic!("{dir}/{name}: {e}"))
        };
        assert!(read(a) == read(b), "{name} differs between {a} and {b}");
    }
}

#[test]
fn two_runs_with_one_seed_are_the_same_bytes() {
    let home = Home::new();
    let set = home.write("set.jsonl", lines(&holes(12)));
    let set = set.to_str().expect("a plain path");
    let run = |out: &str, jobs: &str, more: &[&str]| {
        let args = [
            "fim-eval",
            "run",
            set,
            "--out",
            out,
            "--jobs",
            jobs,
            "--max-tokens",
            "16",
            "--seed",
            "5",
            "--limit",
            "7",
        ];
        home.lacuna(args.iter().chain(more)).expect_code(0)
    };
    let first = run("a", "1", &["--samples", "2", "--temperature", "0.7"]);
    run("b", "3", &["--samples", "2", "--temperature", "0.7"]);
    same(&home, "a", "b");

    let scores = rows(&home.work().join("a/scores.jsonl"));
    assert_eq!(scores.len(), 7);
    for row in &scores {
        for mode in ["editor", "raw", "empty", "copy-line", "close-bracket", "ngram"] {
            let v = values(row, mode);
            for name in [
                "em",
                "em_ws",
                "em_lines",
                "em_line",
                "es",
                "es_ratio",
                "id_em",
                "id_f1",
                "parse_clean",
                "over",
                "prefix",
                "silent",
            ] {
                assert!(
                    v[name].as_f64().is_some_and(|x| (0.0..=1.0).contains(&x)),
                    "{mode} {name}: {v}"
                );
            }
        }
        assert_eq!(
            (values(row, "empty")["es"].as_f64(), values(row, "empty")["silent"].as_f64()),
            (Some(0.0), Some(1.0))
        );
        let gold = &row["gold"];
        assert!(
            gold["log_likelihood"].as_f64().is_some_and(|l| l < 0.0)
                && gold["tokens"].as_u64().is_some_and(|n| n > 0),
            "{row}"
        );
    }
    let generations = rows(&home.work().join("a/generations.jsonl"));
    let raw = generations[0]["generation"]["outputs"]
        .as_array()
        .expect("outputs")
        .iter()
        .filter(|o| o["mode"] == "raw")
        .count();
    assert_eq!(raw, 2);
    for text in [
        "## test-set",
        "7 rows",
        "| metric | editor | raw | empty |",
        "perplexity",
        "first token p50",
    ] {
        assert!(first.stdout.contains(text), "no {text:?} in {}", first.stdout);
    }

    // A stage is run again from the files before it; another configuration is another run.
    let before = std::fs::read(home.work().join("a/scores.jsonl")).expect("scores");
    run("a", "2", &["--samples", "2", "--temperature", "0.7", "--from", "score"]);
    assert!(before == std::fs::read(home.work().join("a/scores.jsonl")).expect("scores"));
    let other = ["fim-eval", "run", set, "--out", "a", "--seed", "6"];
    home.lacuna(other).expect_failure(&["holds another run", "config.", "--fresh"]);
    home.write("full/notes.txt", "mine");
    home.lacuna(["fim-eval", "run", set, "--out", "full"])
        .expect_failure(&["full", "holds no run"]);
}

#[test]
fn a_killed_run_goes_on_where_it_was() {
    let home = Home::new();
    let set: Vec<Value> =
        (0..60).map(|i| row(&format!("{i}"), &format!("x{i} = "), &format!("{i}"), "\n")).collect();
    let set = home.write("set.jsonl", lines(&set));
    let set = set.to_str().expect("a plain path");
    let (reached, at_forty) = channel();
    let reached = Mutex::new(Some(reached));
    let stub = Stub::start(true, move |request| {
        let prefix = request["input_prefix"].as_str().expect("a prefix").to_owned();
        if prefix == "x40 = " {
            let first = reached.lock().expect("no panic").take();
            if let Some(reached) = first {
                // The test kills the run now; this request is never answered.
                reached.send(()).expect("the test waits");
                loop {
                    std::thread::park();
                }
            }
        }
        Ok(prefix[1..3].trim().to_owned())
    });
    let args = ["fim-eval", "run", set, "--endpoint", &stub.address, "--jobs", "1", "--out", "out"];
    let mut child = home
        .command(binary())
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("lacuna starts");
    at_forty.recv().expect("the run comes this far");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let kept = rows(&home.work().join("out/generations.jsonl")).len();
    assert!(kept > 0 && kept < 40, "{kept}");
    let asked = stub.requests.lock().expect("no panic").len();
    home.lacuna(args).expect_code(0);
    assert_eq!(
        stub.requests.lock().expect("no panic").len() - asked,
        60 - kept,
        "only what was missing is asked for"
    );
    home.lacuna([
        "fim-eval",
        "run",
        set,
        "--endpoint",
        &stub.address,
        "--jobs",
        "1",
        "--out",
        "whole",
    ])
    .expect_code(0);
    same(&home, "out", "whole");

    // A row that was cut off in the middle is done again.
    let path = home.work().join("out/generations.jsonl");
    let text = std::fs::read(&path).expect("generations");
    std::fs::write(&path, &text[..text.len() - 9]).expect("ours");
    std::fs::remove_file(home.work().join("out/scores.jsonl")).expect("scores");
    home.lacuna(args).expect_code(0);
    same(&home, "out", "whole");
}

#[test]
fn bad_rows_are_named_and_the_run_goes_on() {
    let home = Home::new();
    let mut set: Vec<u8> = Vec::new();
    let mut put = |line: &[u8]| {
        set.extend(line);
        set.push(b'\n');
    };
    put(row("crlf", "a = 1\r\nb = ", "a", "\r\nc = b\r\n").to_string().as_bytes());
    put(b"{\"id\": \"x\"");
    put(b"{\"id\": \"no-middle\", \"language\": \"python\", \"prefix\": \"\", \"suffix\": \"\"}");
    put(b"{\"id\": \"wrong type\", \"language\": \"python\", \"prefix\": 3, \"middle\": \"x\", \"suffix\": \"\"}");
    put(row("empty", "a = ", "", "\n").to_string().as_bytes());
    put(b"{\"id\": \"\xff\"}");
    put(b"[1]");
    let huge = "def f(x):\n    return x\n".repeat(10 << 20 >> 4);
    assert!(huge.len() > 10 << 20);
    put(row("10 MB", &huge, "y = f(1)", "\n").to_string().as_bytes());
    put(row("good", "a = 1\nb = ", "a", "\n").to_string().as_bytes());
    let set = home.write("set.jsonl", set);
    let set = set.to_str().expect("a plain path");
    let output =
        home.lacuna(["fim-eval", "run", set, "--out", "out", "--max-tokens", "8"]).expect_code(0);
    for part in [
        "set.jsonl:2:",
        "set.jsonl:3:",
        "set.jsonl:4:",
        "set.jsonl:5: `middle` is empty",
        "set.jsonl:6: not UTF-8",
        "set.jsonl:7:",
    ] {
        assert!(output.stderr.contains(part), "no {part:?} in {}", output.stderr);
    }
    assert_eq!(
        std::fs::read_to_string(home.work().join("out/skipped.txt"))
            .expect("a list")
            .lines()
            .count(),
        6
    );
    let ids: Vec<Value> =
        rows(&home.work().join("out/scores.jsonl")).iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["crlf", "10 MB", "good"]);
    let generations = rows(&home.work().join("out/generations.jsonl"));
    assert_eq!(generations[1]["generation"]["outputs"][0]["silence"], "file-too-large");

    let bad = home.write("bad.jsonl", "nonsense\n");
    let said = home.lacuna(["fim-eval", "run", bad.to_str().expect("a plain path")]);
    said.expect_failure(&["no usable rows (1 skipped; ", "bad.jsonl:1:"]);
    home.lacuna(["fim-eval", "run", "nowhere.jsonl"]).expect_failure(&["nowhere.jsonl"]);
    for (args, text) in [
        (&["--samples", "2"][..], "--temperature"),
        (&["--modes", "editor,oracle"], "oracle"),
        (&["--modes", "raw,raw"], "twice"),
        (&["--temperature", "11"], "temperature"),
        (&["--require", "em"], "em >= 0.20"),
        (&["--modes", "endpoint"], "--endpoint"),
    ] {
        let output = home.lacuna(["fim-eval", "run", set].iter().chain(args));
        assert!(output.code == Some(2) && output.stderr.contains(text), "{args:?}: {output:?}");
    }
}

#[test]
fn what_has_no_end_is_refused_and_names_do_not_steer_the_terminal() {
    let home = Home::new();
    #[cfg(unix)]
    home.lacuna(["fim-eval", "run", "/dev/zero"])
        .expect_failure(&["/dev/zero is not a regular file"]);
    let mut hole = row("red", "a = 1\nb = ", "a", "\n");
    for key in ["set", "language", "node_kind"] {
        hole[key] = json!("\u{1b}[31mred\u{9b}\nx");
    }
    let set = home.write("set.jsonl", lines(&[hole]));
    let set = set.to_str().expect("a plain path");
    let said = home.lacuna(["fim-eval", "run", set, "--modes", "empty"]).expect_code(0);
    assert!(said.stdout.contains("[31mred"), "{}", said.stdout);
    let steers = |c: char| c.is_control() && c != '\n';
    assert!(!said.stdout.contains(steers) && !said.stderr.contains(steers), "{said:?}");
}

#[test]
fn the_ledger_and_conditions_decide_the_exit_code() {
    let home = Home::new();
    let set = home.write("set.jsonl", lines(&holes(10)));
    let set = set.to_str().expect("a plain path");
    let run = |more: &[&str]| {
        home.lacuna(["fim-eval", "run", set, "--modes", "editor,empty"].iter().chain(more))
    };
    run(&["--ledger", "ledger.txt"]).expect_failure(&["ledger.txt", "--update-ledger"]);
    run(&["--ledger", "ledger.txt", "--update-ledger"]).expect_code(0);
    let text = std::fs::read_to_string(home.work().join("ledger.txt")).expect("a ledger");
    assert_eq!(text.lines().filter(|l| !l.starts_with('#')).count(), 10);
    assert!(!text.contains("return"), "no text of the set is in it");
    run(&["--ledger", "ledger.txt"]).expect_code(0);
    // All hits: a run that has fewer is a drop.
    home.write("better.txt", text.replace("\n- 0.", "\n+ 0."));
    let output = run(&["--ledger", "better.txt"]).expect_code(1);
    assert!(output.stderr.contains("lost: test-set L"), "{}", output.stderr);
    run(&["--require", "em_line >= 0", "--require", "es > 0.0001"]).expect_code(0);
    let output = run(&["--require", "python.em_line > 1"]).expect_code(1);
    assert!(output.stderr.contains("not met: python.em_line > 1"), "{}", output.stderr);
    run(&["--require", "cobol.em >= 0"]).expect_code(1);
}

#[test]
fn santacoder_rows_print_the_table_of_the_model_card() {
    let home = Home::new();
    let row = |name: &str, language: &str, middle: &str| json!({"name": name, "language": language, "prompt": "x = 1\n", "suffix": "y = x\n", "canonical_solution": middle, "tests": ""});
    let set = lines(&[
        row("humaneval-HumanEval_1_a.json-L1", "py", "x = 2"),
        row("humaneval-HumanEval_1_a.json-L1", "js", "}"),
    ]);
    let set = home.write("santa.jsonl", set);
    let output =
        home.lacuna(["fim-eval", "run", set.to_str().expect("a plain path")]).expect_code(0);
    for text in [
        "| language | rows | n | model | edit similarity | copy similar line | close bracket |",
        "| python | all | 1 | ",
        "| python | code | 1 | ",
        "| javascript | brackets only | 1 | ",
        "Qwen2.5-Coder-0.5B",
    ] {
        assert!(output.stdout.contains(text), "no {text:?} in {}", output.stdout);
    }
}

#[test]
fn rows_of_languages_that_are_off_are_told_apart() {
    let home = Home::new();
    let mut holes = holes(4);
    let mut lua = row("lua", "local function f(x)\n  ", "return x", "\nend\n");
    lua["language"] = json!("lua");
    holes.push(lua);
    let set = home.write("set.jsonl", lines(&holes));
    let set = set.to_str().expect("a plain path");
    let run = |out: &str| {
        let args = ["fim-eval", "run", set, "--out", out, "--modes", "editor", "--no-execution"];
        let printed = home.lacuna(args).expect_code(0).stdout;
        let summary = std::fs::read(home.work().join(out).join("summary.json")).expect("a summary");
        (printed, serde_json::from_slice::<Value>(&summary).expect("JSON")["sets"][0].clone())
    };
    let n = |set: &Value, dimension: &str, value: &str| {
        let lines = set["lines"].as_array().expect("lines");
        lines
            .iter()
            .find(|l| l["dimension"] == dimension && l["value"] == value)
            .map(|l| l["rows"].as_u64().expect("rows"))
    };
    let (printed, apart) = run("a");
    assert_eq!((apart["rows"].as_u64(), apart["off"].as_u64()), (Some(5), Some(1)));
    assert_eq!(
        (n(&apart, "", ""), n(&apart, "language that is off", "lua"), n(&apart, "language", "lua")),
        (Some(4), Some(1), None)
    );
    assert!(printed.contains("Off: 1 of the rows, in lua."), "{printed}");
    home.configure("[show]\nlanguages = [\"trained\", \"lua\"]\n");
    let (printed, on) = run("b");
    assert_eq!(
        (n(&on, "", ""), n(&on, "language that is off", "lua"), on.get("off")),
        (Some(5), None, None)
    );
    assert!(!printed.contains("Off:"), "{printed}");

    // In the page, in comparisons and in the ledger too.
    let page = |run: &str| {
        home.lacuna(["fim-eval", "report", run, "--html"]).expect_code(0);
        std::fs::read_to_string(home.work().join(run).join("report.html")).expect("a page")
    };
    assert!(page("a").contains("Off: 1 of the rows") && !page("b").contains("Off:"));
    assert!(
        !page("a").contains("local function f") && page("b").contains("local function f"),
        "an example that is off is no bad one"
    );
    let json = home.lacuna(["fim-eval", "compare", "a", "b", "--json"]).expect_code(0).stdout;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!([&json[0]["pairs"], &json[0]["unpaired"], &json[0]["off"]], [4, 0, 1]);
    let text = home.lacuna(["fim-eval", "compare", "a", "b"]).expect_code(0).stdout;
    assert!(text.contains(" 1 are left out: in one of the two their language is off."), "{text}");
    let ledger = |more: &[&str]| {
        let args = [
            "fim-eval",
            "run",
            set,
            "--modes",
            "editor",
            "--no-execution",
            "--ledger",
            "ledger.txt",
        ];
        home.lacuna(args.iter().chain(more))
    };
    ledger(&["--update-ledger"]).expect_code(0);
    home.configure("");
    assert!(
        ledger(&[]).expect_code(1).stderr.contains("1 examples are only in the ledger"),
        "a language was turned off"
    );
    ledger(&["--update-ledger"]).expect_code(0);
    let written = std::fs::read_to_string(home.work().join("ledger.txt")).expect("a ledger");
    assert!(
        written.lines().any(|line| line.starts_with("o ") && line.ends_with(" lua"))
            && written.contains(" of 4 hits"),
        "{written}"
    );
    ledger(&[]).expect_code(0);
}
