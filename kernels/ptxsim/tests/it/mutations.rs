//! Would the tests see a wrong kernel? Every kernel that ships is broken in every way of a list,
//! one instruction at a time, and run beside the sound one: a mutant is killed when the simulator
//! finds a fault, when a result differs, or when it costs more.
//!
//! The list: a barrier, a store or a guard left out; a guard or a comparison turned around, a
//! comparison off by one; addition for subtraction, product for sum, minimum for maximum, left for
//! right; a constant or an address one further; a signed operand for an unsigned.

use std::sync::Arc;

use lacuna_kernels::cuda::GpuError;
use lacuna_kernels::cuda::launch::Inputs;
use lacuna_kernels::cuda::store::Layout;
use lacuna_kernels::kv::KvDtype;
use lacuna_ptxsim::Module;

use crate::shipped::activations::{self, Kind, Quantized};
use crate::shipped::{Bench, attention, int4, moved, ptx};

/// What launches cost that may not grow.
#[derive(Clone, Copy, Default)]
struct Cost {
    conflicts: u64,
    sectors: u64,
}

/// Bits of all results, and the costs.
type Outcome = Result<(Vec<u32>, Cost), GpuError>;
type Run = Box<dyn Fn(&Bench) -> Outcome + Send + Sync>;

/// What is put for what in an opcode, at its start.
const SWAPS: [(&str, &str); 24] = [
    ("add.", "sub."),
    ("sub.", "add."),
    ("mul.f32", "add.f32"),
    ("mul.lo.", "add."),
    ("div.rn.f32", "mul.f32"),
    ("min.", "max."),
    ("max.", "min."),
    ("and.b32", "or.b32"),
    ("and.pred", "or.pred"),
    ("or.pred", "and.pred"),
    ("shl.b", "shr.b"),
    ("shr.u", "shl.b"),
    ("setp.lt.", "setp.le."),
    ("setp.le.", "setp.lt."),
    ("setp.gt.", "setp.ge."),
    ("setp.ge.", "setp.gt."),
    ("setp.eq.", "setp.ne."),
    ("setp.ne.", "setp.eq."),
    ("redux.sync.max", "redux.sync.min"),
    ("redux.sync.add", "redux.sync.max"),
    ("dp4a.s32.s32", "dp4a.s32.u32"),
    ("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8", "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8"),
    ("cvt.rni.s32.f32", "cvt.rzi.s32.f32"),
    ("shfl.sync.bfly", "shfl.sync.up"),
];
/// Instructions that may be left out.
const REMOVED: [&str; 6] = ["bar.sync", "bar.warp.sync", "st.", "cp.async", "add.f32", "neg."];

/// One line of PTX in its mutations, each said in words.
fn mutations(line: &str) -> Vec<(&'static str, String)> {
    let text = line.trim();
    let (guard, instruction) =
        match text.strip_prefix('@').and_then(|rest| rest.split_once(char::is_whitespace)) {
            Some((guard, instruction)) => (Some(guard), instruction.trim()),
            None => (None, text),
        };
    let guarded = |instruction: &str| {
        guard.map_or(instruction.to_owned(), |guard| format!("@{guard} {instruction}"))
    };
    let mut all = Vec::new();
    if !instruction.ends_with(';') || instruction.starts_with('.') {
        return all;
    }
    if REMOVED.iter().any(|name| instruction.starts_with(name)) {
        all.push(("left out", String::new()));
    }
    if let Some(guard) = guard {
        let turned = guard.strip_prefix('!').map_or(format!("!{guard}"), str::to_owned);
        all.push(("guard turned", format!("@{turned} {instruction}")));
    }
    for (from, to) in SWAPS {
        if let Some(rest) = instruction.strip_prefix(from) {
            all.push(("swapped", guarded(&format!("{to}{rest}"))));
        }
    }
    // The last operand, if it is a constant, and an address.
    let body = instruction.trim_end_matches(';');
    if let Some((head, last)) = body.rsplit_once([' ', '\t']) {
        // Another barrier is as good as this one.
        if let Ok(value) = last.parse::<i64>()
            && !instruction.starts_with("bar.")
        {
            all.push(("constant + 1", guarded(&format!("{head} {};", value + 1))));
        }
    }
    if let Some((head, rest)) = body.split_once('[')
        && let Some((address, tail)) = rest.split_once(']')
        && address.starts_with("%rd")
    {
        let (base, offset) = address
            .split_once('+')
            .map_or((address, 0), |(base, offset)| (base, offset.parse::<i64>().unwrap_or(0)));
        all.push(("address + 4", guarded(&format!("{head}[{base}+{}]{tail};", offset + 4))));
    }
    all
}

/// A PTX file without its other kernels: what is parsed anew for every mutant.
fn alone<'a>(ptx: &'a str, kernel: &str) -> Vec<&'a str> {
    let is_own = |line: &str| line.contains(&format!(".entry {kernel}("));
    let mut is_left_out = false;
    let mut lines = Vec::new();
    for line in ptx.lines() {
        if line.contains(".entry ") {
            is_left_out = !is_own(line);
        }
        if !is_left_out {
            lines.push(line);
        }
        if line == "}" {
            is_left_out = false;
        }
    }
    assert!(lines.iter().any(|line| is_own(line)), "{kernel} is there");
    lines
}

/// Mutants of a kernel, and those that nothing kills.
fn survivors(file: &str, kernel: &str, runs: &[Run]) -> (usize, Vec<String>) {
    let lines = alone(ptx(file), kernel);
    let sound: Vec<(Vec<u32>, Cost)> = runs
        .iter()
        .map(|run| run(&Bench::default()).unwrap_or_else(|e| panic!("{kernel}: {e}")))
        .collect();
    let (mut total, mut alive) = (0, Vec::new());
    for at in 0..lines.len() {
        for (what, mutant) in mutations(lines[at]) {
            let mut changed = lines.clone();
            changed[at] = &mutant;
            // A mutant that is no PTX is none.
            let Ok(module) = Module::parse(&changed.join("\n")) else { continue };
            total += 1;
            let module = Arc::new(module);
            let killed = runs.iter().zip(&sound).any(|(run, (expected, costs))| {
                match run(&Bench::with(&module)) {
                    Err(_) => true,
                    Ok((got, cost)) => {
                        got != *expected
                            || cost.conflicts > costs.conflicts
                            || cost.sectors > costs.sectors
                    }
                }
            });
            if !killed {
                alive.push(format!(
                    "{kernel}, line {} of it alone: {what}: {} -> {mutant}",
                    at + 1,
                    lines[at].trim()
                ));
            }
        }
    }
    (total, alive)
}

/// Results of launches: everything they leave, as numbers that must be the same.
fn run_all(bench: &Bench, results: Result<Vec<u32>, GpuError>) -> Outcome {
    let costs = bench.simulated.take_counts().into_values().flatten();
    let cost = costs.fold(Cost::default(), |sum, counts| Cost {
        conflicts: sum.conflicts + counts.shared.conflicts,
        sectors: sum.sectors + counts.loads.sectors,
    });
    Ok((results?, cost))
}

fn float_bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn bytes_as_numbers(bytes: &[u8]) -> Vec<u32> {
    bytes.iter().map(|byte| u32::from(*byte)).collect()
}

/// Shapes of products; several parts of k each.
fn products() -> Vec<int4::Case> {
    [(16, 64, 1, 3), (61, 1085, 1, 2), (32, 1408, 1, 6)]
        .map(|(n, k, m, seed)| int4::Case::draw(n, k, m, seed))
        .into()
}

fn products_of_few() -> Vec<int4::Case> {
    [(13, 1088, 2, 2), (32, 576, 3, 6), (16, 1152, 8, 5)]
        .map(|(n, k, m, seed)| int4::Case::draw(n, k, m, seed))
        .into()
}

fn products_of_many() -> Vec<int4::Case> {
    // With and without a bias, with and without what is added; every place in a block is the last
    // token, or the last row, of some case.
    let small = [3, 5, 6].into_iter().flat_map(|seed| {
        let tokens = [34, 10, 18, 19, 26, 27, 33].map(|m| (16, 64, m, seed));
        tokens.into_iter().chain([(13, 64, 32, seed), (6, 64, 32, seed)])
    });
    let cases = small.chain([(61, 640, 9, 2), (70, 1408, 45, 6)]);
    cases.map(|(n, k, m, seed)| int4::Case::draw(n, k, m, seed)).collect()
}

fn multiplied(cases: Vec<int4::Case>) -> Vec<Run> {
    let run = |case: int4::Case| -> Run {
        Box::new(move |bench| run_all(bench, case.run(bench).map(|y| float_bits(&y))))
    };
    cases.into_iter().map(run).collect()
}

fn multiplied_f32() -> Vec<Run> {
    let cases = [(13, 70, 1, 2), (17, 576, 11, 6), (8, 64, 8, 5)]
        .map(|(n, k, m, seed)| int4::Case::draw(n, k, m, seed));
    let run = |case: int4::Case| -> Run {
        Box::new(move |bench| run_all(bench, case.run_f32(bench).map(|y| float_bits(&y))))
    };
    cases.into_iter().map(run).collect()
}

fn gated(tokens: &[usize]) -> Vec<Run> {
    let run = |(seed, m): (u64, &usize)| -> Run {
        let (width, k) = [(64, 1088), (70, 640)][seed as usize % 2];
        let mut case = int4::Case::draw(2 * width, k, *m, seed + 4);
        case.residual = None;
        *case.scales.last_mut().expect("a scale") = half::f16::ONE;
        Box::new(move |bench| run_all(bench, case.swiglu(bench).map(|got| got.bits())))
    };
    (0u64..).zip(tokens).map(run).collect()
}

fn embedded(is_int4: bool) -> Vec<Run> {
    let run = move |(n, k): (usize, usize)| -> Run {
        let case = int4::Case::draw(n, k, 1, 8);
        let ids = [0, n as u32 - 1, 17, 8, 40];
        Box::new(move |bench| {
            let rows = match is_int4 {
                true => case.embed(bench, &ids),
                false => case.embed_f32(bench, &ids),
            };
            run_all(bench, rows.map(|rows| float_bits(&rows)))
        })
    };
    [(97, 1032), (61, 70)].map(run).into()
}

const SHAPES: [(usize, usize); 3] = [(1, 256), (2, 1920), (1, 3200)];

/// Rows; of what must stay finite for a norm, all the rest has the least and the largest that is
/// quantised, and what is not.
fn rows(factor: usize, seed: u64, is_odd: bool) -> Vec<Vec<f32>> {
    let drawn = SHAPES.map(|(m, k)| -> Vec<f32> {
        let mut x: Vec<f32> =
            activations::rows(m * factor, k, seed).iter().map(|v| v.clamp(-1e3, 1e3)).collect();
        let groups: [&[f32]; 4] = [&[1e-30], &[f32::MAX], &[f32::INFINITY, 1.0], &[f32::NAN]];
        for (at, special) in groups.into_iter().enumerate().filter(|_| is_odd) {
            x[at * 32..at * 32 + 32].fill(0.0);
            x[at * 32..at * 32 + special.len()].copy_from_slice(special);
        }
        x
    });
    drawn.into()
}

fn quantized() -> Vec<Run> {
    let run = |(shape, x): ((usize, usize), Vec<f32>)| -> Run {
        Box::new(move |bench| {
            run_all(bench, activations::run(bench, Kind::Quantize, &x, shape).map(|got| got.bits()))
        })
    };
    SHAPES.into_iter().zip(rows(1, 1, true)).map(run).collect()
}

fn normed(is_int8: bool) -> Vec<Run> {
    // Weights that are all different.
    let weight: Vec<f32> = (0..3200).map(|i| 0.5 + i as f32 / 1024.0).collect();
    let run = |(shape, x): ((usize, usize), Vec<f32>)| -> Run {
        let weight = weight[..shape.1].to_vec();
        Box::new(move |bench| {
            let kind = Kind::Norm { weight: &weight, n: shape.1, eps: 1e-5 };
            let got = match is_int8 {
                true => activations::run(bench, kind, &x, shape).map(|got| got.bits()),
                false => activations::run_f32(bench, kind, &x, shape).map(|got| float_bits(&got)),
            };
            run_all(bench, got)
        })
    };
    SHAPES.into_iter().zip(rows(1, 1, false)).map(run).collect()
}

fn silu(is_int8: bool) -> Vec<Run> {
    let mut pairs = rows(2, 2, false);
    for (x, (_, k)) in pairs.iter_mut().zip(SHAPES) {
        let gates = [(64, f32::MAX), (96, f32::NAN), (128, f32::INFINITY)];
        gates.into_iter().for_each(|(at, gate)| (x[at], x[k + at]) = (gate, 1.0));
    }
    let run = |(shape, x): ((usize, usize), Vec<f32>)| -> Run {
        Box::new(move |bench| {
            let got = match is_int8 {
                true => activations::run(bench, Kind::Silu, &x, shape).map(|got| got.bits()),
                false => {
                    activations::run_f32(bench, Kind::Silu, &x, shape).map(|got| float_bits(&got))
                }
            };
            run_all(bench, got)
        })
    };
    SHAPES.into_iter().zip(pairs).map(run).collect()
}

fn attention_shape(dtype: KvDtype, d: usize, lengths: &[usize]) -> attention::Shape {
    let (heads, kv_heads, lengths) = (4, 2, lengths.to_vec());
    attention::Shape { dtype, heads, kv_heads, d, lengths, has_norms: d % 4 == 2 }
}

/// Everything that appending leaves: the store, and the queries by what they attend to.
fn appended(dtype: KvDtype) -> Vec<Run> {
    let run = move |(seed, d): (u64, usize)| -> Run {
        // Of a longer one what stands in a block behind the first.
        let shape = attention_shape(dtype, d, if seed == 1 { &[259, 3] } else { &[5, 2] });
        Box::new(move |bench| {
            let mut case = attention::Case::draw(bench, &shape, seed);
            let (less, least, most) = (1e-35, 1e-30, f32::MAX);
            match seed {
                // What is just quantised, and just not, in queries, keys and values.
                2 => case.special(&[most, least, less, most, least, f32::INFINITY, most, less]),
                3 => case.special(&[less, least, most, less, most, least, less, most]),
                _ => {}
            }
            let rows = match seed {
                1 => attention::last(&shape, 3),
                _ => attention::before(&shape, 0),
            };
            let filled = if seed == 1 { case.fill(bench) } else { Ok(()) };
            let attended = filled.and_then(|()| case.attend(bench, &rows, false));
            let read = |out: Inputs| -> Vec<u32> {
                let mut all = float_bits(&bench.read(out.f32(), rows.len() * case.k()));
                all.extend(bytes_as_numbers(&case.stored(bench)));
                all
            };
            run_all(bench, attended.map(read))
        })
    };
    [(1, 70), (2, 64), (3, 64), (4, 96), (5, 10)].map(run).into()
}

fn attended(dtype: KvDtype, is_int8: bool) -> Vec<Run> {
    let run = move |(seed, (d, lengths)): (u64, (usize, &'static [usize]))| -> Run {
        let shape = attention_shape(dtype, d, lengths);
        Box::new(move |bench| {
            let case = attention::Case::draw(bench, &shape, seed);
            let rows = attention::last(&shape, 2);
            let done = case.fill(bench).and_then(|()| case.attend(bench, &rows, is_int8));
            let read = |out: Inputs| match is_int8 {
                true => Quantized::read(bench, &out, rows.len(), case.k()).bits(),
                false => float_bits(&bench.read(out.f32(), rows.len() * case.k())),
            };
            run_all(bench, done.map(read))
        })
    };
    let shapes: [(usize, &[usize]); 3] = [(64, &[4]), (62, &[258, 37]), (64, &[560])];
    (1u64..).zip(shapes).map(run).collect()
}

fn moved_runs(dtype: KvDtype, is_distance: bool) -> Vec<Run> {
    let run = move |layout: Layout| -> Run {
        Box::new(move |bench| {
            let got = match is_distance {
                true => moved::distances(bench, layout).map(|(got, _)| float_bits(&got)),
                false => moved::moved(bench, layout, 0.3)
                    .map(|(_, target)| bytes_as_numbers(&target.bytes(bench))),
            };
            run_all(bench, got)
        })
    };
    moved::layouts().into_iter().filter(|layout| layout.dtype == dtype).map(run).collect()
}

#[test]
fn nineteen_of_twenty_mutants_are_killed() {
    let int8 = KvDtype::Int8;
    let kernels: Vec<(&str, &str, Vec<Run>)> = vec![
        ("int4", "int4_one", multiplied(products())),
        ("int4", "int4_few", multiplied(products_of_few())),
        ("int4", "int4_many", multiplied(products_of_many())),
        ("int4", "swiglu_one", gated(&[1, 1])),
        ("int4", "swiglu_few", gated(&[2, 8, 5])),
        ("int4", "embed_int4", embedded(true)),
        ("float", "matmul_f32", multiplied_f32()),
        ("float", "embed_f32", embedded(false)),
        ("activations", "quantize", quantized()),
        ("activations", "rms_norm_quantize", normed(true)),
        ("activations", "rms_norm", normed(false)),
        ("activations", "silu_mul_quantize", silu(true)),
        ("activations", "silu_mul", silu(false)),
        ("attention", "rope_append_int8", appended(int8)),
        ("attention", "rope_append_f16", appended(KvDtype::F16)),
        ("attention", "rope_append_f32", appended(KvDtype::F32)),
        // The other lengths of heads are the same source.
        ("attention", "attention_int8_64", attended(int8, false)),
        ("attention", "attention_f16_64", attended(KvDtype::F16, false)),
        ("attention", "attention_f32_64", attended(KvDtype::F32, false)),
        ("attention", "attention_join_quantize", attended(int8, true)),
        ("attention", "attention_join", attended(int8, false)),
        ("moved", "move_int8", moved_runs(int8, false)),
        ("moved", "move_f16", moved_runs(KvDtype::F16, false)),
        ("moved", "move_f32", moved_runs(KvDtype::F32, false)),
        ("moved", "value_distance_int8", moved_runs(int8, true)),
        ("moved", "value_distance_f16", moved_runs(KvDtype::F16, true)),
        ("moved", "value_distance_f32", moved_runs(KvDtype::F32, true)),
    ];
    // A thread each, as many as there are processors.
    let next = std::sync::atomic::AtomicUsize::new(0);
    let results = std::sync::Mutex::new(Vec::new());
    let work = || {
        while let Some((file, kernel, runs)) =
            kernels.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        {
            let start = std::time::Instant::now();
            let (n, left) = survivors(file, kernel, runs);
            eprintln!("{kernel}: {} of {n} killed, {:?}", n - left.len(), start.elapsed());
            results.lock().unwrap().push((*kernel, n, left));
        }
    };
    std::thread::scope(|scope| {
        let n = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        (0..n).for_each(|_| drop(scope.spawn(work)));
    });
    let results = results.into_inner().unwrap();
    assert_eq!(results.len(), kernels.len());
    let (mut total, mut alive) = (0, Vec::new());
    for (kernel, n, left) in results {
        assert!(n > 20, "{kernel}: {n} mutants");
        total += n;
        alive.extend(left);
    }
    eprintln!("{} of {total} killed; alive:\n{}", total - alive.len(), alive.join("\n"));
    assert!(20 * alive.len() <= total, "{} of {total} alive:\n{}", alive.len(), alive.join("\n"));
}
