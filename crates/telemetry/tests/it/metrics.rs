//! Metrics of rows whose sums are known, and experiments whose outcome was put in.

use lacuna_telemetry::experiment::{Arm, arms_text};
use lacuna_telemetry::metrics::{Grouping, Metric, Zone, collect_units, summarise};
use lacuna_telemetry::report::{
    Collector, Experiment, ExperimentReport, GuardState, Outcome, to_json, to_page, to_table,
};
use lacuna_telemetry::simulate::{Drafts, Team, TeamRows, simulate_team};
use lacuna_telemetry::stats::Plan;
use lacuna_telemetry::store::{Store, Window};
use lacuna_telemetry::{Columns, Event, Int, Ints, Names, Text};

fn event(names: &mut Names, texts: &[(Text, &str)], ints: &[(Int, i64)]) -> Event {
    let mut event =
        Event { installation: names.number("i"), texts: [0; Text::COUNT], ints: Ints::default() };
    texts.iter().for_each(|(column, text)| event.texts[*column as usize] = names.number(text));
    ints.iter().for_each(|(column, value)| event.ints.set(*column, Some(*value)));
    event
}

fn suggestion(names: &mut Names, state: &str, ints: &[(Int, i64)]) -> Event {
    event(
        names,
        &[(Text::Kind, "suggestion"), (Text::State, state), (Text::Language, "python")],
        ints,
    )
}

#[test]
fn every_metric_by_hand() {
    let mut names = Names::default();
    let n = &mut names;
    let shown = |longest: i64| {
        [
            (Int::Chars, 20),
            (Int::Shows, 1),
            (Int::VisibleMs, 2 * longest),
            (Int::LongestMs, longest),
        ]
    };
    let accepted = |chars: i64, kept: [Option<i64>; 4]| {
        let mut ints = vec![
            (Int::Chars, 20),
            (Int::Shows, 1),
            (Int::VisibleMs, 600),
            (Int::LongestMs, 300),
            (Int::AcceptedChars, chars),
        ];
        let columns = [Int::Kept30, Int::Kept120, Int::Kept300, Int::Kept600];
        ints.extend(columns.into_iter().zip(kept).filter_map(|(c, k)| k.map(|k| (c, k))));
        ints
    };
    let events = [
        // Read at 750 ms, not at 749; never shown.
        suggestion(n, "dismissed", &shown(750)),
        suggestion(n, "dismissed", &shown(749)),
        suggestion(n, "superseded", &shown(5_000)),
        suggestion(n, "typed-through", &shown(800)),
        suggestion(n, "offered", &[(Int::Chars, 20), (Int::Shows, 0)]),
        // Kept in all, just kept, just not kept; closed before the last checks; in part.
        suggestion(n, "accepted", &accepted(20, [Some(1000), Some(1000), Some(1000), Some(670)])),
        suggestion(n, "accepted", &accepted(20, [Some(1000), Some(700), Some(669), Some(669)])),
        suggestion(n, "accepted", &accepted(20, [Some(500), None, None, None])),
        suggestion(n, "partly", &accepted(10, [None, None, None, None])),
        event(
            n,
            &[(Text::Kind, "activity")],
            &[(Int::ActiveMs, 1_800_000), (Int::Chars, 210), (Int::AcceptedChars, 70)],
        ),
        event(n, &[(Text::Kind, "request"), (Text::State, "offered")], &[(Int::LatencyUs, 10_000)]),
        event(
            n,
            &[(Text::Kind, "request"), (Text::State, "silence")],
            &[(Int::LatencyUs, 99_000_000)],
        ),
        event(
            n,
            &[(Text::Kind, "request"), (Text::State, "cancelled")],
            &[(Int::LatencyUs, 99_000_000)],
        ),
    ];
    let summary = summarise(&events, &mut names, Zone::Utc);
    let t = &summary.all;
    assert_eq!((t.requests, t.answered, t.suggestions, t.shown, t.read), (3, 1, 9, 8, 7));
    let value = |metric: Metric| metric.value(t).unwrap();
    let near = |metric: Metric, expected: f64| {
        assert!((value(metric) - expected).abs() < 1e-12, "{metric:?}: {}", value(metric))
    };
    near(Metric::AcceptanceRate, 3.0 / 7.0);
    near(Metric::WeightedAcceptanceRate, 70.0 / 140.0);
    near(Metric::PersistenceRate(0), 2.0 / 3.0);
    near(Metric::PersistenceRate(1), 1.0);
    near(Metric::PersistenceRate(2), 1.0 / 2.0);
    near(Metric::PersistenceRate(3), 1.0 / 2.0);
    // What was not looked at any more counts as last seen: 10 of the third, 10 of the fourth.
    near(Metric::RetainedPerHour(0), (20.0 + 20.0 + 10.0 + 10.0) / 0.5);
    near(Metric::RetainedPerHour(3), (20.0 * 0.67 + 20.0 * 0.669 + 10.0 + 10.0) / 0.5);
    near(Metric::CompletedRatio, 70.0 / 280.0);
    near(Metric::PartialRate, 1.0 / 7.0);
    near(Metric::TypedThroughRate, 1.0 / 8.0);
    near(Metric::DismissalRate, 2.0 / 8.0);
    near(Metric::VisibleSeconds, (1.5 + 1.498 + 10.0 + 1.6 + 4.0 * 0.6) / 8.0);
    let p50 = t.latency.quantile_ms(0.5).unwrap();
    assert!((p50 / 10.0 - 1.0).abs() < 0.01, "silences do not count: {p50}");
    assert_eq!(summary.groups[&Grouping::Language]["python"].suggestions, 9);
    assert_eq!(summary.groups[&Grouping::Language]["-"].requests, 3);
}

#[test]
fn days_and_hours() {
    let mut names = Names::default();
    let at = |ms| [(Int::At, ms), (Int::Shows, 1)];
    let day = 86_400_000;
    let events: Vec<Event> = [-1, 0, day - 1, day]
        .into_iter()
        .map(|ms| suggestion(&mut names, "shown", &at(ms)))
        .collect();
    let summary = summarise(&events, &mut names, Zone::Utc);
    let count = |grouping| {
        summary.groups[&grouping]
            .iter()
            .map(|(name, t)| (name.as_str(), t.suggestions))
            .collect::<Vec<_>>()
    };
    assert_eq!(count(Grouping::Day), [("1969-12-31", 1), ("1970-01-01", 2), ("1970-01-02", 1)]);
    assert_eq!(count(Grouping::Hour), [("00", 2), ("23", 2)]);
}

fn experiment(team: &TeamRows) -> Experiment {
    Experiment {
        name: team.experiment.to_owned(),
        definition: team.definition.clone(),
        started: team.started,
        stopped: Some(team.stopped),
    }
}

fn report(team: &mut TeamRows) -> ExperimentReport {
    let experiment = experiment(team);
    let units = collect_units(&team.events, &mut team.names, team.experiment, team.started);
    ExperimentReport::new(
        &experiment,
        &units,
        &Plan { rounds: 200, ..Plan::default() },
        team.stopped,
    )
}

#[test]
fn an_effect_that_was_put_in_is_found_and_none_is_not() {
    let mut team = simulate_team(&Team::default());
    let found = report(&mut team);
    let [control, treatment] = &found.variants[..] else { panic!("{:?}", found.variants) };
    assert_eq!((control.outcome, treatment.outcome), (Outcome::Control, Outcome::Better));
    assert!(
        control.units > 100
            && treatment.units > 100
            && !found.is_unbalanced()
            && found.crossed == 0
    );
    let of = |metric| treatment.comparisons.iter().find(|(m, _)| *m == metric).unwrap().1;
    let car = of(Metric::AcceptanceRate);
    let (low, high) = (
        car.sequential.unwrap().low / car.control.value,
        car.sequential.unwrap().high / car.control.value,
    );
    assert!(
        low < 0.15 && 0.15 < high && low > 0.0,
        "15 % more acceptance were put in: {low} to {high}"
    );
    assert!(car.explained.is_some(), "the week before is a covariate");
    let latency = &treatment.guards[0];
    assert!(
        (latency.change + 0.18).abs() < 0.05 && latency.state == GuardState::Holds,
        "{latency:?}"
    );

    let mut same = simulate_team(&Team {
        acceptance: 1.0,
        keeping: 1.0,
        latency: 1.0,
        seed: 5,
        ..Team::default()
    });
    let nothing = report(&mut same);
    assert_eq!(nothing.variants[1].outcome, Outcome::Open);
    // Slower by half: the guard-rail breaks.
    let mut slow = simulate_team(&Team { latency: 1.5, ..Team::default() });
    assert_eq!(report(&mut slow).variants[1].guards[0].state, GuardState::Broken);
}

#[test]
fn lost_and_crossed_units_are_noticed() {
    let mut team = simulate_team(&Team { developers: 6, ..Team::default() });
    // A client that loses half of the treatment's rows.
    let names = team.names.clone();
    let mut unit = std::collections::BTreeSet::new();
    team.events.retain(|e| {
        let arms = names.text(e.text(Text::Arms));
        if arms.contains("suffix-first") {
            unit.insert(arms.to_owned());
        }
        !arms.contains("suffix-first") || unit.len() % 2 == 0
    });
    let report = report(&mut team);
    assert!(report.is_unbalanced(), "{}", report.sample_ratio);
    let experiment = experiment(&team);
    let mut collector = Collector::new(team.names, Zone::Utc, &[experiment]);
    collector.add_all(&team.events);
    let told = collector.report(None, &Plan { rounds: 10, ..Plan::default() });
    assert!(
        to_table(&told).contains("DO NOT TRUST THIS")
            && to_page(&told).contains("Do not trust this")
    );

    let mut names = Names::default();
    let row = |names: &mut Names, variant: &str, unit: &str| {
        let arms = arms_text([Arm { experiment: "x", variant, unit }]);
        event(
            names,
            &[(Text::Kind, "suggestion"), (Text::Arms, &arms)],
            &[(Int::At, 5), (Int::Shows, 1)],
        )
    };
    let events = [row(&mut names, "a", "1"), row(&mut names, "b", "1"), row(&mut names, "a", "2")];
    let units = collect_units(&events, &mut names, "x", 0);
    assert_eq!((units.crossed, units.arms.len(), units.arms["a"].len()), (1, 1, 1));
}

#[test]
fn reports_say_the_same_in_all_forms() {
    let team = simulate_team(&Team { developers: 4, days: 5, ..Team::default() });
    let experiment = experiment(&team);
    let mut collector = Collector::new(team.names, Zone::Utc, &[experiment]);
    collector.add_all(&team.events);
    let report = collector.report(None, &Plan { rounds: 50, ..Plan::default() });
    let (table, json, page) = (to_table(&report), to_json(&report), to_page(&report));
    let car = json["all"]["metrics"]["acceptance_rate"].as_f64().unwrap();
    let told = format!("{:.1} %", 100.0 * car);
    assert!(table.contains(&told) && page.contains(&told), "{told}");
    assert_eq!(json["simulated"], true);
    assert!(table.starts_with("SIMULATED") && page.contains("<strong>Simulated.</strong>"));
    assert_eq!(json["experiments"][0]["variants"].as_array().unwrap().len(), 2);
    // Nothing that a browser would fetch.
    for outside in ["http:", "https:", "src=", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn an_empty_store_has_a_report() {
    let report = Collector::new(Names::default(), Zone::Utc, &[]).report(None, &Plan::default());
    assert!(to_table(&report).contains("no rows") && to_page(&report).contains("no rows"));
    assert_eq!(to_json(&report)["all"]["metrics"]["acceptance_rate"], serde_json::Value::Null);
}

#[test]
fn names_are_escaped_in_pages() {
    let mut names = Names::default();
    let evil = "<script>alert(1)</script>\"'";
    let texts = [
        (Text::Kind, "suggestion"),
        (Text::Language, evil),
        (Text::Model, evil),
        (Text::Node, evil),
    ];
    let events = [event(&mut names, &texts, &[(Int::Shows, 1), (Int::LongestMs, 800)])];
    let mut collector = Collector::new(names, Zone::Utc, &[]);
    collector.add_all(&events);
    let page = to_page(&collector.report(None, &Plan::default()));
    assert!(!page.contains("<script>alert") && page.contains("&lt;script&gt;"));
}

/// A store is read in parts, by the columns that reports need, in several threads: what comes out
/// is what all of its rows say.
#[test]
fn a_store_reports_what_its_rows_say() {
    let team = simulate_team(&Team { developers: 1, days: 10, ..Team::default() });
    let experiment = experiment(&team);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("telemetry.db");
    let mut store = Store::open(&path).unwrap();
    let drafts = Drafts::new(&team.names);
    for rows in team.events.chunks(500) {
        let session = store.begin_session(0).unwrap();
        let mut changes = Vec::new();
        rows.iter().enumerate().for_each(|(seq, event)| {
            drafts.add(seq as u32 + 1, event, &"file:///a.py".into(), &mut changes)
        });
        store.write(session, &changes).unwrap();
    }
    let (mut names, mut events) = (Names::default(), Vec::new());
    store
        .scan(&(i64::MIN..i64::MAX), &Window::ALL, &Columns::ALL, &mut names, |event, _| {
            events.push(*event)
        })
        .unwrap();
    assert!(events.len() == team.events.len() && events.len() > 2_000, "{} rows", events.len());
    assert!(store.parts(4).unwrap().len() == 4);
    let mut collector = Collector::new(names, Zone::Utc, std::slice::from_ref(&experiment));
    collector.add_all(&events);
    let plan = Plan { rounds: 50, ..Plan::default() };
    let whole = collector.report(None, &plan);
    let parts =
        Collector::of_store(&path, &Window::ALL, Zone::Utc, std::slice::from_ref(&experiment))
            .unwrap()
            .report(None, &plan);
    assert_eq!(to_table(&parts), to_table(&whole));
    assert!(parts.experiments[0].variants.iter().all(|v| v.units > 10), "the experiment is in it");
    assert!(
        parts.summary.all.checked.iter().all(|n| *n > 100)
            && parts.summary.all.kept[3] < parts.summary.all.kept[0]
    );
    // A window is a window.
    let since = team.started + 86_400_000;
    let later = Collector::of_store(&path, &Window::since(since), Zone::Utc, &[])
        .unwrap()
        .report(Some(since), &plan);
    let n = events
        .iter()
        .filter(|e| {
            e.text(Text::Kind) == events[0].text(Text::Kind) && e.int(Int::At) >= Some(since)
        })
        .count();
    assert_eq!(later.summary.all.requests as usize, n, "{:?}", events[0]);
}
