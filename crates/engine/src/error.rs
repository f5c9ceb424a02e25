//! Why a prompt could not be evaluated; [`lacuna_model::LoadError`] is why a model could not be
//! loaded.

use crate::device::DeviceError;

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
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Why a pass has not come to its end.
#[derive(Debug)]
pub(crate) enum Stopped {
    Cancelled,
    Device(DeviceError),
}

impl Stopped {
    /// Nothing for a cancellation, which is an outcome.
    pub(crate) fn unless_cancelled(self) -> Result<(), DeviceError> {
        match self {
            Stopped::Cancelled => Ok(()),
            Stopped::Device(error) => Err(error),
        }
    }
}

impl From<DeviceError> for Stopped {
    fn from(error: DeviceError) -> Self {
        Stopped::Device(error)
    }
}

impl From<Stopped> for PromptError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Cancelled => PromptError::Cancelled,
            Stopped::Device(error) => PromptError::Device(error),
        }
    }
}
