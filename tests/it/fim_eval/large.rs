//! A set that is much larger than the memory that the stages may use: `LACUNA_TEST_ROWS` rows
//! [200000].

use std::io::Write;

use lacuna_tests::Home;

use super::rows;

/// Data of the process, in kilobytes, whatever the rows: these are larger as text, and several
/// times as large as records.
const LIMIT: u64 = 64_000;

#[test]
fn hundreds_of_thousands_of_rows_pass_all_stages_in_bounded_memory() {
    let n: usize = std::env::var("LACUNA_TEST_ROWS")
        .map_or(200_000, |n| n.parse().expect("LACUNA_TEST_ROWS: a number"));
    let home = Home::new();
    let mut set = std::io::BufWriter::new(
        std::fs::File::create(home.work().join("set.jsonl")).expect("room"),
    );
    let filler = "x".repeat(300);
    for i in 0..n {
        let group = i % 997;
        writeln!(
            set,
            r#"{{"id":"{i}","set":"large","task":"line","language":"text","group":"g{group}","prefix":"a {filler} = ","middle":"{i}","suffix":"\n"}}"#
        )
        .expect("room");
    }
    set.into_inner().expect("room").sync_all().expect("room");
    assert!(
        std::fs::metadata(home.work().join("set.jsonl")).expect("written").len() > 1024 * LIMIT
    );

    let within = |args: &[&str]| home.lacuna_data_within(LIMIT, args).expect_code(0);
    let imported =
        within(&["fim-eval", "build", "import", "set.jsonl", "-o", "imported.jsonl.zst"]);
    assert!(imported.stdout.starts_with(&format!("{n} rows from {n} rows")), "{}", imported.stdout);
    let exported = within(&[
        "fim-eval",
        "build",
        "export",
        "imported.jsonl.zst",
        "--format",
        "lacuna",
        "-o",
        "exported.jsonl",
    ]);
    assert!(exported.stdout.starts_with(&format!("{n} rows")), "{}", exported.stdout);
    let run = within(&[
        "fim-eval",
        "run",
        "exported.jsonl",
        "--modes",
        "empty",
        "--jobs",
        "2",
        "--out",
        "out",
    ]);
    assert!(run.stdout.contains(&format!("{n} rows.")), "{}", run.stdout);
    let report = within(&["fim-eval", "report", "out", "--json"]);
    assert!(report.stdout.contains(&format!("\"rows\": {n}")), "{}", report.stdout);
    // A sample of it, for which the set is read twice.
    within(&[
        "fim-eval",
        "run",
        "set.jsonl",
        "--modes",
        "copy-line",
        "--limit",
        "50",
        "--out",
        "sample",
    ]);
    assert_eq!(rows(&home.work().join("sample/scores.jsonl")).len(), 50);

    // The limit is one: what does not fit is refused by the system.
    assert_ne!(home.lacuna_data_within(1_000, ["fim-eval", "report", "out"]).code, Some(0));
}
