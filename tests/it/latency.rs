//! The latency benchmark at toy size: it runs and its table is whole. Times are never asserted.

use std::process::Command;

use lacuna_tests::{TinyModel, run};

#[test]
fn the_latency_benchmark_runs_at_toy_size() {
    let model = TinyModel::default().write();
    let mut command = Command::new(env!("CARGO_BIN_EXE_latency"));
    command.args(["--positions", "5", "--model", model.arg()]);
    let output = run(&mut command).expect_code(0);
    let rows: Vec<Vec<&str>> = output
        .stdout
        .lines()
        .filter(|l| l.starts_with('|'))
        .map(|l| l.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 7, "{}", output.stdout);
    assert!(rows.iter().all(|row| row.len() == 6), "{}", output.stdout);
    assert_eq!([rows[2][1], rows[5][1], rows[6][1]], ["5", "5", "5"], "{}", output.stdout);
    assert!(
        rows[2..].iter().flat_map(|row| &row[1..]).all(|cell| cell.parse::<f64>().is_ok()),
        "{}",
        output.stdout
    );
    assert!(
        output.stdout.contains("kernels ") && !output.stdout.contains("kernels unknown"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains(" cached, "), "{}", output.stdout);
}

#[test]
fn an_unknown_option_is_refused() {
    let output = run(Command::new(env!("CARGO_BIN_EXE_latency")).args(["--speed", "9"]));
    assert!(output.code != Some(0) && output.stderr.contains("--speed"), "{output:?}");
}
