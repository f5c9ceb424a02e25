//! Hyperparameters, read with bounds: what comes out of here is safe to size buffers with.

use serde_json::{Map, Value};

use crate::rope::{RopeScaling, RopeSpec};

/// Why a `config.json` is not usable.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("not a JSON object ({0}): download config.json again")]
    NotAnObject(String),
    #[error("model_type {got:?} is not supported; supported are {known}")]
    Family { got: String, known: String },
    #[error("{0:?} is missing: download config.json again")]
    Missing(&'static str),
    #[error("{key:?} is {got}, expected {expected}: download config.json again")]
    Value { key: &'static str, got: String, expected: &'static str },
    #[error("{key:?} = {got} is outside of {least}..={most}: download config.json again")]
    Range { key: &'static str, got: f64, least: f64, most: f64 },
    #[error("{a} = {a_value} is not a multiple of {b} = {b_value}: download config.json again")]
    NotMultiple { a: &'static str, a_value: usize, b: &'static str, b_value: usize },
    #[error("{0}")]
    Unsupported(String),
}

/// Names in a list, and bytes of each.
const MOST_NAMES: usize = 256;
/// No size of a config may exceed this: products of two fit 64 bits with room.
pub(crate) const MOST: usize = 1 << 24;

/// Errors: `a` is no multiple of `b`.
pub(crate) fn multiple(
    a: &'static str,
    a_value: usize,
    b: &'static str,
    b_value: usize,
) -> Result<(), ConfigError> {
    if a_value.is_multiple_of(b_value) {
        Ok(())
    } else {
        Err(ConfigError::NotMultiple { a, a_value, b, b_value })
    }
}

/// The hyperparameters of a model, by the keys of `config.json`, with typed, bounded access; `null`
/// counts as absent.
pub struct Hyper<'a>(&'a Map<String, Value>);

impl<'a> Hyper<'a> {
    /// The object of a `config.json`. Errors: it is none.
    pub fn of(value: &'a Value) -> Result<Self, ConfigError> {
        value
            .as_object()
            .map(Hyper)
            .ok_or_else(|| ConfigError::NotAnObject("found another JSON value".to_owned()))
    }

    fn value(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    pub(crate) fn text(&self, key: &'static str) -> Result<Option<&'a str>, ConfigError> {
        let wrong = |v: &Value| ConfigError::Value { key, got: shorten(v), expected: "a string" };
        self.value(key).map(|v| v.as_str().ok_or_else(|| wrong(v))).transpose()
    }

    pub(crate) fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let wrong =
            |v: &Value| ConfigError::Value { key, got: shorten(v), expected: "true or false" };
        self.value(key).map(|v| v.as_bool().ok_or_else(|| wrong(v))).transpose()
    }

    /// An object that others read, as JSON.
    pub(crate) fn object(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let wrong = |v: &Value| ConfigError::Value { key, got: shorten(v), expected: "an object" };
        self.value(key)
            .map(|v| if v.is_object() { Ok(v.to_string()) } else { Err(wrong(v)) })
            .transpose()
    }

    /// A short list of short names.
    pub(crate) fn names(&self, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let wrong =
            || ConfigError::Value { key, got: shorten(v), expected: "a list of at most 256 names" };
        let list = v.as_array().filter(|list| list.len() <= MOST_NAMES).ok_or_else(wrong)?;
        let name = |v: &Value| {
            v.as_str().filter(|name| name.len() <= MOST_NAMES).map(str::to_owned).ok_or_else(wrong)
        };
        list.iter().map(name).collect::<Result<_, _>>().map(Some)
    }

    pub(crate) fn optional_size(
        &self,
        key: &'static str,
        most: usize,
    ) -> Result<Option<usize>, ConfigError> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let wrong = || ConfigError::Value { key, got: shorten(v), expected: "a whole number" };
        let got = v.as_u64().ok_or_else(wrong)?;
        match usize::try_from(got) {
            Ok(n) if (1..=most).contains(&n) => Ok(Some(n)),
            _ => Err(ConfigError::Range { key, got: got as f64, least: 1.0, most: most as f64 }),
        }
    }

    pub(crate) fn size(&self, key: &'static str, most: usize) -> Result<usize, ConfigError> {
        self.optional_size(key, most)?.ok_or(ConfigError::Missing(key))
    }

    pub(crate) fn number(
        &self,
        key: &'static str,
        least: f64,
        most: f64,
    ) -> Result<Option<f32>, ConfigError> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let got = v.as_f64().ok_or_else(|| ConfigError::Value {
            key,
            got: shorten(v),
            expected: "a number",
        })?;
        if got >= least && got <= most {
            Ok(Some(got as f32))
        } else {
            Err(ConfigError::Range { key, got, least, most })
        }
    }

    /// Features that change the mathematics and that we do not have: an error rather than wrong
    /// output.
    pub(crate) fn check_features(&self) -> Result<(), ConfigError> {
        match self.text("hidden_act")? {
            None | Some("silu" | "swish") => {}
            Some(other) => {
                return Err(ConfigError::Unsupported(format!(
                    "hidden_act {other:?} is not supported; only \"silu\" is"
                )));
            }
        }
        if self.flag("use_sliding_window")?.unwrap_or(false) {
            return Err(ConfigError::Unsupported(
                "sliding-window attention (use_sliding_window) is not supported".to_owned(),
            ));
        }
        if self.value("quantization_config").is_some() {
            return Err(ConfigError::Unsupported(
                "the weights are quantised already (quantization_config); use the unquantised checkpoint".to_owned(),
            ));
        }
        Ok(())
    }

    /// Base frequency and scaling, from `rope_parameters` (newer files) or `rope_theta` and
    /// `rope_scaling`.
    pub(crate) fn rope(&self) -> Result<RopeSpec, ConfigError> {
        let nested = |key: &'static str| match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Hyper(map))),
            Some(v) => Err(ConfigError::Value { key, got: shorten(v), expected: "an object" }),
        };
        let parameters = nested("rope_parameters")?;
        let scaling = nested("rope_scaling")?;
        let theta = |json: &Hyper| json.number("rope_theta", 1.0, 1e12);
        let theta = match &parameters {
            Some(p) => theta(p)?,
            None => None,
        };
        let theta = match theta {
            Some(theta) => theta,
            None => self.number("rope_theta", 1.0, 1e12)?.unwrap_or(10_000.0),
        };
        let Some(json) = scaling.or(parameters) else {
            return Ok(RopeSpec { theta, scaling: RopeScaling::None });
        };
        let kind = match json.text("rope_type")? {
            Some(kind) => Some(kind),
            None => json.text("type")?,
        };
        let factor =
            |json: &Hyper| json.number("factor", 1.0, 1e6)?.ok_or(ConfigError::Missing("factor"));
        let scaling = match kind {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: factor(&json)? },
            Some("llama3") => {
                let low = json
                    .number("low_freq_factor", 1e-3, 1e6)?
                    .ok_or(ConfigError::Missing("low_freq_factor"))?;
                let high = json
                    .number("high_freq_factor", 1e-3, 1e6)?
                    .ok_or(ConfigError::Missing("high_freq_factor"))?;
                if high <= low {
                    return Err(ConfigError::Unsupported(format!(
                        "high_freq_factor {high} must be above low_freq_factor {low}"
                    )));
                }
                let original_positions = json.size("original_max_position_embeddings", MOST)?;
                RopeScaling::Llama3 { factor: factor(&json)?, low, high, original_positions }
            }
            Some(other) => {
                return Err(ConfigError::Unsupported(format!(
                    "rope scaling {other:?} is not supported; supported are \"default\", \"linear\" and \"llama3\""
                )));
            }
        };
        Ok(RopeSpec { theta, scaling })
    }
}

/// A JSON value for an error message, never long.
fn shorten(v: &Value) -> String {
    match v {
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => other.to_string().chars().take(40).collect(),
    }
}
