//! `lacuna bench prepack`: many prompts of mixed length, one after another, packed into ragged batches, and padded to equal length.
//!
//! Prompts are those that completion builds for the examples of a set; each is continued greedily by the same number of tokens. The
//! three ways take turns batch by batch. What they generate is compared, so that a speed without the results cannot be shown.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use lacuna_engine::{Cancel, Generation, KvCache, PackedRequest, PromptError, Sampling, generate, generate_packed, kernel_row};
use lacuna_eval::{Example, format};
use lacuna_prompt::{Input, Options, build};

use super::machine::Machine;
use super::timing::Spread;
use super::{note, write};
use crate::models::{self, Loaded};
use crate::say;

/// Batched evaluation of mixed-length prompts beside one by one and beside padding
#[derive(ClapArgs)]
pub struct Args {
    /// Sets in any format that `fim-eval` reads; prompts are taken from each in equal parts
    #[arg(required = true, value_name = "SET")]
    sets: Vec<PathBuf>,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M", default_value = "")]
    model: String,
    /// Prompts in all
    #[arg(long, default_value_t = 192, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Prompts of a batch
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: u16,
    /// Tokens generated after each prompt
    #[arg(long, default_value_t = 24, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    tokens: u16,
    /// Longest prompt, in tokens
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u16).range(16..=16_384))]
    budget: u16,
    /// How often everything is measured
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    rounds: u8,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Write the table to this file instead of printing it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Ways to evaluate a batch.
const WAYS: [Way; 3] = [Way::OneByOne, Way::Padded, Way::Packed];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    OneByOne,
    Padded,
    Packed,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::OneByOne => "one by one",
            Way::Padded => "batch, padded to its longest prompt",
            Way::Packed => "batch, packed",
        }
    }
}

/// Seconds of one way in one round.
#[derive(Clone, Copy, Default)]
struct Seconds {
    prefill: f64,
    decode: f64,
}

/// What was measured.
struct Measured {
    /// A row a way, a value a round.
    seconds: [Vec<Seconds>; WAYS.len()],
    /// Prompts whose packed continuation has the ids of the one made alone.
    equal: usize,
    /// Tokens that padding added.
    padding: usize,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    lacuna_engine::set_threads(args.threads.unwrap_or(0));
    let loaded = models::load(&args.model)?;
    let positions = loaded.model.config().max_positions;
    if usize::from(args.budget) + usize::from(args.tokens) > positions {
        bail!("--budget {} and --tokens {} exceed the model's {positions} positions: lower one", args.budget, args.tokens);
    }
    let prompts = prompts(args, &loaded)?;
    let measured = measure(args, &loaded, &prompts)?;
    let text = table(args, &loaded, &prompts, &measured);
    match &args.output {
        Some(path) => write(path, &text),
        None => {
            use std::io::Write as _;
            Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
        }
    }
}

/// Token ids of the prompts, taken evenly from each set and in turn, so that a batch holds all lengths.
fn prompts(args: &Args, loaded: &Loaded) -> anyhow::Result<Vec<Vec<u32>>> {
    let share = (args.limit as usize).div_ceil(args.sets.len());
    let mut of_sets = Vec::new();
    for path in &args.sets {
        let mut examples: Vec<Example> = Vec::new();
        for example in format::open(path)? {
            match example {
                Ok(example) => examples.push(example),
                Err(lacuna_eval::example::ReadError::Row(bad)) => say(&format!("skipped: {bad}")),
                Err(error) => return Err(error.into()),
            }
        }
        let n = examples.len().min(share);
        if n == 0 {
            bail!("{} has no usable rows", path.display());
        }
        let chosen = (0..n).map(|i| &examples[i * examples.len() / n]);
        of_sets.push(chosen.map(|e| prompt(args, loaded, e)).collect::<Vec<_>>());
    }
    let longest = of_sets.iter().map(Vec::len).max().unwrap_or(0);
    let mut mixed: Vec<Vec<u32>> = (0..longest).flat_map(|i| of_sets.iter().filter_map(move |set| set.get(i).cloned())).collect();
    mixed.truncate(args.limit as usize);
    Ok(mixed)
}

fn prompt(args: &Args, loaded: &Loaded, example: &Example) -> Vec<u32> {
    let input = Input { path: example.path.as_deref(), excerpts: &[], prefix: &example.prefix, suffix: &example.suffix };
    let options = Options { order: loaded.sentinels.order, budget: usize::from(args.budget), heal: false, seam: false, ahead: 0 };
    build(&loaded.tokenizer, &loaded.sentinels, &input, &options).ids
}

fn measure(args: &Args, loaded: &Loaded, prompts: &[Vec<u32>]) -> anyhow::Result<Measured> {
    let mut measured = Measured { seconds: Default::default(), equal: 0, padding: 0 };
    for round in 0..=args.rounds {
        let mut sums = [Seconds::default(); WAYS.len()];
        // The first round grows buffers, wakes threads and compares; its times are dropped.
        for batch in prompts.chunks(usize::from(args.batch)) {
            let mut alone = Vec::new();
            for (way, sum) in WAYS.into_iter().zip(&mut sums) {
                let generations = evaluate(args, loaded, batch, way).context("the engine on a prompt of the set")?;
                // A batch's times are those of the whole, on each of its members.
                let members = if way == Way::OneByOne { &generations[..] } else { &generations[..1] };
                let total = |of: fn(&Generation) -> Duration| members.iter().map(|g| of(g).as_secs_f64()).sum::<f64>();
                sum.prefill += total(|g| g.times.prefill);
                sum.decode += total(|g| g.times.decode);
                match way {
                    Way::OneByOne => alone = generations,
                    Way::Packed if round == 0 => {
                        measured.equal += alone.iter().zip(&generations).filter(|(a, b)| a.ids == b.ids).count();
                    }
                    _ => {}
                }
            }
            if round == 0 {
                let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
                measured.padding += batch.iter().map(|p| longest - p.len()).sum::<usize>();
            }
        }
        if round > 0 {
            note(&format!("round {round} of {}", args.rounds));
            measured.seconds.iter_mut().zip(sums).for_each(|(of_way, sum)| of_way.push(sum));
        }
    }
    Ok(measured)
}

/// Continues every prompt of a batch with cold caches.
fn evaluate(args: &Args, loaded: &Loaded, batch: &[Vec<u32>], way: Way) -> Result<Vec<Generation>, PromptError> {
    let model = &*loaded.model;
    // No stop token: every way has the same work.
    let sampling = Sampling { max_tokens: usize::from(args.tokens), ..Sampling::default() };
    let capacity = usize::from(args.budget) + usize::from(args.tokens);
    let cancel = Cancel::new();
    if way == Way::OneByOne {
        let alone = |prompt: &Vec<u32>| {
            let mut kv = KvCache::new(model, capacity);
            generate(model, &mut kv, prompt, &sampling, None, &cancel, &mut |_| ControlFlow::Continue(()))
        };
        return batch.iter().map(alone).collect();
    }
    let longest = batch.iter().map(Vec::len).max().unwrap_or(0);
    // Padding stands before a prompt, as batched decoding needs it; which token it is does not change the time.
    let padded = |prompt: &Vec<u32>| [vec![0; longest - prompt.len()], prompt.clone()].concat();
    let ids: Vec<Vec<u32>> = batch.iter().map(|p| if way == Way::Padded { padded(p) } else { p.clone() }).collect();
    let mut requests: Vec<PackedRequest> = ids.iter().map(|prompt| PackedRequest { prompt, constraint: None }).collect();
    let mut caches: Vec<KvCache> = ids.iter().map(|_| KvCache::new(model, capacity)).collect();
    let mut caches: Vec<&mut KvCache> = caches.iter_mut().collect();
    generate_packed(model, &mut caches, &mut requests, &sampling, &cancel, &mut |_, _| ControlFlow::Continue(()))
}

/// The record as Markdown.
fn table(args: &Args, loaded: &Loaded, prompts: &[Vec<u32>], measured: &Measured) -> String {
    let mut lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
    lengths.sort_unstable();
    let tokens: usize = lengths.iter().sum();
    let generated = prompts.len() * usize::from(args.tokens);
    let sets: Vec<String> = args.sets.iter().map(|p| Path::file_name(p).unwrap_or_default().to_string_lossy().into_owned()).collect();
    let mut text = String::new();
    let _ = writeln!(text, "{}; row {}", Machine::here().line(lacuna_engine::threads()), kernel_row().unwrap_or("unknown"));
    let _ = writeln!(
        text,
        "\nModel {}; {} prompts from {} ({} to {} tokens, median {}, {tokens} in all), {} tokens generated after each, batches of {}; padding adds {} tokens. \
         Medians of {} rounds [range].\n",
        loaded.name,
        prompts.len(),
        sets.join(", "),
        lengths.first().unwrap_or(&0),
        lengths.last().unwrap_or(&0),
        lengths[lengths.len() / 2],
        args.tokens,
        args.batch,
        measured.padding,
        args.rounds,
    );
    let _ = writeln!(text, "| way | prefill, s | decode, s | all, s | prompt tokens/s | generated tokens/s | against one by one |");
    let _ = writeln!(text, "|---|---|---|---|---|---|---|");
    let all = |seconds: &[Seconds]| Spread::of(&seconds.iter().map(|s| s.prefill + s.decode).collect::<Vec<_>>());
    let base = all(&measured.seconds[0]).median;
    for (way, seconds) in WAYS.into_iter().zip(&measured.seconds) {
        let prefill = Spread::of(&seconds.iter().map(|s| s.prefill).collect::<Vec<_>>());
        let decode = Spread::of(&seconds.iter().map(|s| s.decode).collect::<Vec<_>>());
        let all = all(seconds);
        let shown = |s: &Spread| format!("{:.2} [{:.2}–{:.2}]", s.median, s.least, s.most);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.0} | {:.0} | {:.2} × |",
            way.name(),
            shown(&prefill),
            shown(&decode),
            shown(&all),
            tokens as f64 / prefill.median,
            generated as f64 / decode.median,
            base / all.median,
        );
    }
    let _ = writeln!(
        text,
        "\nPacked, {} of {} greedy continuations have the very ids of those made one by one.",
        measured.equal,
        prompts.len()
    );
    text
}
