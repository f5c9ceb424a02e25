//! Completions by a server: llama-server's `/infill`, or anything that speaks OpenAI's
//! `/v1/completions`.

use std::io::Read;
use std::time::{Duration, Instant};

use lacuna_engine::Cancel;
use lacuna_prompt::excerpts::as_shown;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use ureq::Agent;

use super::{ContextMode, Generator, Interrupted, PromptRow, Timing, cross_file_excerpts, sse};
use crate::Example;
use crate::example::Task;
use crate::example::stages::{Generation, Output, Prompt};

/// Bytes before and after the hole that are sent; servers cut to their context themselves.
const MAX_PREFIX_BYTES: usize = 24_000;
const MAX_SUFFIX_BYTES: usize = 8_000;
/// Bytes of other files that are sent.
const MAX_CROSS_BYTES: usize = 6_000;
/// Longest error text that is kept of an answer.
const MAX_ERROR_BYTES: usize = 300;

/// What the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// llama-server: `input_prefix`, `input_suffix`, `input_extra`.
    Infill,
    /// OpenAI: `prompt`, `suffix`.
    OpenAi,
}

/// Where and how to ask.
#[derive(Clone, Debug)]
pub struct Settings {
    /// With the path of the method.
    pub url: String,
    pub protocol: Protocol,
    /// Sent as a bearer token; never logged or stored.
    pub api_key: Option<String>,
    /// For servers with more than one model.
    pub model: Option<String>,
    /// For servers that take no `suffix`: a prompt with `{prefix}` and `{suffix}`.
    pub template: Option<String>,
    pub context: ContextMode,
    pub max_tokens: usize,
    pub line_tokens: usize,
    pub samples: usize,
    pub temperature: f32,
    pub seed: u64,
    pub timeout: Duration,
}

/// Why the endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("endpoint {url} is not an address: write http://HOST:PORT or https://…")]
    Address { url: String },
    #[error("endpoint {url} does not answer: {why}; is the server running?")]
    Silent { url: String, why: String },
}

/// The method behind an address. A path ending in `/infill` or `/completions` says it; for a bare
/// address llama-server is told by its `/props`.
///
/// Errors: no address, or nobody answers there.
pub fn resolve(url: &str, timeout: Duration) -> Result<(String, Protocol), EndpointError> {
    let bare = url.trim_end_matches('/');
    let after_scheme = bare.strip_prefix("http://").or_else(|| bare.strip_prefix("https://"));
    let Some(rest) = after_scheme.filter(|rest| !rest.is_empty() && !rest.starts_with('/')) else {
        return Err(EndpointError::Address { url: url.to_owned() });
    };
    if bare.ends_with("/infill") {
        return Ok((bare.to_owned(), Protocol::Infill));
    }
    if bare.ends_with("/completions") {
        return Ok((bare.to_owned(), Protocol::OpenAi));
    }
    let silent = |why: String| EndpointError::Silent { url: url.to_owned(), why };
    let status = agent(timeout)
        .get(format!("{bare}/props"))
        .call()
        .map_err(|e| silent(e.to_string()))?
        .status();
    if status.is_success() {
        return Ok((format!("{bare}/infill"), Protocol::Infill));
    }
    let path = if rest.ends_with("/v1") { "completions" } else { "v1/completions" };
    Ok((format!("{bare}/{path}"), Protocol::OpenAi))
}

fn agent(timeout: Duration) -> Agent {
    Agent::config_builder().timeout_global(Some(timeout)).http_status_as_error(false).build().into()
}

/// A server that completes. Connections are kept between requests.
pub struct EndpointGenerator {
    settings: Settings,
    agent: Agent,
}

impl EndpointGenerator {
    pub fn new(settings: Settings) -> EndpointGenerator {
        let agent = agent(settings.timeout);
        EndpointGenerator { settings, agent }
    }

    /// The request but for what changes from sample to sample.
    fn body(&self, example: &Example) -> Value {
        let Settings { protocol, context, max_tokens, line_tokens, .. } = &self.settings;
        let (prefix, suffix) = (&example.prefix, &example.suffix);
        let prefix =
            &prefix[prefix.ceil_char_boundary(prefix.len().saturating_sub(MAX_PREFIX_BYTES))..];
        let suffix = &suffix[..suffix.floor_char_boundary(MAX_SUFFIX_BYTES)];
        let cross = if *context == ContextMode::Cross {
            cross_file_excerpts(example, MAX_CROSS_BYTES)
        } else {
            Vec::new()
        };
        let n = if example.task == Task::Line { line_tokens } else { max_tokens };
        let temperature = f64::from(self.settings.temperature);
        let mut body = match protocol {
            Protocol::Infill => {
                json!({"input_prefix": prefix, "input_suffix": suffix, "n_predict": n, "cache_prompt": true,
                "temperature": temperature, "stream": true,
                "input_extra": cross.iter().map(|e| json!({"filename": e.path, "text": as_shown(&e.text)})).collect::<Vec<_>>()})
            }
            Protocol::OpenAi => {
                let above: String = cross.iter().map(|e| as_shown(&e.text)).collect();
                let prefix = format!("{above}{prefix}");
                match &self.settings.template {
                    // In one pass: what stands in the code is no mark.
                    Some(template) => {
                        let filled: Vec<String> = template
                            .split("{prefix}")
                            .map(|part| part.split("{suffix}").collect::<Vec<_>>().join(suffix))
                            .collect();
                        json!({"prompt": filled.join(&prefix), "max_tokens": n, "temperature": temperature, "stream": true})
                    }
                    None => {
                        json!({"prompt": prefix, "suffix": suffix, "max_tokens": n, "temperature": temperature, "stream": true})
                    }
                }
            }
        };
        if let Some(model) = &self.settings.model {
            body["model"] = json!(model);
        }
        body
    }

    fn samples(
        &self,
        example: &Example,
        cancel: &Cancel,
    ) -> Result<(Generation, Vec<Timing>), Interrupted> {
        let mut generation = Generation::default();
        let mut timings = Vec::new();
        for sample in 0..self.settings.samples.max(1) {
            if cancel.is_cancelled() {
                return Err(Interrupted);
            }
            match self.ask(example, sample) {
                Ok((output, timing)) => {
                    generation.outputs.push(output);
                    timings.push(timing);
                }
                Err(error) => {
                    generation.error = Some(error);
                    break;
                }
            }
        }
        if cancel.is_cancelled() { Err(Interrupted) } else { Ok((generation, timings)) }
    }

    fn ask(&self, example: &Example, sample: usize) -> Result<(Output, Timing), String> {
        let mut body = self.body(example);
        body["seed"] = json!((self.settings.seed.wrapping_add(sample as u64)) & 0x7fff_ffff);
        let start = Instant::now();
        let mut request =
            self.agent.post(&self.settings.url).header("Content-Type", "application/json");
        if let Some(key) = &self.settings.api_key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body.to_string().as_bytes()).map_err(|e| e.to_string())?;
        let status = response.status();
        let streamed = response
            .headers()
            .get("content-type")
            .is_some_and(|t| t.as_bytes().starts_with(b"text/event-stream"));
        let mut answer = Answer::default();
        let reader = response.body_mut().as_reader();
        if !status.is_success() {
            let mut text = Vec::new();
            let _ = reader.take(MAX_ERROR_BYTES as u64).read_to_end(&mut text);
            return Err(format!(
                "status {}: {}",
                status.as_u16(),
                String::from_utf8_lossy(&text).trim()
            ));
        }
        if streamed {
            sse::events(reader, |event| answer.take(&event, start))?;
        } else {
            let event = serde_json::from_reader(reader.take(16 << 20))
                .map_err(|e| format!("the answer is not JSON: {e}"))?;
            answer.take(&event, start);
        }
        if let Some(error) = answer.error {
            return Err(error);
        }
        if !answer.understood {
            return Err("the answer has neither `content` nor `choices`".to_owned());
        }
        let mode = "endpoint".to_owned();
        let timing = Timing {
            mode: mode.clone(),
            sample,
            batch: 1,
            first_ms: if streamed { answer.first_ms } else { None },
            total_ms: start.elapsed().as_secs_f64() * 1e3,
            cached: answer.cached,
            prefilled: answer.prefilled,
            generated: answer.tokens,
        };
        let output = Output {
            mode,
            sample,
            text: answer.text,
            finish: answer.finish,
            tokens: answer.tokens,
            ..Output::default()
        };
        Ok((output, timing))
    }
}

/// What has come so far.
#[derive(Default)]
struct Answer {
    text: String,
    finish: String,
    tokens: usize,
    cached: usize,
    prefilled: usize,
    first_ms: Option<f64>,
    understood: bool,
    error: Option<String>,
}

impl Answer {
    /// Takes an event of a stream, or a whole answer: the fields are the same.
    fn take(&mut self, event: &Value, start: Instant) {
        if let Some(error) = event.get("error").filter(|e| !e.is_null()) {
            let message = error
                .get("message")
                .and_then(Value::as_str)
                .map_or_else(|| error.to_string(), str::to_owned);
            self.error = Some(message[..message.floor_char_boundary(MAX_ERROR_BYTES)].to_owned());
            return;
        }
        let choice = &event["choices"][0];
        let piece = event["content"].as_str().or_else(|| choice["text"].as_str());
        if let Some(piece) = piece {
            self.understood = true;
            if !piece.is_empty() {
                self.first_ms.get_or_insert_with(|| start.elapsed().as_secs_f64() * 1e3);
            }
            self.text.push_str(piece);
        }
        let finish = choice["finish_reason"].as_str().or_else(|| event["stop_type"].as_str());
        if let Some(finish) = finish.filter(|f| *f != "none") {
            self.finish = finish.to_owned();
        }
        let number = |value: &Value| value.as_u64().map(|n| n as usize);
        let (timings, usage) = (&event["timings"], &event["usage"]);
        if let Some(n) =
            number(&timings["predicted_n"]).or_else(|| number(&usage["completion_tokens"]))
        {
            self.tokens = n;
        }
        if let Some(n) = number(&timings["prompt_n"]).or_else(|| number(&usage["prompt_tokens"])) {
            self.prefilled = n;
        }
        if let Some(n) = number(&timings["cache_n"])
            .or_else(|| number(&usage["prompt_tokens_details"]["cached_tokens"]))
        {
            self.cached = n;
        }
    }
}

impl Generator for EndpointGenerator {
    fn prompt(&self, example: &Example) -> PromptRow {
        let sha256 = hex::encode(Sha256::digest(self.body(example).to_string().as_bytes()));
        PromptRow { id: example.id.clone(), prompt: Prompt { tokens: 0, sha256 }, ids: Vec::new() }
    }

    fn generate(
        &self,
        examples: &[(Example, PromptRow)],
        _: usize,
        cancel: &Cancel,
    ) -> Result<Vec<(Generation, Vec<Timing>)>, Interrupted> {
        examples.iter().map(|(example, _)| self.samples(example, cancel)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_say_what_they_are() {
        let resolve = |url| resolve(url, Duration::from_secs(1));
        assert_eq!(
            resolve("http://h:1/infill/").ok(),
            Some(("http://h:1/infill".to_owned(), Protocol::Infill))
        );
        assert_eq!(
            resolve("https://h/v1/completions").ok(),
            Some(("https://h/v1/completions".to_owned(), Protocol::OpenAi))
        );
        for url in ["", "h:1", "ftp://h", "http://", "http:///x"] {
            assert!(matches!(resolve(url), Err(EndpointError::Address { .. })), "{url}");
        }
    }

    #[test]
    fn marks_in_the_code_are_code() {
        let template = Some("<P>{prefix}<S>{suffix}<M>".to_owned());
        let settings = Settings {
            url: String::new(),
            protocol: Protocol::OpenAi,
            api_key: None,
            model: None,
            template,
            context: ContextMode::None,
            max_tokens: 9,
            line_tokens: 5,
            samples: 1,
            temperature: 0.0,
            seed: 1,
            timeout: Duration::from_secs(1),
        };
        let (prefix, suffix) = ("a{suffix}".to_owned(), "b{prefix}".to_owned());
        let example = Example { prefix, suffix, task: Task::Line, ..Example::default() };
        let body = EndpointGenerator::new(settings).body(&example);
        assert_eq!(
            (&body["prompt"], &body["max_tokens"]),
            (&json!("<P>a{suffix}<S>b{prefix}<M>"), &json!(5))
        );
    }
}
