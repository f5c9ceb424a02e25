//! `lacuna bench decode`: the whole engine at work, and llama.cpp beside it, on the same random
//! weights.
//!
//! The engines take turns (A B A B), round after round; ours sleeps while the other runs. The
//! limits of the machine are measured before every group of tests: on a virtual machine they move
//! with the neighbours.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use lacuna_engine::{DEFAULT_KV, KvDtype, Model, Precision, set_threads};
use lacuna_kernels::isa::{self, ISA_VARIABLE, Isa};
use lacuna_kernels::threads;

use super::machine::{self, Machine, limits_of};
use super::made::{self, gguf_file, made, packed};
use super::ours::Ours;
use super::peer::{self, Peer};
use super::plan::Plan;
use super::record::{Decode, Engine, Record, Test};
use super::timing::Spread;
use super::weights;

/// Time prefill and generation, beside the limits of this machine and beside llama.cpp
///
/// Weights are random (`lacuna model synth`) in a real shape, the same on both sides. A test is ppN
/// (a prompt of N tokens in one go) or tgN (N tokens generated one after another), with @D after D
/// tokens that are in the cache already.
#[derive(clap::Args)]
pub struct Args {
    /// The shape, for example qwen2.5-coder-0.5b; its files are made in --cache when they are not
    /// there
    #[arg(long, value_name = "SHAPE", conflicts_with = "model")]
    like: Option<String>,
    /// A model instead: a directory in Hugging Face layout; its GGUF files are
    /// DIR-q4_0-head-q8_0.gguf and the like
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The engine to compare with; its build comes from tests/peers/llama_cpp.sh
    #[arg(long, value_name = "ENGINE")]
    against: Option<Against>,
    /// Where llama-bench is [default: LACUNA_LLAMA_BENCH, target/peers, PATH]
    #[arg(long, value_name = "PATH", requires = "against")]
    llama_bench: Option<PathBuf>,
    /// GGUF files for it, named by how the vocabulary projection is stored (…head-q6_K.gguf: as
    /// `llama-quantize … Q4_0` makes it) [default: those beside the model, made when there are
    /// none]
    #[arg(long, value_name = "FILE", requires = "against", value_delimiter = ',')]
    gguf: Vec<PathBuf>,
    /// Kernel row for us, and the build of llama.cpp for the same instruction set
    #[arg(long, value_name = "ROW", value_parser = super::machine::parse_isa)]
    isa: Option<Isa>,
    /// How our keys and values are held [default: as in serving]
    #[arg(long, value_name = "TYPE", value_parser = parse_kv)]
    kv: Option<KvDtype>,
    /// Threads for both sides; 0 is all cores
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    /// How often the sides take turns
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// What to run
    #[arg(long, value_name = "TEST", value_delimiter = ',', value_parser = Plan::parse, default_value = DEFAULT_TESTS)]
    tests: Vec<Plan>,
    /// Where models are kept between runs
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    cache: PathBuf,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Also write the JSON object to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

const DEFAULT_TESTS: &str =
    "pp1@32,pp2@32,pp4@32,pp8@32,pp16@32,tg16@32,pp16,pp64,tg32,pp512,pp2048,tg16@4096";

#[derive(Clone, Copy, clap::ValueEnum)]
enum Against {
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

fn parse_kv(text: &str) -> Result<KvDtype, String> {
    KvDtype::ALL
        .into_iter()
        .find(|dtype| dtype.name() == text)
        .ok_or_else(|| "use f32, f16 or int8".to_owned())
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let active = isa::selected().map_err(Clone::clone)?.isa();
    if let Some(isa) = args.isa.filter(|isa| *isa != active) {
        return again_as(isa);
    }
    set_threads(usize::from(args.threads));
    let program = args
        .against
        .map(|Against::LlamaCpp| peer::find(args.llama_bench.as_deref(), args.isa))
        .transpose()?;
    let files = Files::of(args, program.is_some())?;
    let device = lacuna_config::resolve_here(None)?.config.model.device.0;
    let model = Model::load_on(&files.ours, Precision::Int4, device)
        .with_context(|| format!("model {}", files.ours.display()))?;
    let limit = model.spec().max_positions;
    let (fits, too_long): (Vec<Plan>, Vec<Plan>) =
        args.tests.iter().partition(|plan| plan.capacity() <= limit + 1);
    for plan in &too_long {
        super::output::note(&format!(
            "{} is left out: the model has {limit} positions",
            plan.name()
        ));
    }
    let Some(capacity) = fits.iter().map(Plan::capacity).max() else {
        bail!("--tests: none fits into the model's {limit} positions");
    };
    let peers: Vec<Peer> = program.into_iter().flat_map(|program| files.peers(program)).collect();
    let ours = Ours::new(model, args.kv.unwrap_or(DEFAULT_KV), capacity);
    let record = compare(args, active, ours, &peers, &fits, &files.name)?;
    super::output::deliver(&Record::Decode(record), args.output.as_deref(), args.json)
}

/// Runs this command again on another row, which a process chooses once.
fn again_as(isa: Isa) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let status =
        command.args(std::env::args_os().skip(1)).env(ISA_VARIABLE, isa.name()).status()?;
    if !status.success() {
        bail!("the run on {isa} failed ({status}); its message is above");
    }
    Ok(())
}

fn compare(
    args: &Args,
    isa: Isa,
    mut ours: Ours,
    peers: &[Peer],
    plans: &[Plan],
    name: &str,
) -> anyhow::Result<Decode> {
    let machine = Machine::here();
    let n_threads = threads::threads();
    let limit_bytes =
        if name.starts_with("tiny") { 1 << 24 } else { machine::limit_bytes(&machine) };
    let mut limits = Vec::new();
    let mut test_limits = vec![Vec::new(); plans.len()];
    let mut ours_ms: Vec<Vec<f64>> = vec![Vec::new(); plans.len()];
    let mut peer_ms: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); peers.len()]; plans.len()];
    for round in 0..args.rounds {
        for group in groups(plans) {
            let names: Vec<String> = group.iter().map(|i| plans[*i].name()).collect();
            super::output::note(&format!(
                "round {} of {}: {}",
                round + 1,
                args.rounds,
                names.join(" ")
            ));
            let measured = machine::measure_limits(isa, n_threads, limit_bytes);
            limits.push(measured);
            let repeats = plans[group[0]].repeats();
            for i in &group {
                test_limits[*i].push(measured);
                ours_ms[*i].extend(ours.run(&plans[*i], repeats)?);
            }
            let of_group: Vec<Plan> = group.iter().map(|i| plans[*i]).collect();
            for (p, peer) in peers.iter().enumerate() {
                for (i, times) in group.iter().zip(peer.run(&of_group, n_threads, repeats)?) {
                    peer_ms[*i][p].extend(times);
                }
            }
        }
    }
    let spec = ours.model().spec();
    let (layer_ops, head_ops) = weights::ops(spec);
    let engine = |name: String, head: &str, kv: String, token_bytes| Engine {
        name,
        head: head.to_owned(),
        kv,
        token_bytes,
        layer_ops,
        head_ops,
    };
    let (layer_weights, head_weights) = weights::read_weights(spec);
    let their_bytes = |head: &str| {
        // Of 256 weights; those of layers are Q4_0.
        let bytes = HEADS.iter().find(|(name, _)| *name == head).map_or(0, |(_, bytes)| *bytes);
        layer_weights * 18 / 32 + head_weights * bytes / 256 + weights::vector_bytes(spec)
    };
    let tests = plans.iter().zip(test_limits).zip(ours_ms).zip(peer_ms).map(
        |(((plan, limits), ours), peers)| Test {
            name: plan.name(),
            generate: plan.generate,
            tokens: plan.tokens,
            depth: plan.depth,
            limits: limits_of(&limits),
            ours_ms: Spread::of(&ours),
            peer_ms: peers.iter().map(|times| Spread::of(times)).collect(),
        },
    );
    Ok(Decode {
        threads: n_threads,
        rounds: usize::from(args.rounds),
        like: name.to_owned(),
        isa: isa.name().to_owned(),
        limits: limits_of(&limits),
        ours: engine(
            "lacuna".to_owned(),
            "int4",
            args.kv.unwrap_or(DEFAULT_KV).name().to_owned(),
            weights::int4_token_bytes(spec),
        ),
        peers: peers
            .iter()
            .map(|p| engine(p.name(), &p.head, "f16".to_owned(), their_bytes(&p.head)))
            .collect(),
        tests: tests.collect(),
        machine,
    })
}

/// Tests that one run of a peer takes together: the same depth, equally many repeats; by their
/// places in `plans`.
fn groups(plans: &[Plan]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, plan) in plans.iter().enumerate() {
        let alike = |group: &&mut Vec<usize>| {
            let first = &plans[group[0]];
            (first.depth, first.repeats(), first.tokens > 512)
                == (plan.depth, plan.repeats(), plan.tokens > 512)
        };
        match groups.iter_mut().find(alike) {
            Some(group) => group.push(i),
            None => groups.push(vec![i]),
        }
    }
    groups
}

/// The model's files on both sides.
struct Files {
    name: String,
    ours: PathBuf,
    gguf: Vec<(PathBuf, String)>,
}

/// Encodings of the vocabulary projection for which a GGUF file is looked for, and bytes of 256
/// weights. We write the first and the last; `llama-quantize` makes a Q4_0 file with the second.
const HEADS: [(&str, u64); 3] = [("q8_0", 272), ("q6_K", 210), ("q4_0", 144)];

impl Files {
    /// Finds the files, and makes those of `--like` that are missing.
    fn of(args: &Args, with_peer: bool) -> anyhow::Result<Files> {
        let (name, dir) = match (&args.like, &args.model) {
            (Some(like), _) => (like.clone(), made(like, &args.cache)?),
            (None, Some(dir)) if dir.is_dir() => (
                dir.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
                dir.clone(),
            ),
            (None, Some(dir)) => bail!(
                "--model {} is not a directory: give one in Hugging Face layout",
                dir.display()
            ),
            (None, None) => bail!(
                "what shall be measured? Give --like SHAPE, for example qwen2.5-coder-0.5b, or --model DIR"
            ),
        };
        let ours = if args.like.is_some() { packed(&dir)? } else { dir.clone() };
        let mut gguf: Vec<(PathBuf, String)> = Vec::new();
        if with_peer {
            for file in &args.gguf {
                if !file.is_file() {
                    bail!("--gguf {} is not a file", file.display());
                }
                let name = file.to_string_lossy();
                let Some((head, _)) =
                    HEADS.into_iter().find(|(head, _)| name.contains(&format!("head-{head}")))
                else {
                    bail!(
                        "--gguf {}: how is its vocabulary projection stored? Name it so that it says head-q8_0, head-q6_K or head-q4_0",
                        file.display()
                    );
                };
                gguf.push((file.clone(), head.to_owned()));
            }
            if gguf.is_empty() {
                made::gguf(&dir, HEADS[0].0)?;
                let all = HEADS.map(|(head, _)| (gguf_file(&dir, head), head.to_owned()));
                gguf.extend(all.into_iter().filter(|(file, _)| file.is_file()));
            }
        }
        Ok(Files { name, ours, gguf })
    }

    fn peers(&self, program: PathBuf) -> Vec<Peer> {
        self.gguf
            .iter()
            .map(|(file, head)| Peer {
                program: program.clone(),
                file: file.clone(),
                head: head.clone(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_named_as_they_are_written() {
        for name in ["pp1", "pp512", "tg32", "pp4@32", "tg16@4096"] {
            assert_eq!(Plan::parse(name).expect("valid").name(), name);
        }
        for wrong in
            ["", "p", "pp", "pp0", "xx4", "pp4@", "pp-1", "tg4@x", "é1", "pp99999999999999999999"]
        {
            assert!(Plan::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_group_shares_depth_and_repeats_and_every_test_is_in_one() {
        let plans: Vec<Plan> =
            DEFAULT_TESTS.split(',').map(|t| Plan::parse(t).expect("valid")).collect();
        let groups = groups(&plans);
        let mut seen: Vec<usize> = groups.concat();
        seen.sort_unstable();
        assert_eq!(seen, (0..plans.len()).collect::<Vec<_>>());
        for group in groups {
            assert!(group.iter().all(|i| plans[*i].depth == plans[group[0]].depth
                && plans[*i].repeats() == plans[group[0]].repeats()));
        }
    }
}
