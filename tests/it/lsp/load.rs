//! Much at once: large files, many documents, floods of requests, several clients, a client that
//! does not listen.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lacuna_tests::{Client, HANG, Home, Random, TinyModel, binary};
use serde_json::{Value, json};

use super::{Session, URI, change, is_result, options};

/// Resident memory of a process, in megabytes.
pub fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse::<f64>().ok()).expect("a number") / 1024.0
}

#[test]
fn one_line_of_a_megabyte_is_completed() {
    let mut session = Session::start();
    let unit = "x = [1, 2, 3]; call(x, \"text\"); ";
    let text = unit.repeat((1 << 20) / unit.len());
    session.open(URI, "python", &text);
    for at in [0, 17, text.len() / 2, text.len()] {
        session.items(URI, 0, at);
    }
    session.change(URI, 2, &[change((0, 500_000), (0, 500_001), "(")]);
    session.items(URI, 0, 500_001);
    assert_eq!(session.finish(), Some(0));
}

#[test]
fn a_hundred_thousand_lines_are_completed_and_edited() {
    let mut session = Session::start();
    let text: String = (0..100_000).map(|i| format!("value_{i} = {i}\n")).collect();
    session.open(URI, "python", &text);
    for line in [0, 50_000, 99_999] {
        session.items(URI, line, 3);
    }
    for i in 0..20 {
        session.change(
            URI,
            2 + i,
            &[change((i as usize * 5000, 0), (i as usize * 5000, 0), "import os\n")],
        );
    }
    session.change(URI, 22, &[change((50_000, 0), (50_000, 0), "total = compute(\n")]);
    assert_eq!(session.items(URI, 50_000, 16).len(), 1);
    assert_eq!(session.finish(), Some(0));
}

#[test]
fn five_hundred_documents_stay_within_the_budget() {
    let mut options = options();
    options["kv"] = json!({"budget_mb": 1});
    let mut session = Session::with(json!({"initializationOptions": options}));
    let lines: String = (0..40).map(|i| format!("value_{i} = compute({i})\n")).collect();
    let text = format!("{lines}total = compute(\n");
    let pid = session.child().id();
    let mut early = 0.0;
    let mut outcomes = BTreeMap::new();
    for i in 0..500 {
        let uri = format!("file:///project/{i}.py");
        session.open(&uri, "python", &text);
        session.items(&uri, 40, 16);
        let status = session.result("lacuna/status", json!({"textDocument": {"uri": uri}}));
        let reason = status["last"]["reason"].as_str().unwrap_or("shown").to_owned();
        *outcomes.entry(reason).or_insert(0) += 1;
        if i == 100 {
            early = resident(pid);
        }
    }
    // What is prepared for one document never holds the room that a request of another needs. A
    // random model now and then has nothing but what the rules refuse.
    assert!(!outcomes.contains_key("over-budget"), "{outcomes:?}");
    assert!(outcomes["shown"] >= 480, "{outcomes:?}");
    // Texts, trees and ghost texts of 400 more documents, and no more caches.
    let late = resident(pid);
    assert!(late < early + 100.0, "{early:.0} MB after 100 documents, {late:.0} MB after 500");
    assert_eq!(session.finish(), Some(0));
}

#[test]
fn a_thousand_requests_at_once_are_answered_and_others_do_not_wait_for_them() {
    let mut session = Session::start();
    let text: String = (0..400).map(|i| format!("value_{i} = compute({i})\n")).collect();
    session.open(URI, "python", &text);
    let other = "file:///project/other.py";
    session.open(other, "python", "x = fo\n");
    let ids: Vec<i64> = (0..1000).map(|i| session.complete(URI, i % 400, 5)).collect();
    let of_other = session.complete(other, 0, 6);
    let reply = session.reply(of_other);
    assert!(reply["result"]["items"].as_array().is_some_and(|items| items.len() == 1), "{reply}");
    let answered = ids.iter().filter(|id| is_result(&session.reply(**id))).count();
    assert!(answered > 0, "the last one at least");
    assert_eq!(session.finish(), Some(0));
}

/// The header with the token that clients of `--tcp` send first.
const AUTHORIZATION: &str = "Authorization: Bearer 0123456789abcdef0123456789abcdef\r\n";

#[test]
fn a_client_that_reads_nothing_costs_no_memory_and_stalls_nobody() {
    let model = TinyModel::default().write();
    let home = Home::new();
    let mut command = home.command(binary());
    let token = home.write_secret("token", "0123456789abcdef0123456789abcdef\n");
    let token = token.to_str().expect("a path").to_owned();
    command
        .args(["lsp", "--model", model.arg(), "--tcp", "127.0.0.1:0", "--token-file", &token])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut server = command.spawn().expect("the server starts");
    let mut said = BufReader::new(server.stderr.take().expect("a pipe"));
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));

    // It sends until nobody takes any more, and never reads.
    let deaf = TcpStream::connect(&address).expect("it listens");
    deaf.set_write_timeout(Some(Duration::from_millis(500))).expect("a socket");
    let message = |value: &Value| {
        let body = value.to_string();
        format!("Content-Length: {}\r\n\r\n{body}", body.len())
    };
    let mut out = &deaf;
    let hello = message(
        &json!({"jsonrpc": "2.0", "id": "hello", "method": "initialize", "params": {"capabilities": {}}}),
    );
    let hello = format!("{AUTHORIZATION}{hello}");
    std::io::Write::write_all(&mut out, hello.as_bytes()).expect("it takes the first message");
    let mut sent = 0;
    let limit = Instant::now() + Duration::from_secs(20);
    while Instant::now() < limit {
        let request = json!({"jsonrpc": "2.0", "id": sent, "method": "no/such/method", "params": {"padding": "x".repeat(2000)}});
        if std::io::Write::write_all(&mut out, message(&request).as_bytes()).is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent > 100, "{sent} were taken");
    let memory = resident(server.id());
    assert!(memory < 300.0, "{memory:.0} MB");

    // Two that listen are served meanwhile, each from its own text under the same name.
    let mut clients: Vec<Client> = (0..2)
        .map(|_| {
            let stream = TcpStream::connect(&address).expect("it listens");
            let mut client = Client::over(stream.try_clone().expect("a socket"), stream);
            client.raw(AUTHORIZATION.as_bytes());
            client.initialize(json!({"initializationOptions": options()}));
            client
        })
        .collect();
    let texts = ["alpha = be\n", "def gamma():\n    return de\n"];
    let places = [(0, 10), (1, 13)];
    for (client, text) in clients.iter_mut().zip(texts) {
        client.open(URI, "python", text);
    }
    let random = &mut Random::new(1);
    let mut seen: [Vec<String>; 2] = Default::default();
    for _ in 0..12 {
        let who = random.below(2);
        let items = clients[who].items(URI, places[who].0, places[who].1);
        seen[who].push(items[0]["insertText"].to_string());
    }
    for answers in &seen {
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    }
    // What each sees is what it would see alone.
    for who in 0..2 {
        let mut alone = Session::start();
        alone.open(URI, "python", texts[who]);
        let items = alone.items(URI, places[who].0, places[who].1);
        assert_eq!(items[0]["insertText"].to_string(), seen[who][0]);
    }
    server.kill().expect("it runs");
    server.wait().expect("it ends");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn what_closed_documents_held_goes_back_to_the_system() {
    let mut session = Session::start();
    session.open(URI, "python", "x = fo\n");
    session.items(URI, 0, 6);
    let pid = session.child().id();
    let before = resident(pid);
    let names: Vec<String> = (0..24).map(|i| format!("file:///project/bomb{i}.py")).collect();
    for (i, name) in names.iter().enumerate() {
        session.open(name, "python", &["[", "lambda:", "f(", "if("][i % 4].repeat(50_000));
    }
    session.items(URI, 0, 6);
    let full = resident(pid);
    assert!(
        full > before + 50.0,
        "{before:.0} MB, then {full:.0} MB: nothing that could be given back"
    );
    names.iter().for_each(|name| session.close(name));
    session.items(URI, 0, 6);
    let start = Instant::now();
    while resident(pid) > before + (full - before) / 4.0 {
        assert!(
            start.elapsed() < HANG,
            "{before:.0} MB, then {full:.0} MB, still {:.0} MB",
            resident(pid)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    session.finish();
}
