//! `lacuna complete` and `lacuna doctor` as a user types them.

use std::process::Stdio;

use lacuna_tests::{Home, Output, TinyModel, binary, workspace};
use serde_json::Value;

/// Unfinished lines of the samples: file, `--at`, and what stands left of it.
const UNFINISHED: [(&str, &str, &str); 9] = [
    ("in_progress.py", "46:22", "            names.app"),
    ("in_progress.py", "26:20", "        return max("),
    ("in_progress.rs", "39:26", "        self.tasks.pop_fr"),
    ("in_progress.rs", "45:29", "                return Some("),
    ("in_progress.js", "12:33", "  for (let i = 0; i < values.len"),
    ("in_progress.js", "35:9", "  return"),
    ("in_progress.ts", "16:27", "    this.contacts.push(con"),
    ("in_progress.ts", "30:26", "    return this.contacts."),
    ("todo_list.jsx", "83:25", "      <p>{open} left</p>"),
];

fn sample(name: &str) -> String {
    workspace().join("datasets/samples").join(name).to_str().expect("a plain path").to_owned()
}

/// `complete FILE --at AT --model MODEL` and more; the embedded model for an empty `model`.
fn complete(home: &Home, file: &str, at: &str, model: &str, more: &[&str]) -> Output {
    let mut args = vec!["complete", "--no-deadline", file, "--at", at];
    if !model.is_empty() {
        args.extend(["--model", model]);
    }
    args.extend(more);
    home.lacuna(args)
}

/// Runs `check` with the tiny model and with the embedded one. The flag says whether the model is a
/// real one.
fn with_models(check: impl Fn(&Home, &str, bool)) {
    let home = Home::new();
    check(&home, TinyModel::default().write().arg(), false);
    check(&home, "", true);
}

/// The object that `--json` printed, after checking that it has exactly the keys and types that
/// scripts rely on.
fn parse_json(output: &Output) -> Value {
    let json: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", output.stdout));
    let keys =
        |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["items", "model", "ms", "outcome", "reason", "tokens"]);
    assert_eq!(
        keys(&json["tokens"]),
        ["accepted", "cached", "drafted", "generated", "prefilled", "prompt"]
    );
    assert_eq!(keys(&json["ms"]), ["context", "decode", "prefill", "prompt", "suffix", "total"]);
    assert!(json["tokens"].as_object().unwrap().values().all(Value::is_u64), "{json}");
    assert!(
        json["ms"].as_object().unwrap().values().all(|v| v.as_f64().is_some_and(|ms| ms >= 0.0)),
        "{json}"
    );
    assert!(json["model"].is_string());
    let items = json["items"].as_array().expect("a list");
    for item in items {
        assert_eq!(keys(item), ["logprob", "probability", "text"]);
        assert!(
            item["text"].as_str().is_some_and(|t| !t.is_empty())
                && item["logprob"].as_f64().is_some_and(|p| p <= 0.0),
            "{json}"
        );
    }
    match json["outcome"].as_str() {
        Some("suggest") => assert!(!items.is_empty() && json["reason"].is_null(), "{json}"),
        Some("silence") => assert!(items.is_empty() && json["reason"].is_string(), "{json}"),
        _ => panic!("{json}"),
    }
    json
}

#[test]
fn unfinished_lines_of_every_language_are_completed() {
    with_models(|home, model, _| {
        let mut suggested = 0;
        for (file, at, left) in UNFINISHED {
            let text = std::fs::read_to_string(sample(file)).expect(file);
            let (line, column) = at.split_once(':').expect("LINE:COL");
            let line = text.lines().nth(line.parse::<usize>().unwrap() - 1).unwrap();
            assert_eq!(
                line.chars().take(column.parse::<usize>().unwrap() - 1).collect::<String>(),
                left,
                "{file} has moved"
            );

            let output = complete(home, &sample(file), at, model, &[]);
            assert!(matches!(output.code, Some(0 | 1)), "{file} {at}: {output:?}");
            suggested += usize::from(output.code == Some(0));
            // Standard output is the inserted text and a line end, or nothing at all.
            assert_eq!(
                output.code == Some(0),
                output.stdout.len() > 1 && output.stdout.ends_with('\n'),
                "{output:?}"
            );
            assert!(!output.stdout.contains("<|"), "no marker is ever shown: {output:?}");
        }
        // Neither model is so wrong that the rules drop most of what it says.
        assert!(suggested * 2 >= UNFINISHED.len(), "{suggested} of {}", UNFINISHED.len());
    });
}

#[test]
fn json_has_the_documented_shape_and_says_the_same() {
    with_models(|home, model, _| {
        for (file, at, _) in &UNFINISHED[..4] {
            let plain = complete(home, &sample(file), at, model, &[]);
            let json = parse_json(
                &complete(home, &sample(file), at, model, &["--json"])
                    .expect_code(plain.code.unwrap()),
            );
            assert_eq!(json["model"], if model.is_empty() { "embedded" } else { model });
            let tokens = |name: &str| json["tokens"][name].as_u64().unwrap();
            assert_eq!(tokens("prompt"), tokens("cached") + tokens("prefilled"), "{json}");
            if let Some(text) = json["items"][0]["text"].as_str() {
                assert_eq!(plain.stdout, format!("{text}\n"));
            }
        }
    });
}

#[test]
fn a_cursor_with_code_right_of_it_gets_one_line() {
    with_models(|home, model, _| {
        for (file, at) in [
            ("inventory.py", "52:16"),
            ("matrix.rs", "19:21"),
            ("cart.js", "32:20"),
            ("event_bus.ts", "34:12"),
        ] {
            let json = parse_json(&complete(home, &sample(file), at, model, &["--json"]));
            for item in json["items"].as_array().unwrap() {
                assert!(!item["text"].as_str().unwrap().contains('\n'), "{file} {at}: {json}");
            }
        }
    });
}

#[test]
fn every_place_of_a_file_has_an_answer() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let text = "def f(x):\n\tif x:\n\t\treturn '🦀漢字' + x\n\n";
    let file = home.write("a.py", text);
    for (i, line) in text.split('\n').enumerate() {
        for column in [0, line.chars().count() / 2, line.chars().count()] {
            let at = format!("{}:{}", i + 1, column + 1);
            let output = complete(&home, file.to_str().unwrap(), &at, model.arg(), &["--json"]);
            assert!(matches!(output.code, Some(0 | 1)), "{at}: {output:?}");
            parse_json(&output);
        }
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "the file is only read");
}

#[test]
fn n_alternatives_differ_and_begin_with_the_single_answer() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let (file, at) = (sample("in_progress.py"), "28:22");
    let one = parse_json(&complete(&home, &file, at, model.arg(), &["--json"]).expect_code(0));
    let three =
        parse_json(&complete(&home, &file, at, model.arg(), &["--json", "-n", "3"]).expect_code(0));
    let texts: Vec<&str> =
        three["items"].as_array().unwrap().iter().map(|i| i["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 3, "a random model hardly repeats itself");
    assert_eq!(texts[0], one["items"][0]["text"], "the first is the likeliest");
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2], "{texts:?}");

    let plain = complete(&home, &file, at, model.arg(), &["-n", "3"]).expect_code(0);
    assert!(texts.iter().all(|text| plain.stdout.contains(text)), "{plain:?}");
    let again = complete(&home, &file, at, model.arg(), &["-n", "3"]);
    assert_eq!(plain, again, "seeded");
}

#[test]
fn explain_shows_the_prompt_and_ends_with_the_completion() {
    with_models(|home, model, _| {
        let (file, at) = (sample("in_progress.rs"), "39:26");
        let plain = complete(home, &file, at, model, &[]);
        let explained = complete(home, &file, at, model, &["--explain"]);
        assert_eq!(plain.code, explained.code);
        for part in [
            "[<|fim_prefix|>]",
            "[<|fim_suffix|>]",
            "[<|fim_middle|>]",
            "in_progress.rs",
            "[prefix]",
            "[suffix]",
            "pub fn remove",
        ] {
            assert!(explained.stdout.contains(part), "no {part} in {}", explained.stdout);
        }
        assert!(explained.stdout.ends_with(&plain.stdout));
        let json = complete(home, &file, at, model, &["--explain", "--json"]);
        let json: Value = serde_json::from_str(&json.stdout).expect("one object");
        assert!(
            json["explain"]["prompt"].is_array() && json["explain"]["filters"].is_array(),
            "{json}"
        );
    });
}

#[test]
fn a_silence_has_exit_code_1_and_a_reason() {
    let home = Home::new();
    let model = TinyModel::default().write();
    home.write("lacuna.toml", "[context]\nmax_file_bytes = 1024\n");
    let file = home.write("a.py", "x = fo\n".repeat(200));
    let file = file.to_str().unwrap();
    let plain = complete(&home, file, "1:7", model.arg(), &[]).expect_code(1);
    assert_eq!(
        (plain.stdout.as_str(), plain.stderr.as_str()),
        ("", "lacuna: no suggestion: file-too-large\n")
    );
    let json = parse_json(&complete(&home, file, "1:7", model.arg(), &["--json"]).expect_code(1));
    assert_eq!((&json["outcome"], &json["reason"]), (&"silence".into(), &"file-too-large".into()));
}

#[test]
fn what_is_asked_for_is_shown_however_unsure_it_is() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let file = home.write("a.py", "x = fo\n");
    let complete = || {
        parse_json(&complete(&home, file.to_str().unwrap(), "1:7", model.arg(), &["--json"]))["items"].clone()
    };
    let all = complete();
    assert!(all.is_array(), "{all}");
    home.write("lacuna.toml", "[show]\nmin_confidence = 1.0\n");
    assert_eq!(complete(), all);
}

#[test]
fn text_that_looks_like_a_marker_is_text() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let marker = "<|fim_suffix|>";
    let file = home.write("a.txt", format!("{marker} and {marker}\nnow wr"));
    let explained =
        complete(&home, file.to_str().unwrap(), "2:7", model.arg(), &["--explain"]).expect_code(0);
    // As a section mark it stands once, in brackets; the user's are part of the prefix.
    assert_eq!(explained.stdout.matches(&format!("[{marker}]")).count(), 1, "{}", explained.stdout);
    assert_eq!(explained.stdout.matches(marker).count(), 3, "{}", explained.stdout);
}

#[test]
fn doctor_tells_what_was_found() {
    with_models(|home, model, real| {
        home.write("lacuna.toml", "[show]\nline_tokens = 17\n");
        let mut args = vec!["doctor"];
        if !model.is_empty() {
            args.extend(["--model", model]);
        }
        let output = home.lacuna(args);
        assert!(output.code == Some(0) || !real && output.code == Some(1), "{output:?}");
        for name in
            ["lacuna ", "kernels ", "model ", "tokenizer ", "infill ", "settings", "self-test"]
        {
            assert!(
                output.stdout.lines().any(|l| l.starts_with(name)),
                "no {name} in {}",
                output.stdout
            );
        }
        assert!(
            output.stdout.contains(" cores, ") && output.stdout.contains("memory"),
            "{}",
            output.stdout
        );
        let setting = |name: &str| {
            let mut lines = output.stdout.lines().map(str::trim_start);
            lines
                .find(|l| l.starts_with(&format!("{name} ")))
                .unwrap_or_else(|| panic!("no {name} in {}", output.stdout))
                .to_owned()
        };
        assert!(
            setting("show.line_tokens").contains("17")
                && setting("show.line_tokens").contains("lacuna.toml")
        );
        assert!(setting("latency.deadline_ms").ends_with("(default)"));
        assert!(setting("model.path").ends_with(if model.is_empty() {
            "(default)"
        } else {
            "(flag)"
        }));
        for name in [
            "model.order",
            "model.heal",
            "model.beam",
            "context.prompt_tokens",
            "context.max_file_bytes",
            "show.block_tokens",
            "kv.budget_mb",
            "kv.reuse",
            "kv.dtype",
            "latency.threads",
        ] {
            setting(name);
        }
        let (_, tests) = output.stdout.split_once("self-test\n").unwrap();
        assert_eq!(tests.lines().count(), 3, "{tests}");
        assert!(tests.lines().all(|l| l.contains('▏') && l.ends_with(" ms")), "{tests}");
    });
}

#[test]
fn every_kernel_row_completes_and_an_unknown_one_is_named() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let (file, args) =
        (sample("in_progress.py"), ["--at", "46:22", "--json", "--model", model.arg()]);
    let run = |row: &str| {
        let mut command = home.command(binary());
        command.env("LACUNA_ISA", row).args(["complete", "--no-deadline"]).arg(&file).args(args);
        lacuna_tests::run(&mut command)
    };
    for row in ["scalar", "avx2", "avx512vnni"] {
        let output = run(row);
        if output.code == Some(2) {
            assert!(output.stderr.contains("not supported by this CPU"), "{output:?}");
            eprintln!("skipped: this CPU has no {row}");
            continue;
        }
        let text = |output: &Output| parse_json(output)["items"].clone();
        assert_eq!(text(&output), text(&run(row)), "{row} twice");
    }
    run("nonsense").expect_failure(&["LACUNA_ISA", "nonsense", "scalar"]);
}

#[test]
fn a_closed_output_is_no_error() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let file = sample("in_progress.py");
    for args in [&["--explain"][..], &["--json"], &[]] {
        let mut command = home.command(binary());
        command
            .args(["complete", "--no-deadline", &file, "--at", "46:22", "--model", model.arg()])
            .args(args);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        assert_eq!(
            (ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()),
            (Some(0), ""),
            "{args:?}"
        );
    }
}

#[test]
fn the_binary_alone_in_an_empty_directory_completes() {
    let home = Home::new();
    let alone = home.work().join("lacuna");
    std::fs::copy(binary(), &alone).unwrap();
    home.write("a.py", "def add(a, b):\n    return \n");
    let mut command = home.command(&alone);
    command.env_clear().args(["complete", "--no-deadline", "a.py", "--at", "2:12", "--json"]);
    parse_json(&lacuna_tests::run(&mut command).expect_code(0));
}

/// What is completed right behind an opener, with this `[show]` in the user's file.
fn behind_an_opener(home: &Home, setting: &str, file: &str, text: &str) -> Option<String> {
    let (before, after) = text.split_once('▏').expect("the cursor is marked");
    let path = home.write(file, format!("{before}{after}"));
    home.configure(format!("[show]\n{setting}\n"));
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    let at = format!("{}:{column}", before.matches('\n').count() + 1);
    let json =
        parse_json(&complete(home, path.to_str().expect("a plain path"), &at, "", &["--json"]));
    json["items"][0]["text"].as_str().map(str::to_owned)
}

#[test]
fn behind_an_opener_a_block_of_as_many_lines_as_are_set() {
    let home = Home::new();
    for (file, text, starts, ends) in [
        (
            "a.py",
            "class Stack:\n  def __init__(self):\n    self.items = []\n\n  def push(self, item):▏\n",
            "\n    self.",
            "",
        ),
        ("a.js", "class Point {\n  constructor(x, y) {▏}\n}\n", "\n    this.", "\n  "),
        (
            "a.go",
            "package main\n\nfunc main() {\n\tfor i := 0; i < 10; i++ {▏}\n}\n",
            "\n\t\t",
            "\n\t",
        ),
    ] {
        let lines = |text: &str| text.trim().lines().count();
        let auto = behind_an_opener(&home, "lines = \"auto\"", file, text)
            .unwrap_or_else(|| panic!("nothing in {file}"));
        assert!(auto.starts_with(starts) && auto.ends_with(ends) && lines(&auto) <= 6, "{auto:?}");
        assert_eq!(Some(auto), behind_an_opener(&home, "", file, text), "auto is the default");
        for n in [2, 3, 20] {
            let some = behind_an_opener(&home, &format!("lines = {n}"), file, text);
            assert!(
                some.as_ref().is_some_and(|some| some.starts_with(starts) && lines(some) <= n),
                "{n}: {some:?}"
            );
        }
        let one = behind_an_opener(&home, "lines = 1", file, text);
        assert!(one.as_ref().is_none_or(|one| !one.contains('\n')), "{one:?}");
    }
    let has_body = "def f(x):▏\n    return x\n";
    assert!(behind_an_opener(&home, "", "b.py", has_body).is_none_or(|text| !text.contains('\n')));
}

#[test]
fn the_embedded_model_is_silent_where_it_was_not_trained_unless_it_is_asked_for() {
    let home = Home::new();
    for (name, is_off) in [
        ("a.py", false),
        ("a.jsx", false),
        ("a.tsx", false),
        ("a.go", false),
        ("a.hpp", false),
        ("a.lua", true),
        ("a.md", true),
        ("Makefile", true),
    ] {
        home.configure("");
        let path = home.write(name, "x = fo\n");
        let reason = |home: &Home| {
            parse_reason(&complete(
                home,
                path.to_str().expect("a plain path"),
                "1:7",
                "",
                &["--json"],
            ))
        };
        assert_eq!(reason(&home) == "language-off", is_off, "{name}");
        home.configure("[show]\nlanguages = [\"*\"]\n");
        assert_ne!(reason(&home), "language-off", "{name}");
        home.configure("[show]\nlanguages = [\"*\"]\ndisabled_languages = [\"*\"]\n");
        assert_eq!(reason(&home), "language-off", "{name}");
    }
}

fn parse_reason(output: &Output) -> Value {
    let json: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    json["reason"].clone()
}

#[test]
fn a_packed_file_says_what_it_was_trained_for() {
    let home = Home::new();
    let model = TinyModel::default().write();
    let file = home.work().join("tiny.lacuna.safetensors");
    let packed = file.to_str().expect("a plain path");
    home.lacuna(["model", "pack", model.arg(), "-o", packed, "--languages", "lua,python"])
        .expect_code(0);
    for (name, is_off) in [("a.py", false), ("a.lua", false), ("a.rs", true)] {
        let path = home.write(name, "x = fo\n");
        let reason = parse_reason(&complete(
            &home,
            path.to_str().expect("a plain path"),
            "1:7",
            packed,
            &["--json"],
        ));
        assert_eq!(reason == "language-off", is_off, "{name}");
    }
}
