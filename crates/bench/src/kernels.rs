//! `lacuna bench kernels`: every operation of a layer at the sizes of real models, on every row of
//! the kernel table.
//!
//! The row is chosen once per process, so each row runs in a process of its own: this binary again,
//! with `LACUNA_ISA` set.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use lacuna_engine::{DEFAULT_KV, KvDtype, set_threads};
use lacuna_kernels::isa::{self, ISA_VARIABLE, Isa};
use lacuna_kernels::kv::KvStore;
use lacuna_kernels::ops::{self, Attention};
use lacuna_kernels::{Activations, Int4Matrix, matmul_int4, threads};
use lacuna_model::ModelSpec;
use lacuna_model::synth::{SHAPES, shape};

use super::machine::{self, Limits, Machine, limits_of};
use super::record::{KernelCase, KernelRow, Kernels, Record};
use super::timing::{Case, Spread, in_turn};
use super::weights::{Random, products, random_matrix};

/// Time every kernel at the sizes of real models, beside the limits of this machine
///
/// Time is the median of repeats that are taken in turn; GB/s count the bytes that must be moved,
/// TOPS the integer operations of the product; the share is that of the nearer limit, measured in
/// the same run.
#[derive(clap::Args)]
pub struct Args {
    /// Shapes to take sizes from
    #[arg(long, value_name = "SHAPE", value_delimiter = ',', default_values = ["qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "embedded"])]
    like: Vec<String>,
    /// Kernel rows to time [default: all that this machine runs]
    #[arg(long, value_name = "ROW", value_delimiter = ',', value_parser = super::machine::parse_isa)]
    isa: Vec<Isa>,
    /// Threads to use; 0 is all cores
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1024))]
    threads: u16,
    /// Seconds for each case
    #[arg(long, default_value_t = 0.15, value_name = "S", value_parser = parse_seconds)]
    seconds: f64,
    /// Only operations whose name contains this (int4, attention, norm, …)
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Also write the JSON object to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|s| (0.0..=60.0).contains(s))
        .ok_or_else(|| "a number of seconds from 0 to 60".to_owned())
}

/// Tokens of a product.
const TOKENS: [usize; 7] = [1, 2, 4, 8, 16, 64, 512];
/// The vocabulary projection is for the last token, or those of a draft.
const MOST_VOCABULARY_TOKENS: usize = 16;

pub fn run(args: &Args) -> anyhow::Result<()> {
    set_threads(usize::from(args.threads));
    for name in &args.like {
        if shape(name).is_none() {
            let names: Vec<&str> = SHAPES.iter().map(|s| s.name).collect();
            bail!("--like {name}: no such shape; use one of {}", names.join(", "));
        }
    }
    let active = isa::selected().map_err(Clone::clone)?.isa();
    let wanted = if args.isa.is_empty() {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    } else {
        args.isa.clone()
    };
    let machine = Machine::here();
    let mut rows = Vec::new();
    for isa in wanted {
        rows.push(if isa == active { measure(args, isa, &machine) } else { in_child(args, isa)? });
    }
    super::output::deliver(
        &Record::Kernels(Kernels { machine, threads: threads::threads(), rows }),
        args.output.as_deref(),
        args.json,
    )
}

/// Runs this command for one row in a process of its own.
fn in_child(args: &Args, isa: Isa) -> anyhow::Result<KernelRow> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([
        "bench",
        "kernels",
        "--json",
        "--isa",
        isa.name(),
        "--only",
        &args.only,
        "--like",
        &args.like.join(","),
    ]);
    command.args(["--threads", &args.threads.to_string(), "--seconds", &args.seconds.to_string()]);
    let output = command
        .env(ISA_VARIABLE, isa.name())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!("the run for --isa {isa} failed ({}): run it alone to see why", output.status);
    }
    let record = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("what the run for --isa {isa} printed"))?;
    match record {
        Record::Kernels(Kernels { mut rows, .. }) if rows.len() == 1 => Ok(rows.remove(0)),
        _ => bail!("the run for --isa {isa} printed another record"),
    }
}

/// What a case moves and computes.
struct About {
    op: &'static str,
    what: String,
    m: usize,
    cold: bool,
    /// Bytes that come from memory or cache; 0: say nothing.
    bytes: f64,
    ops: f64,
    /// Whether the limits apply: not to what lies in a cache and multiplies no integers.
    limited: bool,
}

/// Times all operations on the active row.
fn measure(args: &Args, isa: Isa, machine: &Machine) -> KernelRow {
    super::output::note(&format!("{isa}, {} threads", threads::threads()));
    let tiny = args.like.iter().all(|name| name.starts_with("tiny"));
    let limit_bytes = if tiny { 1 << 24 } else { machine::limit_bytes(machine) };
    let limits_now = || machine::measure_limits(isa, threads::threads(), limit_bytes);
    // The limits move with the neighbours of a virtual machine: they are measured between the
    // groups, and each group is held against those before and after it.
    let mut measured = vec![limits_now()];
    let mut done: Vec<KernelCase> = Vec::new();
    let mut group = |like: &str, cases: Vec<Case<About>>| {
        let cases: Vec<_> =
            cases.into_iter().filter(|case| case.about.op.contains(&args.only)).collect();
        if cases.is_empty() {
            return;
        }
        let results = in_turn(cases, Duration::from_secs_f64(args.seconds));
        measured.push(limits_now());
        let limits = limits_of(&measured[measured.len() - 2..]);
        done.extend(
            results.into_iter().map(|(about, spread)| finished(like, about, &spread, &limits)),
        );
    };
    let cold_bytes = if tiny { 1 << 16 } else { 4 * machine.last_cache };
    for like in &args.like {
        let spec = shape(like).expect("checked at the start").spec();
        for (name, n, k) in products(&spec) {
            if !"int4 product".contains(&args.only) {
                continue;
            }
            let one = random_matrix(n, k, &mut Random(7));
            let copies = (cold_bytes / one.bytes()).max(1) + 1;
            let copies: Vec<Int4Matrix> = (0..copies).map(|_| one.clone()).collect();
            let fits = one.bytes() * 2 < machine.last_cache;
            let mut cases = Vec::new();
            for m in
                TOKENS.into_iter().filter(|m| name != "vocabulary" || *m <= MOST_VOCABULARY_TOKENS)
            {
                cases.push(product(name, &copies, m, true));
                if fits {
                    cases.push(product(name, &copies[..1], m, false));
                }
            }
            group(like, cases);
        }
        let past: &[usize] = if tiny { &[48] } else { &[1024, 4096] };
        if "attention".contains(&args.only) {
            let stores: Vec<(KvDtype, Vec<KvStore>)> = [DEFAULT_KV, KvDtype::F16]
                .map(|dtype| (dtype, kv_stores(&spec, dtype, past)))
                .into();
            let mut cases = Vec::new();
            for (dtype, stores) in &stores {
                cases.extend(past.iter().map(|past| attention(&spec, *dtype, stores, *past, 1)));
                cases.push(attention(&spec, *dtype, stores, 0, past[0].min(512)));
            }
            group(like, cases);
        }
        let tokens: [usize; 2] = if tiny { [1, 4] } else { [1, 512] };
        group(
            like,
            tokens
                .into_iter()
                .flat_map(|m| small_operations(&spec, m))
                .chain(over_vocabulary(&spec))
                .collect(),
        );
    }
    KernelRow { isa: isa.name().to_owned(), limits: limits_of(&measured), cases: done }
}

fn finished(like: &str, about: About, seconds: &Spread, limits: &Limits) -> KernelCase {
    let About { op, what, m, cold, bytes, ops, limited } = about;
    // What a cache holds is not read from memory.
    let (least, bound) = limits.bound(if cold { bytes } else { 0.0 }, ops);
    let micro = |s: f64| s * 1e6;
    KernelCase {
        op: op.to_owned(),
        like: like.to_owned(),
        what,
        m,
        cold,
        us: Spread {
            median: micro(seconds.median),
            least: micro(seconds.least),
            most: micro(seconds.most),
            ..*seconds
        },
        gbs: (bytes > 0.0).then(|| bytes / seconds.median / 1e9),
        tops: (ops > 0.0).then(|| ops / seconds.median / 1e12),
        of_limit: (limited && least > 0.0).then(|| least / seconds.median),
        bound: (limited && least > 0.0).then_some(bound),
    }
}

/// `m` tokens times a matrix, its activations quantised on the way; `copies` are taken one after
/// another.
fn product<'a>(name: &str, copies: &'a [Int4Matrix], m: usize, cold: bool) -> Case<'a, About> {
    let (n, k, bytes) = (copies[0].n(), copies[0].k(), copies[0].bytes());
    let x = Random(11).floats(m * k);
    let mut y = vec![0f32; m * n];
    let mut activations = Activations::new();
    let mut next = 0;
    Case {
        about: About {
            op: "int4 product",
            what: format!("{name} {n}x{k}"),
            m,
            cold,
            bytes: bytes as f64,
            ops: 2.0 * (m * n * k) as f64,
            limited: true,
        },
        call: Box::new(move || {
            next = (next + 1) % copies.len();
            matmul_int4(&copies[next], &x, &mut y, &mut activations);
            black_box(&y);
        }),
    }
}

/// One store a layer, as in a model, with room for the longest prefix and the tokens after it.
fn kv_stores(spec: &ModelSpec, dtype: KvDtype, past: &[usize]) -> Vec<KvStore> {
    let tokens = past.iter().max().expect("some prefix") + 512;
    let width = spec.kv_width();
    let rows = Random(13).floats(64 * width);
    let filled = |_| {
        let mut store = KvStore::new(dtype, spec.attention().kv_heads, spec.attention().head_dim);
        store.grow(tokens);
        for first in (0..tokens).step_by(64) {
            store.put_many(first, 64.min(tokens - first), &rows, &rows, width);
        }
        store
    };
    (0..spec.layers()).map(filled).collect()
}

/// Attention of `m` tokens after `past`, layer after layer.
fn attention<'a>(
    spec: &ModelSpec,
    dtype: KvDtype,
    stores: &'a [KvStore],
    past: usize,
    m: usize,
) -> Case<'a, About> {
    let width = spec.attention().heads * spec.attention().head_dim;
    let q = Random(17).floats(m * width);
    let mut out = vec![0f32; m * width];
    let shape = Attention { heads: spec.attention().heads, past, q_stride: width };
    let mut next = 0;
    let a_token = stores[0].bytes() as f64 / stores[0].tokens() as f64;
    // Scores and weighted values, each a multiply-add an element; a token sees half of what comes
    // with it.
    let seen = past as f64 + m as f64 / 2.0;
    let ops = 4.0 * m as f64 * seen * width as f64;
    Case {
        about: About {
            op: "attention",
            what: format!(
                "{dtype} after {past}, {}/{} heads of {}",
                spec.attention().heads,
                spec.attention().kv_heads,
                spec.attention().head_dim
            ),
            m,
            cold: true,
            bytes: a_token * (past + m) as f64,
            ops: if m > 1 { ops } else { 0.0 },
            limited: m == 1,
        },
        call: Box::new(move || {
            next = (next + 1) % stores.len();
            ops::attention(&shape, &q, &stores[next], &mut out);
            black_box(&out);
        }),
    }
}

/// What lies between the products of a layer; its data is in a cache.
fn small_operations<'a>(spec: &ModelSpec, m: usize) -> Vec<Case<'a, About>> {
    let (d, ff, eps) = (spec.hidden, spec.mlp().width, spec.norm_eps);
    let about = |op, what: String, floats: usize| About {
        op,
        what,
        m,
        cold: false,
        bytes: 4.0 * floats as f64,
        ops: 0.0,
        limited: false,
    };
    let mut cases = Vec::new();

    let (x, weight, mut y) = (Random(19).floats(m * d), vec![1f32; d], vec![0f32; m * d]);
    let call = Box::new(move || {
        ops::rms_norm(&x, &weight, eps, &mut y);
        black_box(&y);
    });
    cases.push(Case { about: about("rms norm", format!("{d}"), 2 * m * d), call });

    let (x, weight, mut q) = (Random(19).floats(m * d), vec![1f32; d], Activations::new());
    let call = Box::new(move || {
        q.quantize_rms_norm(&x, &weight, eps);
        black_box(q.tokens());
    });
    cases.push(Case { about: about("rms norm, quantised", format!("{d}"), m * d), call });

    let (x, mut y) = (Random(23).floats(m * 2 * ff), vec![0f32; m * ff]);
    let call = Box::new(move || {
        ops::swiglu(&x, ff, &mut y);
        black_box(&y);
    });
    cases.push(Case { about: about("swiglu", format!("{ff}"), 3 * m * ff), call });

    let (x, mut q) = (Random(23).floats(m * 2 * ff), Activations::new());
    let call = Box::new(move || {
        q.quantize_swiglu(&x, ff);
        black_box(q.tokens());
    });
    cases.push(Case { about: about("swiglu, quantised", format!("{ff}"), 2 * m * ff), call });

    let (x, mut q) = (Random(29).floats(m * d), Activations::new());
    let call = Box::new(move || {
        q.quantize(&x, d);
        black_box(q.tokens());
    });
    cases.push(Case { about: about("quantise", format!("{d}"), m * d), call });

    let (half, rotated) = (spec.attention().head_dim / 2, spec.q_width() + spec.kv_width());
    let width = rotated + spec.kv_width();
    let angles: Vec<f32> = (0..m * half).map(|i| i as f32 * 0.01).collect();
    let (cos, sin): (Vec<f32>, Vec<f32>) = angles.iter().map(|a| (a.cos(), a.sin())).unzip();
    let mut x = Random(31).floats(m * width);
    let call = Box::new(move || {
        ops::rope_rows(&mut x, width, rotated, &cos, &sin, half);
        black_box(&x);
    });
    cases.push(Case { about: about("rope", format!("{rotated}"), 2 * m * rotated), call });

    let (mut store, rows, kv) = (
        KvStore::new(DEFAULT_KV, spec.attention().kv_heads, spec.attention().head_dim),
        Random(37).floats(m * width),
        spec.kv_width(),
    );
    store.grow(m);
    let call = Box::new(move || {
        store.put_many(0, m, &rows[..rows.len() - kv], &rows[kv..], width);
        black_box(&store);
    });
    cases.push(Case {
        about: about("store keys and values", format!("{DEFAULT_KV} {kv}"), 2 * m * kv),
        call,
    });
    cases
}

/// The choice of a token from its logits.
fn over_vocabulary<'a>(spec: &ModelSpec) -> Vec<Case<'a, About>> {
    let n = spec.n_vocab;
    let about = |op, passes: f64| About {
        op,
        what: format!("{n}"),
        m: 1,
        cold: false,
        bytes: 4.0 * n as f64 * passes,
        ops: 0.0,
        limited: false,
    };
    let logits = Random(41).floats(n);
    let greedy = Box::new(move || {
        black_box(ops::top(&logits));
    });
    let (source, mut x) = (Random(43).floats(n), vec![0f32; n]);
    let softmax = Box::new(move || {
        x.copy_from_slice(&source);
        ops::softmax(&mut x);
        black_box(&x);
    });
    vec![
        Case { about: about("greedy choice and normaliser", 1.0), call: greedy },
        Case { about: about("softmax, with a copy", 4.0), call: softmax },
    ]
}
