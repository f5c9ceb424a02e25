//! Where there is no seccomp there is no sandbox.

use std::convert::Infallible;
use std::ffi::OsString;

use super::{Limits, SandboxError};

/// Always an error here; see the Linux side.
pub fn confine_and_exec(
    _limits: &Limits,
    _program: &[OsString],
) -> Result<Infallible, SandboxError> {
    Err(SandboxError::NotLinux)
}
