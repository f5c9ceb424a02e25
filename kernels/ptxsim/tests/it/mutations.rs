//! Would the tests see a wrong kernel? Every kernel that ships is broken in every way of a list,
//! one instruction at a time, and run beside the sound one: a mutant is killed when the simulator
//! finds a fault, when a result differs, or when it costs more.
//!
//! The list: a barrier, a store or a guard left out; a guard or a comparison turned around, a
//! comparison off by one; addition for subtraction, product for sum, minimum for maximum, left for
//! right; a constant or an address one further; a signed operand for an unsigned.

use lacuna_ptxsim::{Counts, Fault, Module};

use crate::shipped::{activations, attention, int4, ptx};

/// Bits of all results, and the costs.
type Outcome = Result<(Vec<u32>, Counts), Box<Fault>>;
type Run<'a> = Box<dyn Fn(&Module) -> Outcome + 'a>;

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

/// Lines of a kernel's body: numbers from 0.
fn body(ptx: &str, kernel: &str) -> std::ops::Range<usize> {
    let start = ptx
        .lines()
        .position(|line| line.contains(&format!(".entry {kernel}(")))
        .expect("the kernel is there");
    let end = ptx.lines().skip(start).position(|line| line == "}").expect("it ends");
    start..start + end
}

/// Mutants of a kernel, and those that nothing kills.
fn survivors(file: &str, kernel: &str, runs: &[Run]) -> (usize, Vec<String>) {
    let text = ptx(file);
    let sound: Vec<(Vec<u32>, Counts)> = {
        let module = Module::parse(&text).unwrap();
        runs.iter().map(|run| run(&module).unwrap_or_else(|e| panic!("{kernel}: {e}"))).collect()
    };
    let lines: Vec<&str> = text.lines().collect();
    let (mut total, mut alive) = (0, Vec::new());
    for at in body(&text, kernel) {
        for (what, mutant) in mutations(lines[at]) {
            let mut changed = lines.clone();
            changed[at] = &mutant;
            // A mutant that is no PTX is none.
            let Ok(module) = Module::parse(&changed.join("\n")) else { continue };
            total += 1;
            let killed =
                runs.iter().zip(&sound).any(|(run, (expected, costs))| match run(&module) {
                    Err(_) => true,
                    Ok((got, counts)) => {
                        got != *expected
                            || counts.shared.conflicts > costs.shared.conflicts
                            || counts.loads.sectors > costs.loads.sectors
                    }
                });
            if !killed {
                alive.push(format!(
                    "{kernel}, PTX line {}: {what}: {} -> {mutant}",
                    at + 1,
                    lines[at].trim()
                ));
            }
        }
    }
    (total, alive)
}

/// Results of a product.
fn product(case: &int4::Case, module: &Module, kernel: &str) -> Outcome {
    let (y, counts) = case.run(module, kernel)?;
    Ok((y.iter().map(|y| y.to_bits()).collect(), counts))
}

fn quantized(
    module: &Module,
    kernel: &str,
    x: &[f32],
    weight: Option<(&[f32], f32)>,
    shape: (usize, usize, usize),
) -> Outcome {
    let ((q, scales, biases), counts) = activations::run(module, kernel, x, weight, shape)?;
    let q = q.iter().map(|q| *q as u32);
    Ok((
        q.chain(scales.iter().map(|s| s.to_bits()))
            .chain(biases.iter().map(|b| *b as u32))
            .collect(),
        counts,
    ))
}

fn attention(case: &attention::Case, module: &Module) -> Outcome {
    let ((q, scales, biases), [attended, joined]) = case.run(module, 8)?;
    let mut counts = attended;
    counts.shared.conflicts += joined.shared.conflicts;
    counts.loads.sectors += joined.loads.sectors;
    let q = q.iter().map(|q| *q as u32);
    Ok((
        q.chain(scales.iter().map(|s| s.to_bits()))
            .chain(biases.iter().map(|b| *b as u32))
            .collect(),
        counts,
    ))
}

fn appended(module: &Module, shape: attention::Shape, special: &[f32]) -> Outcome {
    let got = attention::append(module, shape, 5, special)?;
    let parts = [&got.q, &got.keys, &got.values];
    let bits = parts.into_iter().flat_map(|(levels, scales)| {
        levels.iter().map(|level| *level as u32).chain(scales.iter().map(|s| s.to_bits()))
    });
    Ok((bits.collect(), got.counts))
}

#[test]
fn nineteen_of_twenty_mutants_are_killed() {
    let cases: Vec<_> =
        [(16, 64, 1, 3), (16, 1088, 1, 2), (32, 1408, 1, 6), (32, 576, 3, 6), (16, 1152, 8, 5)]
            .map(|(n, k, m, seed)| int4::Case::draw(n, k, m, seed))
            .into();
    let one: Vec<Run> = cases[..3]
        .iter()
        .map(|case| -> Run { Box::new(move |module| product(case, module, "int4_one")) })
        .collect();
    let few: Vec<Run> = cases[1..]
        .iter()
        .map(|case| -> Run { Box::new(move |module| product(case, module, "int4_few")) })
        .collect();
    let shapes = [(1, 224, 1), (2, 1888, 3), (1, 3200, 2)];
    let draw = |seed: u64, factor: usize| -> Vec<Vec<f32>> {
        shapes
            .map(|(m, k, _)| {
                activations::rows(m * factor, k, seed).iter().map(|v| v.clamp(-1e3, 1e3)).collect()
            })
            .into()
    };
    let (rows, mut pairs) = (draw(1, 1), draw(2, 2));
    // Of what must stay finite for a norm, the rest has all: the least and the largest that is
    // quantised, and what is not.
    let mut odd = rows.clone();
    for ((x, pairs), (_, k, _)) in odd.iter_mut().zip(&mut pairs).zip(shapes) {
        let groups: [&[f32]; 4] = [&[1e-30], &[f32::MAX], &[f32::INFINITY, 1.0], &[f32::NAN]];
        for (at, special) in groups.into_iter().enumerate() {
            x[at * 32..at * 32 + 32].fill(0.0);
            x[at * 32..at * 32 + special.len()].copy_from_slice(special);
        }
        let gates = [(64, f32::MAX), (96, f32::NAN), (128, f32::INFINITY)];
        gates.into_iter().for_each(|(at, gate)| (pairs[at], pairs[k + at]) = (gate, 1.0));
    }
    // Weights that are all different.
    let weight: Vec<f32> = (0..3200).map(|i| 0.5 + i as f32 / 1024.0).collect();
    let plain = |kernel: &'static str, inputs: &'_ [Vec<f32>]| -> Vec<Run> {
        let inputs = inputs.to_vec();
        shapes
            .into_iter()
            .zip(inputs)
            .map(|(shape, x)| -> Run {
                Box::new(move |module| quantized(module, kernel, &x, None, shape))
            })
            .collect()
    };
    let weight = weight.as_slice();
    let norm: Vec<Run> = shapes
        .into_iter()
        .zip(&rows)
        .map(|(shape, x)| -> Run {
            Box::new(move |module| {
                quantized(module, "rms_norm_quantize", x, Some((&weight[..shape.1], 1e-5)), shape)
            })
        })
        .collect();
    let mut attended: Vec<_> =
        attention::SHAPES.into_iter().map(|shape| attention::Case::draw(shape, 3)).collect();
    attended.push(attention::Case::draw(attention::SHAPES[0], 4).tiny());
    let attend = |d: usize| -> Vec<Run> {
        attended
            .iter()
            .filter(|case| case.shape.d == d)
            .map(|case| -> Run { Box::new(move |module| attention(case, module)) })
            .collect()
    };
    let append = [(64, 0, 1), (128, 5, 3), (64, 3, 2)].map(|(d, past, m)| -> Run {
        let shape = attention::Shape { heads: 3, kv_heads: 2, d, past, m, capacity: past + m + 1 };
        Box::new(move |module| appended(module, shape, &[]))
    });
    // What is just quantised, and just not, in queries, keys and values.
    let (less, least, most) = (1e-35, 1e-30, f32::MAX);
    let edges = [
        [most, least, less, most, least, f32::INFINITY, most],
        [less, least, most, less, most, least, less],
    ]
    .map(|special| -> Run {
        let shape = attention::Shape { heads: 3, kv_heads: 2, d: 64, past: 0, m: 1, capacity: 2 };
        Box::new(move |module| appended(module, shape, &special))
    });
    let kernels: [(&str, &str, Vec<Run>); 8] = [
        ("int4", "int4_one", one),
        ("int4", "int4_few", few),
        ("activations", "quantize", plain("quantize", &odd)),
        ("activations", "rms_norm_quantize", norm),
        ("activations", "silu_mul_quantize", plain("silu_mul_quantize", &pairs)),
        ("attention", "rope_append", append.into_iter().chain(edges).collect()),
        ("attention", "attention_64", attend(64)),
        ("attention", "attention_join", attend(64)),
    ];
    let (mut total, mut alive) = (0, Vec::new());
    for (file, kernel, runs) in &kernels {
        let (n, left) = survivors(file, kernel, runs);
        eprintln!("{kernel}: {} of {n} killed", n - left.len());
        assert!(n > 30, "{kernel}: {n} mutants");
        total += n;
        alive.extend(left);
    }
    eprintln!("{} of {total} killed; alive:\n{}", total - alive.len(), alive.join("\n"));
    assert!(20 * alive.len() <= total, "{} of {total} alive:\n{}", alive.len(), alive.join("\n"));
}
