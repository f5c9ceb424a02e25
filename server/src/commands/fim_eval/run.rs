//! `lacuna fim-eval run`: completes the examples of sets and scores what comes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
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
use lacuna_serving::write_file;

use super::args::{Args, BASELINES, ContextFlag};
use super::generator::choose;
use super::progress::Stages;
use crate::{Answer, say};

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
    let sets = sets(&args.sets)?;
    let chosen = choose(args, &mut config, jobs)?;
    let execution = execution(args, &mut config)?;
    let manifest = Manifest { code: code()?, judge: None, model: chosen.model, sets, config };

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
    write_file(&run.file("summary.json"), &pretty(&summary)?)?;
    print(args, &summary, &latencies)?;
    let mode = mode_of(&run, None).unwrap_or_default();
    let met = conditions(&args.require, &summary, &mode);
    let held = match &args.ledger {
        Some(path) => {
            let new = Ledger::of_run(&run, &mode)?;
            match &committed {
                Some(committed) => no_worse(committed, &new),
                None => write_file(path, new.to_string().as_bytes()).map(|()| true)?,
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
    paths.iter().map(|path| set(path)).collect()
}

fn set(path: &Path) -> anyhow::Result<SetFile> {
    let name = || format!("cannot read {}", path.display());
    if !path.metadata().with_context(name)?.is_file() {
        bail!("{} is not a regular file: a set is read more than once", path.display());
    }
    let sha256 = sha256_of_file(path).with_context(name)?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(SetFile { file, sha256 })
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
