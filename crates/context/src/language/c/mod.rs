//! C and C++.

pub(crate) mod outline;
