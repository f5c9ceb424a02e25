//! The promises of the statistics, counted. `lacuna telemetry simulate` prints the same table.

use lacuna_telemetry::simulate::validate;

/// 2,000 simulated experiments behind each rate; `LACUNA_TEST_SIMULATIONS` sets another number.
#[test]
fn error_rates_are_what_they_claim() {
    let n = std::env::var("LACUNA_TEST_SIMULATIONS")
        .ok()
        .map_or(2_000, |n| n.parse().expect("a number"));
    let validation = validate(n, 1);
    assert_eq!(validation.rates.len(), 10);
    for rate in &validation.rates {
        eprintln!(
            "{}: {:.2} % (promised {:.2} %)",
            rate.name,
            100.0 * rate.share,
            100.0 * rate.promised
        );
    }
    let broken: Vec<_> = validation.rates.iter().filter(|r| !r.is_kept()).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    // What the rates are compared with shows that the simulation can tell.
    let peeked = validation.rates.iter().find(|r| r.name.contains("fixed test peeked")).unwrap();
    let rows = validation.rates.iter().find(|r| r.name.contains("rows taken")).unwrap();
    assert!(peeked.share > 0.15 && rows.share > 0.15, "{} {}", peeked.share, rows.share);
}
