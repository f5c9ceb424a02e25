//! `compare` and `report` on two runs whose answers are known.

use lacuna_tests::Home;
use serde_json::Value;

use super::stub::Stub;
use super::{lines, row};

/// 40 examples in 20 groups; the server gets those right whose number `right` likes.
fn run(home: &Home, out: &str, right: fn(usize) -> bool) {
    let set: Vec<Value> = (0..40)
        .map(|i| {
            let mut row =
                row(&format!("{i:02}"), &format!("x{i:02} = "), &format!("f({i:02})"), "\n");
            row["group"] = format!("g{}", i / 2).into();
            row["n_lines"] = (1 + i % 3).into();
            row
        })
        .collect();
    let set = home.write("set.jsonl", lines(&set));
    let stub = Stub::start(true, move |request| {
        let number = &request["input_prefix"].as_str().expect("a prefix")[1..3];
        Ok(if right(number.parse().expect("a number")) {
            format!("f({number})")
        } else {
            "<b>wrong".to_owned()
        })
    });
    let args = [
        "fim-eval",
        "run",
        set.to_str().expect("a plain path"),
        "--endpoint",
        &stub.address,
        "--out",
        out,
    ];
    home.lacuna(args).expect_code(0);
}

#[test]
fn differences_tests_and_exit_codes() {
    let home = Home::new();
    run(&home, "old", |i| i < 10);
    run(&home, "new", |i| i < 20 && i != 3);
    let output = home.lacuna(["fim-eval", "compare", "old", "new", "--json"]).expect_code(0);
    let json: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let comparison = &json[0];
    assert_eq!((&comparison["pairs"], &comparison["unpaired"]), (&40.into(), &0.into()));
    let em = comparison["sets"][0]["metrics"]
        .as_array()
        .expect("metrics")
        .iter()
        .find(|m| m["metric"] == "em")
        .expect("em");
    assert_eq!((em["a"].as_f64(), em["b"].as_f64()), (Some(0.25), Some(0.475)));
    assert_eq!((em["wins"].as_u64(), em["losses"].as_u64()), (Some(10), Some(1)));
    // 2 · (1 + 11) / 2^11
    assert!((em["sign_test"].as_f64().expect("p") - 24.0 / 2048.0).abs() < 1e-9, "{em}");
    // Six groups differ: five by +2, one by -1. Of 64 sign changes, those at least 9 from zero: all
    // equal and one alone turned that is 1.
    assert!((em["permutation_test"].as_f64().expect("p") - 4.0 / 64.0).abs() < 1e-9, "{em}");
    let d = &em["difference"];
    let [mean, low, high] = ["mean", "low", "high"].map(|k| d[k].as_f64().expect("a number"));
    assert!(
        (mean - 0.225).abs() < 1e-6 && low < mean && mean < high && low > -0.1 && high < 0.5,
        "{d}"
    );

    let output = home.lacuna(["fim-eval", "compare", "old", "new", "--show", "2"]).expect_code(0);
    for text in [
        "| EM | 40 | 25.0 % | 47.5 % | +22.5 %",
        "## Better in B",
        "## Worse in B",
        "test-set 03 (1.000 → 0.000)",
        "true  | f(03)",
        "| <b>wrong",
    ] {
        assert!(output.stdout.contains(text), "no {text:?} in {}", output.stdout);
    }

    let compare = |args: &[&str]| home.lacuna(["fim-eval", "compare"].iter().chain(args));
    compare(&["old", "new", "--require", "em >= 0.4", "--no-regression", "0.01"]).expect_code(0);
    assert!(
        compare(&["old", "new", "--require", "em >= 0.5"])
            .expect_code(1)
            .stderr
            .contains("em >= 0.5")
    );
    assert!(
        compare(&["new", "old", "--no-regression", "0.01"])
            .expect_code(1)
            .stderr
            .contains("worse: test-set em")
    );
    compare(&["new", "old", "--no-regression", "0.9"]).expect_code(0);
    compare(&["new", "--require", "em > 0.4"]).expect_code(0);
    compare(&["old", "new", "old"]).expect_code(0);
    compare(&["new"]).expect_failure(&["two folders"]);
    compare(&["old", "nowhere"]).expect_failure(&["nowhere", "--out folder"]);
    compare(&["old", "new", "--mode", "editor"]).expect_failure(&["no mode editor"]);
    compare(&["old", "new", "--by", "luck"]).expect_failure(&["luck", "em_line"]);
}

#[test]
fn a_report_is_one_page_that_loads_nothing_and_escapes_what_it_shows() {
    let home = Home::new();
    run(&home, "run", |i| i % 3 == 0);
    let output = home.lacuna(["fim-eval", "report", "run"]).expect_code(0);
    for text in [
        "## test-set",
        "| metric | endpoint | empty |",
        "| endpoint, by lines | n |",
        "| 2–3 | 26 |",
    ] {
        assert!(output.stdout.contains(text), "no {text:?} in {}", output.stdout);
    }
    assert!(!output.stdout.contains("wrong"), "no text of the examples is in the Markdown");
    let json: Value = serde_json::from_str(
        &home.lacuna(["fim-eval", "report", "run", "--json"]).expect_code(0).stdout,
    )
    .expect("JSON");
    assert_eq!(json["summary"]["sets"][0]["rows"], 40);

    home.lacuna(["fim-eval", "report", "run", "--html", "--worst", "4"]).expect_code(0);
    let page = std::fs::read_to_string(home.work().join("run/report.html")).expect("the page");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for part in ["src=", "href=", "<script", "@import", "url(", "<b>wrong"] {
        assert!(!page.contains(part), "{part} in the page");
    }
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("<h3>").count(), 4);
    assert!(page.contains("&lt;b&gt;wrong") || page.contains("&lt;"), "the answers are shown");
    home.lacuna(["fim-eval", "report", "nowhere"]).expect_failure(&["nowhere"]);
}
