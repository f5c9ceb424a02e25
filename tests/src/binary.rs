//! Where the source tree lies, and the `lacuna` binary built from it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The `lacuna` binary, in the profile of the running test, built once per process.
///
/// A test cannot ask cargo for another package's binary, so that it is built here: the outer cargo
/// has given its lock back by now, and when the binary is fresh this costs a fraction of a second.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build)
}

fn build() -> PathBuf {
    let exe = std::env::current_exe().expect("the test knows where it is");
    let mut dir = exe.parent().expect("a file has a folder");
    if dir.file_name().is_some_and(|n| n == "deps") {
        dir = dir.parent().expect("`deps` lies in a profile's folder");
    }
    let profile = match dir.file_name().and_then(|n| n.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = dir.parent().expect("a profile's folder lies in the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--package", "lacuna", "--profile", profile, "--target-dir"])
        .arg(target);
    // What cargo says about the package under test is no news to the build of another one.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
    }
    let status = cargo.current_dir(workspace()).status().expect("cargo runs");
    assert!(status.success(), "cargo build -p lacuna failed: {status}");
    let binary = dir.join(format!("lacuna{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.is_file(), "{} was not built", binary.display());
    binary
}
