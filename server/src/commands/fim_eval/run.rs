//! `lacuna fim-eval run`: completes the examples of sets and scores what comes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use lacuna_engine::Cancel;
use lacuna_eval::compare::{Condition, mode_of};
use lacuna_eval::generate::ContextMode;
use lacuna_eval::ledger::Ledger;
use lacuna_eval::report::{legacy_table, overview};
use lacuna_eval::run::{
    Code, Config, EXAMPLES, Execution, Manifest, Run, SetFile, Stage, select, sha256_of_file,
};
use lacuna_eval::sandbox::{Limits, Sandbox, find_python};
use lacuna_eval::summary::{Latencies, Summary};

use super::generator::{BASELINES, choose};
use super::progress::Stages;
use crate::{Answer, say};

/// Complete the examples of sets and score the completions
#[derive(ClapArgs)]
pub struct Args {
    /// JSON lines, plain, gzipped or zstd: rows of `fim-eval build`, HumanEval-Infilling,
    /// SantaCoder-FIM, CrossCodeEval, SAFIM
    #[arg(required = true, value_name = "SET")]
    sets: Vec<PathBuf>,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M")]
    pub model: Option<String>,
    /// Complete by a server instead: llama-server's address, or one that speaks OpenAI's
    /// /v1/completions
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "order", "heal", "beam", "without", "deadline", "f32"])]
    pub endpoint: Option<String>,
    /// The server's name of the model
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub endpoint_model: Option<String>,
    /// A file with the server's key
    #[arg(long, value_name = "FILE", requires = "endpoint")]
    pub api_key_file: Option<PathBuf>,
    /// For servers that take no suffix: the prompt, with {prefix} and {suffix}
    #[arg(long, value_name = "TEXT", requires = "endpoint")]
    pub fim_template: Option<String>,
    /// Seconds that one answer of the server may take
    #[arg(long, value_name = "S", default_value_t = 120, requires = "endpoint", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub endpoint_timeout: u64,
    /// A sample of about N rows, drawn by --seed from equal stretches of the sets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Of everything that is drawn: sample, temperature, intervals
    #[arg(long, default_value_t = 0, value_name = "S")]
    seed: u64,
    /// Raw completions of an example, for pass@k; more than one needs --temperature
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    samples: u16,
    /// 0: the most likely token each time (in the editor's mode nothing is ever drawn)
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    temperature: f32,
    /// What a prompt may show besides the text around the hole
    #[arg(long, value_enum, default_value = "file")]
    context: ContextFlag,
    /// psm (prefix, suffix, middle) or spm (suffix, prefix, middle) [default: the model's]
    #[arg(long, value_enum)]
    pub order: Option<OrderFlag>,
    /// Token healing on or off, in the editor's mode [default: the model's]
    #[arg(long)]
    pub heal: Option<bool>,
    /// Hypotheses that the editor's mode follows while one line is completed; 1 takes the most
    /// likely token each time [default: the model's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub beam: Option<u8>,
    /// What the editor's mode shall not be told: what a part of it is worth
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST")]
    pub without: Vec<Part>,
    /// Nats of a line for a nat of the text right of the cursor [default: as the model says, 0 with
    /// the embedded one]
    #[arg(long, value_name = "W", value_parser = crate::commands::model::suffix_weight)]
    pub suffix_weight: Option<f32>,
    /// Milliseconds after which the editor's mode answers with what it has, as in an editor; examples
    /// are then completed one by one, and what comes depends on the machine [default: none]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub deadline: Option<u64>,
    /// Run a directory's weights in f32 instead of INT4: what quantisation costs
    #[arg(long)]
    pub f32: bool,
    /// Examples whose raw answers and true middles are computed together; 1 for the latency of a
    /// raw answer
    #[arg(long, default_value_t = 16, value_name = "N", conflicts_with = "endpoint", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub batch: u16,
    /// Most tokens of a raw answer where the hole may be longer than a line
    #[arg(long, default_value_t = 128, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=4096))]
    max_tokens: u16,
    /// Ways of completing, of editor, raw, endpoint, empty, copy-line, close-bracket, ngram
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    modes: Option<Vec<String>>,
    /// Do not run tests: no pass@k
    #[arg(long)]
    no_execution: bool,
    /// Python that runs the tests
    #[arg(long, default_value = "python3", value_name = "P")]
    python: PathBuf,
    /// CPU seconds that one test may take; four times as much on the clock
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    test_seconds: u64,
    /// Examples at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: Option<u8>,
    /// Folder of the run, taken up where it stopped [default: none is kept]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Begin anew what lies in --out
    #[arg(long, requires = "out")]
    fresh: bool,
    /// Do this stage and those after it again; from post-process on with another program or
    /// --no-execution too
    #[arg(long, value_enum, value_name = "STAGE", requires = "out")]
    from: Option<StageFlag>,
    /// Exit with 1 unless this holds, such as "em >= 0.20" or "santacoder-fim:python.em_line >=
    /// 0.1"
    #[arg(long, value_name = "CONDITION")]
    require: Vec<Condition>,
    /// Exit with 1 when the run is worse than this ledger
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Write the ledger instead of comparing with it
    #[arg(long, requires = "ledger")]
    update_ledger: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

/// Evidence beside the model's; see `lacuna_complete::Evidence`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Names that are bound nowhere, blocks that must be opened
    Scope,
    /// The n-grams of the open file
    Ngrams,
    /// The next likely line, where the rules refuse the best one
    Others,
    /// How likely the text right of the cursor is behind a line
    Suffix,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum OrderFlag {
    Psm,
    Spm,
}

#[derive(Clone, Copy, ValueEnum)]
enum ContextFlag {
    /// Nothing: no path either
    None,
    /// The path, and heads and imports of the file
    File,
    /// Also the example's other files
    Cross,
}

#[derive(Clone, Copy, ValueEnum)]
enum StageFlag {
    Select,
    Prompt,
    Generate,
    PostProcess,
    Score,
}

impl From<StageFlag> for Stage {
    fn from(flag: StageFlag) -> Stage {
        match flag {
            StageFlag::Select => Stage::Select,
            StageFlag::Prompt => Stage::Prompt,
            StageFlag::Generate => Stage::Generate,
            StageFlag::PostProcess => Stage::PostProcess,
            StageFlag::Score => Stage::Score,
        }
    }
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    // Read before anything is run: an hour later is late to hear that it is not there.
    let committed =
        args.ledger.as_deref().filter(|_| !args.update_ledger).map(read_ledger).transpose()?;
    let jobs = match (args.deadline, args.jobs) {
        (Some(_), _) => 1,
        (None, Some(jobs)) => usize::from(jobs),
        (None, None) => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut config = config(args)?;
    let chosen = choose(args, &mut config, jobs)?;
    let execution = execution(args, &mut config)?;
    let manifest = Manifest {
        code: code()?,
        judge: None,
        model: chosen.model,
        sets: sets(&args.sets)?,
        config,
    };

    let temporary = if args.out.is_some() {
        None
    } else {
        Some(tempfile::Builder::new().prefix("lacuna-fim-eval-").tempdir()?)
    };
    let folder = match (&args.out, &temporary) {
        (Some(out), _) => out.as_path(),
        (None, Some(temporary)) => temporary.path(),
        (None, None) => unreachable!("one of the two is there"),
    };
    let run = Run::open(folder, manifest, args.fresh, args.from.map(Stage::from))?;

    let cancel = Cancel::new();
    let raise = cancel.clone();
    ctrlc::set_handler(move || raise.cancel())?;
    let stages = Stages::new();
    let generator = chosen.generator.as_deref();
    if !run.file(EXAMPLES).exists() {
        let selection = select(&run, &args.sets)?;
        selection.shown.iter().for_each(|bad| say(&format!("skipped: {bad}")));
        if selection.skipped > selection.shown.len() as u64 {
            say(&format!(
                "skipped: {} rows in all, listed in skipped.txt of --out",
                selection.skipped
            ));
        }
    }
    run.make_prompts(generator, jobs, &cancel, &stages)?;
    run.generate(generator, jobs, &cancel, &stages)?;
    run.post_process(jobs, &cancel, &stages)?;
    let execution = execution.as_ref().map(|(sandbox, python)| Execution { sandbox, python });
    run.score(execution, jobs, &cancel, &stages)?;

    let summary = Summary::of_run(&run)?;
    let latencies = Latencies::of_run(&run)?;
    write(&run.file("summary.json"), &pretty(&summary)?)?;
    print(args, &summary, &latencies)?;
    let mode = mode_of(&run, None).unwrap_or_default();
    let met = conditions(&args.require, &summary, &mode);
    let held = match &args.ledger {
        Some(path) => {
            let new = Ledger::of_run(&run, &mode)?;
            match &committed {
                Some(committed) => no_worse(committed, &new),
                None => write(path, new.to_string().as_bytes()).map(|()| true)?,
            }
        }
        None => true,
    };
    Ok(if met && held { Answer::Yes } else { Answer::No })
}

fn config(args: &Args) -> anyhow::Result<Config> {
    if !(0.0..=10.0).contains(&args.temperature) {
        bail!("--temperature {} is out of range: use 0 to 10", args.temperature);
    }
    if args.samples > 1 && args.temperature == 0.0 {
        bail!(
            "--samples {} without --temperature would be the same text every time: add --temperature 0.8",
            args.samples
        );
    }
    let ours: &[&str] = if args.endpoint.is_some() { &["endpoint"] } else { &["editor", "raw"] };
    let default = || ours.iter().chain(&BASELINES).map(|m| (*m).to_owned()).collect();
    let modes: Vec<String> = args.modes.clone().unwrap_or_else(default);
    for (i, mode) in modes.iter().enumerate() {
        if !["editor", "raw", "endpoint"].iter().chain(&BASELINES).any(|known| known == mode) {
            bail!("--modes: {mode:?} is none of editor, raw, endpoint, {}", BASELINES.join(", "));
        }
        if modes[..i].contains(mode) {
            bail!("--modes: {mode} is named twice");
        }
    }
    Ok(Config {
        modes,
        limit: args.limit,
        seed: args.seed,
        samples: usize::from(args.samples),
        temperature: args.temperature,
        context: match args.context {
            ContextFlag::None => ContextMode::None,
            ContextFlag::File => ContextMode::File,
            ContextFlag::Cross => ContextMode::Cross,
        },
        order: String::new(),
        heal: false,
        beam: 1,
        without: Vec::new(),
        suffix_weight: 0.0,
        deadline_ms: 0,
        prompt_tokens: 0,
        max_tokens: usize::from(args.max_tokens),
        batch: 1,
        line_tokens: usize::from(args.max_tokens).min(64),
        block_tokens: 0,
        min_confidence: 0.0,
        kv_dtype: String::new(),
        languages: None,
        execution: None,
    })
}

/// The sandbox and the interpreter in it; none when nothing shall be run. Looked for at the start:
/// after an hour of generating it is too late to hear that there is no Python. Sets without tests
/// never need it, so for them its absence is no error.
fn execution(args: &Args, config: &mut Config) -> anyhow::Result<Option<(Sandbox, PathBuf)>> {
    let runs = config.modes.iter().any(|m| !BASELINES.contains(&m.as_str()));
    if args.no_execution || !runs || !any_judged(&args.sets)? {
        return Ok(None);
    }
    let python = find_python(&args.python)?;
    config.execution = Some(python.display().to_string());
    let launcher =
        vec![std::env::current_exe()?.into_os_string(), "fim-eval".into(), "confined".into()];
    let cpu = Duration::from_secs(args.test_seconds);
    Ok(Some((
        Sandbox { launcher, limits: Limits { cpu, wall: cpu * 4, ..Limits::default() } },
        python,
    )))
}

/// Whether the sets have a row with a test that we can run: looks until the first one.
fn any_judged(sets: &[PathBuf]) -> anyhow::Result<bool> {
    for path in sets {
        // Bad rows are reported by the select stage.
        if lacuna_eval::format::open(path)?
            .filter_map(Result::ok)
            .any(|example| lacuna_eval::sandbox::judges(&example))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn code() -> anyhow::Result<Code> {
    let binary_sha256 = sha256_of_file(&std::env::current_exe()?)?;
    let isa = lacuna_engine::kernel_row()?.to_owned();
    Ok(Code { version: env!("CARGO_PKG_VERSION").to_owned(), binary_sha256, isa })
}

fn sets(paths: &[PathBuf]) -> anyhow::Result<Vec<SetFile>> {
    let file = |path: &PathBuf| {
        let sha256 =
            sha256_of_file(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(SetFile {
            file: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            sha256,
        })
    };
    paths.iter().map(file).collect()
}

fn print(args: &Args, summary: &Summary, latencies: &Latencies) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if args.json {
        out.write_all(&pretty(&serde_json::json!({"summary": summary, "latency": latencies}))?)?;
        return Ok(());
    }
    if let Some(table) = legacy_table(summary, latencies) {
        writeln!(out, "{table}")?;
    }
    out.write_all(overview(summary, Some(latencies)).as_bytes())?;
    Ok(())
}

pub(super) fn pretty(value: &impl serde::Serialize) -> anyhow::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

/// Writes through a file beside it, so that what was there stays until the new one is whole.
pub(super) fn write(path: &Path, text: &[u8]) -> anyhow::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    std::fs::write(&name, text)
        .and_then(|()| std::fs::rename(&name, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Says which conditions do not hold; whether all do.
pub(super) fn conditions(all: &[Condition], summary: &Summary, mode: &str) -> bool {
    let mut met = true;
    for condition in all {
        match condition.check(&summary.sets, mode) {
            Some((_, true)) => {}
            Some((value, false)) => {
                say(&format!("not met: {condition}: it is {value:.4} ({mode})"));
                met = false;
            }
            None => {
                say(&format!("not met: {condition}: the run has no such value ({mode})"));
                met = false;
            }
        }
    }
    met
}

fn read_ledger(path: &Path) -> anyhow::Result<Ledger> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("ledger {}: write it with --update-ledger", path.display()))?;
    Ledger::parse(&text).with_context(|| format!("{}", path.display()))
}

/// Says what changed against the ledger; whether the run is no worse.
fn no_worse(old: &Ledger, new: &Ledger) -> bool {
    let change = old.change(new);
    let drop = change.is_drop();
    say(&format!(
        "ledger: {} → {} hits, edit similarity {:.3} → {:.3}{}",
        change.hits.0,
        change.hits.1,
        change.similarity.0,
        change.similarity.1,
        if drop { ": worse" } else { "" }
    ));
    change.lost.iter().for_each(|name| say(&format!("lost: {name}")));
    change.gained.iter().for_each(|name| say(&format!("gained: {name}")));
    if change.others > 0 {
        say(&format!(
            "{} examples are only in the ledger or only in the run: write it anew with --update-ledger",
            change.others
        ));
    }
    !drop
}
