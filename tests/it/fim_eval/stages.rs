//! What passes from stage to stage: batches are cut by row number, rules come after generating,
//! other files reach the prompts.

use lacuna_tests::{Home, run};
use serde_json::{Value, json};

use super::run::{holes, same};
use super::{lines, row, rows};

/// Instructions on which a token has the same bits in any batch: AMX rounds large batches
/// otherwise.
fn exact_row() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        return "avx2";
    }
    "scalar"
}

#[test]
fn packed_and_one_by_one_say_the_same() {
    let home = Home::new();
    let set = home.write("set.jsonl", lines(&holes(11)));
    let set = set.to_str().expect("a plain path");
    let evaluate = |out: &str, batch: &str| {
        let args = [
            "fim-eval",
            "run",
            set,
            "--out",
            out,
            "--modes",
            "raw",
            "--max-tokens",
            "12",
            "--batch",
            batch,
        ];
        let more = ["--samples", "2", "--temperature", "0.7"];
        let mut command = home.command(lacuna_tests::binary());
        run(command.args(args).args(more).env("LACUNA_ISA", exact_row())).expect_code(0);
        rows(&home.work().join(out).join("generations.jsonl"))
    };
    let alone = evaluate("alone", "1");
    assert_eq!(evaluate("packed", "4"), alone);
    let texts: Vec<&Value> =
        alone.iter().map(|row| &row["generation"]["outputs"][0]["text"]).collect();
    assert!(
        texts.iter().any(|text| text.as_str().is_some_and(|t| !t.is_empty())),
        "something was said: {texts:?}"
    );
    // A share of a batch is told apart from the time of one.
    let batch = |out: &str, row: usize| {
        rows(&home.work().join(out).join("latency.jsonl"))[row]["timings"][0]["batch"].clone()
    };
    assert_eq!(
        (batch("packed", 0), batch("packed", 10), batch("alone", 0)),
        (json!(4), json!(3), Value::Null)
    );
}

#[test]
fn a_run_that_broke_off_within_a_batch_ends_with_the_same_bytes() {
    let home = Home::new();
    let set = home.write("set.jsonl", lines(&holes(13)));
    let set = set.to_str().expect("a plain path");
    let evaluate = |out: &str, jobs: &str| {
        let args = [
            "fim-eval",
            "run",
            set,
            "--out",
            out,
            "--modes",
            "editor,raw",
            "--max-tokens",
            "12",
            "--batch",
            "5",
            "--jobs",
            jobs,
        ];
        home.lacuna(args).expect_code(0);
    };
    evaluate("whole", "1");
    evaluate("broken", "3");
    same(&home, "whole", "broken");
    for kept in [0, 2, 7, 12] {
        // As a crash leaves it: some rows of a batch and a piece of the next, the times a row
        // ahead, nothing of later stages.
        for (name, kept) in [("generations.jsonl", kept), ("latency.jsonl", kept + 1)] {
            let path = home.work().join("broken").join(name);
            let text = std::fs::read_to_string(&path).expect("ours");
            let rows: Vec<&str> = text.split_inclusive('\n').collect();
            let piece = rows.get(kept).map_or("", |row| &row[..20]);
            std::fs::write(&path, rows[..kept].concat() + piece).expect("ours");
        }
        for name in ["answers.jsonl", "scores.jsonl", "summary.json"] {
            std::fs::remove_file(home.work().join("broken").join(name)).expect("ours");
        }
        evaluate("broken", "2");
        same(&home, "whole", "broken");
    }
}

#[test]
fn the_rules_have_a_stage_of_their_own_and_can_be_others_the_second_time() {
    let home = Home::new();
    let set = home.write("set.jsonl", lines(&holes(8)));
    let set = set.to_str().expect("a plain path");
    let args = [
        "fim-eval",
        "run",
        set,
        "--out",
        "out",
        "--modes",
        "editor,raw,empty",
        "--max-tokens",
        "12",
    ];
    let evaluate = |more: &[&str]| home.lacuna(args.iter().chain(more));
    evaluate(&[]).expect_code(0);
    let path = |name: &str| home.work().join("out").join(name);
    let read = |name: &str| std::fs::read(path(name)).expect("a stage's file");
    let (generations, answers, scores) =
        (read("generations.jsonl"), read("answers.jsonl"), read("scores.jsonl"));
    let modes = |row: &Value| {
        row["answers"]
            .as_array()
            .expect("answers")
            .iter()
            .map(|a| a["mode"].clone())
            .collect::<Vec<_>>()
    };
    for (generated, answered) in
        rows(&path("generations.jsonl")).iter().zip(rows(&path("answers.jsonl")))
    {
        assert_eq!(modes(&answered), ["editor", "raw", "empty"]);
        let outputs = &generated["generation"]["outputs"];
        let (before, after) = (
            outputs[0]["text"].as_str().expect("a text"),
            answered["answers"][0]["text"].as_str().expect("a text"),
        );
        assert!(before.starts_with(after), "rules take away: {before:?} became {after:?}");
        assert_eq!(before == after, answered["answers"][0]["rules"].is_null(), "{answered}");
        assert_eq!(outputs[1]["text"], answered["answers"][1]["text"], "raw stays raw");
    }
    evaluate(&["--from", "post-process"]).expect_code(0);
    assert!(
        read("answers.jsonl") == answers
            && read("scores.jsonl") == scores
            && read("generations.jsonl") == generations
    );

    // Another threshold for what was generated before: not another run, as long as it is said from
    // where.
    home.write("lacuna.toml", "[show]\nmin_confidence = 1.0\n");
    evaluate(&[]).expect_failure(&["holds another run", "config.min_confidence"]);
    evaluate(&["--from", "score"]).expect_failure(&["config.min_confidence"]);
    evaluate(&["--from", "post-process"]).expect_code(0);
    assert!(read("generations.jsonl") == generations);
    for row in rows(&path("answers.jsonl")) {
        let answer = &row["answers"][0];
        assert!(answer["withheld"] == true || answer["silence"].is_string(), "{row}");
    }

    // The same by another program: it is noted which.
    let mut manifest: Value = serde_json::from_slice(&read("run.json")).expect("JSON");
    let ours = manifest["code"]["binary_sha256"].take();
    manifest["code"]["binary_sha256"] = json!("0");
    std::fs::write(path("run.json"), manifest.to_string()).expect("ours");
    evaluate(&[]).expect_failure(&["code.binary_sha256"]);
    evaluate(&["--from", "generate"]).expect_failure(&["code.binary_sha256"]);
    evaluate(&["--from", "score"]).expect_code(0);
    let manifest: Value = serde_json::from_slice(&read("run.json")).expect("JSON");
    assert_eq!(
        (&manifest["code"]["binary_sha256"], &manifest["judge"]["binary_sha256"]),
        (&json!("0"), &ours)
    );
}

#[test]
fn other_files_reach_the_prompts_of_the_editor_too() {
    let home = Home::new();
    let mut example = row(
        "1",
        "from shapes import Circle\n\ncircle = Circle(radius)\nsize = circle.",
        "area()",
        "\n",
    );
    example["context"] = json!([{"path": "shapes.py", "text": "class Circle:\n    def area(self):\n        return self.radius ** 2\n"}]);
    let set = home.write("set.jsonl", lines(&[example]));
    let set = set.to_str().expect("a plain path");
    let tokens = |context: &str| {
        let args = [
            "fim-eval",
            "run",
            set,
            "--out",
            context,
            "--modes",
            "editor,raw",
            "--context",
            context,
            "--max-tokens",
            "8",
        ];
        home.lacuna(args).expect_code(0);
        let timings = &rows(&home.work().join(context).join("latency.jsonl"))[0]["timings"];
        [0, 1].map(|mode| timings[mode]["prefilled"].as_u64().expect("a number"))
    };
    let (none, file, cross) = (tokens("none"), tokens("file"), tokens("cross"));
    for mode in [0, 1] {
        assert!(
            none[mode] < file[mode] && file[mode] + 10 < cross[mode],
            "{none:?} {file:?} {cross:?}"
        );
    }
    assert_eq!(cross[0] - file[0], cross[1] - file[1], "both see the same of them");
}
