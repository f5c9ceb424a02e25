//! Sessions as editors have them: killed, switched off, in an experiment, and looked at for what
//! they must not hold.

use std::time::Instant;

use lacuna_tests::HANG;
use serde_json::{Value, json};

use super::editor::{Desk, Editor};

const LINES: usize = 30;

/// One line for each act, with a place to write behind `= `. Lines that want a value, below others
/// that have one, each its own: what the file says of the next letter is no line break.
fn text() -> String {
    let word = |i: usize| {
        (0..8).map(|k| char::from(b'a' + ((i * 7 + k * 5 + i / 26) % 26) as u8)).collect::<String>()
    };
    let others: String =
        (0..8 * LINES).map(|i| format!("{} = {}\n", word(i + 3), word(i))).collect();
    let open: String = (0..LINES).map(|i| format!("value_{i:02} = \n")).collect();
    others + &open
}

#[test]
fn a_client_that_is_killed_loses_its_last_second_only() {
    let desk = Desk::new();
    let mut editor = desk.open("script.py", &text());
    let (_, rest, _) = {
        editor.go_behind("value_00 = ");
        editor.insert("k");
        editor.ask()
    };
    editor.insert(&rest);
    // The writer's batch of that second; what an export has was committed.
    desk.wait_for("acceptance", || (), |rows| rows.iter().any(|r| r["state"] == "accepted"));
    editor.client.child().kill().expect("a process of ours");
    drop(editor);
    assert_eq!(desk.report()["all"]["accepted"], 1);
}

#[test]
fn two_editors_of_one_user_record_side_by_side() {
    let desk = Desk::new();
    let mut editors = [desk.open("one.py", &text()), desk.open("two.py", &text())];
    let mut accepted = 0;
    for line in 0..LINES {
        for editor in &mut editors {
            editor.go_behind(&format!("value_{line:02} = "));
            let (_, rest, _) = editor.ask();
            if line % 2 == 0 {
                editor.insert(&rest);
                accepted += 1;
            }
        }
    }
    editors.into_iter().for_each(Editor::finish);
    let all = &desk.report()["all"];
    assert_eq!(
        (&all["requests"], &all["suggestions"]),
        (&(2 * LINES).into(), &(2 * LINES).into()),
        "{all}"
    );
    assert_eq!(all["accepted"], accepted, "{all}");
    let said = desk.home.lacuna(["telemetry", "show", "-n", "0"]).expect_code(0).stdout;
    assert!(said.contains("sessions     2, 0 changes lost"), "{said}");
}

/// A disk that fills while the server runs: completing goes on, the trouble is said, what was
/// committed stays readable, and with room again the store is written again.
#[cfg(unix)]
#[test]
fn a_disk_that_is_full_stops_nothing() {
    let desk = Desk::new();
    let mut editor = desk.open("before.py", &text());
    editor.go_behind("value_00 = ");
    editor.ask();
    editor.finish();
    let before = desk.rows().len();
    assert!(before > 0);

    let (mut editor, said) = desk.open_on_a_full_disk(100 << 10, "full.py", &text());
    let start = Instant::now();
    let mut keys = 0;
    let trouble = loop {
        editor.go_behind(&format!("value_{:02} = ", keys % LINES));
        let (_, rest, _) = editor.ask();
        assert!(!rest.is_empty(), "a completion, disk or no disk");
        editor.insert("#");
        keys += 1;
        match said.try_iter().find(|line| line.contains("telemetry")) {
            Some(line) => break line,
            None => assert!(start.elapsed() < HANG, "the disk never filled"),
        }
    };
    assert!(trouble.contains("telemetry.db"), "{trouble}");
    for line in 0..LINES {
        editor.go_behind(&format!("value_{line:02} = "));
        assert!(!editor.ask().1.is_empty());
    }
    editor.finish();
    // Said once, not each second.
    let more: Vec<String> = said.iter().filter(|line| line.contains("telemetry")).collect();
    assert!(!more.contains(&trouble), "{more:?}");

    let full = desk.rows();
    assert!(full.len() >= before, "{} of {before} rows", full.len());
    let mut editor = desk.open("after.py", &text());
    editor.go_behind("value_00 = ");
    editor.ask();
    editor.finish();
    assert_eq!(desk.rows().len(), full.len() + 2, "a request and a suggestion");
    desk.report();
}

/// A home in which nothing can be made, for root neither.
#[test]
fn a_home_that_cannot_be_written_stops_nothing() {
    let desk = Desk::new();
    let home = desk.home.work().parent().expect("the home").to_owned();
    std::fs::write(home.join(".local"), "a file where a folder should be").expect("a new file");
    let mut editor = desk.open("script.py", &text());
    editor.go_behind("value_00 = ");
    let (_, rest, _) = editor.ask();
    editor.insert(&rest);
    editor.finish();
    desk.home.lacuna(["telemetry", "report"]).expect_code(2);
}

#[test]
fn a_file_that_is_deleted_was_not_kept() {
    let desk = Desk::new();
    let mut editor = desk.open("folder/script.py", &text());
    editor.go_behind("value_00 = ");
    let (_, rest, _) = editor.ask();
    editor.insert(&rest);
    let folder = format!("file://{}", editor.file.parent().expect("a folder").display());
    // Another folder whose name begins alike is another folder.
    editor.client.notify(
        "workspace/didDeleteFiles",
        json!({"files": [{"uri": &folder[..folder.len() - 1]}]}),
    );
    editor.client.notify("workspace/didDeleteFiles", json!({"files": [{"uri": folder}]}));
    editor.finish();
    let rows = desk.rows();
    let row = rows.iter().find(|r| r["kind"] == "suggestion").expect("a suggestion");
    assert_eq!((&row["state"], &row["watch"]), (&"accepted".into(), &"deleted".into()), "{row}");
    for check in ["kept_30s", "kept_2min", "kept_5min", "kept_10min"] {
        assert_eq!(row[check], 0, "{row}");
    }
}

#[test]
fn nothing_is_recorded_where_it_is_switched_off() {
    let desk = Desk::new();
    desk.home.write("lacuna.toml", "[telemetry]\nenabled = false\n");
    let mut editor = desk.open("script.py", &text());
    editor.go_behind("value_00 = ");
    editor.ask();
    editor.finish();
    let said = desk.home.lacuna(["telemetry", "show"]).expect_code(0).stdout;
    assert!(said.contains("recording    off") && said.contains("none yet"), "{said}");
}

#[test]
fn an_experiment_from_its_start_to_its_report() {
    let desk = Desk::new();
    let config = "[experiment.short]\nunit = \"document\"\nmetric = \"acceptance-rate\"\n[experiment.short.variant.control]\n\
                  [experiment.short.variant.brief]\nsettings = { \"show.line_tokens\" = 3 }\n";
    desk.home.write("lacuna.toml", config);
    let run = |args: &[&str]| desk.home.lacuna([&["telemetry", "experiment"], args].concat());
    assert!(run(&["status"]).expect_code(0).stdout.contains("configured, not started"));
    run(&["start", "short"]).expect_code(0);
    run(&["start", "short"]).expect_failure(&["short", "is running"]);
    run(&["start", "long"]).expect_failure(&["long", "not configured", "short"]);
    let mut lengths = std::collections::BTreeSet::new();
    for i in 0..8 {
        let mut editor = desk.open(&format!("file_{i}.py"), &text());
        editor.go_behind("value_00 = ");
        let (_, rest, _) = editor.ask();
        lengths.insert(rest.len());
        editor.insert(&rest);
        editor.finish();
    }
    assert!(lengths.len() > 1, "the variants' settings were in force: {lengths:?}");
    let status = run(&["status", "short"]).expect_code(0).stdout;
    let units: u64 = status
        .lines()
        .filter_map(|l| {
            l.trim()
                .trim_end_matches('s')
                .strip_suffix(" unit")?
                .rsplit(' ')
                .next()?
                .parse::<u64>()
                .ok()
        })
        .sum();
    assert_eq!(units, 8, "{status}");
    let report: Value =
        serde_json::from_str(&run(&["report", "short", "--json"]).expect_code(0).stdout)
            .expect("JSON");
    let accepted: u64 = report["variants"]
        .as_array()
        .expect("variants")
        .iter()
        .map(|v| v["totals"]["accepted"].as_u64().expect("a count"))
        .sum();
    assert_eq!((accepted, report["crossed_units"].as_u64()), (8, Some(0)), "{report}");
    run(&["stop", "short"]).expect_code(0);
    run(&["stop", "short"]).expect_failure(&["was stopped before"]);
    assert!(run(&["status"]).expect_code(0).stdout.contains("stopped"));
    // Who opens an editor now is in no experiment.
    let editor = desk.open("later.py", &text());
    editor.finish();
    assert!(run(&["report", "short"]).expect_code(0).stdout.contains("too few units to say"));
}

#[test]
fn an_editor_that_runs_takes_part_in_an_experiment_and_leaves_it() {
    let desk = Desk::new();
    desk.home.write(
        "lacuna.toml",
        "[experiment.late]\n[experiment.late.variant.control]\n[experiment.late.variant.same]\n",
    );
    let mut editor = desk.open("script.py", &text());
    editor.go_behind("value_00 = ");
    editor.ask();
    desk.wait_for("request", || (), |rows| newest_request(rows).is_some());
    desk.home.lacuna(["telemetry", "experiment", "start", "late"]).expect_code(0);
    let in_it = |rows: &[Value]| {
        newest_request(rows)
            .is_some_and(|r| r["arms"].as_str().is_some_and(|arms| arms.starts_with("late=")))
    };
    desk.wait_for(
        "request in the experiment",
        || {
            editor.ask();
        },
        in_it,
    );
    desk.home.lacuna(["telemetry", "experiment", "stop", "late"]).expect_code(0);
    desk.wait_for(
        "request outside again",
        || {
            editor.ask();
        },
        |rows| newest_request(rows).is_some_and(|r| r["arms"].is_null() || r["arms"] == ""),
    );
    editor.finish();
}

fn newest_request(rows: &[Value]) -> Option<&Value> {
    rows.iter().filter(|r| r["kind"] == "request").max_by_key(|r| r["row"].as_i64())
}

#[test]
fn what_is_shown_holds_nothing_of_the_text_and_purging_leaves_nothing() {
    let desk = Desk::new();
    let mut editor = desk.open("secret_plan.py", "confidential_salary = \n");
    editor.go_behind("salary = ");
    let (_, rest, _) = editor.ask();
    editor.insert(&rest);
    let file = editor.file.clone();
    editor.finish();
    let shown = desk.home.lacuna(["telemetry", "show", "-n", "50"]).expect_code(0).stdout;
    assert!(
        shown.contains("\"state\":\"accepted\"") && shown.contains("\"language\":\"python\""),
        "{shown}"
    );
    let mut looked = 0;
    for entry in std::fs::read_dir(
        file.parent().expect("a folder").parent().expect("the home").join(".local/share/lacuna"),
    )
    .expect("the store's folder")
    {
        let bytes = std::fs::read(entry.expect("a file").path()).expect("a readable file");
        for secret in ["secret", "confidential", "salary", rest.as_str(), "script", ".py", "file:"]
        {
            assert!(
                !bytes.windows(secret.len()).any(|w| w == secret.as_bytes()),
                "{secret:?} is in the store"
            );
            assert!(
                !shown.lines().skip(1).any(|l| l.contains(secret)),
                "{secret:?} is shown: {shown}"
            );
        }
        looked += 1;
    }
    assert!(looked > 0);
    desk.home.lacuna(["telemetry", "purge"]).expect_code(1);
    desk.home.lacuna(["telemetry", "purge", "--yes"]).expect_code(0);
    assert_eq!(desk.report()["all"]["requests"], 0);
}
