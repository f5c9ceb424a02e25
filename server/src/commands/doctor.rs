//! `lacuna doctor`: what was found, which kernels run, which model, where each setting came from,
//! and whether it works.

use std::io::Write;

use anyhow::Context;
use lacuna_complete::{Outcome, Request};
use lacuna_config::schema::as_written;
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::Cancel;
use lacuna_serving::languages::{Languages, Overview};
use lacuna_serving::models;
use lacuna_text::Document;
use serde::Serialize;
use serde_json::Value;

use crate::Answer;
use crate::commands::model;

/// Check the installation: model, kernels, machine, configuration and a self-test
#[derive(clap::Args)]
pub struct Args {
    /// Model to check [default: the configured one, else the embedded model]
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Serialize)]
struct Checkup {
    version: &'static str,
    kernels: String,
    /// What the model is computed on, and the GPUs that there are.
    device: String,
    machine: String,
    /// Name and what is to be said of it, in the order in which they are printed.
    #[serde(serialize_with = "as_object")]
    model: Vec<(&'static str, String)>,
    languages: Overview,
    attach: String,
    user_file: Option<String>,
    telemetry: Recording,
    settings: Vec<Setting>,
    /// What is wrong with the configuration; none of it is in `settings`.
    problems: Vec<String>,
    /// What the workspace's file may not do and how it could.
    not_trusted: Option<String>,
    self_test: Vec<Tried>,
    /// The self-test passed and the configuration is as it was meant.
    ok: bool,
}

/// Whether what becomes of suggestions is recorded, and where.
#[derive(Serialize)]
struct Recording {
    enabled: bool,
    /// `None`: there is no place for it.
    store: Option<String>,
    /// Of the store as it is; `None`: there is none yet.
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct Setting {
    name: String,
    value: Value,
    origin: String,
}

/// One place of the self-test.
#[derive(Serialize)]
struct Tried {
    file: &'static str,
    /// What stands left of the cursor.
    left: &'static str,
    /// First line of what was suggested.
    suggestion: Option<String>,
    reason: Option<&'static str>,
    ms: f64,
}

fn as_object<S: serde::Serializer>(
    facts: &[(&'static str, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(facts.iter().map(|(name, value)| (name, value)))
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let checkup = examine(args)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&checkup)?)?;
    } else {
        print(&mut out, &checkup)?;
    }
    Ok(if checkup.ok { Answer::Yes } else { Answer::No })
}

fn examine(args: &Args) -> anyhow::Result<Checkup> {
    let row = lacuna_engine::kernel_row().context("LACUNA_ISA")?;
    let withheld = lacuna_engine::withheld().map(|why| format!(" ({why})")).unwrap_or_default();
    let resolved = lacuna_config::resolve_here(args.model.as_deref())?;
    let loaded = models::load_configured(&resolved.config.model)?;
    let completer = loaded.completer(&resolved.config)?;
    let self_test: Vec<Tried> = SELF_TEST.iter().map(|test| try_out(&completer, test)).collect();
    let settings = resolved.origins.iter().map(|(name, (value, origin))| Setting {
        name: name.clone(),
        value: value.clone(),
        origin: origin.to_string(),
    });
    Ok(Checkup {
        version: env!("CARGO_PKG_VERSION"),
        kernels: format!("{row}{withheld}"),
        device: device(&loaded.model.info().device),
        machine: format!("{}, {}", cores(), memory()),
        model: model::facts(&loaded),
        languages: Languages::new(&resolved.config.show, loaded.languages.as_deref()).overview(),
        attach: lacuna_lsp::describe_engine(&resolved.config.model),
        user_file: lacuna_config::user_file().map(|path| path.display().to_string()),
        telemetry: recording(&resolved.config),
        settings: settings.collect(),
        problems: resolved.problems.iter().map(lacuna_config::Problem::told).collect(),
        not_trusted: resolved.untrusted,
        ok: resolved.problems.is_empty()
            && self_test.iter().all(|tried| tried.suggestion.is_some()),
        self_test,
    })
}

/// The device in use, then the GPUs of this machine or why there are none.
fn device(used: &str) -> String {
    let gpus = match lacuna_engine::gpus() {
        Ok(gpus) if gpus.is_empty() => "the NVIDIA driver names no GPU".to_owned(),
        Ok(gpus) => format!("there are {}; model.device chooses one", gpus.join(", ")),
        Err(_) => "no NVIDIA driver".to_owned(),
    };
    format!("{used} ({gpus})")
}

fn recording(config: &lacuna_config::Config) -> Recording {
    let path = config.telemetry.store_path().ok();
    Recording {
        enabled: config.telemetry.enabled,
        bytes: path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map(|meta| meta.len()),
        store: path.map(|path| path.display().to_string()),
    }
}

fn try_out(
    completer: &lacuna_complete::Completer,
    (path, prefix, suffix): &(&'static str, &'static str, &'static str),
) -> Tried {
    let document = Document::new(&format!("{prefix}{suffix}"), 0);
    let language = Language::from_path(std::path::Path::new(path));
    let tree = SyntaxTree::parse(language, document.rope());
    let request = Request::at(path, Some(path), &document, &tree, prefix.len());
    let reply = completer.complete(&request, &Cancel::new());
    let (suggestion, reason) = match &reply.outcome {
        Outcome::Suggest(items) => {
            (Some(items[0].text.lines().next().unwrap_or("").to_owned()), None)
        }
        Outcome::Silence(reason) => (None, Some(reason.code())),
    };
    let left = prefix.lines().last().unwrap_or("").trim_start();
    Tried { file: path, left, suggestion, reason, ms: (reply.ms.total * 10.0).round() / 10.0 }
}

fn print(out: &mut impl Write, checkup: &Checkup) -> std::io::Result<()> {
    writeln!(out, "lacuna       {}", checkup.version)?;
    writeln!(out, "kernels      {}", checkup.kernels)?;
    writeln!(out, "device       {}", checkup.device)?;
    writeln!(out, "machine      {}", checkup.machine)?;
    for (name, value) in &checkup.model {
        writeln!(out, "{name:<12} {value}")?;
    }
    writeln!(out, "languages    {}", checkup.languages)?;
    writeln!(out, "attach       {}", checkup.attach)?;
    writeln!(
        out,
        "user file    {}",
        checkup.user_file.as_deref().unwrap_or("none (~/.config/lacuna/config.toml)")
    )?;
    writeln!(out, "telemetry    {}", told(&checkup.telemetry))?;
    writeln!(out, "settings     (docs/settings.md says what each means)")?;
    for Setting { name, value, origin } in &checkup.settings {
        writeln!(out, "  {name:<26} {:<10} ({origin})", as_written(value))?;
    }
    if let Some(untrusted) = &checkup.not_trusted {
        writeln!(out, "not trusted  {untrusted}")?;
    }
    if !checkup.problems.is_empty() {
        writeln!(out, "problems")?;
        for problem in &checkup.problems {
            writeln!(out, "  {problem}")?;
        }
    }
    writeln!(out, "self-test")?;
    for Tried { file, left, suggestion, reason, ms } in &checkup.self_test {
        let shown = suggestion
            .clone()
            .unwrap_or_else(|| format!("nothing ({})", reason.unwrap_or_default()));
        writeln!(out, "  {file:<8} {left}▏{shown}   {ms:.0} ms")?;
    }
    Ok(())
}

fn told(recording: &Recording) -> String {
    let store = match (&recording.store, recording.bytes) {
        (None, _) => "there is no place for it: set telemetry.dir".to_owned(),
        (Some(path), None) => format!("{path} (nothing there yet)"),
        (Some(path), Some(bytes)) => format!("{path} ({} kB)", bytes.div_ceil(1024)),
    };
    match recording.enabled {
        true => format!(
            "recorded on this machine only: {store}; telemetry.enabled = false switches it off"
        ),
        false => format!("not recorded; what was before: {store}"),
    }
}

/// Three places where any code model has something to say.
const SELF_TEST: [(&str, &str, &str); 3] = [
    ("test.py", "def add(a, b):\n    return ", "\n"),
    ("test.js", "for (let i = 0; i < items.len", "\n}\n"),
    (
        "test.rs",
        "struct Point {\n    x: f64,\n}\n\nimpl Point {\n    fn new(x: f64) -> Sel",
        "\n}\n",
    ),
];

/// Cores that this process may use, and those that it may not.
fn cores() -> String {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    match text.lines().filter(|line| line.starts_with("processor")).count() {
        all if all > usable => format!(
            "{usable} of {all} cores, the others withheld by an affinity mask or a container's limit"
        ),
        _ => format!("{usable} cores"),
    }
}

/// Memory in total and available, from the kernel where it tells.
fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gigabytes = |name: &str| {
        let kb: f64 = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok())?;
        Some(kb / 1e6)
    };
    match (gigabytes("MemTotal:"), gigabytes("MemAvailable:")) {
        (Some(total), Some(free)) => format!("{total:.1} GB of memory, {free:.1} GB free"),
        _ => "memory unknown".to_owned(),
    }
}
