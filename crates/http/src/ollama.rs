//! Ollama's dialect: `/api/generate` with a suffix, and what clients look at before they ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use lacuna_complete::{Ended, Filled, Shape};
use lacuna_engine::Sampling;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dialect::{Body, or_default, sides, stops, tokens, within};
use super::error::ApiError;
use super::run::{Job, nobody, run};
use super::state::Shared;
use super::stream::{Format, respond};

#[derive(Deserialize)]
pub struct Generate {
    #[serde(default, deserialize_with = "or_default")]
    model: String,
    #[serde(default, deserialize_with = "or_default")]
    prompt: String,
    #[serde(default, deserialize_with = "or_default")]
    suffix: String,
    #[serde(default, deserialize_with = "or_default")]
    options: Options,
    /// Ollama streams unless told otherwise.
    stream: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options {
    /// −1 and −2 mean "as many as fit".
    num_predict: Option<i64>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    seed: Option<i64>,
    #[serde(deserialize_with = "stops")]
    stop: Vec<String>,
}

const DEFAULT_TOKENS: usize = 128;

pub async fn generate(
    State(shared): State<Arc<Shared>>,
    Body(request): Body<Generate>,
) -> Result<Response, ApiError> {
    shared.engine()?;
    let options = request.options;
    let (prefix, suffix) = sides(request.prompt, request.suffix);
    let job = Job {
        slot: Job::slot_of(&prefix, &suffix),
        path: None,
        excerpts: Vec::new(),
        sampling: Sampling {
            max_tokens: tokens(options.num_predict, DEFAULT_TOKENS),
            temperature: within("temperature", options.temperature, 0.0, 0.0, 10.0)?,
            top_p: within("top_p", options.top_p, 1.0, 0.0, 1.0)?,
            top_k: options.top_k.and_then(|k| usize::try_from(k).ok()).unwrap_or(0),
            seed: options.seed.map_or(0, |s| s as u64),
            stops: Vec::new(),
        },
        prefix,
        suffix,
        stop: options.stop,
        time: None,
        shape: Shape::Raw,
        n: 1,
    };
    let name = request.model;
    if request.stream.unwrap_or(true) {
        let piece_name = name.clone();
        return respond(
            shared,
            job,
            Format::Lines,
            move |_, text| json!({"model": piece_name, "created_at": EPOCH, "response": text, "done": false}),
            move |_, all| all.iter().map(|filled| reply(&name, "", filled).to_string()).collect(),
        );
    }
    let (_, all) = run(&shared, job, nobody()).await?;
    let filled = all.first().ok_or_else(ApiError::busy)?;
    Ok(Json(reply(&name, &filled.text, filled)).into_response())
}

/// Clients want a time stamp to be there; nobody reads it.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// The last object of a stream, or the only one. Durations are nanoseconds.
fn reply(model: &str, text: &str, filled: &Filled) -> Value {
    let nanoseconds = |ms: f64| (ms * 1e6) as u64;
    let reason = match filled.ended {
        Ended::Stop | Ended::StopText(_) => "stop",
        Ended::Length | Ended::Deadline | Ended::Cancelled => "length",
    };
    json!({
        "model": model,
        "created_at": EPOCH,
        "response": text,
        "done": true,
        "done_reason": reason,
        "total_duration": nanoseconds(filled.ms.total),
        "load_duration": 0,
        "prompt_eval_count": filled.tokens.prompt,
        "prompt_eval_duration": nanoseconds(filled.ms.prefill),
        "eval_count": filled.tokens.generated,
        "eval_duration": nanoseconds(filled.ms.decode),
    })
}

pub async fn tags(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    let engine = shared.engine()?;
    Ok(Json(
        json!({"models": [{"name": engine.name, "model": engine.name, "modified_at": EPOCH, "size": 0, "details": {"family": "lacuna"}}]}),
    ))
}

/// `/api/show`: what a client asks to learn whether a model can be given a suffix. There is one
/// model, whatever it is called.
pub async fn show(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    let engine = shared.engine()?;
    let context = engine.completer.settings().prompt_tokens;
    Ok(Json(json!({
        "modelfile": "",
        "parameters": "",
        // What Ollama's own fill-in-the-middle models have here: clients look for the suffix.
        "template": "{{ .Prompt }}{{ .Suffix }}",
        "details": {"family": "lacuna", "families": ["lacuna"], "format": "lacuna", "parameter_size": "", "quantization_level": "INT4"},
        "model_info": {"general.architecture": "lacuna", "general.basename": engine.name, "lacuna.context_length": context},
        "capabilities": ["completion", "insert"],
        "modified_at": EPOCH,
    })))
}

pub async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}
