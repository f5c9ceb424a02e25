//! The other side: llama-server, driven as llama.vim drives it.
//!
//! [`LlamaServer`] owns the process, [`LlamaVim`] what the plugin sends: 256 lines before the
//! cursor and 64 after it, ring chunks from elsewhere in the file picked when the cursor jumps,
//! `cache_prompt`, its samplers, its memory of the last completion. Its second, speculative request
//! after a suggestion is left out: in one slot it would only delay the next keystroke.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::editor::Editor;
use super::usage::{Usage, of_process};

/// Loading a model takes no longer.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Lines of context, as in llama.vim's defaults.
const PREFIX_LINES: usize = 256;
const SUFFIX_LINES: usize = 64;
const RING_CHUNKS: usize = 16;
const RING_CHUNK_LINES: usize = 64;
const RING_SCOPE_LINES: usize = 1024;
/// The cursor must have moved so far for new chunks to be picked.
const RING_MOVE_LINES: usize = 32;
/// A queued chunk enters the ring once in so many milliseconds.
const RING_UPDATE_MS: u64 = 1000;
const N_PREDICT: usize = 128;
const MAX_PROMPT_MS: u64 = 500;
/// The first request of a place; its speculative successor, left out here, has 1,000.
const MAX_PREDICT_MS: u64 = 250;

/// A running llama-server. Dropping it ends the process.
pub struct LlamaServer {
    child: Child,
    agent: ureq::Agent,
    url: String,
}

impl LlamaServer {
    pub fn start(program: &Path, gguf: &Path, threads: usize) -> anyhow::Result<LlamaServer> {
        // A free port; between here and the server's bind somebody else could take it, then its
        // health is never good.
        let port =
            TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(program);
        command.arg("-m").arg(gguf).args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "-t",
            &threads.to_string(),
        ]);
        command.args([
            "-c",
            "16384",
            "--cache-reuse",
            "256",
            "-ub",
            "1024",
            "-b",
            "1024",
            "-np",
            "1",
        ]);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{} cannot be started", program.display()))?;
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(START_LIMIT))
            .build();
        let mut server =
            LlamaServer { child, agent: config.into(), url: format!("http://127.0.0.1:{port}") };
        let begun = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!(
                    "{} ended at once ({status}): try it by hand with -m {}",
                    program.display(),
                    gguf.display()
                );
            }
            match server.agent.get(format!("{}/health", server.url)).call() {
                Ok(reply) if reply.status().is_success() => return Ok(server),
                _ if begun.elapsed() > START_LIMIT => {
                    bail!("{} is not ready after {START_LIMIT:?}", program.display())
                }
                // There is no event for a server that has begun to listen.
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn infill(&self, body: &Value) -> anyhow::Result<Value> {
        let mut reply = self
            .agent
            .post(format!("{}/infill", self.url))
            .header("Content-Type", "application/json")
            .send(body.to_string())
            .context("llama-server /infill")?;
        let status = reply.status();
        let text = reply.body_mut().read_to_string().context("llama-server /infill")?;
        if !status.is_success() {
            bail!(
                "llama-server /infill said {status}: {}",
                text.chars().take(200).collect::<String>()
            );
        }
        serde_json::from_str(&text).context("llama-server's answer")
    }

    pub fn usage(&self) -> Usage {
        of_process(self.child.id())
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What came of a keystroke.
#[derive(Default)]
pub struct Answer {
    pub text: String,
    pub from_memory: bool,
    pub cached: usize,
    pub prefilled: usize,
    pub generated: usize,
}

#[derive(Clone)]
struct Chunk {
    lines: Vec<String>,
    time: u64,
}

/// The plugin's state for one file.
pub struct LlamaVim {
    path: String,
    ring: Vec<Chunk>,
    queued: Vec<Chunk>,
    updated_ms: u64,
    picked_line: usize,
    random: u64,
    /// Text before and after the cursor, and what was completed there.
    last: Option<(String, String, String)>,
    /// Generate exactly so many tokens, whatever they are.
    tokens: Option<usize>,
}

impl LlamaVim {
    pub fn new(path: &str, tokens: Option<usize>) -> LlamaVim {
        LlamaVim {
            path: path.to_owned(),
            ring: Vec::new(),
            queued: Vec::new(),
            updated_ms: 0,
            picked_line: usize::MAX / 2,
            random: 1,
            last: None,
            tokens,
        }
    }

    /// One keystroke: the remainder of the last completion, or a request.
    pub fn keystroke(
        &mut self,
        server: &LlamaServer,
        editor: &Editor,
        now_ms: u64,
    ) -> anyhow::Result<Answer> {
        let text = editor.document.text();
        let (before, after) = text.split_at(editor.cursor);
        if let Some(rest) = self.remembered(before, after) {
            return Ok(Answer { text: rest.to_owned(), from_memory: true, ..Answer::default() });
        }
        let lines: Vec<&str> = text.split('\n').collect();
        let line = before.matches('\n').count();
        self.update_ring(now_ms, &lines, line);
        let body = self.request(before, &lines, line);
        let reply = server.infill(&body)?;
        let number = |key: &str| reply["timings"][key].as_u64().unwrap_or(0) as usize;
        let content = reply["content"].as_str().context("an answer without content")?.to_owned();
        self.last = Some((before.to_owned(), after.to_owned(), content.clone()));
        self.pick_chunks(&lines, line, now_ms);
        let (prefilled, generated) = (number("prompt_n"), number("predicted_n"));
        if let Some(wanted) = self.tokens.filter(|wanted| *wanted != generated) {
            bail!(
                "llama-server generated {generated} tokens instead of {wanted}: the two sides would not do the same work"
            );
        }
        Ok(Answer {
            text: content,
            from_memory: false,
            cached: number("cache_n"),
            prefilled,
            generated,
        })
    }

    fn remembered(&self, before: &str, after: &str) -> Option<&str> {
        let (was_before, was_after, content) = self.last.as_ref()?;
        let rest = content.strip_prefix(before.strip_prefix(was_before.as_str())?)?;
        (after == was_after && !rest.is_empty() && rest.len() < content.len()).then_some(rest)
    }

    fn request(&self, before: &str, lines: &[&str], line: usize) -> Value {
        let current = lines[line];
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1);
        let (left, right) =
            if current.trim().is_empty() { ("", "") } else { current.split_at(column) };
        let indent = current.len() - current.trim_start().len();
        let joined = |lines: &[&str]| lines.iter().flat_map(|l| [*l, "\n"]).collect::<String>();
        let prefix = joined(&lines[line.saturating_sub(PREFIX_LINES)..line]);
        let suffix = format!(
            "{right}\n{}",
            joined(&lines[line + 1..(line + 1 + SUFFIX_LINES).min(lines.len())])
        );
        let extra: Vec<Value> = self
            .ring
            .iter()
            .map(|chunk| json!({"text": chunk.lines.iter().map(|l| format!("{l}\n")).collect::<String>(), "time": chunk.time, "filename": self.path}))
            .collect();
        let mut body = json!({
            "id_slot": 0, "input_prefix": prefix, "input_suffix": suffix, "input_extra": extra, "prompt": left,
            "n_predict": self.tokens.unwrap_or(N_PREDICT), "stop": [], "n_indent": if left.is_empty() { 0 } else { indent },
            "top_k": 40, "top_p": 0.9, "samplers": ["top_k", "top_p", "infill"], "stream": false, "cache_prompt": true,
            "t_max_prompt_ms": MAX_PROMPT_MS,
        });
        if self.tokens.is_some() {
            // Equal work on both sides: no early end, no time limit. The infill sampler ends a flat
            // distribution at once, which is what random weights give: the most likely token is
            // taken, as on our side.
            body["ignore_eos"] = json!(true);
            body["n_indent"] = json!(0);
            body["samplers"] = json!(["top_k"]);
            body["top_k"] = json!(1);
        } else {
            body["t_max_predict_ms"] = json!(MAX_PREDICT_MS);
        }
        body
    }

    /// Chunks from beyond the context, once the cursor has moved far.
    fn pick_chunks(&mut self, lines: &[&str], line: usize, now_ms: u64) {
        if line.abs_diff(self.picked_line) <= RING_MOVE_LINES {
            return;
        }
        self.picked_line = line;
        let end = line.saturating_sub(PREFIX_LINES);
        self.pick(&lines[line.saturating_sub(RING_SCOPE_LINES).min(end)..end], now_ms);
        let start = (line + SUFFIX_LINES).min(lines.len());
        self.pick(&lines[start..(start + RING_CHUNK_LINES).min(lines.len())], now_ms);
    }

    fn pick(&mut self, lines: &[&str], now_ms: u64) {
        if lines.len() < 3 {
            return;
        }
        let chunk = if lines.len() + 1 < RING_CHUNK_LINES {
            lines
        } else {
            let first = self.below(lines.len().saturating_sub(RING_CHUNK_LINES / 2) + 1);
            &lines[first..(first + RING_CHUNK_LINES / 2).min(lines.len())]
        };
        let chunk: Vec<String> = chunk.iter().map(|l| (*l).to_owned()).collect();
        if self.ring.iter().chain(&self.queued).any(|other| other.lines == chunk) {
            return;
        }
        let differs = |other: &Chunk| similarity(&other.lines, &chunk) <= 0.9;
        self.ring.retain(differs);
        self.queued.retain(differs);
        if self.queued.len() == RING_CHUNKS {
            self.queued.remove(0);
        }
        self.queued.push(Chunk { lines: chunk, time: now_ms });
    }

    /// Moves a queued chunk into the ring, and out of it what resembles the text at the cursor.
    fn update_ring(&mut self, now_ms: u64, lines: &[&str], line: usize) {
        if !self.queued.is_empty() && now_ms >= self.updated_ms + RING_UPDATE_MS {
            self.updated_ms = now_ms;
            if self.ring.len() == RING_CHUNKS {
                self.ring.remove(0);
            }
            self.ring.push(self.queued.remove(0));
        }
        let around = &lines[line.saturating_sub(RING_CHUNK_LINES / 2)
            ..(line + RING_CHUNK_LINES / 2).min(lines.len())];
        let around: Vec<String> = around.iter().map(|l| (*l).to_owned()).collect();
        self.ring.retain(|chunk| similarity(&chunk.lines, &around) <= 0.5);
    }

    fn below(&mut self, n: usize) -> usize {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % n.max(1) as u64) as usize
    }
}

/// Lines that two chunks share, as llama.vim counts them: 2·common / (a + b).
fn similarity(a: &[String], b: &[String]) -> f64 {
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    let common = a.iter().filter(|line| b.contains(line)).count();
    2.0 * common as f64 / (a.len() + b.len()) as f64
}
