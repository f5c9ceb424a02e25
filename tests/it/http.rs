//! `lacuna serve`, as existing clients use it and as nobody should.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lacuna_tests::{Client, HANG, Home, ModelDir, TinyModel, binary};
use serde_json::{Value, json};

struct Server {
    child: Child,
    address: SocketAddr,
    home: Home,
    _model: Option<ModelDir>,
}

impl Server {
    /// With the tiny model, ready.
    fn start() -> Server {
        let model = TinyModel::default().write();
        let arguments = vec!["--model".to_owned(), model.arg().to_owned()];
        let server = Server::spawn(Home::new(), &arguments, Some(model));
        server.wait();
        server
    }

    fn spawn(home: Home, arguments: &[String], model: Option<ModelDir>) -> Server {
        let mut command = home.command(binary());
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let line = lines.next().expect("a line").expect("UTF-8");
        let address = line
            .strip_prefix("lacuna: listening on http://")
            .unwrap_or_else(|| panic!("{line}"))
            .parse()
            .expect("an address");
        // What else it says must not block it.
        std::thread::spawn(move || lines.for_each(drop));
        Server { child, address, home, _model: model }
    }

    /// Until the model is loaded.
    fn wait(&self) {
        let start = Instant::now();
        while self.get("/health").0 != 200 {
            assert!(start.elapsed() < HANG, "the model is not loaded after {HANG:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(HANG)).expect("a socket");
        stream.write_all(request.as_bytes()).expect("written");
        let mut reply = Vec::new();
        let _ = stream.read_to_end(&mut reply);
        String::from_utf8_lossy(&reply).into_owned()
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        let address = self.address;
        let reply = self.raw(&format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        ));
        let status = reply
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| panic!("no status in {reply:?}"));
        let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
        let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            unchunked(body)
        } else {
            body.to_owned()
        };
        (status, body)
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path, "", "")
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        let (status, reply) =
            self.ask("POST", path, "Content-Type: application/json\r\n", &body.to_string());
        assert_eq!(status, 200, "{reply}");
        serde_json::from_str(&reply).unwrap_or_else(|e| panic!("{e}: {reply}"))
    }

    /// Status and message of a refusal.
    #[track_caller]
    fn refusal(&self, path: &str, body: &str) -> (u16, String) {
        let (status, reply) = self.ask("POST", path, "", body);
        let reply: Value = serde_json::from_str(&reply).unwrap_or_else(|e| panic!("{e}: {reply}"));
        assert_eq!(reply["error"]["code"], json!(status));
        (status, reply["error"]["message"].as_str().expect("a message").to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unchunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).expect("a chunk's length");
        out.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    out
}

/// A request as llama.vim sends it.
fn infill(prefix: &str, prompt: &str, suffix: &str) -> Value {
    json!({
        "id_slot": 0, "input_prefix": prefix, "input_suffix": suffix,
        "input_extra": [{"text": "def area(r):\n    return 3 * r * r\n", "time": [1, 2], "filename": "shapes.py"}],
        "prompt": prompt, "n_predict": 24, "stop": [], "n_indent": 4, "top_k": 40, "top_p": 0.9, "samplers": ["top_k", "top_p", "infill"],
        "stream": false, "cache_prompt": true, "t_max_prompt_ms": 500, "t_max_predict_ms": 30000, "model": "",
        "response_fields": ["content", "timings/prompt_n", "timings/prompt_ms", "timings/prompt_per_token_ms", "timings/prompt_per_second",
            "timings/predicted_n", "timings/predicted_ms", "timings/predicted_per_token_ms", "timings/predicted_per_second",
            "truncated", "tokens_cached"],
    })
}

#[test]
fn llama_vim_gets_flat_fields_and_a_warm_cache() {
    let server = Server::start();
    // The warm-up that it sends for its chunks.
    let mut warm = infill("", "", "");
    warm["n_predict"] = json!(0);
    warm["response_fields"] = json!([""]);
    assert!(server.post("/infill", warm.clone()).is_object());

    let prefix = "import math\n\n\nclass Circle:\n    def __init__(self, r):\n        self.r = r\n\n    def area(self):\n";
    let first =
        server.post("/infill", infill(prefix, "        return ", "\n\n    def double(self):\n"));
    assert!(first["content"].is_string(), "{first}");
    for field in [
        "timings/prompt_n",
        "timings/predicted_ms",
        "timings/predicted_per_second",
        "tokens_cached",
    ] {
        assert!(first[field].is_number(), "{field} in {first}");
    }
    assert_eq!(first["truncated"], json!(false));
    assert!(first.get("model").is_none(), "only what was asked for: {first}");
    // One more character: nearly everything is still there.
    let second =
        server.post("/infill", infill(prefix, "        return s", "\n\n    def double(self):\n"));
    let computed = |reply: &Value| reply["timings/prompt_n"].as_u64().unwrap();
    let cold = computed(&first);
    assert!(computed(&second) <= 8 && computed(&second) < cold / 3, "{second} after {cold} tokens");
    // It warms its chunks again and again; that costs nothing of what is held for the file.
    assert!(server.post("/infill", warm).is_object());
    let third =
        server.post("/infill", infill(prefix, "        return se", "\n\n    def double(self):\n"));
    assert!(computed(&third) <= 8, "{third} after {cold} tokens and a warm-up");
    // A first request finds the chunks.
    let mut without = infill(prefix, "        return ", "\n\n    def double(self):\n");
    (without["id_slot"], without["response_fields"]) = (json!(1), json!(["timings/prompt_n"]));
    assert!(cold < computed(&server.post("/infill", without)), "{cold} tokens with warm chunks");
}

#[test]
fn llama_vscode_warms_up_and_asks_for_three() {
    let server = Server::start();
    let request = |prompt: &str, more: Value| {
        let mut all = json!({
            "id_slot": 0, "input_prefix": "x = [1,\n", "input_suffix": "]\n", "prompt": prompt, "stream": false, "cache_prompt": true,
            "input_extra": [{"filename": "a.py", "text": "y = 2\n", "time": 1}], "samplers": ["top_k", "top_p", "infill"], "top_k": 40, "top_p": 0.99,
            "n_indent": 4, "n_predict": 24, "t_max_prompt_ms": 500, "t_max_predict_ms": 30000, "lora": [{"id": 0, "scale": 0.5}], "model": "",
            "stop": null, "response_fields": ["content", "generation_settings/n_ctx", "timings/cache_n", "timings/prompt_n"],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        all
    };
    let warm = json!({"n_predict": 0, "samplers": [], "temperature": 0.0, "t_max_prompt_ms": 1, "t_max_predict_ms": 1, "response_fields": [""]});
    assert_eq!(server.post("/infill", request("", warm)), json!({}));
    let one = server.post("/infill", request(" 2", json!({"n_cmpl": 1})));
    assert!(one["content"].is_string(), "an object for one: {one}");
    let three = server.post("/infill", request(" 2", json!({"n_cmpl": 3})));
    let three = three.as_array().expect("an array for several");
    assert_eq!(three.len(), 3);
    assert!(
        three
            .iter()
            .all(|reply| reply["content"].is_string() && reply["timings/prompt_n"].is_number()),
        "{three:?}"
    );
    assert_eq!(three[0]["content"], one["content"], "the first is the likeliest");
}

#[test]
fn infill_gives_alternatives_as_an_array_and_streams_in_pieces() {
    let server = Server::start();
    let mut request = infill("x = [1,", " 2", "]\n");
    request["n_cmpl"] = json!(3);
    request["response_fields"] = json!([]);
    let several = server.post("/infill", request.clone());
    let several = several.as_array().expect("an array");
    assert_eq!(several.len(), 3);
    assert!(
        several
            .iter()
            .all(|one| one["content"].is_string() && one["timings"]["prompt_n"].is_number())
    );

    request["n_cmpl"] = json!(1);
    request["stream"] = json!(true);
    let (status, body) = server.ask("POST", "/infill", "", &request.to_string());
    assert_eq!(status, 200);
    let pieces: Vec<Value> = body
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .map(|e| serde_json::from_str(e).unwrap())
        .collect();
    let text: String = pieces.iter().map(|p| p["content"].as_str().unwrap()).collect();
    assert_eq!(text, several[0]["content"].as_str().unwrap(), "greedy both times");
    assert_eq!(pieces.last().unwrap()["stop"], json!(true));
}

#[test]
fn completions_with_a_suffix_stop_where_the_client_says() {
    let server = Server::start();
    let request = json!({"model": "any", "prompt": "def f(a):\n    return ", "suffix": "\n", "max_tokens": 12, "temperature": 0});
    let reply = server.post("/v1/completions", request.clone());
    assert_eq!(reply["object"], json!("text_completion"));
    let text = reply["choices"][0]["text"].as_str().expect("a text").to_owned();
    let usage = &reply["usage"];
    assert!(usage["completion_tokens"].as_u64().unwrap() <= 13, "{usage}");
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
    );

    // The same again, cut before a text in its middle.
    let (at, stop) =
        text.char_indices().nth(text.chars().count() / 2).expect("the tiny model says something");
    let stop = stop.to_string();
    let mut stopped = request.clone();
    stopped["stop"] = json!([stop]);
    let reply = server.post("/v1/completions", stopped);
    let first = text.find(&stop).unwrap_or(at);
    assert_eq!(reply["choices"][0]["text"].as_str().unwrap(), &text[..first]);
    assert_eq!(reply["choices"][0]["finish_reason"], json!("stop"));

    // And in pieces.
    let mut streamed = request;
    streamed["stream"] = json!(true);
    let (_, body) = server.ask("POST", "/v1/completions", "", &streamed.to_string());
    let events: Vec<&str> =
        body.split("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let whole: String = events[..events.len() - 1]
        .iter()
        .map(|e| {
            serde_json::from_str::<Value>(e).unwrap()["choices"][0]["text"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(whole, text);
}

#[test]
fn what_is_asked_for_fits_behind_a_prompt_of_any_length() {
    let server = Server::start();
    let long = "value = compute(value)\n".repeat(2000);
    // The prompt gives way to up to half of what a KV cache holds.
    for asked in [1u64, 40, 200, 500, 592] {
        let reply = server
            .post("/v1/completions", json!({"prompt": long, "suffix": long, "max_tokens": asked}));
        let generated = reply["usage"]["completion_tokens"].as_u64().expect("a count");
        // One more where the last word of the prompt is written anew.
        assert!(
            (asked..=asked + 1).contains(&generated),
            "{generated} of {asked}: {}",
            reply["usage"]
        );
    }
    // Beyond that there is as much as there is, and it is told that the text was cut.
    for (path, name) in [("/v1/completions", "max_tokens"), ("/infill", "n_predict")] {
        for asked in [1200u64, 1 << 40] {
            let mut request =
                json!({"prompt": long, "suffix": long, "input_prefix": long, "input_suffix": long});
            request[name] = json!(asked);
            let reply = server.post(path, request);
            assert!(
                reply["choices"][0]["finish_reason"] == "length" || reply["stop_type"].is_string(),
                "{path} {asked}"
            );
            let counted = reply["usage"]["completion_tokens"].as_u64();
            assert!(
                counted.is_none_or(|generated| (592..1200).contains(&generated)),
                "{counted:?}"
            );
        }
    }
}

#[test]
fn the_other_dialects_answer_in_their_own_shapes() {
    let server = Server::start();
    let fim = server.post(
        "/v1/fim/completions",
        json!({"model": "m", "prompt": "a = ", "suffix": "\n", "max_tokens": 4}),
    );
    assert!(fim["choices"][0]["message"]["content"].is_string(), "{fim}");
    let request = json!({"model": "m", "prompt": "a = ", "suffix": "\n", "options": {"num_predict": 4}, "stream": false});
    let whole = server.post("/api/generate", request.clone());
    assert_eq!((&whole["done"], &whole["model"]), (&json!(true), &json!("m")));
    let mut streamed = request;
    streamed["stream"] = json!(true);
    let (_, body) = server.ask("POST", "/api/generate", "", &streamed.to_string());
    let lines: Vec<Value> = body.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(
        lines.iter().map(|l| l["response"].as_str().unwrap()).collect::<String>(),
        whole["response"].as_str().unwrap()
    );
    assert_eq!(lines.last().unwrap()["done"], json!(true));

    assert_eq!(
        serde_json::from_str::<Value>(&server.get("/v1/models").1).unwrap()["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert!(server.get("/props").1.contains("total_slots"));
    let metrics = server.get("/metrics").1;
    for name in [
        "lacuna_requests_total{route=\"/api/generate\",status=\"200\"} 2",
        "lacuna_generated_tokens_total",
        "lacuna_kv_bytes",
    ] {
        assert!(metrics.contains(name), "{name} in {metrics}");
    }
}

#[test]
fn what_is_not_a_request_is_refused_and_the_server_stays_up() {
    let server = Server::start();
    for (path, body, status, names) in [
        ("/infill", "{}", 400, "input_prefix"),
        ("/infill", "not json", 400, "body"),
        (
            "/infill",
            r#"{"input_prefix": "a", "input_suffix": "b", "input_extra": [{"text": 3}]}"#,
            400,
            "string",
        ),
        (
            "/infill",
            r#"{"input_prefix": "a", "input_suffix": "b", "n_cmpl": 99}"#,
            400,
            "alternatives",
        ),
        (
            "/infill",
            r#"{"input_prefix": "a", "input_suffix": "b", "temperature": -1}"#,
            400,
            "temperature",
        ),
        ("/v1/completions", r#"{"prompt": ["a", "b"]}"#, 400, "one a request"),
        ("/v1/completions", r#"{"suffix": "a"}"#, 400, "prompt"),
        ("/v1/completions", r#"{"prompt": "a", "stop": 3}"#, 400, "body"),
        ("/nothing", "{}", 404, "/infill"),
    ] {
        let (got, message) = server.refusal(path, body);
        assert_eq!(got, status, "{path} {body}: {message}");
        assert!(message.contains(names), "{path} {body}: {message}");
    }
    assert_eq!(server.get("/infill").0, 405);
    // Claims of five megabytes and of more than there is: refused before anything is read.
    for length in ["5000000", "999999999999"] {
        let reply = server.raw(&format!(
            "POST /infill HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{{"
        ));
        assert!(reply.starts_with("HTTP/1.1 413"), "{reply}");
    }
    assert!(server.raw("nonsense\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn halves_of_an_emoji_and_fields_of_null_are_read_in_every_dialect() {
    let server = Server::start();
    // A window that was cut at so many units of UTF-16 begins or ends in the middle of an emoji.
    for (path, body) in [
        (
            "/infill",
            r#"{"input_prefix": "\ude00 a = ", "input_suffix": "\n\ud83d", "n_predict": 3, "input_extra": [{"text": "\ud83d", "filename": null}]}"#,
        ),
        (
            "/infill",
            r#"{"input_prefix": "a = ", "input_suffix": "\n", "n_predict": 3, "input_extra": null, "prompt": null, "stream": null, "response_fields": null, "stop": null}"#,
        ),
        ("/v1/completions", r#"{"prompt": "\uDE00 a = ", "suffix": "\uD83D", "max_tokens": 3}"#),
        (
            "/v1/completions",
            r#"{"prompt": "a = ", "suffix": null, "max_tokens": 3, "stream": null, "echo": null, "stop": null}"#,
        ),
        (
            "/api/generate",
            r#"{"model": null, "prompt": "\ude00 a = ", "suffix": null, "options": null, "stream": false}"#,
        ),
    ] {
        let (status, reply) = server.ask("POST", path, "", body);
        assert_eq!(status, 200, "{path} {body}: {reply}");
    }
    // Nor is a pair that is whole read as two halves, or what merely looks like one.
    let whole =
        r#"{"input_prefix": "s = '\ud83d\ude00\\ud83d", "input_suffix": "'", "n_predict": 3}"#;
    let plain = r#"{"input_prefix": "s = '😀\\ud83d", "input_suffix": "'", "n_predict": 3}"#;
    let answers = [whole, plain].map(|body| {
        let reply = server.ask("POST", "/infill", "", body).1;
        serde_json::from_str::<Value>(&reply).expect("JSON")["content"].clone()
    });
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn web_pages_get_nothing() {
    let server = Server::start();
    let body = infill("a", "", "b").to_string();
    let (status, reply) = server.ask("POST", "/infill", "Origin: https://example.org\r\n", &body);
    assert_eq!(status, 403, "{reply}");
    // A page whose name was bound to the loopback address sends that name.
    let reply = server.raw(&format!(
        "POST /infill HTTP/1.1\r\nHost: rebound.example.org\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert!(reply.starts_with("HTTP/1.1 403"), "{reply}");
    assert!(!reply.to_ascii_lowercase().contains("access-control"), "{reply}");
}

#[test]
fn a_token_is_asked_for_and_other_addresses_need_one() {
    let model = TinyModel::default().write();
    let home = Home::new();
    let token = home.write_secret("token", "0123456789abcdef0123\n");
    let arguments = [
        "--token-file".to_owned(),
        token.display().to_string(),
        "--model".to_owned(),
        model.arg().to_owned(),
    ];
    let server = Server::spawn(home, &arguments, Some(model));
    server.wait();
    let body = infill("a", "", "b").to_string();
    assert_eq!(server.ask("POST", "/infill", "", &body).0, 401);
    assert_eq!(
        server.ask("POST", "/infill", "Authorization: Bearer 0123456789abcdef0124\r\n", &body).0,
        401
    );
    assert_eq!(
        server.ask("POST", "/infill", "Authorization: Bearer 0123456789abcdef0123\r\n", &body).0,
        200
    );
    assert_eq!(server.get("/metrics").0, 401);
    // A browser is asked for it as a password, for pages only.
    assert!(
        server
            .raw("GET /dashboard HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .contains("www-authenticate: Basic realm=")
    );
    let password = "Authorization: Basic bWU6MDEyMzQ1Njc4OWFiY2RlZjAxMjM=\r\n";
    assert_eq!(server.ask("GET", "/dashboard", password, "").0, 200);
    assert_eq!(
        server.ask("GET", "/dashboard", "Authorization: Bearer 0123456789abcdef0123\r\n", "").0,
        200
    );
    assert_eq!(
        server
            .ask(
                "GET",
                "/dashboard",
                "Authorization: Basic bWU6MDEyMzQ1Njc4OWFiY2RlZjAxMjQ=\r\n",
                ""
            )
            .0,
        401
    );
    assert_eq!(server.ask("POST", "/infill", password, &body).0, 401);

    let open = server.home.lacuna(["serve", "--listen", "0.0.0.0:0"]);
    open.expect_failure(&["0.0.0.0", "--token-file"]);
    let short = server.home.write_secret("short", "secret");
    server
        .home
        .lacuna(["serve", "--token-file", &short.display().to_string()])
        .expect_failure(&["token file", "16"]);
}

#[test]
fn slow_senders_hold_no_one_up() {
    let server = Server::start();
    // Sixty connections that have said half of something.
    let slow: Vec<TcpStream> = (0..60)
        .map(|i| {
            let mut stream = TcpStream::connect(server.address).expect("a connection");
            let half = if i % 2 == 0 {
                "POST /infill HTTP/1.1\r\nHost: loc"
            } else {
                "POST /infill HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4000000\r\n\r\n{"
            };
            stream.write_all(half.as_bytes()).expect("written");
            stream
        })
        .collect();
    let reply = server.post("/infill", infill("a = ", "", "\n"));
    assert!(reply["content"].is_string());
    drop(slow);
}

#[test]
fn clients_that_hang_up_free_their_places() {
    let server = Server::start();
    let mut request = infill("a = ", "", "\n");
    request["stream"] = json!(true);
    let body = request.to_string();
    // More than may run at once, all gone before they are answered.
    for _ in 0..80 {
        let mut stream = TcpStream::connect(server.address).expect("a connection");
        let head = format!(
            "POST /infill HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    }
    let start = Instant::now();
    loop {
        let (status, _) = server.ask("POST", "/infill", "", &infill("a = ", "", "\n").to_string());
        if status == 200 {
            break;
        }
        assert_eq!(status, 429);
        assert!(start.elapsed() < HANG, "places are not freed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_dashboard_tells_what_was_recorded_here() {
    let server = Server::start();
    let (status, page) = server.get("/dashboard");
    assert!(
        status == 200
            && page.contains("<h1>Nothing has been recorded yet</h1>")
            && page.ends_with("</html>\n"),
        "{page}"
    );
    assert_eq!(server.ask("POST", "/dashboard", "", "").0, 405);
    assert_eq!(server.ask("GET", "/dashboard", "Origin: http://evil.example\r\n", "").0, 403);
    assert_eq!(
        server
            .raw("GET /dashboard HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
            .split(' ')
            .nth(1),
        Some("403")
    );
    let head = server
        .raw("HEAD /dashboard HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .to_ascii_lowercase();
    for line in [
        "content-security-policy: default-src 'none'",
        "frame-ancestors 'none'",
        "cache-control: no-store",
        "nosniff",
        "text/html",
    ] {
        assert!(head.contains(line), "{line} is missing: {head}");
    }

    // An editor of the same user.
    let model = server._model.as_ref().expect("the tiny model");
    let mut editor = Client::spawn(server.home.command(binary()).args([
        "lsp",
        "--no-attach",
        "--model",
        model.arg(),
    ]));
    editor.initialize(json!({"initializationOptions": {"latency": {"deadline_ms": 0}}}));
    editor.open("file:///a.py", "python", "total = \n");
    assert_eq!(editor.items("file:///a.py", 0, 8).len(), 1);
    assert_eq!(editor.finish(), Some(0));
    let start = Instant::now();
    // A page is shown again for a while.
    while !server.get("/dashboard").1.contains("1 requests · 1 suggestions") {
        assert!(
            start.elapsed() < HANG,
            "the suggestion is not on the page: {}",
            server.get("/dashboard").1
        );
    }
}

#[test]
fn a_store_that_cannot_be_read_is_told_on_the_dashboard() {
    let home = Home::new();
    let store = home.write(
        "<b>odd & ends/telemetry.db",
        "this is no database, and longer than a header of one hundred bytes ".repeat(4),
    );
    home.configure(format!("[telemetry]\ndir = {:?}\n", store.parent().expect("a folder")));
    let server = Server::spawn(home, &[], None);
    let (status, page) = server.get("/dashboard");
    assert!(
        status == 503
            && page.contains("&lt;b&gt;odd &amp; ends")
            && page.contains("damaged")
            && !page.contains("<b>"),
        "{status} {page}"
    );
}
