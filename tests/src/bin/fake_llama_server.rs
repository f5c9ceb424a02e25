//! Answers like llama-server, with a canned completion, and appends what it was asked to
//! `FAKE_LLAMA_LOG`: for tests of `lacuna bench replay --against`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value =
        |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1)).cloned();
    let port: u16 = value("--port").and_then(|p| p.parse().ok()).expect("--port");
    let model = value("-m").expect("-m");
    assert!(std::path::Path::new(&model).is_file(), "{model} is not there");
    note(&format!("start {}", args[1..].join(" ")));
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || while answer(&stream).is_some() {});
    }
}

fn note(line: &str) {
    if let Ok(path) = std::env::var("FAKE_LLAMA_LOG") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).expect("the log can be written");
    }
}

/// One request; `None` at the end of the connection.
fn answer(stream: &TcpStream) -> Option<()> {
    let mut input = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    input.read_line(&mut head).ok().filter(|n| *n > 0)?;
    loop {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|n| *n > 0)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    let reply = if head.starts_with("POST /infill") {
        note(&String::from_utf8_lossy(&body));
        r#"{"content":"canned","timings":{"prompt_n":30,"cache_n":10,"predicted_n":4}}"#
    } else {
        r#"{"status":"ok"}"#
    };
    let mut output = stream;
    write!(
        output,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{reply}",
        reply.len()
    )
    .ok()
}
