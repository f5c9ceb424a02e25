//! A completion server on loopback whose answers the test decides.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// What a request was answered with: `Err` is a status and a body.
pub type Reply = Result<String, (u16, String)>;

/// A running server. It ends with the process.
pub struct Stub {
    pub address: String,
    /// Path, authorization and body of every request so far.
    pub requests: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl Stub {
    /// Answers `POST /infill` as llama-server does and everything else as OpenAI's
    /// `/v1/completions`; `GET /props` is found if `llama`.
    pub fn start(llama: bool, answer: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, llama, &log, &*answer));
            }
        });
        Stub { address, requests }
    }
}

fn serve(
    stream: TcpStream,
    llama: bool,
    log: &Mutex<Vec<(String, String, Value)>>,
    answer: &dyn Fn(&Value) -> Reply,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let path = first.split(' ').nth(1)?.to_owned();
        let (mut length, mut authorization) = (0, String::new());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':')?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok()?,
                "authorization" => authorization = value.trim().to_owned(),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if first.starts_with("GET") {
            let status = if llama && path == "/props" { "200 OK" } else { "404 Not Found" };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}").ok()?;
            continue;
        }
        let body: Value = serde_json::from_slice(&body).ok()?;
        let reply = answer(&body);
        log.lock().ok()?.push((path.clone(), authorization, body));
        match reply {
            Ok(text) => {
                // In two pieces, so that a stream is one.
                let half = text.floor_char_boundary(text.len() / 2);
                let events = if path == "/infill" {
                    vec![
                        json!({"content": &text[..half], "stop": false}),
                        json!({"content": &text[half..], "stop": true, "stop_type": "eos", "timings": {"cache_n": 3, "prompt_n": 5, "predicted_n": 7}}),
                    ]
                } else {
                    vec![
                        json!({"choices": [{"text": &text[..half], "finish_reason": null}]}),
                        json!({"choices": [{"text": &text[half..], "finish_reason": "stop"}], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}),
                    ]
                };
                let mut text: String = events.iter().map(|e| format!("data: {e}\n\n")).collect();
                text.push_str("data: [DONE]\n\n");
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n",
                    text.len()
                );
                stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(text.as_bytes()))
                    .ok()?;
            }
            Err((status, text)) => {
                let head = format!(
                    "HTTP/1.1 {status} No\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                stream.write_all(head.as_bytes()).ok()?;
            }
        }
    }
}
