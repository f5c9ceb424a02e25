//! `lacuna fim-eval run`: scores with the completer that serves editors.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args as ClapArgs;
use indicatif::{ProgressBar, ProgressStyle};
use lacuna_engine::{Cancel, Precision};
use lacuna_eval::example::ReadError;
use lacuna_eval::{Score, Summary, format, run as run_examples, summarise};

use crate::{Answer, config, models, say};

/// Single-line infilling: exact match of the first line, greedy, beside two baselines without a model
#[derive(ClapArgs)]
pub struct Args {
    /// JSON lines, plain, gzipped or zstd: rows of `fim-eval build` or of bigcode/santacoder-fim-task
    set: PathBuf,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Only every (rows / N)-th row, about N in all
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Threads
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// psm (prefix, suffix, middle) or spm (suffix, prefix, middle) [default: the model's]
    #[arg(long, value_enum)]
    order: Option<Order>,
    /// Token healing on or off [default: the model's]
    #[arg(long)]
    heal: Option<bool>,
    /// Run a directory's weights in f32 instead of INT4: what quantisation costs
    #[arg(long)]
    f32: bool,
    /// Write one JSON line an example to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 1 if Python's exact match is below this share (0-1)
    #[arg(long, value_name = "SHARE")]
    require_python: Option<f64>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Order {
    Psm,
    Spm,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let mut examples = Vec::new();
    let mut skipped = 0;
    for example in format::open(&args.set)? {
        match example {
            Ok(example) => examples.push(example),
            Err(ReadError::Row(row)) => {
                say(&format!("skipped: {row}"));
                skipped += 1;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if examples.is_empty() {
        bail!(
            "{} has no usable rows ({skipped} skipped): give rows of `fim-eval build` or of bigcode/santacoder-fim-task",
            args.set.display()
        );
    }
    if let Some(limit) = args.limit.filter(|&n| n > 0 && n < examples.len()) {
        let step = examples.len() as f64 / limit as f64;
        examples = (0..limit).map(|i| examples[(i as f64 * step) as usize].clone()).collect();
    }
    let here = std::env::current_dir()?;
    let resolved = config::resolve(&here, None, args.model.as_deref())?;
    let precision = if args.f32 { Precision::F32 } else { Precision::Int4 };
    let loaded = models::load_as(&resolved.config.model.path, precision)?;
    let mut settings = resolved.config;
    settings.latency.deadline_ms = 0;
    match args.order {
        Some(Order::Psm) => settings.model.order = config::OrderSetting::Psm,
        Some(Order::Spm) => settings.model.order = config::OrderSetting::Spm,
        None => {}
    }
    settings.model.heal = args.heal.or(settings.model.heal);
    let completer = loaded.completer(&settings)?;

    let bar = ProgressBar::new(examples.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} eta {eta}")?);
    let cancel = Cancel::new();
    let raise = cancel.clone();
    ctrlc::set_handler(move || raise.cancel())?;
    let scored = run_examples(&completer, &examples, usize::from(args.jobs), &cancel, &|n| bar.set_position(n as u64));
    bar.finish_and_clear();
    if cancel.is_cancelled() {
        bail!("interrupted after {} of {} examples", scored.len(), examples.len());
    }

    if let Some(path) = &args.out {
        let mut text = String::new();
        for s in &scored {
            let row = serde_json::json!({"id": s.id, "language": s.language, "hit": s.hit, "edit_similarity": s.edit_similarity,
                "silence": s.silence, "middle": s.middle, "prediction": s.prediction});
            text.push_str(&format!("{row}\n"));
        }
        let unfinished = path.with_extension("unfinished");
        std::fs::write(&unfinished, text)?;
        std::fs::rename(&unfinished, path)?;
    }
    let summaries = summarise(&scored);
    let mut out = std::io::stdout().lock();
    print(&mut out, &loaded.name, &summaries)?;
    let python = summaries.iter().find(|s| s.language.eq_ignore_ascii_case("python"));
    let share = python.map_or(0.0, |s| s.all.percent(s.all.hits) / 100.0);
    Ok(if args.require_python.is_some_and(|least| share < least) { Answer::No } else { Answer::Yes })
}

fn print(out: &mut impl Write, model: &str, summaries: &[Summary]) -> std::io::Result<()> {
    writeln!(out, "model: {model}; exact match of the first line, greedy; edit similarity beside it")?;
    writeln!(out, "| language | rows | n | model | edit similarity | copy similar line | close bracket |")?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for s in summaries {
        for (name, score) in [("all", &s.all), ("code", &s.code), ("brackets only", &s.brackets)] {
            row(out, &s.language, name, score)?;
        }
    }
    for s in summaries {
        writeln!(out, "{}: {} silences; p50 {:.0} ms, p95 {:.0} ms, cold", s.language, s.silences, s.p50_ms, s.p95_ms)?;
    }
    Ok(())
}

fn row(out: &mut impl Write, language: &str, name: &str, score: &Score) -> std::io::Result<()> {
    if score.n == 0 {
        return Ok(());
    }
    let [model, copy, bracket] = [score.hits, score.copy_hits, score.bracket_hits].map(|hits| score.percent(hits));
    let similarity = score.edit_similarity_sum / score.n as f64;
    writeln!(out, "| {language} | {name} | {} | {model:.1} % | {similarity:.3} | {copy:.1} % | {bracket:.1} % |", score.n)
}
