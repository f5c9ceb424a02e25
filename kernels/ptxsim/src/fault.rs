//! What can be wrong with a text or with a launch, and where.

use std::fmt;

/// PTX that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("PTX line {line}: {problem}: `{text}`")]
pub struct ParseError {
    /// Line of the PTX text, from 1.
    pub line: u32,
    pub problem: &'static str,
    pub text: String,
}

/// An instruction: the line of the source it was made from (0 without `-lineinfo`) and that of the
/// PTX.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// File name without folders.
    pub file: String,
    pub line: u32,
    /// Where the function of `line` was inlined, if it was: a line of the outermost function.
    pub inlined_at: Option<u32>,
    pub ptx_line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "{}:{}, ", self.file, self.line)?;
        }
        if let Some(at) = self.inlined_at {
            write!(f, "inlined at {at}, ")?;
        }
        write!(f, "PTX line {}", self.ptx_line)
    }
}

/// A launch that went wrong: what, where, and which thread saw it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}: {opcode}: block {block:?}, thread {thread}: {kind}")]
pub struct Fault {
    pub kind: Kind,
    pub place: Place,
    /// The instruction's opcode with its modifiers.
    pub opcode: String,
    pub block: [u32; 3],
    /// Of the block, counted over its dimensions.
    pub thread: u32,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Kind {
    #[error("race: {what} was {} by thread {thread} of block {block} at {place}, with no barrier between", if *.written { "written" } else { "read" })]
    Race { what: String, written: bool, block: u32, thread: u32, place: Box<Place> },
    #[error(
        "in flight: an asynchronous copy to {what} (issued by thread {thread} at {place}) has not been waited for"
    )]
    InFlight { what: String, thread: u32, place: Box<Place> },
    #[error("out of bounds: {what}, {bytes} bytes")]
    OutOfBounds { what: String, bytes: u32 },
    #[error("uninitialised: {what} was never written")]
    Uninitialised { what: String },
    #[error("misaligned: {what}, {bytes} bytes")]
    Misaligned { what: String, bytes: u32 },
    #[error("write to read-only {what}")]
    ReadOnly { what: String },
    #[error("divergent barrier: {detail}")]
    DivergentBarrier { detail: String },
    #[error("deadlock: {detail}")]
    Deadlock { detail: String },
    #[error("warp operation without all of its lanes: {detail}")]
    DivergentWarp { detail: String },
    #[error("copies in flight at the thread's end")]
    CopiesAtExit,
    #[error("trap")]
    Trap,
    #[error("not done after {limit} instructions")]
    Runaway { limit: u64 },
    #[error("cannot launch: {detail}")]
    Launch { detail: String },
    #[error("{detail}")]
    Unsupported { detail: String },
}
