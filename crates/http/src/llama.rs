//! llama-server's dialect: `/infill` as llama.vim and llama.vscode send it, `/health`, `/props`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use lacuna_complete::{Ended, Filled, Shape};
use lacuna_context::Language;
use lacuna_engine::Sampling;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::dialect::{Body, MAX_ALTERNATIVES, alternatives, or_default, stops, tokens, within};
use super::error::ApiError;
use super::run::{Job, nobody, run};
use super::state::Shared;
use super::stream::{Format, respond};

/// Fields that we use; clients send many more (`samplers`, `lora`, `t_max_prompt_ms` …), which
/// llama-server's samplers know and ours need not.
#[derive(Deserialize)]
pub struct Infill {
    input_prefix: Option<String>,
    input_suffix: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    input_extra: Vec<Extra>,
    /// Text of the cursor's line; belongs to the prefix.
    #[serde(default, deserialize_with = "or_default")]
    prompt: String,
    /// −1: as many as the shape wants.
    n_predict: Option<i64>,
    temperature: Option<f32>,
    top_k: Option<i64>,
    top_p: Option<f32>,
    seed: Option<i64>,
    #[serde(default, deserialize_with = "stops")]
    stop: Vec<String>,
    t_max_predict_ms: Option<i64>,
    id_slot: Option<i64>,
    n_cmpl: Option<usize>,
    #[serde(default, deserialize_with = "or_default")]
    stream: bool,
    #[serde(default, deserialize_with = "or_default")]
    response_fields: Vec<String>,
}

#[derive(Deserialize)]
struct Extra {
    text: String,
    #[serde(default, deserialize_with = "or_default")]
    filename: String,
}

/// Tokens where the client sets no limit.
const DEFAULT_TOKENS: usize = 128;
const MAX_EXTRAS: usize = 256;

pub async fn infill(
    State(shared): State<Arc<Shared>>,
    Body(request): Body<Infill>,
) -> Result<Response, ApiError> {
    // The model is asked for first: a client that polls while it loads need not send a right
    // request.
    shared.engine()?;
    let (Some(input_prefix), Some(input_suffix)) = (&request.input_prefix, &request.input_suffix)
    else {
        return Err(ApiError::invalid("\"input_prefix\" and \"input_suffix\" are required"));
    };
    if request.input_extra.len() > MAX_EXTRAS {
        return Err(ApiError::invalid(format!("more than {MAX_EXTRAS} texts in input_extra")));
    }
    let n = alternatives(request.n_cmpl)?;
    let prefix = format!("{input_prefix}{}", request.prompt);
    let max_tokens = tokens(request.n_predict, DEFAULT_TOKENS);
    let job = Job {
        slot: request
            .id_slot
            .and_then(|id| u64::try_from(id).ok())
            .unwrap_or_else(|| Job::slot_of(&prefix, input_suffix))
            % 256,
        path: None,
        excerpts: request.input_extra.iter().map(Extra::excerpt).collect(),
        suffix: input_suffix.clone(),
        sampling: Sampling {
            max_tokens,
            temperature: within("temperature", request.temperature, 0.0, 0.0, 10.0)?,
            top_p: within("top_p", request.top_p, 1.0, 0.0, 1.0)?,
            top_k: request.top_k.and_then(|k| usize::try_from(k).ok()).unwrap_or(0),
            seed: request.seed.map_or(0, |s| s as u64),
            stops: Vec::new(),
        },
        stop: request.stop.clone(),
        time: request
            .t_max_predict_ms
            .and_then(|ms| u64::try_from(ms).ok())
            .filter(|ms| *ms > 0)
            .map(Duration::from_millis),
        shape: Shape::Editor(language(&request.input_extra)),
        prefix,
        n,
    };
    let fields = request.response_fields;
    if request.stream {
        let piece = |i: usize, text: &str| json!({"index": i, "content": text, "stop": false});
        return respond(shared, job, Format::Events, piece, move |model, all| {
            all.iter()
                .enumerate()
                .map(|(i, filled)| chosen(&last(i, filled, model), &fields).to_string())
                .collect()
        });
    }
    let (model, all) = run(&shared, job, nobody()).await?;
    let mut replies =
        all.iter().enumerate().map(|(i, filled)| chosen(&reply(i, filled, &model), &fields));
    let body = if n == 1 {
        replies.next().unwrap_or_else(|| json!({"content": ""}))
    } else {
        Value::Array(replies.collect())
    };
    Ok(Json(body).into_response())
}

impl Extra {
    /// As the model sees it. A name tells what the text is; it is not a header of the model's own,
    /// since chunks are no whole files.
    fn excerpt(&self) -> String {
        let newline = if self.text.ends_with('\n') { "" } else { "\n" };
        format!("{}{newline}", self.text)
    }
}

/// The client does not say which file it is in; the chunks beside it are mostly of its kind. The
/// last ones are the newest.
fn language(extras: &[Extra]) -> Language {
    extras
        .iter()
        .rev()
        .map(|extra| Language::from_path(Path::new(&extra.filename)))
        .find(|l| *l != Language::Text)
        .unwrap_or(Language::Text)
}

/// The whole reply.
fn reply(index: usize, filled: &Filled, model: &str) -> Value {
    let (stop_type, word) = match &filled.ended {
        Ended::Stop => ("eos", ""),
        Ended::StopText(text) => ("word", text.as_str()),
        Ended::Length | Ended::Deadline | Ended::Cancelled => ("limit", ""),
    };
    let tokens = &filled.tokens;
    let per = |ms: f64, n: usize| if n == 0 { 0.0 } else { ms / n as f64 };
    let rate = |ms: f64, n: usize| if ms > 0.0 { n as f64 / ms * 1e3 } else { 0.0 };
    let (prompt_ms, predicted_ms) = (filled.ms.prefill, filled.ms.decode);
    json!({
        "index": index,
        "content": filled.text,
        "stop": true,
        "stop_type": stop_type,
        "stopping_word": word,
        "model": model,
        "truncated": filled.truncated,
        "tokens_cached": tokens.prompt + tokens.generated,
        "tokens_evaluated": tokens.prompt,
        "tokens_predicted": tokens.generated,
        "timings": {
            "cache_n": tokens.cached,
            "prompt_n": tokens.prefilled,
            "prompt_ms": prompt_ms,
            "prompt_per_token_ms": per(prompt_ms, tokens.prefilled),
            "prompt_per_second": rate(prompt_ms, tokens.prefilled),
            "predicted_n": tokens.generated,
            "predicted_ms": predicted_ms,
            "predicted_per_token_ms": per(predicted_ms, tokens.generated),
            "predicted_per_second": rate(predicted_ms, tokens.generated),
        },
    })
}

/// The last piece of a stream: everything but the text, which has been sent.
fn last(index: usize, filled: &Filled, model: &str) -> Value {
    let mut reply = reply(index, filled, model);
    reply["content"] = Value::String(String::new());
    reply
}

/// The fields that a client asked for, `timings/prompt_n` as a flat key of that name; everything
/// where it asked for nothing.
fn chosen(reply: &Value, fields: &[String]) -> Value {
    if fields.is_empty() {
        return reply.clone();
    }
    let found = fields
        .iter()
        .filter_map(|name| Some((name.clone(), reply.pointer(&format!("/{name}"))?.clone())));
    Value::Object(found.collect::<Map<_, _>>())
}

pub async fn health(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    shared.engine().map(|_| Json(json!({"status": "ok"})))
}

pub async fn props(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, ApiError> {
    let engine = shared.engine()?;
    let settings = engine.completer.settings();
    Ok(Json(json!({
        "default_generation_settings": {"n_ctx": settings.prompt_tokens, "params": {"n_predict": DEFAULT_TOKENS, "temperature": 0.0}},
        "total_slots": MAX_ALTERNATIVES,
        "model_path": engine.name,
        "model_alias": engine.name,
        "build_info": format!("lacuna {}", env!("CARGO_PKG_VERSION")),
        "modalities": {"vision": false, "audio": false},
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_chosen_by_flat_names() {
        let reply = json!({"content": "x", "timings": {"prompt_n": 3}, "truncated": false});
        let fields = ["content".to_owned(), "timings/prompt_n".to_owned(), "nothing".to_owned()];
        assert_eq!(chosen(&reply, &fields), json!({"content": "x", "timings/prompt_n": 3}));
        assert_eq!(
            chosen(&reply, &[String::new()]),
            json!({"": reply}).as_object().map(|_| json!({})).unwrap()
        );
        assert_eq!(chosen(&reply, &[]), reply);
    }

    #[test]
    fn the_newest_chunk_with_a_known_language_counts() {
        let extra = |name: &str| Extra { text: String::new(), filename: name.to_owned() };
        assert_eq!(language(&[extra("a.py"), extra("b.rs"), extra("notes")]), Language::Rust);
        assert_eq!(language(&[extra("notes")]), Language::Text);
    }
}
