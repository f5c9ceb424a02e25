//! JavaScript and TypeScript, JSX included.

pub(crate) mod names;
pub(crate) mod outline;
