//! The ids that rows of training text are put together with. They come from the tokenizer and stand
//! in `shards.json`.

use lacuna_prompt::{Sentinels, Tokenizer};
use serde::{Deserialize, Serialize};

/// Token ids between and inside documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Markers {
    /// Ends a document.
    pub end: u16,
    /// What follows is the middle, the text that the model is there to write.
    pub middle: u16,
    /// Fills the rest of a row. The same as `end` where the tokenizer has none.
    pub pad: u16,
}

impl Default for Markers {
    /// The first embedded model's tokenizer: what shards without recorded ids were made with.
    fn default() -> Markers {
        Markers { end: 0, middle: 2, pad: 4 }
    }
}

/// Why a tokenizer cannot mark training text.
#[derive(Debug, thiserror::Error)]
pub enum MarkerError {
    #[error(
        "the tokenizer has no token that ends a text (such as <|endoftext|>): training documents need one"
    )]
    NoEnd,
    #[error("the tokenizer's marker has id {id}: rows of training text hold ids below 65536")]
    TooLarge { id: u32 },
}

impl Markers {
    /// The ids of a tokenizer whose sentinels are known.
    pub fn of(tokenizer: &Tokenizer, sentinels: &Sentinels) -> Result<Markers, MarkerError> {
        let narrow = |id: u32| u16::try_from(id).map_err(|_| MarkerError::TooLarge { id });
        let end = narrow(sentinels.end(tokenizer).ok_or(MarkerError::NoEnd)?)?;
        let pad = sentinels.pad.map(narrow).transpose()?.unwrap_or(end);
        Ok(Markers { end, middle: narrow(sentinels.middle)?, pad })
    }
}
