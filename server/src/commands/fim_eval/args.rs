//! What `lacuna fim-eval run` is asked for.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use lacuna_eval::compare::Condition;
use lacuna_eval::run::Stage;

/// Modes beside the model's.
pub const BASELINES: [&str; 4] = ["empty", "copy-line", "close-bracket", "ngram"];

/// Complete the examples of sets and score the completions
#[derive(ClapArgs)]
pub struct Args {
    /// JSON lines, plain, gzipped or zstd: rows of `fim-eval build`, HumanEval-Infilling,
    /// SantaCoder-FIM, CrossCodeEval, SAFIM
    #[arg(required = true, value_name = "SET")]
    pub sets: Vec<PathBuf>,
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
    pub limit: Option<u64>,
    /// Of everything that is drawn: sample, temperature, intervals
    #[arg(long, default_value_t = 0, value_name = "S")]
    pub seed: u64,
    /// Raw completions of an example, for pass@k; more than one needs --temperature
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub samples: u16,
    /// 0: the most likely token each time (in the editor's mode nothing is ever drawn)
    #[arg(long, default_value_t = 0.0, value_name = "T")]
    pub temperature: f32,
    /// What a prompt may show besides the text around the hole
    #[arg(long, value_enum, default_value = "file")]
    pub context: ContextFlag,
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
    pub max_tokens: u16,
    /// Ways of completing, of editor, raw, endpoint, empty, copy-line, close-bracket, ngram
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub modes: Option<Vec<String>>,
    /// Do not run tests: no pass@k
    #[arg(long)]
    pub no_execution: bool,
    /// Python that runs the tests
    #[arg(long, default_value = "python3", value_name = "P")]
    pub python: PathBuf,
    /// CPU seconds that one test may take; four times as much on the clock
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub test_seconds: u64,
    /// Examples at a time [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,
    /// Folder of the run, taken up where it stopped [default: none is kept]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Begin anew what lies in --out
    #[arg(long, requires = "out")]
    pub fresh: bool,
    /// Do this stage and those after it again; from post-process on with another program or
    /// --no-execution too
    #[arg(long, value_enum, value_name = "STAGE", requires = "out")]
    pub from: Option<StageFlag>,
    /// Exit with 1 unless this holds, such as "em >= 0.20" or "santacoder-fim:python.em_line >=
    /// 0.1"
    #[arg(long, value_name = "CONDITION")]
    pub require: Vec<Condition>,
    /// Exit with 1 when the run is worse than this ledger
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Write the ledger instead of comparing with it
    #[arg(long, requires = "ledger")]
    pub update_ledger: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
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
pub enum ContextFlag {
    /// Nothing: no path either
    None,
    /// The path, and heads and imports of the file
    File,
    /// Also the example's other files
    Cross,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum StageFlag {
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
