//! `lacuna bench prepack`: many prompts of mixed length, one after another, packed into ragged
//! batches, and padded to equal length.
//!
//! The work is that of `fim-eval run`: prompts that completion builds for the examples of a set, a
//! greedy continuation of each, and the likelihood of its true middle. The ways take turns. What
//! they generate is compared, so that a speed without the results cannot be shown.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use lacuna_engine::{
    Cancel, KvCache, PackedRequest, PromptError, Sampling, alone, generate, generate_packed,
    kernel_row, score_packed, threads,
};
use lacuna_eval::{Example, format};
use lacuna_prompt::{Input, Options, build};
use lacuna_serving::models::{self, Loaded};
use lacuna_serving::{say, write_file};

use super::machine::Machine;
use super::made;
use super::output::note;
use super::timing::Spread;

/// Batched evaluation of mixed-length prompts beside one by one and beside padding
#[derive(ClapArgs)]
pub struct Args {
    /// Sets in any format that `fim-eval` reads; prompts are taken from each in equal parts
    #[arg(required = true, value_name = "SET")]
    sets: Vec<PathBuf>,
    /// Model: a directory in Hugging Face layout or a packed file [default: the embedded model]
    #[arg(long, value_name = "M", default_value = "")]
    model: String,
    /// Also measure random weights of this shape (`lacuna model synth --help` lists them); can be
    /// repeated
    #[arg(long, value_name = "SHAPE")]
    like: Vec<String>,
    /// Where such models are kept between runs
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    cache: PathBuf,
    /// Prompts in all
    #[arg(long, default_value_t = 192, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Prompts of a batch
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: u16,
    /// Tokens generated after each prompt: those of a line in `fim-eval run`
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
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

/// Ways to do all of the work.
const WAYS: [Way; 4] = [Way::OneByOne, Way::OneACore, Way::Padded, Way::Packed];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All cores on one prompt.
    OneByOne,
    /// A prompt on each core.
    OneACore,
    Padded,
    Packed,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::OneByOne => "one by one",
            Way::OneACore => "one by one, a prompt a core",
            Way::Padded => "batches, padded to the longest prompt, a batch a core",
            Way::Packed => "batches, packed, a batch a core",
        }
    }
}

/// What there is to do for an example, as token ids.
struct Work {
    prompt: Vec<u32>,
    middle: Vec<u32>,
}

/// Seconds of one way in one round. Prefill and decode are shares of the cores' time, all is the
/// time on the clock.
#[derive(Clone, Copy, Default)]
struct Seconds {
    prefill: f64,
    decode: f64,
    middle: f64,
    all: f64,
}

/// What was measured.
struct Measured {
    /// A row a way, a value a round.
    seconds: [Vec<Seconds>; WAYS.len()],
    /// Prompts whose packed continuation has the ids of the one made alone.
    equal: usize,
    /// Largest difference of a true middle's log-likelihood a token, packed and alone.
    likelihood: f64,
    /// Tokens that padding added.
    padding: usize,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    lacuna_engine::set_threads(args.threads.unwrap_or(0));
    let mut text =
        format!("{}; row {}\n", Machine::here().line(threads()), kernel_row().unwrap_or("unknown"));
    let mut add = |loaded: &Loaded| -> anyhow::Result<()> {
        let positions = loaded.model.spec().max_positions;
        if usize::from(args.budget) + usize::from(args.tokens) > positions {
            bail!(
                "--budget {} and --tokens {} exceed the model's {positions} positions: lower one",
                args.budget,
                args.tokens
            );
        }
        let work = work(args, loaded)?;
        let measured = measure(args, loaded, &work)?;
        text.push_str(&table(args, loaded, &work, &measured));
        Ok(())
    };
    add(&models::load(&args.model)?)?;
    for like in &args.like {
        let dir = made::made(like, &args.cache)?;
        add(&models::load_apart(
            &format!("{like} (random weights)"),
            &made::packed(&dir)?,
            &dir.join("tokenizer.json"),
        )?)?;
    }
    match &args.output {
        Some(path) => write_file(path, text.as_bytes()),
        None => {
            use std::io::Write as _;
            Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
        }
    }
}

/// Prompts and true middles as token ids, taken evenly from each set and in turn, so that a batch
/// holds all lengths.
fn work(args: &Args, loaded: &Loaded) -> anyhow::Result<Vec<Work>> {
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
        let chosen = chosen.map(|example| {
            let mut middle = loaded.tokenizer.encode(&example.middle);
            middle.truncate(usize::from(args.tokens));
            Work { prompt: prompt(args, loaded, example), middle }
        });
        of_sets.push(chosen.collect::<Vec<_>>().into_iter());
    }
    let mut mixed: Vec<Work> = Vec::new();
    loop {
        let before = mixed.len();
        mixed.extend(of_sets.iter_mut().filter_map(Iterator::next));
        if mixed.len() == before || mixed.len() >= args.limit as usize {
            break;
        }
    }
    mixed.truncate(args.limit as usize);
    Ok(mixed)
}

fn prompt(args: &Args, loaded: &Loaded, example: &Example) -> Vec<u32> {
    let input = Input {
        path: example.path.as_deref(),
        excerpts: &[],
        prefix: &example.prefix,
        suffix: &example.suffix,
    };
    let options = Options {
        order: loaded.sentinels.order,
        budget: usize::from(args.budget),
        heal: false,
        seam: false,
        ahead: 0,
    };
    build(&loaded.tokenizer, &loaded.sentinels, &input, &options).ids
}

fn measure(args: &Args, loaded: &Loaded, work: &[Work]) -> anyhow::Result<Measured> {
    let mut measured =
        Measured { seconds: Default::default(), equal: 0, likelihood: 0.0, padding: 0 };
    for batch in work.chunks(usize::from(args.batch)) {
        let longest = batch.iter().map(|w| w.prompt.len()).max().unwrap_or(0);
        measured.padding += batch.iter().map(|w| longest - w.prompt.len()).sum::<usize>();
    }
    for round in 0..=args.rounds {
        let mut alone = Vec::new();
        for (way, of_way) in WAYS.into_iter().zip(&mut measured.seconds) {
            let (seconds, results) =
                all(args, loaded, work, way).context("the engine on a prompt of the set")?;
            match (way, round) {
                (Way::OneByOne, 0) => alone = results,
                // The first round grows buffers, wakes threads and compares; its times are dropped.
                (Way::Packed, 0) => {
                    measured.equal = alone.iter().zip(&results).filter(|(a, b)| a.0 == b.0).count();
                    let differences = alone.iter().zip(&results).map(|(a, b)| (a.1 - b.1).abs());
                    measured.likelihood = differences.fold(0.0, f64::max);
                }
                (_, 0) => {}
                _ => of_way.push(seconds),
            }
        }
        if round > 0 {
            note(&format!("{}: round {round} of {}", loaded.name, args.rounds));
        }
    }
    Ok(measured)
}

/// The ids generated after a prompt, and the mean log-likelihood of a token of its true middle.
type Said = (Vec<u32>, f64);

/// What a batch took, and what came of it.
type Evaluated = Result<(Seconds, Vec<Said>), PromptError>;

/// Does all of the work one way; results in the order of the work.
fn all(args: &Args, loaded: &Loaded, work: &[Work], way: Way) -> Evaluated {
    let batch =
        if matches!(way, Way::OneByOne | Way::OneACore) { 1 } else { usize::from(args.batch) };
    let batches: Vec<&[Work]> = work.chunks(batch).collect();
    let start = Instant::now();
    let cores = if way == Way::OneByOne { 1 } else { threads().min(batches.len()) };
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Evaluated)>> = Mutex::default();
    let turn = || {
        // Their memory is used again, as `fim-eval run` does it; nothing of their content is.
        let mut caches: Vec<KvCache> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(batch) = batches.get(index) else { break };
            let result = evaluate(args, loaded, batch, way, &mut caches);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    if cores == 1 {
        turn();
    } else {
        std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(|| alone(turn)))));
    }
    let mut sum = Seconds::default();
    let mut results = Vec::with_capacity(work.len());
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    for (_, result) in done {
        let (seconds, of_batch) = result?;
        sum.prefill += seconds.prefill / cores as f64;
        sum.decode += seconds.decode / cores as f64;
        sum.middle += seconds.middle / cores as f64;
        results.extend(of_batch);
    }
    sum.all = start.elapsed().as_secs_f64();
    Ok((sum, results))
}

/// Continues every prompt of a batch with cold caches and scores the true middles.
fn evaluate(
    args: &Args,
    loaded: &Loaded,
    batch: &[Work],
    way: Way,
    caches: &mut Vec<KvCache>,
) -> Evaluated {
    let model = &*loaded.model;
    // No stop token: every way has the same work.
    let sampling = Sampling { max_tokens: usize::from(args.tokens), ..Sampling::default() };
    let capacity = usize::from(args.budget) + usize::from(args.tokens);
    let cancel = Cancel::new();
    let longest = batch.iter().map(|w| w.prompt.len()).max().unwrap_or(0);
    // Padding stands before a prompt, as batched decoding needs it; which token it is does not
    // change the time.
    let padding = |prompt: &[u32]| if way == Way::Padded { longest - prompt.len() } else { 0 };
    let prompts: Vec<Vec<u32>> =
        batch.iter().map(|w| [&vec![0; padding(&w.prompt)][..], &w.prompt].concat()).collect();
    let prompts: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
    caches.iter_mut().for_each(|kv| kv.truncate(0));
    caches.resize_with(batch.len().max(caches.len()), || KvCache::new(model, capacity));
    let mut caches: Vec<&mut KvCache> = caches.iter_mut().take(batch.len()).collect();
    let generations = match way {
        Way::OneByOne | Way::OneACore => {
            let generation =
                generate(model, caches[0], prompts[0], &sampling, None, &cancel, &mut |_| {
                    ControlFlow::Continue(())
                })?;
            vec![generation]
        }
        Way::Padded | Way::Packed => {
            let mut requests: Vec<PackedRequest> = prompts
                .iter()
                .map(|prompt| PackedRequest { prompt, sampling: &sampling, constraint: None })
                .collect();
            generate_packed(model, &mut caches, &mut requests, &cancel, &mut |_, _| {
                ControlFlow::Continue(())
            })?
        }
    };
    let times = generations.first().map(|g| g.times).unwrap_or_default();
    let start = Instant::now();
    let middles: Vec<&[u32]> = batch.iter().map(|w| &w.middle[..]).collect();
    let scores = score_packed(model, &mut caches, &prompts, &middles, &cancel)?;
    let middle = start.elapsed().as_secs_f64();
    let mean = |scores: Vec<f32>| {
        scores.iter().map(|s| f64::from(*s)).sum::<f64>() / scores.len().max(1) as f64
    };
    let results =
        generations.into_iter().zip(scores).map(|(g, scores)| (g.ids, mean(scores))).collect();
    Ok((
        Seconds {
            prefill: times.prefill.as_secs_f64(),
            decode: times.decode.as_secs_f64(),
            middle,
            all: 0.0,
        },
        results,
    ))
}

/// The record of one model as Markdown.
fn table(args: &Args, loaded: &Loaded, work: &[Work], measured: &Measured) -> String {
    let mut lengths: Vec<usize> = work.iter().map(|w| w.prompt.len()).collect();
    lengths.sort_unstable();
    let sets: Vec<String> = args
        .sets
        .iter()
        .map(|p| Path::file_name(p).unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let mut text = String::new();
    let _ = writeln!(
        text,
        "\nModel {}; {} prompts from {} ({} to {} tokens, median {}, {} in all), {} tokens generated after each, then the likelihood of its true middle \
         ({} tokens in all); batches of {}; padding adds {} tokens. Medians of {} rounds [range].\n",
        loaded.name,
        work.len(),
        sets.join(", "),
        lengths.first().unwrap_or(&0),
        lengths.last().unwrap_or(&0),
        lengths[lengths.len() / 2],
        lengths.iter().sum::<usize>(),
        args.tokens,
        work.iter().map(|w| w.middle.len()).sum::<usize>(),
        args.batch,
        measured.padding,
        args.rounds,
    );
    let _ = writeln!(
        text,
        "| way | prefill, s | decode, s | true middles, s | all, s | against one by one | against padding |"
    );
    let _ = writeln!(text, "|---|---|---|---|---|---|---|");
    let median = |way: usize| {
        Spread::of(&measured.seconds[way].iter().map(|s| s.all).collect::<Vec<_>>()).median
    };
    for (i, (way, seconds)) in WAYS.into_iter().zip(&measured.seconds).enumerate() {
        let shown = |of: fn(&Seconds) -> f64| {
            let s = Spread::of(&seconds.iter().map(of).collect::<Vec<_>>());
            format!("{:.2} [{:.2}–{:.2}]", s.median, s.least, s.most)
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.2} × | {:.2} × |",
            way.name(),
            shown(|s| s.prefill),
            shown(|s| s.decode),
            shown(|s| s.middle),
            shown(|s| s.all),
            median(0) / median(i),
            median(2) / median(i),
        );
    }
    let _ = writeln!(
        text,
        "\nPacked, {} of {} greedy continuations have the very ids of those made one by one; the log-likelihoods of the true middles differ by at \
         most {:.4} nats a token.",
        measured.equal,
        work.len(),
        measured.likelihood,
    );
    text
}
