//! `lacuna finetune`: from package sources to shards, from shards to a model.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use lacuna_prompt::{Sentinels, Tokenizer};
use lacuna_train::fim::FimConfig;
use lacuna_train::pack::{self, ShardConfig};
use lacuna_train::recipe::Recipe;
use lacuna_train::trainer::{
    AdapterConfig, OptimizerConfig, Progress, Row, RunConfig, Schedule, Shards, StepReport,
    Trainer, ValidationReport, adapters_of, locate, read_shape, read_weights, snapshot,
    snapshot_adapters, write_model,
};
use lacuna_train::{mine, tokenizer, trim};

use crate::Answer;

/// Train a model: mine a corpus, run the training, keep a snapshot
#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Turn folders of source packages into a tokenizer and shards of fill-in-the-middle documents
    Mine(MineArgs),
    /// Train on shards; Ctrl-C saves a checkpoint and ends, --resume goes on exactly there
    Run(RunArgs),
    /// Loss of a model on the first validation rows (f32): all tokens, and the tokens of the
    /// middles
    Loss {
        /// A checkpoint, or a Hugging Face directory of the trainer's architecture
        model: PathBuf,
        /// Folder with shards.json
        #[arg(long)]
        shards: PathBuf,
        #[arg(long, default_value_t = 64, value_name = "N")]
        rows: usize,
    },
    /// Make a pretrained model smaller before it is trained: fewer tokens, fewer layers
    Trim(TrimArgs),
    /// Write a checkpoint's weights as f16 with its adapters merged: a model to serve, small enough
    /// to keep, good enough to go on from with --init-from
    #[command(visible_alias = "merge")]
    Snapshot {
        /// A checkpoint, or a run's folder (its latest checkpoint)
        checkpoint: PathBuf,
        /// Folder to write, in Hugging Face layout
        #[arg(short, long)]
        output: PathBuf,
        /// Write the adapters alone: small, and nothing without the base that they were trained on;
        /// `run --adapters` goes on from them
        #[arg(long)]
        adapters: bool,
    },
}

#[derive(ClapArgs)]
struct MineArgs {
    /// Folder with train/ECOSYSTEM/PACKAGE/… and validation/ECOSYSTEM/PACKAGE/…
    /// (datasets/embedded/fetch.py makes it; for your own code copy repositories into train/own/
    /// and validation/own/)
    #[arg(long, value_name = "DIR", required_unless_present = "documents")]
    sources: Option<PathBuf>,
    /// Take the documents.jsonl.zst of an earlier mining instead of sources: only tokenizer and
    /// shards are made
    #[arg(long, value_name = "FILE", conflicts_with = "sources")]
    documents: Option<PathBuf>,
    /// Folder for documents, tokenizer and shards
    #[arg(long)]
    out: PathBuf,
    /// Drop documents that share text with the evaluation sets in this folder (repeatable)
    #[arg(long, value_name = "DIR")]
    decontaminate: Vec<PathBuf>,
    /// Drop packages, folders and files of this name (repeatable, or separated by commas)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    forbidden: Vec<String>,
    /// Follow this recipe (TOML): languages, shares, kinds of documents, every window once
    #[arg(long, value_name = "FILE", conflicts_with_all = ["spm", "functions", "lines", "seed"])]
    recipe: Option<PathBuf>,
    /// Write the documents and make no tokenizer and no shards: they come later, with --documents
    #[arg(long, conflicts_with = "documents")]
    documents_only: bool,
    /// Training tokens to make [default: 60 million, or what the recipe says]
    #[arg(long, value_name = "N")]
    tokens: Option<u64>,
    /// Use this tokenizer.json instead of training one
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Share of the documents with a hole that are laid out suffix first, the order that is served
    /// (0 to 1)
    #[arg(long, default_value_t = FimConfig::default().spm, value_name = "SHARE")]
    spm: f64,
    /// Share of the tokens that shows self-contained functions instead of any part of a file (0 to
    /// 1)
    #[arg(long, default_value_t = ShardConfig::default().functions_share, value_name = "SHARE")]
    functions: f64,
    /// Share of the holes in those functions that are one line or its rest (0 to 1)
    #[arg(long, default_value_t = FimConfig::functions().line, value_name = "SHARE")]
    lines: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(ClapArgs)]
struct RunArgs {
    /// Folder with shards.json
    #[arg(long)]
    shards: PathBuf,
    /// Folder for checkpoints and the loss log
    #[arg(long)]
    out: PathBuf,
    /// End after this many minutes of training, all sessions of a resumed run together
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// End after this many steps
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Go on where this run or checkpoint ended, exactly on the same shards; sizes, adapters and
    /// frozen layers are the checkpoint's
    #[arg(long, value_name = "DIR", conflicts_with = "init_from")]
    resume: Option<PathBuf>,
    /// Start from these weights (a Hugging Face directory), with a fresh optimizer
    #[arg(long, value_name = "DIR")]
    init_from: Option<PathBuf>,
    /// Begin with the adapters of this folder (`finetune snapshot --adapters`) over the weights of
    /// --init-from; rank, alpha and frozen layers are theirs
    #[arg(long, value_name = "DIR", requires = "init_from", conflicts_with_all = ["adapter_rank", "freeze"])]
    adapters: Option<PathBuf>,
    /// adamw, or muon for the matrices with adamw for the rest
    #[arg(long, value_enum, default_value = "muon")]
    optimizer: Optimizer,
    /// Peak learning rate of the matrices and of adapters [default: the optimizer's]
    #[arg(long)]
    rate: Option<f64>,
    /// Peak learning rate of the embedding [default: in the optimizer's proportion to --rate]
    #[arg(long, value_name = "RATE")]
    embedding_rate: Option<f64>,
    /// Peak learning rate of the norms [default: the embedding's]
    #[arg(long, value_name = "RATE")]
    norm_rate: Option<f64>,
    /// Train adapters (LoRA) of this rank on all projections, norms and the embeddings of the
    /// markers, instead of everything
    #[arg(long, value_name = "RANK")]
    adapter_rank: Option<usize>,
    /// An adapter counts ALPHA / RANK times [default: twice the rank]
    #[arg(long, value_name = "ALPHA", requires = "adapter_rank")]
    adapter_alpha: Option<f32>,
    /// Leave the embedding and this many layers, counted from below, as they are (and do not
    /// compute their gradients)
    #[arg(long, value_name = "LAYERS", default_value_t = 0)]
    freeze: usize,
    /// wsd (warm-up, stable, decay at the end) or cosine
    #[arg(long, value_enum, default_value = "wsd")]
    schedule: ScheduleArg,
    #[arg(long, default_value_t = RunConfig::default().warmup_steps, value_name = "STEPS")]
    warmup: u64,
    /// Rows of 1,024 tokens a step
    #[arg(long, default_value_t = RunConfig::default().rows_per_step, value_name = "N")]
    rows: usize,
    /// Rows that are computed at a time: fewer take less memory
    #[arg(long, default_value_t = RunConfig::default().rows_per_pass, value_name = "N")]
    rows_per_pass: usize,
    /// Weight of the loss on middles
    #[arg(long, default_value_t = RunConfig::default().middle_weight, value_name = "W")]
    middle_weight: f32,
    /// Compute with the weights as INT4 will hold them (quantisation-aware training): for the last
    /// part of a run
    #[arg(long)]
    int4: bool,
    #[arg(long, default_value_t = RunConfig::default().seed)]
    seed: u64,
    /// Minutes between checkpoints
    #[arg(long, default_value_t = RunConfig::default().checkpoint_minutes, value_name = "M")]
    checkpoint_minutes: f64,
    /// amx, bf16 or f32 [default: the fastest that this processor has]
    #[arg(long)]
    compute: Option<Row>,
    #[arg(long, default_value_t = 2, value_name = "N")]
    threads: usize,
}

#[derive(ClapArgs)]
struct TrimArgs {
    /// A Hugging Face directory of the trainer's architecture
    model: PathBuf,
    /// Folder to write, in Hugging Face layout (f16)
    #[arg(short, long)]
    output: PathBuf,
    /// Keep so many tokens at most: those that the documents use most, with all that they are
    /// merged from
    #[arg(long, value_name = "N", requires = "documents")]
    vocab: Option<usize>,
    /// The documents.jsonl.zst of a mining, to count tokens in
    #[arg(long, value_name = "FILE")]
    documents: Option<PathBuf>,
    /// Keep so many layers: those that are missed least go, by the loss on validation rows
    #[arg(long, value_name = "N", requires = "shards", conflicts_with = "drop_layers")]
    layers: Option<usize>,
    /// Folder with shards.json, made with the model's own tokenizer
    #[arg(long)]
    shards: Option<PathBuf>,
    /// Validation rows that the choice of layers looks at
    #[arg(long, default_value_t = 4, value_name = "N")]
    rows: usize,
    /// Leave these layers out, counted from 0
    #[arg(long, value_name = "LAYERS", value_delimiter = ',')]
    drop_layers: Vec<usize>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Optimizer {
    Adamw,
    Muon,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ScheduleArg {
    Wsd,
    Cosine,
}

pub fn run(args: &Args) -> anyhow::Result<Answer> {
    let stop = Arc::new(AtomicBool::new(false));
    let raise = Arc::clone(&stop);
    ctrlc::set_handler(move || raise.store(true, Ordering::Relaxed))?;
    match &args.command {
        Command::Mine(args) => mine_corpus(args, &stop),
        Command::Run(args) => train(args, &stop),
        Command::Trim(args) => trim_model(args),
        Command::Loss { model, shards, rows } => loss(model, shards, *rows),
        Command::Snapshot { checkpoint, output, adapters } => {
            if *adapters {
                snapshot_adapters(checkpoint, output)?
            } else {
                snapshot(checkpoint, output)?
            }
            crate::say(&format!("wrote {}", output.display()));
            Ok(Answer::Yes)
        }
    }
}

/// Training tokens that are made where nothing says how many.
const DEFAULT_TOKENS: u64 = 60_000_000;

fn mine_corpus(args: &MineArgs, stop: &AtomicBool) -> anyhow::Result<Answer> {
    let mut recipe = args.recipe.as_deref().map(Recipe::read).transpose()?;
    if let (Some(recipe), Some(tokens)) = (&mut recipe, args.tokens) {
        recipe.validation_tokens = recipe.validation_tokens.min(tokens / 10);
        recipe.tokens = tokens;
    }
    std::fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
    let documents = match (&args.documents, &args.sources) {
        (Some(file), _) => mine::document::read(file)?,
        (None, Some(sources)) => mine_sources(args, sources, recipe.as_ref(), stop)?,
        (None, None) => bail!("give --sources or --documents"),
    };
    if args.documents_only {
        return Ok(Answer::Yes);
    }
    let tokenizer_json = match &args.tokenizer {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("--tokenizer {}", path.display()))?
        }
        None => {
            crate::say("training the tokenizer");
            tokenizer::train(&documents, &Default::default(), stop)?
        }
    };
    std::fs::write(args.out.join("tokenizer.json"), &tokenizer_json)?;

    for (option, share) in [("spm", args.spm), ("functions", args.functions), ("lines", args.lines)]
    {
        if !(0.0..=1.0).contains(&share) {
            bail!("--{option} {share} is out of range: use 0 to 1");
        }
    }
    let config = match &recipe {
        Some(recipe) => recipe.shards(),
        None => shard_config(args),
    };
    let bar = self::bar("packing {bar:30} {pos}/{len} eta {eta}", documents.len() as u64)?;
    let shards = args.out.join("shards");
    let progress = |done, total| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let built = pack::build(&documents, &tokenizer_json, &config, &shards, &progress, stop)?;
    bar.finish_and_clear();
    crate::say(&format!("shards in {}", shards.display()));
    for (name, split) in [("training", &built.train), ("validation", &built.validation)] {
        crate::say(&told(name, split, config.seq_len));
    }
    let path = shards.join("summary.json");
    std::fs::write(&path, serde_json::to_string_pretty(&built)?)
        .with_context(|| path.display().to_string())?;
    if recipe.is_some() {
        shares(&built.train).iter().for_each(|line| crate::say(line));
    }
    crate::say(&format!(
        "next: lacuna finetune run --shards {} --out RUN --minutes M",
        shards.display()
    ));
    Ok(Answer::Yes)
}

/// Rows as the options ask for them.
fn shard_config(args: &MineArgs) -> ShardConfig {
    let tokens = args.tokens.unwrap_or(DEFAULT_TOKENS);
    let mut config = ShardConfig {
        train_tokens: tokens,
        seed: args.seed,
        functions_share: args.functions,
        ..Default::default()
    };
    // A small corpus is not shown to validation over and over.
    config.validation_tokens = config.validation_tokens.min(tokens / 10);
    config.functions = config.functions.with_lines(args.lines);
    for fim in [&mut config.fim, &mut config.functions] {
        fim.spm = args.spm;
    }
    config
}

/// What a recipe came to, a line a language and a line for the kinds of documents.
fn shares(split: &pack::SplitSummary) -> Vec<String> {
    let percent = |part: f64, whole: f64| 100.0 * part / whole.max(1.0);
    let all = split.tokens as f64;
    let wanted: u64 = split.languages.values().map(|g| g.wanted).sum();
    let mut lines = vec![
        "| language | wanted | reached | tokens | documents |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    for (language, given) in &split.languages {
        let (asked, got) =
            (percent(given.wanted as f64, wanted as f64), percent(given.tokens as f64, all));
        let short =
            if given.tokens * 20 < given.wanted * 19 { " (the sources hold no more)" } else { "" };
        lines.push(format!(
            "| {} | {asked:.1} % | {got:.1} % | {}{short} | {} |",
            language.name(),
            given.tokens,
            given.documents
        ));
    }
    let kinds = &split.kinds;
    let of_documents = |n: usize| percent(n as f64, kinds.documents as f64);
    lines.push(format!(
        "with a hole {:.1} %, of these suffix first {:.1} %; with excerpts {:.1} %; functions {:.1} % of the tokens; no window twice",
        of_documents(kinds.with_hole),
        percent(kinds.suffix_first as f64, kinds.with_hole as f64),
        of_documents(kinds.with_excerpts),
        percent(kinds.tokens_of_functions as f64, all)
    ));
    lines
}

/// What was made of one split, in a sentence.
fn told(name: &str, split: &pack::SplitSummary, seq_len: usize) -> String {
    let visits = split.scales.iter().copied().fold(0.0, f64::max);
    let visits = if split.scales.is_empty() {
        "each window once".to_owned()
    } else {
        format!("each file visited {visits:.1} times at most")
    };
    format!(
        "{name}: {} files, {} documents, {:.2} M tokens in {} rows of {seq_len} ({:.1} % padding), {visits}",
        split.sources,
        split.documents,
        split.tokens as f64 / 1e6,
        split.rows,
        100.0 * split.padding
    )
}

fn mine_sources(
    args: &MineArgs,
    sources: &Path,
    recipe: Option<&Recipe>,
    stop: &AtomicBool,
) -> anyhow::Result<Vec<mine::document::Document>> {
    let config = mine::MineConfig {
        sources: sources.to_owned(),
        decontaminate: args.decontaminate.clone(),
        forbidden: args.forbidden.clone(),
        seed: recipe.map_or(args.seed, |r| r.seed),
        limits: Default::default(),
        balance: recipe.map(Recipe::balance).unwrap_or_default(),
    };
    let bar = bar("{msg} {bar:30} {pos}/{len} eta {eta}", 0)?;
    let (documents, report) = mine::run(
        &config,
        &|p| {
            bar.set_message(p.step.to_string());
            bar.set_length(p.total as u64);
            bar.set_position(p.done as u64);
        },
        stop,
    )?;
    bar.finish_and_clear();
    mine::document::write(&args.out.join("documents.jsonl.zst"), &documents)?;
    std::fs::write(args.out.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    crate::say(&format!(
        "{} documents; counts in {}",
        documents.len(),
        args.out.join("report.json").display()
    ));
    Ok(documents)
}

fn train(args: &RunArgs, stop: &AtomicBool) -> anyhow::Result<Answer> {
    if args.steps.is_none() && args.minutes.is_none() {
        bail!("a run needs an end: give --minutes, --steps or both");
    }
    let mut config = RunConfig {
        warmup_steps: args.warmup,
        steps: args.steps,
        minutes: args.minutes,
        rows_per_step: args.rows,
        rows_per_pass: args.rows_per_pass,
        middle_weight: args.middle_weight,
        frozen_layers: args.freeze,
        int4: args.int4,
        seed: args.seed,
        checkpoint_minutes: args.checkpoint_minutes,
        schedule: match args.schedule {
            ScheduleArg::Wsd => Schedule::Wsd,
            ScheduleArg::Cosine => Schedule::Cosine,
        },
        ..RunConfig::default()
    };
    if let Optimizer::Muon = args.optimizer {
        config.optimizer = OptimizerConfig::muon();
    }
    set_rates(&mut config.optimizer, args);
    let shards = Shards::load(&args.shards)?;
    config.shape.vocab = shards.n_vocab;
    if let Some(rank) = args.adapter_rank {
        let alpha = args.adapter_alpha.unwrap_or(2.0 * rank as f32);
        config.adapter = Some(AdapterConfig { rank, alpha, tokens: marker_ids(&shards)? });
    }
    let row = args.compute.unwrap_or_else(Row::choose);
    if let Some(dir) = &args.adapters {
        (config.adapter, config.frozen_layers) = adapters_of(dir)?;
    }
    let mut trainer = match (&args.resume, &args.init_from) {
        (Some(dir), _) => Trainer::resume(dir, config, &shards, row, args.threads)?,
        (None, Some(dir)) => Trainer::init_from(dir, config, &shards, row, args.threads)?,
        (None, None) => Trainer::new(config, &shards, row, args.threads)?,
    };
    if let Some(dir) = &args.adapters {
        trainer.take_adapters(dir)?;
    }
    crate::say(&format!(
        "{} parameters, {} of them trained, {} training rows, {} validation rows, compute {row}",
        trainer.parameters().len(),
        trainer.n_trained(),
        shards.train.len(),
        shards.validation.len()
    ));
    let mut shown = Shown { bar: bar("{bar:30} {percent}% {msg}", 1000)?, next_line: 0.0 };
    trainer.run(&args.out, stop, &mut shown)?;
    shown.bar.finish_and_clear();
    if stop.load(Ordering::Relaxed) {
        crate::say(&format!("interrupted; go on with --resume {}", args.out.display()));
    }
    Ok(Answer::Yes)
}

/// The rates of the options; the others keep their proportion to the rate of the matrices.
fn set_rates(optimizer: &mut OptimizerConfig, args: &RunArgs) {
    if let Some(rate) = args.rate {
        optimizer.embedding_rate *= rate / optimizer.rate;
        optimizer.rate = rate;
    }
    if let Some(rate) = args.embedding_rate {
        optimizer.embedding_rate = rate;
    }
    optimizer.norm_rate = args.norm_rate;
}

/// The tokens that prompts are laid out with: a base that never infilled has not learnt them.
fn marker_ids(shards: &Shards) -> anyhow::Result<Vec<u32>> {
    let tokenizer = Tokenizer::from_json(&shards.tokenizer)?;
    let s = Sentinels::resolve(&tokenizer)?;
    let mut ids: Vec<u32> = [s.prefix, s.middle, s.suffix]
        .into_iter()
        .chain([s.repo, s.file, s.end(&tokenizer)].into_iter().flatten())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Bytes of documents that tokens are counted in.
const COUNTED_BYTES: usize = 200 << 20;

fn trim_model(args: &TrimArgs) -> anyhow::Result<Answer> {
    if args.vocab.is_none() && args.layers.is_none() && args.drop_layers.is_empty() {
        bail!("nothing to trim: give --vocab, --layers or --drop-layers");
    }
    let dir = locate(&args.model)?;
    let mut shape = read_shape(&dir)?;
    let mut parameters = read_weights(&dir, &shape)?;
    let path = dir.join("tokenizer.json");
    let mut tokenizer = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let mut drop = args.drop_layers.clone();
    if let (Some(layers), Some(shards)) = (args.layers, &args.shards) {
        let shards = Shards::load(shards)?;
        let n = shape.layers.checked_sub(layers).filter(|_| layers > 0);
        let Some(n) = n else { bail!("--layers {layers}: the model has {}", shape.layers) };
        let mut tell = |layer: usize, loss: f64| {
            crate::say(&format!(
                "without layer {layer} (and those before it): {loss:.4} nats a token"
            ))
        };
        drop = trim::least_missed(
            &parameters,
            &shape,
            &shards,
            (n, args.rows),
            Row::choose(),
            &mut tell,
        )?;
    }
    if !drop.is_empty() {
        (shape, parameters) = trim::without_layers(&parameters, &shape, &drop)?;
        crate::say(&format!("{} layers stay, {drop:?} go", shape.layers));
    }
    if let (Some(n), Some(documents)) = (args.vocab, &args.documents) {
        let documents = mine::document::read(documents)?;
        let counted = Tokenizer::from_json(&tokenizer)?;
        let counts = trim::counts(&counted, &documents, COUNTED_BYTES);
        let trimmed = trim::tokens(&tokenizer, &counts, n)?;
        if let Some(id) = trimmed.kept.iter().find(|id| **id as usize >= shape.vocab) {
            bail!(
                "the tokenizer has the id {id}, the model {} tokens: they belong to different models",
                shape.vocab
            );
        }
        let small = Tokenizer::from_json(&trimmed.tokenizer)?;
        let sample: Vec<&str> = documents
            .iter()
            .step_by((documents.len() / 300).max(1))
            .map(|d| d.text.as_str())
            .collect();
        let tokens = |t: &Tokenizer| sample.iter().map(|text| t.encode(text).len()).sum::<usize>();
        let more = 100.0 * (tokens(&small) as f64 / tokens(&counted).max(1) as f64 - 1.0);
        (shape, parameters) = trim::with_tokens(&parameters, &shape, &trimmed.kept);
        tokenizer = trimmed.tokenizer;
        crate::say(&format!(
            "{} tokens stay; the same text takes {more:.1} % more of them",
            shape.vocab
        ));
    }
    write_model(&args.output, &shape, &parameters, &tokenizer)?;
    crate::say(&format!("wrote {}: {} parameters", args.output.display(), shape.n_parameters()));
    Ok(Answer::Yes)
}

fn loss(model: &Path, shards: &Path, rows: usize) -> anyhow::Result<Answer> {
    let shards = Shards::load(shards)?;
    let mut config = RunConfig {
        shape: read_shape(model)?,
        validation_rows: rows,
        steps: Some(1),
        ..RunConfig::default()
    };
    config.rows_per_pass = 2;
    let mut trainer = Trainer::init_from(model, config, &shards, Row::F32, 2)?;
    let Some(report) = trainer.validate()? else {
        bail!("the shards have no validation rows: mine again")
    };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "validation {:.4} middle {:.4} on {rows} rows",
        report.validation_loss, report.validation_middle_loss
    )?;
    Ok(Answer::Yes)
}

/// A bar on a terminal; a line now and then otherwise.
struct Shown {
    bar: ProgressBar,
    /// Seconds of training after which the next line is printed.
    next_line: f64,
}

/// Seconds of training between two lines where there is no terminal.
const SECONDS_A_LINE: f64 = 30.0;

impl Progress for Shown {
    fn step(&mut self, r: &StepReport, remaining: Duration) {
        let text = format!(
            "step {} loss {:.3} middle {:.3} {:.0} tok/s {:.1} M tokens, {:.0} min left",
            r.step,
            r.loss,
            r.middle_loss,
            r.tokens_per_second,
            r.tokens as f64 / 1e6,
            remaining.as_secs_f64() / 60.0
        );
        let done = r.seconds / (r.seconds + remaining.as_secs_f64()).max(1e-9);
        self.bar.set_position((done * 1000.0) as u64);
        if !self.bar.is_hidden() {
            self.bar.set_message(text);
        } else if r.seconds >= self.next_line {
            self.next_line = r.seconds + SECONDS_A_LINE;
            crate::say(&text);
        }
    }

    fn validation(&mut self, r: &ValidationReport) {
        let text = format!(
            "step {} validation {:.4} middle {:.4}",
            r.step, r.validation_loss, r.validation_middle_loss
        );
        self.line(&text);
    }

    fn checkpoint(&mut self, path: &Path) {
        self.line(&format!("saved {}", path.display()));
    }
}

impl Shown {
    fn line(&self, text: &str) {
        if self.bar.is_hidden() { crate::say(text) } else { self.bar.println(text) }
    }
}

fn bar(template: &str, length: u64) -> anyhow::Result<ProgressBar> {
    Ok(ProgressBar::new(length).with_style(ProgressStyle::with_template(template)?))
}
