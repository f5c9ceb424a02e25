//! `lacuna doctor`: what was found, which kernels run, which model, where each setting came from, and whether it works.

use std::io::Write;

use anyhow::Context;
use lacuna_complete::{Outcome, Request};
use lacuna_context::{Language, SyntaxTree};
use lacuna_engine::Cancel;
use lacuna_text::Document;

use crate::{Answer, commands::model, config, lsp, models};

/// Check the installation: model, kernels, machine, configuration and a self-test
#[derive(clap::Args)]
pub struct Args {
    /// Model to check [default: the configured one, else the embedded model]
    #[arg(long, value_name = "M")]
    model: Option<String>,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "lacuna       {}", env!("CARGO_PKG_VERSION"))?;
    let row = lacuna_engine::kernel_row().context("LACUNA_ISA")?;
    let withheld = lacuna_engine::withheld().map(|why| format!(" ({why})")).unwrap_or_default();
    writeln!(out, "kernels      {row}{withheld}")?;
    writeln!(out, "machine      {}, {}", cores(), memory())?;

    let here = std::env::current_dir()?;
    let resolved = config::resolve(config::Near::Inside(&here), None, args.model.as_deref())?;
    let loaded = models::load(&resolved.config.model.path)?;
    for (name, value) in model::facts(&loaded) {
        writeln!(out, "{name:<12} {value}")?;
    }
    writeln!(out, "attach       {}", lsp::describe_engine(&resolved.config.model.path))?;
    match config::user_file() {
        Some(path) => writeln!(out, "user file    {}", path.display())?,
        None => writeln!(out, "user file    none (~/.config/lacuna/config.toml)")?,
    }
    if let Some(untrusted) = &resolved.untrusted {
        writeln!(out, "not trusted  {untrusted}")?;
    }
    writeln!(out, "settings")?;
    for (name, (value, origin)) in &resolved.origins {
        writeln!(out, "  {name:<24} {:<10} ({origin})", value.to_string())?;
    }

    let completer = loaded.completer(&resolved.config)?;
    writeln!(out, "self-test")?;
    let mut ok = true;
    for (path, prefix, suffix) in SELF_TEST {
        let document = Document::new(&format!("{prefix}{suffix}"), 0);
        let language = Language::from_path(std::path::Path::new(path));
        let tree = SyntaxTree::parse(language, document.rope());
        let request = Request {
            key: path,
            path: Some(path),
            language,
            document: &document,
            tree: &tree,
            cursor: prefix.len(),
            excerpts: &[],
            n: 1,
            explain: false,
        };
        let reply = completer.complete(&request, &Cancel::new());
        let shown = match &reply.outcome {
            Outcome::Suggest(items) => items[0].text.lines().next().unwrap_or("").to_owned(),
            Outcome::Silence(reason) => {
                ok = false;
                format!("nothing ({})", reason.code())
            }
        };
        let line = prefix.lines().last().unwrap_or("").trim_start();
        writeln!(out, "  {path:<8} {line}▏{shown}   {:.0} ms", reply.ms.total)?;
    }
    Ok(if ok { Answer::Yes } else { Answer::No })
}

/// Three places where any code model has something to say.
const SELF_TEST: [(&str, &str, &str); 3] = [
    ("test.py", "def add(a, b):\n    return ", "\n"),
    ("test.js", "for (let i = 0; i < items.len", "\n}\n"),
    ("test.rs", "struct Point {\n    x: f64,\n}\n\nimpl Point {\n    fn new(x: f64) -> Sel", "\n}\n"),
];

/// Cores that this process may use, and those that it may not.
fn cores() -> String {
    let usable = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    match text.lines().filter(|line| line.starts_with("processor")).count() {
        all if all > usable => format!("{usable} of {all} cores, the others withheld by an affinity mask or a container's limit"),
        _ => format!("{usable} cores"),
    }
}

/// Memory in total and available, from the kernel where it tells.
fn memory() -> String {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let gigabytes = |name: &str| {
        let kb: f64 = text.lines().find_map(|l| l.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok())?;
        Some(kb / 1e6)
    };
    match (gigabytes("MemTotal:"), gigabytes("MemAvailable:")) {
        (Some(total), Some(free)) => format!("{total:.1} GB of memory, {free:.1} GB free"),
        _ => "memory unknown".to_owned(),
    }
}
