//! `config.json` of the supported model families, validated: what comes out of here is safe to size buffers with.

use serde_json::{Map, Value};

/// Why a `config.json` is not usable.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("not a JSON object ({0}): download config.json again")]
    NotAnObject(String),
    #[error("model_type {0:?} is not supported; supported are \"llama\" and \"qwen2\"")]
    Family(String),
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

/// Model families that differ in what tensors they have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Llama,
    Qwen2,
}

/// How positions beyond the trained context are scaled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RopeScaling {
    None,
    /// All frequencies divided by `factor`.
    Linear {
        factor: f32,
    },
    /// Llama 3: low frequencies divided, high ones kept, a smooth ramp between.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        original_positions: usize,
    },
}

/// The shape of a model. Made by [`Config::from_json`], which checks every number.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub family: Family,
    pub n_vocab: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Inner width of the feed-forward part.
    pub ff: usize,
    /// Longest context, in tokens.
    pub max_positions: usize,
    pub rms_eps: f32,
    pub rope_theta: f32,
    pub rope_scaling: RopeScaling,
    pub tied_embeddings: bool,
    /// Biases on the q, k and v projections.
    pub qkv_bias: bool,
    /// Bias on the attention output projection.
    pub output_bias: bool,
    /// Biases on the three feed-forward projections.
    pub mlp_bias: bool,
    /// `code_languages`: LSP ids of the languages that the model was trained for; `None`: it does not say.
    pub code_languages: Option<Vec<String>>,
    /// `suffix_weight`: how much what stands right of the cursor says of a line by this model, reading from left to right; 0 unless it says.
    pub suffix_weight: f32,
    /// `confidence`: how likely what it writes is right, as JSON; not read here. `None`: it does not say.
    pub confidence: Option<String>,
}

/// Names in a list, and bytes of each.
const MOST_NAMES: usize = 256;

/// No size of a config may exceed this: products of two fit 64 bits with room.
const MOST: usize = 1 << 24;

impl Config {
    /// Reads and checks `config.json`.
    ///
    /// Errors: an unsupported family or feature, a missing key, a number that is zero, huge or does not divide.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ConfigError> {
        let value: Value = serde_json::from_slice(bytes).map_err(|e| ConfigError::NotAnObject(e.to_string()))?;
        let map = value.as_object().ok_or_else(|| ConfigError::NotAnObject("found another JSON value".to_owned()))?;
        let json = Json(map);
        let family = match json.text("model_type")? {
            Some("llama") => Family::Llama,
            Some("qwen2") => Family::Qwen2,
            Some(other) => return Err(ConfigError::Family(other.to_owned())),
            None => return Err(ConfigError::Missing("model_type")),
        };
        json.check_features()?;
        let hidden = json.size("hidden_size", 1 << 18)?;
        let heads = json.size("num_attention_heads", 1 << 12)?;
        let kv_heads = json.optional_size("num_key_value_heads", 1 << 12)?.unwrap_or(heads);
        multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads)?;
        let head_dim = match json.optional_size("head_dim", 1 << 12)? {
            Some(d) => d,
            None => {
                multiple("hidden_size", hidden, "num_attention_heads", heads)?;
                hidden / heads
            }
        };
        multiple("head_dim", head_dim, "2 (RoPE rotates pairs)", 2)?;
        let qwen = family == Family::Qwen2;
        let attention_bias = json.flag("attention_bias")?.unwrap_or(false);
        let rope = json.rope()?;
        Ok(Config {
            family,
            n_vocab: json.size("vocab_size", MOST)?,
            hidden,
            layers: json.size("num_hidden_layers", 1 << 10)?,
            heads,
            kv_heads,
            head_dim,
            ff: json.size("intermediate_size", 1 << 20)?,
            max_positions: json.optional_size("max_position_embeddings", MOST)?.unwrap_or(2048),
            rms_eps: json.number("rms_norm_eps", 1e-12, 1.0)?.unwrap_or(1e-6),
            rope_theta: rope.0,
            rope_scaling: rope.1,
            tied_embeddings: json.flag("tie_word_embeddings")?.unwrap_or(false),
            qkv_bias: qwen || attention_bias,
            output_bias: !qwen && attention_bias,
            mlp_bias: !qwen && json.flag("mlp_bias")?.unwrap_or(false),
            code_languages: json.names("code_languages")?,
            suffix_weight: json.number("suffix_weight", 0.0, 10.0)?.unwrap_or(0.0),
            confidence: json.object("confidence")?,
        })
    }

    /// Width of the queries of one token.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of the keys (or values) of one token in one layer.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }
}

impl Config {
    /// Every tensor of a checkpoint of this shape, in file order: embedding, layers, norm, head.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        let (d, q, kv, ff) = (self.hidden, self.q_width(), self.kv_width(), self.ff);
        let mut all = vec![TensorSpec::matrix("model.embed_tokens", self.n_vocab, d)];
        for l in 0..self.layers {
            let name = |name: &str| format!("model.layers.{l}.{name}");
            let mut linear = |part: &str, n: usize, k: usize, bias: bool| {
                all.push(TensorSpec::matrix(&name(part), n, k));
                if bias {
                    all.push(TensorSpec { name: name(&format!("{part}.bias")), rows: n, columns: None });
                }
            };
            linear("self_attn.q_proj", q, d, self.qkv_bias);
            linear("self_attn.k_proj", kv, d, self.qkv_bias);
            linear("self_attn.v_proj", kv, d, self.qkv_bias);
            linear("self_attn.o_proj", d, q, self.output_bias);
            linear("mlp.gate_proj", ff, d, self.mlp_bias);
            linear("mlp.up_proj", ff, d, self.mlp_bias);
            linear("mlp.down_proj", d, ff, self.mlp_bias);
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                all.push(TensorSpec { name: name(&format!("{norm}.weight")), rows: d, columns: None });
            }
        }
        all.push(TensorSpec { name: "model.norm.weight".to_owned(), rows: d, columns: None });
        if !self.tied_embeddings {
            all.push(TensorSpec::matrix("lm_head", self.n_vocab, d));
        }
        all
    }
}

/// Name and shape of a tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// As in Hugging Face files.
    pub name: String,
    /// Outputs of a matrix, elements of a vector.
    pub rows: usize,
    /// Inputs of a matrix; `None` for a vector (norm or bias).
    pub columns: Option<usize>,
}

impl TensorSpec {
    fn matrix(module: &str, rows: usize, columns: usize) -> Self {
        TensorSpec { name: format!("{module}.weight"), rows, columns: Some(columns) }
    }

    /// Dimensions as a safetensors header has them.
    pub fn shape(&self) -> Vec<usize> {
        std::iter::once(self.rows).chain(self.columns).collect()
    }
}

fn multiple(a: &'static str, a_value: usize, b: &'static str, b_value: usize) -> Result<(), ConfigError> {
    if a_value.is_multiple_of(b_value) { Ok(()) } else { Err(ConfigError::NotMultiple { a, a_value, b, b_value }) }
}

/// A JSON object with typed, bounded access; `null` counts as absent.
struct Json<'a>(&'a Map<String, Value>);

impl<'a> Json<'a> {
    fn value(&self, key: &str) -> Option<&'a Value> {
        self.0.get(key).filter(|v| !v.is_null())
    }

    fn text(&self, key: &'static str) -> Result<Option<&'a str>, ConfigError> {
        let wrong = |v: &Value| ConfigError::Value { key, got: shorten(v), expected: "a string" };
        self.value(key).map(|v| v.as_str().ok_or_else(|| wrong(v))).transpose()
    }

    fn flag(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let wrong = |v: &Value| ConfigError::Value { key, got: shorten(v), expected: "true or false" };
        self.value(key).map(|v| v.as_bool().ok_or_else(|| wrong(v))).transpose()
    }

    /// An object that others read, as JSON.
    fn object(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let wrong = |v: &Value| ConfigError::Value { key, got: shorten(v), expected: "an object" };
        self.value(key).map(|v| if v.is_object() { Ok(v.to_string()) } else { Err(wrong(v)) }).transpose()
    }

    /// A short list of short names.
    fn names(&self, key: &'static str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let wrong = || ConfigError::Value { key, got: shorten(v), expected: "a list of at most 256 names" };
        let list = v.as_array().filter(|list| list.len() <= MOST_NAMES).ok_or_else(wrong)?;
        let name = |v: &Value| v.as_str().filter(|name| name.len() <= MOST_NAMES).map(str::to_owned).ok_or_else(wrong);
        list.iter().map(name).collect::<Result<_, _>>().map(Some)
    }

    fn optional_size(&self, key: &'static str, most: usize) -> Result<Option<usize>, ConfigError> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let wrong = || ConfigError::Value { key, got: shorten(v), expected: "a whole number" };
        let got = v.as_u64().ok_or_else(wrong)?;
        match usize::try_from(got) {
            Ok(n) if (1..=most).contains(&n) => Ok(Some(n)),
            _ => Err(ConfigError::Range { key, got: got as f64, least: 1.0, most: most as f64 }),
        }
    }

    fn size(&self, key: &'static str, most: usize) -> Result<usize, ConfigError> {
        self.optional_size(key, most)?.ok_or(ConfigError::Missing(key))
    }

    fn number(&self, key: &'static str, least: f64, most: f64) -> Result<Option<f32>, ConfigError> {
        let Some(v) = self.value(key) else { return Ok(None) };
        let got = v.as_f64().ok_or_else(|| ConfigError::Value { key, got: shorten(v), expected: "a number" })?;
        if got >= least && got <= most { Ok(Some(got as f32)) } else { Err(ConfigError::Range { key, got, least, most }) }
    }

    /// Features that change the mathematics and that we do not have: an error rather than wrong output.
    fn check_features(&self) -> Result<(), ConfigError> {
        match self.text("hidden_act")? {
            None | Some("silu" | "swish") => {}
            Some(other) => return Err(ConfigError::Unsupported(format!("hidden_act {other:?} is not supported; only \"silu\" is"))),
        }
        if self.flag("use_sliding_window")?.unwrap_or(false) {
            return Err(ConfigError::Unsupported("sliding-window attention (use_sliding_window) is not supported".to_owned()));
        }
        if self.value("quantization_config").is_some() {
            return Err(ConfigError::Unsupported(
                "the weights are quantised already (quantization_config); use the unquantised checkpoint".to_owned(),
            ));
        }
        Ok(())
    }

    /// Base frequency and scaling, from `rope_parameters` (newer files) or `rope_theta` and `rope_scaling`.
    fn rope(&self) -> Result<(f32, RopeScaling), ConfigError> {
        let nested = |key: &'static str| match self.value(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Json(map))),
            Some(v) => Err(ConfigError::Value { key, got: shorten(v), expected: "an object" }),
        };
        let parameters = nested("rope_parameters")?;
        let scaling = nested("rope_scaling")?;
        let theta = |json: &Json| json.number("rope_theta", 1.0, 1e12);
        let theta = match &parameters {
            Some(p) => theta(p)?,
            None => None,
        };
        let theta = match theta {
            Some(theta) => theta,
            None => self.number("rope_theta", 1.0, 1e12)?.unwrap_or(10_000.0),
        };
        let Some(json) = scaling.or(parameters) else { return Ok((theta, RopeScaling::None)) };
        let kind = match json.text("rope_type")? {
            Some(kind) => Some(kind),
            None => json.text("type")?,
        };
        let factor = |json: &Json| json.number("factor", 1.0, 1e6)?.ok_or(ConfigError::Missing("factor"));
        let scaling = match kind {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: factor(&json)? },
            Some("llama3") => {
                let low = json.number("low_freq_factor", 1e-3, 1e6)?.ok_or(ConfigError::Missing("low_freq_factor"))?;
                let high = json.number("high_freq_factor", 1e-3, 1e6)?.ok_or(ConfigError::Missing("high_freq_factor"))?;
                if high <= low {
                    return Err(ConfigError::Unsupported(format!("high_freq_factor {high} must be above low_freq_factor {low}")));
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
        Ok((theta, scaling))
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
