//! `lacuna bench replay` and `lacuna lsp --record` at toy size.

use std::process::Command;

use lacuna_tests::{Client, Home, ModelDir, TinyModel, binary, run};
use serde_json::{Value, json};

/// A trace in which text is typed at a place, a line is added, and the cursor goes elsewhere.
fn trace(home: &Home) -> std::path::PathBuf {
    let before: String = (0..60).map(|i| format!("value_{i} = compute({i})\n")).collect();
    // At the start of a line in the middle.
    let at = before[..before.len() / 2].rfind('\n').expect("lines") + 1;
    let mut events = vec![json!({"t": 5, "at": at, "del": 0, "ins": ""})];
    let mut t = 10;
    for (i, c) in "result = tot\n    al".chars().enumerate() {
        t += 1;
        events.push(json!({"t": t, "at": at + i, "del": 0, "ins": c.to_string()}));
    }
    events.push(json!({"t": t + 1, "at": at + 17, "del": 2, "ins": ""}));
    events.push(json!({"t": t + 2, "at": 3, "del": 0, "ins": ""}));
    let line = json!({"id": "one", "path": "src/a.py", "language": "python", "before": before, "events": events, "repo": "ignored"});
    home.write("traces.jsonl", format!("{line}\n"))
}

fn record(home: &Home, args: &[&str]) -> Value {
    let output = home
        .lacuna(["bench", "replay", "traces.jsonl", "--threads", "1"].iter().chain(args))
        .expect_code(0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn keystrokes_are_replayed_and_accounted_for() {
    let home = Home::new();
    trace(&home);
    let model = TinyModel::default().write();
    let run =
        record(&home, &["--model", model.arg(), "--tokens", "3", "--json", "-o", "replay.json"]);
    assert_eq!(
        (&run["kind"], &run["keystrokes"], &run["tokens"]),
        (&"replay".into(), &22.into(), &3.into())
    );
    let side = &run["sides"][0];
    let keys = side["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 22);
    for (i, key) in keys.iter().enumerate() {
        let n = |name: &str| key[name].as_u64().unwrap_or_else(|| panic!("no {name}: {key}"));
        assert_eq!(n("event"), i as u64);
        assert_eq!(n("prompt"), n("cached") + n("shifted") + n("prefilled"), "{key}");
        assert!(n("generated") >= 3, "{key}");
        assert!(key["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{key}");
    }
    assert_eq!([&keys[0]["how"], &keys[5]["how"]], ["cold", "warm"]);
    assert!(side["reuse_typing"].as_f64().is_some_and(|share| share > 0.8), "{side}");
    // Lines are inserted above the cursor once the trace has ended; here it stands in the first
    // line, without the last event in the middle.
    assert_eq!(side["line_above_ms"]["n"], 0);
    let above =
        record(&home, &["--model", model.arg(), "--tokens", "3", "--max-events", "21", "--json"]);
    let (share, n) = (
        above["sides"][0]["reuse_line_above"].as_f64().expect("a share"),
        &above["sides"][0]["line_above_ms"]["n"],
    );
    assert!(0.1 < share && share < 1.0 && n == 6, "{share} of {n}");
    assert_eq!(
        (&above["keystrokes"], &above["sides"][0]["ms"]["n"]),
        (&21.into(), &21.into()),
        "they count for nothing else"
    );
    assert!(side["usage"]["peak_mb"].as_f64().is_some_and(|mb| mb > 1.0));
    let text = std::fs::read_to_string(home.work().join("replay.json")).expect("the file");
    assert!(!text.contains("compute"), "a record holds no text of the user's");
    // A report of it: a page and a graph.
    home.lacuna(["bench", "report", "replay.json", "-o", "docs"]).expect_code(0);
    let page = std::fs::read_to_string(home.work().join("docs/replay.md")).expect("the page");
    assert!(page.contains("| p50 ms |") && page.contains("22 keystrokes"), "{page}");
    let graph = page.split("](").nth(1).and_then(|rest| rest.split(')').next()).expect("a graph");
    assert!(
        std::fs::read_to_string(home.work().join("docs").join(graph))
            .expect("the graph")
            .starts_with("<svg ")
    );
}

/// One table line a level; the first is what all the rest is about.
#[test]
fn each_level_of_eagerness_is_counted() {
    let home = Home::new();
    trace(&home);
    // The embedded model, without a deadline, and sure of nothing in so small a file: from the
    // user's own file.
    home.configure("[latency]\ndeadline_ms = 0\n[show]\nmin_confidence = 0.03\n");
    let levels = |run: &Value| run["levels"].as_array().expect("levels").clone();
    let run = record(&home, &["--eagerness", "--json", "-o", "replay.json"]);
    let of_each = levels(&run);
    assert_eq!(
        of_each.iter().map(|level| &level["eagerness"]).collect::<Vec<_>>(),
        ["low", "normal", "high"]
    );
    let mut least = 0.0;
    for level in &of_each {
        let n = |name: &str| level[name].as_f64().unwrap_or_else(|| panic!("no {name}: {level}"));
        assert_eq!(n("keystrokes"), 22.0);
        assert!(
            (least..=21.0).contains(&n("suggestions")),
            "after the deletion there is none, and who is more eager is shown more: {level}"
        );
        least = n("suggestions");
        assert!(
            (n("suggestions_per_100_keystrokes") - n("suggestions") / 0.22).abs() < 1e-9
                && n("cpu_seconds_per_1000_keystrokes") >= 0.0
        );
    }
    assert!(least > 0.0, "the most eager level shows something: {run}");
    assert_eq!(run["sides"][0]["keys"][20]["silence"], "after-undo");
    let few = levels(&record(
        &home,
        &["--eagerness", "high,low", "--real-time", "--max-events", "4", "--json"],
    ));
    assert_eq!(few.iter().map(|level| &level["eagerness"]).collect::<Vec<_>>(), ["high", "low"]);
    assert_eq!(levels(&record(&home, &["--json"]))[0]["eagerness"], "normal");
    let table = home
        .lacuna(["bench", "replay", "traces.jsonl", "--threads", "1", "--eagerness"])
        .expect_code(0)
        .stdout;
    for part in [
        "| show.eagerness | suggestions in 100 keystrokes | CPU-seconds in 1,000 keystrokes |",
        "\n| low |",
        "\n| high |",
    ] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
}

#[test]
fn in_real_time_every_key_is_answered_or_superseded() {
    let home = Home::new();
    trace(&home);
    let model = TinyModel::default().write();
    let run = record(&home, &["--model", model.arg(), "--real-time", "--json"]);
    let side = &run["sides"][0];
    let n = |name: &str| side[name].as_u64().expect("a number");
    assert_eq!(n("superseded") + side["ms"]["n"].as_u64().expect("a number"), 22, "{}", side["ms"]);
    assert_eq!(run["real_time"], true);
}

#[test]
fn llama_server_is_driven_as_llama_vim_does() {
    let home = Home::new();
    trace(&home);
    let log = home.work().join("asked");
    let mut command = home.command(binary());
    command.args([
        "bench",
        "replay",
        "traces.jsonl",
        "--like",
        "tiny",
        "--cache",
        "cache",
        "--threads",
        "1",
        "--tokens",
        "4",
        "--json",
    ]);
    command
        .args([
            "--against",
            "llama-server",
            "--llama-server",
            env!("CARGO_BIN_EXE_fake_llama_server"),
        ])
        .env("FAKE_LLAMA_LOG", &log);
    let output = run(&mut command).expect_code(0);
    let record: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let peer = &record["sides"][1];
    assert_eq!(
        (&peer["name"], peer["keys"].as_array().map(Vec::len)),
        (&"llama-server".into(), Some(22))
    );
    assert_eq!((&peer["prefilled"], &peer["generated"]), (&(22 * 30).into(), &(22 * 4).into()));
    let asked = std::fs::read_to_string(log).expect("it was asked");
    let mut lines = asked.lines();
    let start = lines.next().expect("the start");
    for part in ["--cache-reuse 256", "-ub 1024", "-b 1024", "-t 1", "tiny-q4_0-head-q8_0.gguf"] {
        assert!(start.contains(part), "no {part} in {start}");
    }
    let bodies: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let body = &bodies[8];
    assert_eq!(
        (&body["prompt"], &body["n_predict"], &body["cache_prompt"]),
        (&"result =".into(), &4.into(), &true.into())
    );
    let prefix = body["input_prefix"].as_str().expect("text");
    assert!(prefix.ends_with(")\n") && prefix.lines().count() < 256, "{prefix:?}");
    assert!(body["input_suffix"].as_str().is_some_and(|s| s.lines().count() <= 65), "{body}");
    assert_eq!(
        (&body["samplers"], &body["top_k"], &body["ignore_eos"]),
        (&json!(["top_k"]), &1.into(), &true.into())
    );
    assert!(body.get("t_max_predict_ms").is_none(), "equal work: no time limit");
}

#[test]
fn llama_server_is_asked_as_the_plugin_asks_unless_the_work_is_fixed_and_must_then_do_as_much() {
    let home = Home::new();
    trace(&home);
    let replay = |tokens: &[&str]| {
        let mut command = home.command(binary());
        command
            .args([
                "bench",
                "replay",
                "traces.jsonl",
                "--like",
                "tiny",
                "--cache",
                "cache",
                "--threads",
                "1",
                "--json",
            ])
            .args(tokens);
        command.args([
            "--against",
            "llama-server",
            "--llama-server",
            env!("CARGO_BIN_EXE_fake_llama_server"),
        ]);
        run(command.env("FAKE_LLAMA_LOG", home.work().join("asked")))
    };
    replay(&[]).expect_code(0);
    let asked = std::fs::read_to_string(home.work().join("asked")).expect("it was asked");
    let body: Value = serde_json::from_str(asked.lines().nth(1).expect("a request")).expect("JSON");
    assert_eq!(
        (&body["samplers"], &body["n_predict"]),
        (&json!(["top_k", "top_p", "infill"]), &128.into())
    );
    assert_eq!((&body["t_max_predict_ms"], &body["t_max_prompt_ms"]), (&250.into(), &500.into()));
    // The fake generates 4 tokens, always.
    let output = replay(&["--tokens", "5"]).expect_code(2);
    assert!(output.stderr.contains("4 tokens instead of 5"), "{}", output.stderr);
}

#[test]
fn bad_traces_and_a_missing_peer_are_named() {
    let home = Home::new();
    trace(&home);
    home.write("bad.jsonl", "{\"id\": 1}\n");
    home.write("far.jsonl", r#"{"id":"f","path":"a.py","language":"python","before":"x","events":[{"t":0,"at":7,"del":1,"ins":""}]}"#);
    for (args, names) in [
        (&["bench", "replay", "none.jsonl"][..], &["none.jsonl"][..]),
        (&["bench", "replay", "bad.jsonl"], &["bad.jsonl", "line 1"]),
        (&["bench", "replay", "far.jsonl"], &["trace f", "event 0", "outside of the text"]),
        (&["bench", "replay", "traces.jsonl", "--against", "llama-server"], &["--like SHAPE"]),
        (&["bench", "replay", "traces.jsonl", "--like", "nonsense"], &["nonsense"]),
    ] {
        let output = home.lacuna(args);
        assert_eq!(output.code, Some(2), "{output:?}");
        let last = output.stderr.lines().last().expect("a message");
        assert!(names.iter().all(|name| last.contains(name)), "{args:?}: {}", output.stderr);
    }
}

/// What `lsp --record` writes is a trace that replays; paths are hashed.
#[test]
fn a_recorded_session_can_be_replayed() {
    let home = Home::new();
    let model: ModelDir = TinyModel::default().write();
    let file = home.work().join("recorded.jsonl");
    let mut client =
        Client::start(["--model", model.arg(), "--record", file.to_str().expect("a plain path")]);
    client.initialize(json!({}));
    let uri = "file:///secret/place/a.py";
    client.open(uri, "python", "x = 1\né🦀 = \n");
    client.items(uri, 1, 6);
    let insert = |text: &str| json!({"range": {"start": {"line": 1, "character": 6}, "end": {"line": 1, "character": 6}}, "text": text});
    client.change(uri, 2, &[insert("a"), insert("b")]);
    client.items(uri, 1, 7);
    client.close(uri);
    client.open("file:///secret/b.rs", "rust", "fn main() {}\n");
    client.items("file:///secret/b.rs", 0, 3);
    assert_eq!(client.finish(), Some(0));
    let text = std::fs::read_to_string(&file).expect("the traces");
    assert!(!text.contains("secret"), "{text}");
    let traces: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(traces.len(), 2, "{text}");
    let events: Vec<(u64, u64, &str)> = traces[0]["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|e| {
            (
                e["at"].as_u64().expect("at"),
                e["del"].as_u64().expect("del"),
                e["ins"].as_str().expect("ins"),
            )
        })
        .collect();
    // Character 6 of the second line in UTF-16 is its 5th, behind 6 of the first.
    assert_eq!(events, [(11, 0, ""), (11, 0, "a"), (11, 0, "b")]);
    let run = run(home.command(binary()).args([
        "bench",
        "replay",
        "recorded.jsonl",
        "--model",
        model.arg(),
        "--json",
    ]))
    .expect_code(0);
    let record: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(record["keystrokes"], 4);
}

#[test]
fn a_file_that_cannot_be_recorded_to_is_said_at_once() {
    let model = TinyModel::default().write();
    let home = Home::new();
    home.lacuna(["lsp", "--model", model.arg(), "--record", "no/such/folder/file"])
        .expect_failure(&["--record", "no/such/folder/file"]);
    let mut help = Command::new(binary());
    // However its lines are broken.
    let text = run(help.args(["lsp", "--help"]))
        .expect_code(0)
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(text.contains("--record") && text.contains("paths are hashed"), "{text}");
}
