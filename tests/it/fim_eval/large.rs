//! A set that is much larger than the memory that the stages may use.

use std::io::Write;

use lacuna_tests::Home;

use super::rows;

const ROWS: usize = 200_000;
/// Data of the process, in kilobytes: the rows as text are larger, and several times as large as records.
const LIMIT: u64 = 64_000;

#[test]
fn two_hundred_thousand_rows_pass_all_stages_in_bounded_memory() {
    let home = Home::new();
    let mut set = std::io::BufWriter::new(std::fs::File::create(home.work().join("set.jsonl")).expect("room"));
    let filler = "x".repeat(300);
    for i in 0..ROWS {
        let group = i % 997;
        writeln!(
            set,
            r#"{{"id":"{i}","set":"large","task":"line","language":"text","group":"g{group}","prefix":"a {filler} = ","middle":"{i}","suffix":"\n"}}"#
        )
        .expect("room");
    }
    set.into_inner().expect("room").sync_all().expect("room");
    assert!(std::fs::metadata(home.work().join("set.jsonl")).expect("written").len() > 1024 * LIMIT);

    let within = |args: &[&str]| home.lacuna_data_within(LIMIT, args).expect_code(0);
    let imported = within(&["fim-eval", "build", "import", "set.jsonl", "-o", "imported.jsonl.zst"]);
    assert!(imported.stdout.starts_with("200000 rows from 200000 rows"), "{}", imported.stdout);
    let exported = within(&["fim-eval", "build", "export", "imported.jsonl.zst", "--format", "lacuna", "-o", "exported.jsonl"]);
    assert!(exported.stdout.starts_with("200000 rows"), "{}", exported.stdout);
    let run = within(&["fim-eval", "run", "exported.jsonl", "--modes", "empty", "--jobs", "2", "--out", "out"]);
    assert!(run.stdout.contains("200000 rows."), "{}", run.stdout);
    let report = within(&["fim-eval", "report", "out", "--json"]);
    assert!(report.stdout.contains("\"rows\": 200000"), "{}", report.stdout);
    // A sample of it, for which the set is read twice.
    within(&["fim-eval", "run", "set.jsonl", "--modes", "copy-line", "--limit", "50", "--out", "sample"]);
    assert_eq!(rows(&home.work().join("sample/scores.jsonl")).len(), 50);

    // The limit is one: what does not fit is refused by the system.
    assert_ne!(home.lacuna_data_within(1_000, ["fim-eval", "report", "out"]).code, Some(0));
}
