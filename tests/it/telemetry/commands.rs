//! The commands without a session: simulated rows, files, mistakes.

use lacuna_tests::Home;
use serde_json::Value;

#[test]
fn the_demonstration_is_marked_and_its_rows_report_the_same() {
    let home = Home::new();
    let table = home.lacuna(["telemetry", "demo"]).expect_code(0).stdout;
    assert!(
        table.starts_with("SIMULATED")
            && table.contains("experiment order")
            && table.contains("better"),
        "{table}"
    );
    let json: Value =
        serde_json::from_str(&home.lacuna(["telemetry", "demo", "--json"]).expect_code(0).stdout)
            .expect("JSON");
    for name in ["rows.parquet", "rows.jsonl", "rows.csv"] {
        home.lacuna(["telemetry", "demo", "--rows", name, "--html", "page.html"]).expect_code(0);
        let said =
            home.lacuna(["telemetry", "report", name, "--json", "--utc"]).expect_code(0).stdout;
        let report: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(report["all"], json["all"], "{name}");
        assert_eq!(report["simulated"], true);
    }
    // Parquet carries the experiment's definition; the page is complete.
    let said = home
        .lacuna(["telemetry", "report", "rows.parquet", "--json", "--utc"])
        .expect_code(0)
        .stdout;
    let report: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(report["experiments"], json["experiments"]);
    let page = std::fs::read_to_string(home.work().join("page.html")).expect("the page");
    assert!(page.ends_with("</html>\n") && page.contains("Simulated"));
}

#[test]
fn the_committed_demonstration_is_what_the_command_prints() {
    let committed =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/telemetry/demo.txt");
    let committed = std::fs::read_to_string(committed).expect("docs/telemetry/demo.txt");
    assert_eq!(
        Home::new().lacuna(["telemetry", "demo"]).expect_code(0).stdout,
        committed,
        "lacuna telemetry demo > docs/telemetry/demo.txt"
    );
}

#[test]
fn a_merged_file_counts_every_row_once() {
    let home = Home::new();
    home.lacuna(["telemetry", "demo", "--seed", "1", "--rows", "a.parquet"]).expect_code(0);
    home.lacuna(["telemetry", "merge", "a.parquet", "-o", "b.csv"]).expect_code(0);
    let all = |files: &[&str]| -> Value {
        let said =
            home.lacuna([&["telemetry", "report", "--json"], files].concat()).expect_code(0).stdout;
        serde_json::from_str::<Value>(&said).expect("JSON")["all"].clone()
    };
    assert_eq!(all(&["a.parquet", "b.csv"]), all(&["a.parquet"]));
}

#[test]
fn mistakes_are_one_line_with_a_remedy() {
    let home = Home::new();
    let run = |args: &[&str]| home.lacuna([&["telemetry"], args].concat());
    run(&["report"]).expect_failure(&["telemetry.db", "nothing has been recorded"]);
    run(&["report", "none.parquet"]).expect_failure(&["none.parquet"]);
    run(&["report", "--since", "soon"]).expect_failure(&["7d"]);
    run(&["export"]).expect_failure(&["nothing has been recorded"]);
    run(&["merge", "a.csv", "-o", "b.xlsx"]).expect_failure(&["b.xlsx", ".parquet"]);
    run(&["demo", "--rows", "rows.txt"]).expect_failure(&["rows.txt", ".parquet"]);
    run(&["demo", "--html", "no/such/folder/page.html"])
        .expect_failure(&["page.html", "folder exists"]);
    run(&["experiment", "report", "x"]).expect_failure(&["nothing has been recorded"]);
    run(&["compare", "none.csv"]).expect_failure(&["none.csv"]);
    home.write("text.parquet", "no parquet");
    run(&["report", "text.parquet"]).expect_failure(&["text.parquet", "export of lacuna"]);
    home.write("lacuna.toml", "[experiment.x]\nunit = \"user\"\n");
    run(&["experiment", "status"]).expect_failure(&["lacuna.toml", "user"]);
}

#[test]
fn a_newer_or_damaged_store_is_told_and_left_alone() {
    let home = Home::new();
    let store = home.write(
        ".local/telemetry.db",
        "this is no database, and longer than a header of one hundred bytes ".repeat(4),
    );
    home.configure(format!("[telemetry]\ndir = {:?}\n", store.parent().expect("a folder")));
    let before = std::fs::read(&store).expect("the file");
    home.lacuna(["telemetry", "report"]).expect_failure(&[
        "telemetry.db",
        "damaged",
        "move it away",
    ]);
    assert_eq!(std::fs::read(&store).expect("the file"), before);
}

#[test]
fn the_benchmark_runs_at_toy_size() {
    let home = Home::new();
    let bench = |how: &[&str]| {
        home.lacuna([&["telemetry", "bench", "--rows", "5000", "--keys", "500"], how].concat())
            .expect_code(0)
            .stdout
    };
    let measured: Value = serde_json::from_str(&bench(&["--json"])).expect("JSON");
    let store = &measured["store"];
    assert_eq!(store["rows"], 5000);
    // The team's rows, all of which are there.
    let kinds: u64 = ["requests", "suggestions", "activity"]
        .iter()
        .map(|k| store[k].as_u64().filter(|n| *n > 0).expect("rows"))
        .sum();
    assert_eq!(kinds, 5000, "{store}");
    for event in ["edit", "request", "answer"] {
        let of = |p: &str| measured[event][p].as_f64().expect("microseconds");
        assert!(0.0 < of("p50") && of("p50") <= of("p99") && of("p99") <= of("most"), "{measured}");
    }
    bench(&["-o", "telemetry.md"]);
    let page = std::fs::read_to_string(home.work().join("telemetry.md")).expect("the page");
    assert!(
        page.contains("| answer goes out |") && page.contains("| report, experiment included"),
        "{page}"
    );
    // What was measured with is gone.
    let left = std::fs::read_dir(std::env::temp_dir()).expect("a folder").flatten();
    let id = |e: &std::fs::DirEntry| {
        e.file_name()
            .to_string_lossy()
            .strip_prefix("lacuna-telemetry-bench-")
            .and_then(|id| id.parse::<u32>().ok())
    };
    assert!(
        left.filter_map(|e| id(&e)).all(|id| std::path::Path::new(&format!("/proc/{id}")).exists()),
        "a folder was left behind"
    );
}

#[test]
fn the_statistics_keep_their_promises_at_toy_size_too() {
    let home = Home::new();
    let said = home.lacuna(["telemetry", "simulate", "-n", "100", "--json"]);
    let validation: Value = serde_json::from_str(&said.stdout).expect("JSON");
    assert_eq!(validation["rates"].as_array().map(Vec::len), Some(10));
    // A hundred experiments may miss by chance: the answer may be no, an error it is not.
    assert!(matches!(said.code, Some(0 | 1)), "{said:?}");
}
