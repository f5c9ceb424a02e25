//! The Python interpreter that runs tests.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SandboxError;

/// The interpreter behind `python` (a name on the path or a path): version managers put shell
/// scripts in front of it, which could not start another process in the sandbox. This one call is
/// not confined; it runs no code but ours.
///
/// Errors: there is none, or it is too old.
pub fn find_python(python: &Path) -> Result<PathBuf, SandboxError> {
    let missing = || SandboxError::NoPython(python.to_owned());
    let ask = "import sys; sys.stdout.write('%d.%d %s' % (sys.version_info[0], sys.version_info[1], sys.executable))";
    let output = Command::new(python)
        .args(["-I", "-c", ask])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|_| missing())?;
    let text = String::from_utf8(output.stdout).map_err(|_| missing())?;
    let (version, path) =
        text.split_once(' ').filter(|_| output.status.success()).ok_or_else(missing)?;
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if parts < vec![3, 8] {
        return Err(SandboxError::OldPython {
            path: python.to_owned(),
            version: version.to_owned(),
        });
    }
    if path.is_empty() { Err(missing()) } else { Ok(PathBuf::from(path)) }
}

/// Command line that runs a script (`FILE` or `-c CODE`): no environment, no user's or site's
/// packages, no byte code written.
pub(super) fn command_line(python: &Path, script: &[&str]) -> Vec<OsString> {
    let options = ["-I", "-S", "-B"].iter().chain(script).map(OsString::from);
    std::iter::once(python.as_os_str().to_owned()).chain(options).collect()
}
