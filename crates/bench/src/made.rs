//! Models that are made for a benchmark and kept between runs, by other commands of this binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use lacuna_model::PACKED_SUFFIX;
use lacuna_model::synth::{SHAPES, shape};

/// The Q4_0 file of a directory with this encoding of the vocabulary projection.
pub fn gguf_file(dir: &Path, head: &str) -> PathBuf {
    beside(dir, &format!("-q4_0-head-{head}.gguf"))
}

/// As [`gguf_file`]; made when it is not there.
pub fn gguf(dir: &Path, head: &str) -> anyhow::Result<PathBuf> {
    let file = gguf_file(dir, head);
    if !file.is_file() {
        ourselves(&[
            "model".as_ref(),
            "convert".as_ref(),
            dir.as_os_str(),
            "--to".as_ref(),
            "gguf".as_ref(),
            "--type".as_ref(),
            "q4_0".as_ref(),
            "--head".as_ref(),
            head.as_ref(),
            "-o".as_ref(),
            file.as_os_str(),
        ])?;
    }
    Ok(file)
}

/// `DIR` and more as one name.
fn beside(dir: &Path, more: &str) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}

/// The directory with the random weights of a shape.
pub fn made(like: &str, cache: &Path) -> anyhow::Result<PathBuf> {
    if shape(like).is_none() {
        let names: Vec<&str> = SHAPES.iter().map(|s| s.name).collect();
        bail!("--like {like}: no such shape; use one of {}", names.join(", "));
    }
    let dir = cache.join(like);
    if !dir.join("config.json").is_file() {
        std::fs::create_dir_all(cache)
            .with_context(|| format!("--cache {} cannot be created", cache.display()))?;
        ourselves(&[
            "model".as_ref(),
            "synth".as_ref(),
            "--like".as_ref(),
            like.as_ref(),
            "-o".as_ref(),
            dir.as_os_str(),
        ])?;
    }
    Ok(dir)
}

/// The INT4 file of the same weights: quantised once, not at every run.
pub fn packed(dir: &Path) -> anyhow::Result<PathBuf> {
    let folder = beside(dir, "-int4");
    let file = folder.join(format!("model{PACKED_SUFFIX}"));
    if !file.is_file() {
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("{} cannot be created", folder.display()))?;
        ourselves(&[
            "model".as_ref(),
            "pack".as_ref(),
            dir.as_os_str(),
            "-o".as_ref(),
            file.as_os_str(),
        ])?;
    }
    Ok(file)
}

/// Runs another command of this binary.
fn ourselves(args: &[&std::ffi::OsStr]) -> anyhow::Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        let shown: Vec<_> = args.iter().map(|a| a.to_string_lossy()).collect();
        bail!("lacuna {} failed; its message is above", shown.join(" "));
    }
    Ok(())
}
