//! `lacuna fim-eval build`: sets from patches, commits and syntax trees; other formats in and out.

mod convert;
mod output;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args as ClapArgs, Subcommand};
use lacuna_context::{Language, SpanKind};
use lacuna_eval::build::{
    self as sets, AstOptions, CommitOptions, ContextLimits, Fetch, HoleLimits, SweBenchOptions,
};
use lacuna_eval::table::Table;

use crate::Answer;
use output::Output;

/// Build a set of examples, or convert one
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    SweBench(SweBenchArgs),
    Commits(CommitArgs),
    Ast(AstArgs),
    Import(convert::ImportArgs),
    Export(convert::ExportArgs),
}

/// The blocks that gold patches of SWE-bench instances add, with the files that theirs import
#[derive(ClapArgs)]
struct SweBenchArgs {
    /// Instances of SWE-bench, Lite, Verified, Multimodal or Multi-SWE-bench: JSON lines (plain,
    /// gzip, zstd) or Parquet
    #[arg(long, value_name = "FILE")]
    instances: PathBuf,
    /// Folder of clones, bare or not, named owner/name, owner__name or name, each with or without
    /// .git
    #[arg(long, value_name = "DIR")]
    repos: PathBuf,
    /// Clone missing repositories and fetch missing commits from here; without this flag nothing
    /// uses the network
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = "https://github.com")]
    fetch: Option<String>,
    #[command(flatten)]
    holes: HoleArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// The blocks that recent commits of a repository added, one row each
#[derive(ClapArgs)]
struct CommitArgs {
    /// A clone, bare or not
    #[arg(long, value_name = "DIR")]
    repo: PathBuf,
    /// Only commits from this day on (YYYY-MM-DD, UTC)
    #[arg(long, value_name = "DATE", value_parser = date)]
    since: String,
    /// Where to start
    #[arg(long, default_value = "HEAD", value_name = "REV")]
    revision: String,
    /// Name of the repository in the rows, as owner/name [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    holes: HoleArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

/// Nodes of the syntax trees of source files: calls, argument lists, blocks, conditions, loop
/// bodies, imports, types
#[derive(ClapArgs)]
struct AstArgs {
    /// Folder of sources
    #[arg(long, value_name = "DIR")]
    src: PathBuf,
    /// Kinds of nodes
    #[arg(long, value_delimiter = ',', value_name = "KIND,…", value_parser = kind,
          default_value = "call,argument_list,block,condition,loop_body,import,type")]
    kinds: Vec<SpanKind>,
    /// Nodes of a kind that one file gives at most
    #[arg(long, default_value_t = 2, value_name = "N")]
    per_file: usize,
    /// Which nodes are taken
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    /// SPDX identifier of the sources' licence [default: what the folder's licence file is]
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
    /// Name of the origin in ids [default: the folder's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    holes: HoleArgs,
    #[command(flatten)]
    output: output::OutputArgs,
}

#[derive(ClapArgs)]
struct HoleArgs {
    /// Shortest middle, in lines [default: 2; for ast 1]
    #[arg(long, value_name = "N")]
    min_lines: Option<usize>,
    /// Longest middle, in lines
    #[arg(long, value_name = "N")]
    max_lines: Option<usize>,
    /// Only this language; can be repeated [default: all with a grammar]
    #[arg(long, value_name = "LANG", value_parser = language)]
    lang: Vec<Language>,
    /// Imported files that come with a row, at most
    #[arg(long, default_value_t = ContextLimits::default().files, value_name = "N")]
    context_files: usize,
    /// Bytes of one such file; longer ones are cut at a line
    #[arg(long, default_value_t = ContextLimits::default().bytes, value_name = "N")]
    context_bytes: usize,
}

impl HoleArgs {
    /// `shortest` is the least number of lines unless the user says otherwise.
    fn limits(&self, shortest: usize) -> anyhow::Result<HoleLimits> {
        let min_lines = self.min_lines.unwrap_or(shortest);
        let max_lines = self.max_lines.unwrap_or(usize::MAX);
        if min_lines == 0 || min_lines > max_lines {
            bail!(
                "--min-lines {min_lines} and --max-lines {max_lines} leave nothing: give 1 or more, and no more than the maximum"
            );
        }
        let context = ContextLimits { files: self.context_files, bytes: self.context_bytes };
        Ok(HoleLimits { min_lines, max_lines, languages: self.lang.clone(), context })
    }
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    match &args.command {
        Command::SweBench(args) => swe_bench(args),
        Command::Commits(args) => commits(args),
        Command::Ast(args) => ast(args),
        Command::Import(args) => convert::import(args),
        Command::Export(args) => convert::export(args),
    }
}

fn swe_bench(args: &SweBenchArgs) -> anyhow::Result<Answer> {
    if !args.repos.is_dir() {
        bail!(
            "--repos {} is no folder: give the folder that holds the clones",
            args.repos.display()
        );
    }
    let fetch = args.fetch.clone().map_or(Fetch::Never, Fetch::From);
    let options = SweBenchOptions { repos: &args.repos, fetch, limits: args.holes.limits(2)? };
    let instances = Table::open(&args.instances)?;
    Output::build(&args.output, "instances", |report, cancel, sink| {
        sets::swe_bench(instances, &options, report, cancel, sink)
    })
}

fn commits(args: &CommitArgs) -> anyhow::Result<Answer> {
    let name = name(args.name.as_deref(), &args.repo)?;
    let limits = args.holes.limits(2)?;
    let options = CommitOptions {
        repo: &args.repo,
        since: &args.since,
        name: &name,
        revision: &args.revision,
        limits,
    };
    Output::build(&args.output, "commits", |report, cancel, sink| {
        sets::commits(&options, report, cancel, sink)
    })
}

fn ast(args: &AstArgs) -> anyhow::Result<Answer> {
    let options = AstOptions {
        src: &args.src,
        name: &name(args.name.as_deref(), &args.src)?,
        kinds: args.kinds.clone(),
        per_file: args.per_file,
        seed: args.seed,
        license: args.license.clone(),
        limits: args.holes.limits(1)?,
    };
    Output::build(&args.output, "files", |report, cancel, sink| {
        sets::ast(&options, report, cancel, sink)
    })
}

/// The given name, or that of a folder; `.git` says nothing.
fn name(given: Option<&str>, folder: &Path) -> anyhow::Result<String> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    let folder = folder
        .canonicalize()
        .map_err(|e| anyhow::anyhow!("cannot read {}: {e}", folder.display()))?;
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(&name);
    if name.is_empty() {
        bail!("{} has no name that ids could carry: give --name", folder.display());
    }
    Ok(name.to_owned())
}

fn date(text: &str) -> Result<String, String> {
    if sets::is_date(text) {
        Ok(text.to_owned())
    } else {
        Err("a date is written YYYY-MM-DD".to_owned())
    }
}

fn language(text: &str) -> Result<Language, String> {
    let known = || {
        Language::ALL
            .into_iter()
            .filter(|l| *l != Language::Text)
            .map(Language::name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    Language::from_name(text)
        .filter(|l| *l != Language::Text)
        .ok_or_else(|| format!("known are {}", known()))
}

fn kind(text: &str) -> Result<SpanKind, String> {
    SpanKind::from_name(text)
        .ok_or_else(|| format!("known are {}", SpanKind::ALL.map(SpanKind::name).join(", ")))
}
