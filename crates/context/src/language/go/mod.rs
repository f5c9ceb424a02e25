//! Go.

pub(crate) mod names;
pub(crate) mod outline;
