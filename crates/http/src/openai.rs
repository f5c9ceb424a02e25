//! OpenAI's completions with a suffix, Mistral's fill-in-the-middle route, and the list of models.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use lacuna_complete::{Ended, Filled, Shape};
use lacuna_engine::Sampling;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{Body, alternatives, or_default, sides, stops, tokens, within};
use super::error::ApiError;
use super::run::{Job, nobody, run};
use super::state::Shared;
use super::stream::{Format, respond};

/// `model` may be anything, empty too: there is one.
#[derive(Deserialize)]
pub struct Completion {
    prompt: Prompt,
    suffix: Option<String>,
    /// −1: as many as are sensible, as for `n_predict`.
    max_tokens: Option<i64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    n: Option<usize>,
    #[serde(default, deserialize_with = "stops")]
    stop: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    stream: bool,
    #[serde(default, deserialize_with = "or_default")]
    echo: bool,
    #[serde(alias = "random_seed")]
    seed: Option<i64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Texts(Vec<String>),
}

/// What OpenAI generates where nothing is said is 16; a line of code is often longer.
const DEFAULT_TOKENS: usize = 64;

impl Completion {
    fn job(self) -> Result<Job, ApiError> {
        let prefix = match self.prompt {
            Prompt::Text(text) => text,
            Prompt::Texts(mut texts) if texts.len() == 1 => texts.swap_remove(0),
            Prompt::Texts(texts) => {
                return Err(ApiError::invalid(format!(
                    "{} prompts: send one a request",
                    texts.len()
                )));
            }
        };
        if self.echo {
            return Err(ApiError::invalid(
                "\"echo\" is not supported: put the prompt before the text yourself",
            ));
        }
        let (prefix, suffix) = sides(prefix, self.suffix.unwrap_or_default());
        Ok(Job {
            slot: Job::slot_of(&prefix, &suffix),
            path: None,
            excerpts: Vec::new(),
            prefix,
            suffix,
            sampling: Sampling {
                max_tokens: tokens(self.max_tokens, DEFAULT_TOKENS),
                temperature: within("temperature", self.temperature, 0.0, 0.0, 10.0)?,
                top_p: within("top_p", self.top_p, 1.0, 0.0, 1.0)?,
                top_k: 0,
                seed: self.seed.map_or(0, |s| s as u64),
                stops: Vec::new(),
            },
            stop: self.stop,
            time: None,
            shape: Shape::Raw,
            n: alternatives(self.n)?,
        })
    }
}

/// How the two routes differ: where the text stands in a choice.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Chat,
}

impl Kind {
    fn choice(self, index: usize, text: &str, finish: Option<&str>, in_stream: bool) -> Value {
        match self {
            Kind::Text => {
                json!({"index": index, "text": text, "logprobs": null, "finish_reason": finish})
            }
            Kind::Chat if in_stream => {
                json!({"index": index, "delta": {"role": "assistant", "content": text}, "finish_reason": finish})
            }
            Kind::Chat => {
                json!({"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": finish})
            }
        }
    }

    fn object(self, in_stream: bool) -> &'static str {
        match (self, in_stream) {
            (Kind::Text, _) => "text_completion",
            (Kind::Chat, false) => "chat.completion",
            (Kind::Chat, true) => "chat.completion.chunk",
        }
    }
}

pub async fn completions(
    State(shared): State<Arc<Shared>>,
    Body(request): Body<Completion>,
) -> Result<Response, ApiError> {
    complete(shared, request, Kind::Text).await
}

pub async fn fim_completions(
    State(shared): State<Arc<Shared>>,
    Body(request): Body<Completion>,
) -> Result<Response, ApiError> {
    complete(shared, request, Kind::Chat).await
}

async fn complete(
    shared: Arc<Shared>,
    request: Completion,
    kind: Kind,
) -> Result<Response, ApiError> {
    let engine = shared.engine()?;
    let (stream, id, created) = (request.stream, format!("cmpl-{}", shared.next_id()), seconds());
    let job = request.job()?;
    if stream {
        let name = engine.name.clone();
        let envelope = move |choices: Value| json!({"id": id, "object": kind.object(true), "created": created, "model": name, "choices": choices});
        let piece = envelope.clone();
        return respond(
            shared,
            job,
            Format::Events,
            move |i, text| piece(json!([kind.choice(i, text, None, true)])),
            move |_, all| {
                let ends = all.iter().enumerate().map(|(i, f)| {
                    let mut last = envelope(json!([kind.choice(i, "", Some(finish(f)), true)]));
                    if i + 1 == all.len() {
                        last["usage"] = usage(all);
                    }
                    last.to_string()
                });
                ends.chain(["[DONE]".to_owned()]).collect()
            },
        );
    }
    let (model, all) = run(&shared, job, nobody()).await?;
    let choices: Vec<Value> = all
        .iter()
        .enumerate()
        .map(|(i, f)| kind.choice(i, &f.text, Some(finish(f)), false))
        .collect();
    let body = json!({"id": id, "object": kind.object(false), "created": created, "model": model, "choices": choices, "usage": usage(&all)});
    Ok(Json(body).into_response())
}

fn finish(filled: &Filled) -> &'static str {
    match filled.ended {
        Ended::Stop | Ended::StopText(_) => "stop",
        Ended::Length | Ended::Deadline | Ended::Cancelled => "length",
    }
}

/// Tokens of all alternatives; the prompt is counted once.
fn usage(all: &[Filled]) -> Value {
    let prompt = all.first().map_or(0, |f| f.tokens.prompt);
    let generated: usize = all.iter().map(|f| f.tokens.generated).sum();
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": all.first().map_or(0, |f| f.tokens.cached)},
    })
}

pub async fn models(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    let engine = shared.engine()?;
    Ok(Json(
        json!({"object": "list", "data": [{"id": engine.name, "object": "model", "created": 0, "owned_by": "lacuna"}]}),
    ))
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
