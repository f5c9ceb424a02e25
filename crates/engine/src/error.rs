//! Why a prompt could not be evaluated; [`lacuna_model::LoadError`] is why a model could not be
//! loaded.

/// Why a prompt could not be evaluated. `Cancelled` is an outcome, the rest is a prompt that the
/// model cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    #[error("cancelled")]
    Cancelled,
    #[error("the prompt is empty; at least one token is needed")]
    Empty,
    #[error("{tokens} tokens do not fit the {capacity} that this cache and model can hold")]
    TooLong { tokens: usize, capacity: usize },
    #[error("token id {id} is outside of the model's vocabulary of {n_vocab}")]
    TokenOutOfRange { id: u32, n_vocab: usize },
    #[error(
        "the model produced values that are not numbers; its weights are damaged or out of range"
    )]
    NotFinite,
}

/// A pass was cancelled.
#[derive(Debug)]
pub(crate) struct Cancelled;

impl From<Cancelled> for PromptError {
    fn from(_: Cancelled) -> Self {
        PromptError::Cancelled
    }
}
