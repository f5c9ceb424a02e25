//! lacuna-engine: models in memory, forward pass, KV cache, sampling. Token ids only: no text, no
//! files of the user's, no prompts.
//!
//! Start at [`Model::load`] (or [`Model::from_packed`] for a model in memory), give it a
//! [`KvCache`], then [`prefill`] and [`generate`]. Everything that can be long takes a [`Cancel`].
//! Numeric work is in `lacuna-kernels`.

mod batch;
mod beam;
mod blend;
mod cancel;
mod device;
mod draft;
mod error;
mod forward;
mod generate;
mod kv;
mod lookup;
mod model;
mod ngrams;
mod pass;
mod pool;
mod prefill;
mod prepack;
mod route;
mod runs;
mod sample;
mod schedule;
mod sequence;
mod unfinished;
mod workspace;

pub use beam::{Beam, Continuation, Found, Rules, Start, Texts, Verdict, likeliest};
pub use cancel::Cancel;
pub use device::{DeviceChoice, DeviceError, KvDtype, ParseDeviceError, Precision, gpus};
pub use draft::{Confidence, DraftSource, DraftStats, Drafter, MAX_DRAFT};
pub use error::PromptError;
pub use forward::{forward_all, log_probs};
pub use generate::{
    Constraint, Finish, GenerateOptions, Generation, Times, Token, generate, generate_with,
};
pub use kv::{DEFAULT_KV, KvCache, KvSnapshot};
pub use lookup::Lookup;
pub use model::{Info, Model};
pub use ngrams::{Count, Counts, MAX_ORDER, Mixture, Ngrams, Weights};
pub use pool::{KvLease, KvPool, OverBudget, PoolStats};
pub use prefill::{PrefillOptions, PrefillStats, Reuse, prefill, prefill_with};
pub use prepack::{
    PackedRequest, Reading, generate_packed, prefill_packed, score_behind, score_packed,
};
pub use sample::Sampling;
pub use schedule::{Class, Scheduler, Turn};

/// Why a model could not be loaded.
pub use lacuna_model::LoadError;

/// Gives memory that was freed back to the system.
pub use lacuna_kernels::give_back;
/// What the CPU has but this process may not use, and why.
pub use lacuna_kernels::isa::withheld;
/// Sets how many threads the forward pass may use in this process; 0 means all cores.
pub use lacuna_kernels::threads::set_threads;
/// Whether the threads that help are bound to a core each (the default); see
/// `lacuna_kernels::team`.
pub use lacuna_kernels::threads::{alone, set_pinned, threads};
/// The name of the kernel row in use (`doctor` prints it), or why `LACUNA_ISA` cannot be honoured.
pub fn kernel_row() -> Result<&'static str, lacuna_kernels::isa::IsaError> {
    lacuna_kernels::isa::selected().map(|row| row.isa().name()).map_err(Clone::clone)
}
