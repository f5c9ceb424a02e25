//! Completions by a server.

use lacuna_tests::Home;
use serde_json::{Value, json};

use super::stub::Stub;
use super::{lines, row, rows, values};

fn three() -> Vec<Value> {
    (0..3).map(|i| row(&format!("{i}"), &format!("x{i} = "), &format!("f({i})"), "\n")).collect()
}

#[test]
fn llama_server_and_openai_are_asked_in_their_own_words() {
    let home = Home::new();
    let set = home.write("set.jsonl", lines(&three()));
    let set = set.to_str().expect("a plain path");
    for llama in [true, false] {
        let stub = Stub::start(llama, |request| {
            let prefix =
                request["input_prefix"].as_str().or(request["prompt"].as_str()).expect("a prefix");
            Ok(format!("f({})", &prefix[1..2]))
        });
        let out = if llama { "llama" } else { "openai" };
        let key = home.write("key", "secret\n");
        let key = key.to_str().expect("a plain path");
        let args = [
            "fim-eval",
            "run",
            set,
            "--endpoint",
            &stub.address,
            "--out",
            out,
            "--api-key-file",
            key,
            "--endpoint-model",
            "m",
            "--jobs",
            "1",
        ];
        let output = home.lacuna(args).expect_code(0);
        assert!(output.stdout.contains("| EM | 100.0 %"), "{}", output.stdout);
        let requests = stub.requests.lock().expect("no panic").clone();
        assert_eq!(requests.len(), 3);
        for (path, authorization, body) in &requests {
            assert_eq!(path, if llama { "/infill" } else { "/v1/completions" });
            assert_eq!(
                (authorization.as_str(), &body["model"], &body["stream"]),
                ("Bearer secret", &json!("m"), &json!(true))
            );
            let suffix = if llama { &body["input_suffix"] } else { &body["suffix"] };
            assert_eq!(suffix, "\n");
        }
        let latency = rows(&home.work().join(out).join("latency.jsonl"));
        let timing = &latency[0]["timings"][0];
        assert!(
            timing["first_ms"]
                .as_f64()
                .is_some_and(|ms| ms > 0.0 && ms <= timing["total_ms"].as_f64().expect("ms")),
            "{timing}"
        );
        assert_eq!((&timing["prefilled"], &timing["generated"]), (&json!(5), &json!(7)));
        assert_eq!(timing["cached"], if llama { 3 } else { 0 });
        for name in ["run.json", "generations.jsonl", "prompts.jsonl"] {
            let text = std::fs::read_to_string(home.work().join(out).join(name)).expect("a file");
            assert!(!text.contains("secret"), "the key is in {name}");
        }
    }
}

#[test]
fn failures_of_single_rows_are_noted_and_a_dead_server_ends_the_run() {
    let home = Home::new();
    let set = home.write("set.jsonl", lines(&three()));
    let set = set.to_str().expect("a plain path");
    let stub = Stub::start(true, |request| match request["input_prefix"].as_str() {
        Some("x1 = ") => Err((500, "out of memory".to_owned())),
        _ => Ok("f(0)".to_owned()),
    });
    let output = home
        .lacuna(["fim-eval", "run", set, "--endpoint", &stub.address, "--out", "out"])
        .expect_code(0);
    assert!(output.stdout.contains("3 rows, of which 1 failed"), "{}", output.stdout);
    let scores = rows(&home.work().join("out/scores.jsonl"));
    assert_eq!(scores[1]["error"], "status 500: out of memory");
    assert_eq!(values(&scores[0], "endpoint")["em"], 1.0);

    let many: Vec<Value> = (0..60).map(|i| row(&format!("{i}"), "x = ", "1", "\n")).collect();
    let set = home.write("many.jsonl", lines(&many));
    let set = set.to_str().expect("a plain path");
    let dead = Stub::start(true, |_| Err((503, "loading".to_owned())));
    let args = ["fim-eval", "run", set, "--endpoint", &dead.address, "--out", "dead"];
    home.lacuna(args).expect_failure(&["20 examples in a row failed", "status 503: loading"]);
    // Nothing of it is kept: the rows are asked again.
    assert_eq!(rows(&home.work().join("dead/generations.jsonl")).len(), 0);

    home.lacuna(["fim-eval", "run", set, "--endpoint", "127.0.0.1:1"])
        .expect_failure(&["127.0.0.1:1", "http://HOST:PORT"]);
    home.lacuna(["fim-eval", "run", set, "--endpoint", "http://127.0.0.1:1"])
        .expect_failure(&["http://127.0.0.1:1", "is the server running"]);
}
