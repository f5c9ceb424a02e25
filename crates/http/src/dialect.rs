//! What the dialects have in common: lenient fields, limits on them, and the JSON body itself.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use lacuna_serving::json;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::error::ApiError;

/// Alternatives that one request may ask for.
pub const MAX_ALTERNATIVES: usize = 8;
/// Texts that may end a generation.
const MAX_STOPS: usize = 64;

/// A JSON body, whatever the content type says: several clients send none.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|_| ApiError::too_large())?;
        // Who cuts a text at so many units of UTF-16 cuts emoji in two.
        serde_json::from_str(&json::lossy(&bytes))
            .map(Body)
            .map_err(|e| ApiError::invalid(format!("the body is not what this route takes: {e}")))
    }
}

/// `null` is what leaving the field out is: some clients write out every field that they know.
pub fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

/// `"stop": "x"`, `["x", "y"]` or `null`.
pub fn stops<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let stops = match Option::<Stops>::deserialize(deserializer)? {
        None => Vec::new(),
        Some(Stops::One(stop)) => vec![stop],
        Some(Stops::Many(stops)) => stops,
    };
    if stops.len() > MAX_STOPS {
        return Err(serde::de::Error::custom(format!("more than {MAX_STOPS} stop texts")));
    }
    Ok(stops)
}

/// The code on both sides of the cursor, where a client without a field for the suffix (twinny, for
/// one) has put both into the prompt, in the template of some model.
pub fn sides(prompt: String, suffix: String) -> (String, String) {
    match lacuna_prompt::split_template(&prompt) {
        Some((before, after)) if suffix.is_empty() => (before.to_owned(), after.to_owned()),
        _ => (prompt, suffix),
    }
}

/// How many tokens: a negative number means what saying nothing means.
pub fn tokens(asked: Option<i64>, default: usize) -> usize {
    match asked {
        None | Some(..0) => default,
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
    }
}

/// Number of alternatives, 1 where nothing is said.
pub fn alternatives(n: Option<usize>) -> Result<usize, ApiError> {
    match n.unwrap_or(1) {
        n @ 1..=MAX_ALTERNATIVES => Ok(n),
        n => Err(ApiError::invalid(format!("{n} alternatives: ask for 1 to {MAX_ALTERNATIVES}"))),
    }
}

/// A number that must be finite and within bounds; `default` where nothing is said.
pub fn within(
    name: &str,
    value: Option<f32>,
    default: f32,
    min: f32,
    max: f32,
) -> Result<f32, ApiError> {
    let value = value.unwrap_or(default);
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(ApiError::invalid(format!("{name} = {value}: use {min} to {max}")))
    }
}
