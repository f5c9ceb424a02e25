//! A language client that believes nothing: it keeps every message and checks that each request is
//! answered exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::HANG;
use crate::{Home, binary};

/// What comes from a server: a message, or what is wrong with its framing.
pub type Message = Result<Value, String>;

/// One connection to a language server.
///
/// Dropping it ends the server and panics if an id was answered twice or was never asked, or if the
/// server panicked.
pub struct Client {
    child: Option<Child>,
    to_server: Option<Box<dyn Write + Send>>,
    from_server: Receiver<Message>,
    next_id: i64,
    /// Ids as JSON text: they may be numbers and strings.
    asked: BTreeSet<String>,
    replies: BTreeMap<String, Value>,
    /// Everything that came, in order.
    received: Vec<Value>,
    /// What broke the rules; told at the end.
    faults: Vec<String>,
    /// What the server said on standard error, if that is a pipe of ours.
    said: Arc<Mutex<String>>,
    _home: Option<Home>,
}

impl Client {
    /// Starts `lacuna lsp` with further arguments, in an empty home.
    pub fn start<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Client {
        Client::start_with(args, &[])
    }

    /// As [`Client::start`], with environment variables.
    pub fn start_with<S: AsRef<std::ffi::OsStr>>(
        args: impl IntoIterator<Item = S>,
        variables: &[(&str, &str)],
    ) -> Client {
        let home = Home::new();
        let mut command = home.command(binary());
        command.arg("lsp").args(args).envs(variables.iter().copied()).stderr(Stdio::piped());
        let mut client = Client::spawn(&mut command);
        if let Some(mut stderr) = client.child().stderr.take() {
            let said = Arc::clone(&client.said);
            std::thread::spawn(move || {
                let mut piece = [0; 4096];
                while let Ok(n @ 1..) = stderr.read(&mut piece) {
                    said.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push_str(&String::from_utf8_lossy(&piece[..n]));
                }
            });
        }
        client._home = Some(home);
        client
    }

    /// Talks to a command over its standard input and output; its standard error goes where the
    /// command says.
    pub fn spawn(command: &mut Command) -> Client {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let input: Option<ChildStdin> = child.stdin.take();
        let output = child.stdout.take().expect("stdout is a pipe");
        let mut client = Client::over(output, input.expect("stdin is a pipe"));
        client.child = Some(child);
        client
    }

    /// Talks over any pair of pipes, for example a socket.
    pub fn over(output: impl Read + Send + 'static, input: impl Write + Send + 'static) -> Client {
        let (to, from_server) = mpsc::channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            while let Some(message) = read_message(&mut output) {
                let broken = message.is_err();
                if to.send(message).is_err() || broken {
                    break;
                }
            }
        });
        Client {
            child: None,
            to_server: Some(Box::new(input)),
            from_server,
            next_id: 1,
            asked: BTreeSet::new(),
            replies: BTreeMap::new(),
            received: Vec::new(),
            faults: Vec::new(),
            said: Arc::default(),
            _home: None,
        }
    }

    /// Sends bytes as they are. A server that has gone is noticed when its reply is waited for.
    pub fn raw(&mut self, bytes: &[u8]) {
        if let Some(to_server) = &mut self.to_server {
            let _ = to_server.write_all(bytes).and_then(|()| to_server.flush());
        }
    }

    /// Sends one message with its header.
    pub fn send(&mut self, message: &Value) {
        let body = message.to_string();
        self.raw(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    /// Sends a request and returns its id; does not wait.
    pub fn request(&mut self, method: &str, params: Value) -> i64 {
        let id = self.next_id;
        self.next_id += 1;
        self.request_as(json!(id), method, params);
        id
    }

    /// As [`Client::request`] with an id of the caller's choice, which must be new.
    pub fn request_as(&mut self, id: Value, method: &str, params: Value) {
        self.asked.insert(id.to_string());
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    /// Waits for the reply to a request: the whole message, with `result` or `error`.
    #[track_caller]
    pub fn reply(&mut self, id: i64) -> Value {
        self.reply_to(&json!(id))
    }

    /// As [`Client::reply`] for an id of any kind.
    #[track_caller]
    pub fn reply_to(&mut self, id: &Value) -> Value {
        loop {
            if let Some(reply) = self.replies.get(&id.to_string()) {
                return reply.clone();
            }
            self.next(&format!("a reply to request {id}"));
        }
    }

    /// Sends a request and waits for its reply.
    #[track_caller]
    pub fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        self.reply(id)
    }

    /// As [`Client::ask`]; the `result`. Panics on an error.
    #[track_caller]
    pub fn result(&mut self, method: &str, params: Value) -> Value {
        let reply = self.ask(method, params);
        assert!(reply.get("error").is_none(), "{method}: {reply}");
        reply["result"].clone()
    }

    /// As [`Client::ask`]; the code and message of the error. Panics on a result.
    #[track_caller]
    pub fn error(&mut self, method: &str, params: Value) -> (i64, String) {
        let reply = self.ask(method, params);
        let error = &reply["error"];
        assert!(error.is_object() && reply.get("result").is_none(), "{method}: {reply}");
        (
            error["code"].as_i64().expect("a code"),
            error["message"].as_str().expect("a message").to_owned(),
        )
    }

    /// Waits until the server has sent `n` notifications of `method`, and returns the parameters of
    /// all that came.
    #[track_caller]
    pub fn notifications(&mut self, method: &str, n: usize) -> Vec<Value> {
        loop {
            let all: Vec<Value> = self
                .received
                .iter()
                .filter(|m| m["method"] == method)
                .map(|m| m["params"].clone())
                .collect();
            if all.len() >= n {
                return all;
            }
            self.next(&format!("{n} notifications {method}"));
        }
    }

    /// Everything that has been received so far, in order.
    pub fn received(&self) -> &[Value] {
        &self.received
    }

    /// Waits until the server has said a text on standard error, of a server that was started by
    /// [`Client::start_with`]. Returns all it said.
    #[track_caller]
    pub fn await_said(&self, text: &str) -> String {
        let start = Instant::now();
        loop {
            let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if said.contains(text) {
                return said;
            }
            assert!(start.elapsed() < HANG, "no {text:?} in {said:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `initialize` with these parameters merged into an ordinary client's, and `initialized`.
    /// Returns the result.
    #[track_caller]
    pub fn initialize(&mut self, params: Value) -> Value {
        let mut all = json!({"processId": null, "rootUri": null, "capabilities": {}});
        for (key, value) in params.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let result = self.result("initialize", all);
        self.notify("initialized", json!({}));
        result
    }

    /// `didOpen`, version 1.
    pub fn open(&mut self, uri: &str, language: &str, text: &str) {
        let document = json!({"uri": uri, "languageId": language, "version": 1, "text": text});
        self.notify("textDocument/didOpen", json!({"textDocument": document}));
    }

    /// `didChange` with these content changes.
    pub fn change(&mut self, uri: &str, version: i64, changes: &[Value]) {
        let params =
            json!({"textDocument": {"uri": uri, "version": version}, "contentChanges": changes});
        self.notify("textDocument/didChange", params);
    }

    pub fn close(&mut self, uri: &str) {
        self.notify("textDocument/didClose", json!({"textDocument": {"uri": uri}}));
    }

    /// Sends `textDocument/inlineCompletion` as an editor does while the user types. Returns the
    /// id.
    pub fn complete(&mut self, uri: &str, line: usize, character: usize) -> i64 {
        self.request("textDocument/inlineCompletion", completion_params(uri, line, character))
    }

    /// The items of an inline completion.
    #[track_caller]
    pub fn items(&mut self, uri: &str, line: usize, character: usize) -> Vec<Value> {
        let result =
            self.result("textDocument/inlineCompletion", completion_params(uri, line, character));
        result["items"].as_array().unwrap_or_else(|| panic!("no items in {result}")).clone()
    }

    /// `shutdown`, `exit`, and the exit code of the process.
    #[track_caller]
    pub fn finish(&mut self) -> Option<i32> {
        self.result("shutdown", Value::Null);
        self.notify("exit", Value::Null);
        self.ended().code()
    }

    /// Closes the server's input.
    pub fn hang_up(&mut self) {
        self.to_server = None;
    }

    /// Reads until the server closes its output and waits for the process.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        while self.receive("the end of the server") {}
        self.child
            .as_mut()
            .expect("a process of ours")
            .wait()
            .expect("a process that can be waited for")
    }

    /// The process, for its id or its standard error.
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("a process of ours")
    }

    #[track_caller]
    fn next(&mut self, what: &str) {
        assert!(
            self.receive(what),
            "the server ended while {what} was waited for; received: {:?}",
            self.received
        );
    }

    /// Takes the next message; false at the end of the server's output.
    #[track_caller]
    fn receive(&mut self, what: &str) -> bool {
        match self.from_server.recv_timeout(HANG) {
            Ok(message) => self.keep(message),
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no {what} within {HANG:?}; received: {:?}", self.received)
            }
        }
        true
    }

    fn keep(&mut self, message: Message) {
        let message = match message {
            Ok(message) => message,
            Err(fault) => return self.faults.push(fault),
        };
        if message["jsonrpc"] != "2.0" {
            self.faults.push(format!("not JSON-RPC 2.0: {message}"));
        }
        if message.get("method").is_none() && !message["id"].is_null() {
            if message.get("result").is_some() == message.get("error").is_some() {
                self.faults.push(format!("not exactly one of result and error: {message}"));
            }
            let id = message["id"].to_string();
            if !self.asked.contains(&id) {
                self.faults.push(format!("an answer to nothing that was asked: {message}"));
            } else if self.replies.insert(id, message.clone()).is_some() {
                self.faults.push(format!("answered twice: {message}"));
            }
        }
        self.received.push(message);
    }
}

fn completion_params(uri: &str, line: usize, character: usize) -> Value {
    json!({
        "textDocument": {"uri": uri},
        "position": {"line": line, "character": character},
        "context": {"triggerKind": 2},
    })
}

impl Drop for Client {
    fn drop(&mut self) {
        self.to_server = None;
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
            // The pipe is closed: what was under way is read to its end.
            while let Ok(message) = self.from_server.recv_timeout(HANG) {
                // A message that the kill cut short is nobody's fault.
                if message.is_ok() {
                    self.keep(message);
                }
            }
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if std::thread::panicking() {
            eprintln!("the server said: {said}");
        } else {
            assert!(!said.contains("panicked"), "{said}");
            assert!(self.faults.is_empty(), "{:#?}", self.faults);
        }
    }
}

/// One framed message; `None` at the end.
fn read_message(output: &mut impl BufRead) -> Option<Message> {
    let mut length = None;
    loop {
        let mut line = String::new();
        match output.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some(("Content-Length", value)) => length = value.parse::<usize>().ok(),
            Some(("Content-Type", _)) => {}
            _ => return Some(Err(format!("not a header of a message: {line:?}"))),
        }
    }
    let Some(length) = length else {
        return Some(Err("a header without Content-Length".to_owned()));
    };
    let mut body = vec![0; length];
    if let Err(e) = output.read_exact(&mut body) {
        return Some(Err(format!("a message cut short: {e}")));
    }
    Some(
        serde_json::from_slice(&body)
            .map_err(|e| format!("not JSON: {e}: {}", String::from_utf8_lossy(&body))),
    )
}
