//! What a benchmark run leaves: one JSON object, read again by `bench report`.

use serde::{Deserialize, Serialize};

use super::machine::{Bound, Limits, Machine};
use super::replay::summary::{Level, Side};
use super::timing::Spread;

/// A run of `bench kernels`, `bench decode` or `bench replay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[allow(clippy::large_enum_variant, reason = "there are a few in a process")]
pub enum Record {
    Kernels(Kernels),
    Decode(Decode),
    Replay(Replay),
}

/// A run of `bench kernels`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kernels {
    pub machine: Machine,
    pub threads: usize,
    pub rows: Vec<KernelRow>,
}

/// One row of the kernel table.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KernelRow {
    pub isa: String,
    pub limits: Limits,
    pub cases: Vec<KernelCase>,
}

/// One operation at one size.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KernelCase {
    pub op: String,
    /// Of which model shape.
    pub like: String,
    /// Which matrix, which width.
    pub what: String,
    /// Tokens.
    pub m: usize,
    /// Weights and caches come from memory (cycled through four times the last cache), not from a
    /// cache.
    pub cold: bool,
    /// Microseconds a call.
    pub us: Spread,
    /// Gigabytes a second that the operation must move; `None` where that says nothing.
    pub gbs: Option<f64>,
    /// 10¹² integer operations a second.
    pub tops: Option<f64>,
    /// Share of the limit, and which limit it is.
    pub of_limit: Option<f64>,
    pub bound: Option<Bound>,
}

/// A run of `bench decode`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decode {
    pub machine: Machine,
    pub threads: usize,
    pub rounds: usize,
    /// Shape or directory of the model.
    pub like: String,
    pub isa: String,
    pub limits: Limits,
    pub ours: Engine,
    pub peers: Vec<Engine>,
    pub tests: Vec<Test>,
}

/// A run of `bench replay`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Replay {
    pub machine: Machine,
    pub threads: usize,
    /// Shape or name of the model.
    pub like: String,
    pub isa: String,
    pub real_time: bool,
    /// Tokens generated at each request, if that was fixed.
    pub tokens: Option<usize>,
    pub traces: usize,
    pub keystrokes: usize,
    pub sides: Vec<Side>,
    /// Ours at each level of eagerness; the first is that of `sides`.
    #[serde(default)]
    pub levels: Vec<Level>,
}

/// One of the engines that ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Engine {
    pub name: String,
    /// How the vocabulary projection is stored.
    pub head: String,
    /// How keys and values are held.
    pub kv: String,
    /// Bytes of weights that a token reads.
    pub token_bytes: u64,
    /// Integer operations of the layers' products a token, and of the vocabulary projection.
    pub layer_ops: u64,
    pub head_ops: u64,
}

/// One measurement on every engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Test {
    /// `pp512` (that many tokens in one go), `tg32` (one after another), `@d32`: after so many
    /// tokens in the cache.
    pub name: String,
    pub generate: bool,
    pub tokens: usize,
    pub depth: usize,
    /// Measured beside this test, once a round.
    pub limits: Limits,
    /// Milliseconds for all tokens of the test.
    pub ours_ms: Spread,
    /// One for each of `Decode::peers`.
    pub peer_ms: Vec<Spread>,
}

impl Test {
    /// Tokens a second.
    pub fn speed(&self, ms: &Spread) -> f64 {
        self.tokens as f64 * 1e3 / ms.median
    }

    /// Share of the limit that an engine reached: reading its weights once a pass, or the
    /// multiply-adds of the products.
    pub fn of_limit(&self, engine: &Engine, ms: &Spread) -> (f64, Bound) {
        let (passes, tokens) = if self.generate { (self.tokens, 1) } else { (1, self.tokens) };
        // Both engines compute the logits of the last token only.
        let ops = tokens as f64 * engine.layer_ops as f64 + engine.head_ops as f64;
        let (seconds, bound) = self.limits.bound(engine.token_bytes as f64, ops);
        (passes as f64 * seconds * 1e3 / ms.median, bound)
    }
}
