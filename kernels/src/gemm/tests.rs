//! The rows against a product in f64, odd shapes, strides and guard bands; the tile layout as AMX
//! would read it.

use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{RngCore, SeedableRng};

use super::*;

/// Shapes around every edge of the packing: tile, block, strip and depth block.
const SHAPES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (2, 3, 7),
    (8, 15, 16),
    (17, 31, 33),
    (16, 16, 32),
    (32, 32, 32),
    (63, 64, 65),
    (33, 127, 64),
    (129, 65, 127),
    (160, 48, 1023),
    (257, 33, 1056),
    (1, 200, 2100),
];

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64::seed_from_u64(seed);
    (0..n).map(|_| (random.next_u64() >> 40) as f32 / (1u32 << 24) as f32 - 0.5).collect()
}

/// Every layout of the operands, plain and accumulating, with a guard band between and after the
/// rows of the result. Returns the worst error, relative to the root of the sum of squares of the
/// terms.
fn check(run: impl Fn(MatRef<'_>, MatRef<'_>, MatMut<'_>, bool), bound: f64) {
    let mut cases = 0;
    for (m, n, k) in SHAPES {
        for layout in 0..8 {
            let (ta, tb, gap) =
                (layout & 1 == 1, layout & 2 == 2, if layout & 4 == 4 { 5 } else { 0 });
            let (ca, cb, stride) =
                (if ta { m } else { k } + gap, if tb { k } else { n } + gap, n + gap);
            let a = numbers(if ta { k } else { m } * ca, 1 + layout);
            let b = numbers(if tb { n } else { k } * cb, 77 + layout);
            let a = if ta { MatRef::new(&a, m, k, 1, ca) } else { MatRef::new(&a, m, k, ca, 1) };
            let b = if tb { MatRef::new(&b, k, n, 1, cb) } else { MatRef::new(&b, k, n, cb, 1) };
            for accumulate in [false, true] {
                let before = numbers(m * stride + 9, 5);
                let mut c = before.clone();
                run(a, b, MatMut::new(&mut c, m, n, stride), accumulate);
                for (at, (got, before)) in c.iter().zip(&before).enumerate() {
                    let (i, j) = (at / stride, at % stride);
                    if i >= m || j >= n {
                        assert_eq!(got, before, "guard at {i},{j} of {m}×{n}×{k}");
                        continue;
                    }
                    let (mut want, mut size) =
                        (if accumulate { f64::from(*before) } else { 0.0 }, 1e-6);
                    for p in 0..k {
                        let x = a.data[i * a.row_stride + p * a.col_stride];
                        let term =
                            f64::from(x) * f64::from(b.data[p * b.row_stride + j * b.col_stride]);
                        want += term;
                        size += term * term;
                    }
                    let error = (f64::from(*got) - want).abs() / size.sqrt();
                    assert!(
                        error < bound,
                        "{m}×{n}×{k} layout {layout} at {i},{j}: {got} for {want}, error {error:.1e}"
                    );
                }
                cases += 1;
            }
        }
    }
    assert_eq!(cases, SHAPES.len() * 16);
}

#[test]
fn f32_row_multiplies_every_shape() {
    check(|a, b, c, acc| gemm(Row::F32, a, b, c, acc), 1e-4);
}

/// bf16 keeps 8 bits: each term is off by up to 2⁻⁸, and the errors add up like the terms do.
const BF16_BOUND: f64 = 0.03;

#[test]
fn bf16_row_multiplies_every_shape() {
    if !Row::Bf16.is_available() {
        println!("skipped: no AVX512-BF16");
        return;
    }
    check(|a, b, c, acc| gemm(Row::Bf16, a, b, c, acc), BF16_BOUND);
}

#[test]
fn amx_row_multiplies_every_shape() {
    if !Row::Amx.is_available() {
        println!("skipped: no AMX");
        return;
    }
    check(|a, b, c, acc| gemm(Row::Amx, a, b, c, acc), BF16_BOUND);
}

#[test]
fn parallel_equals_serial_to_the_bit() {
    for row in [Row::F32, Row::Bf16, Row::Amx].into_iter().filter(|r| r.is_available()) {
        let (m, n, k) = (300, 70, 1200);
        let (a, b) = (numbers(m * k, 3), numbers(n * k, 4));
        let (left, right) = (summands(row, Side::Left, m, &a), summands(row, Side::Right, n, &b));
        let [one, many] = [1, 3].map(|threads| {
            let mut sums = vec![0.0; m * n];
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a small pool");
            pool.install(|| add_summed(&left, &right, MatMut::row_major(&mut sums, m, n)));
            sums
        });
        assert!(
            one.iter().zip(&many).all(|(x, y): (&f32, &f32)| x.to_bits() == y.to_bits()),
            "{row}"
        );
    }
}

fn summands(row: Row, side: Side, width: usize, vectors: &[f32]) -> Summands {
    let mut summands = Summands::new(row, side, width);
    put_all(&mut summands, width, vectors);
    summands
}

fn put_all(summands: &mut Summands, width: usize, vectors: &[f32]) {
    for (mut part, vectors) in summands
        .parts(vectors.len() / width)
        .into_iter()
        .zip(vectors.chunks(Summands::PART * width))
    {
        for (i, block) in vectors.chunks(Summands::BLOCK * width).enumerate() {
            part.put(i * Summands::BLOCK, block);
        }
    }
}

#[test]
fn a_packed_operand_gives_the_same_bits() {
    for row in [Row::F32, Row::Bf16, Row::Amx].into_iter().filter(|r| r.is_available()) {
        let mut packed = Packed::new(row);
        for (m, n, k) in SHAPES {
            let (a, b, before) = (numbers(m * k, 3), numbers(n * k, 4), numbers(m * n, 5));
            let a = MatRef::row_major(&a, m, k);
            for b in [MatRef::row_major(&b, k, n), MatRef::row_major(&b, n, k).transposed()] {
                packed.set(b);
                for accumulate in [false, true] {
                    let (mut want, mut got) = (before.clone(), before.clone());
                    gemm(row, a, b, MatMut::row_major(&mut want, m, n), accumulate);
                    gemm_packed(a, &packed, MatMut::row_major(&mut got, m, n), accumulate);
                    // The f32 row may add in another order where the strides differ.
                    let close = |x: &f32, y: &f32| {
                        if row == Row::F32 {
                            (x - y).abs() < 1e-3
                        } else {
                            x.to_bits() == y.to_bits()
                        }
                    };
                    assert!(want.iter().zip(&got).all(|(x, y)| close(x, y)), "{row} {m}×{n}×{k}");
                }
            }
        }
    }
}

#[test]
fn sums_over_tokens_are_products_of_the_transpose() {
    for row in [Row::F32, Row::Bf16, Row::Amx].into_iter().filter(|r| r.is_available()) {
        for (l, r) in [(1, 1), (16, 33), (70, 32), (160, 48)] {
            let (mut left, mut right) =
                (Summands::new(row, Side::Left, l), Summands::new(row, Side::Right, r));
            // Fewer tokens after more: nothing of the longer sum is left. A guard band between the
            // rows of the result and after them.
            for tokens in [1300, 1024, 700, 33, 1] {
                let (x, y, before) =
                    (numbers(tokens * l, 3), numbers(tokens * r, 4), numbers(l * (r + 5), 5));
                put_all(&mut left, l, &x);
                put_all(&mut right, r, &y);
                let (mut got, mut want) = (before.clone(), before);
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("a small pool");
                pool.install(|| add_summed(&left, &right, MatMut::new(&mut got, l, r, r + 5)));
                let (x, y) = (MatRef::row_major(&x, tokens, l), MatRef::row_major(&y, tokens, r));
                gemm(row, x.transposed(), y, MatMut::new(&mut want, l, r, r + 5), true);
                for (at, (got, want)) in got.iter().zip(&want).enumerate() {
                    let bound = if at % (r + 5) < r { 1e-3 } else { 0.0 };
                    assert!(
                        (got - want).abs() <= bound,
                        "{row} {l}×{r} of {tokens} tokens at {at}: {got} for {want}"
                    );
                }
            }
        }
    }
}

#[test]
fn names_of_rows_read_back() {
    for row in [Row::F32, Row::Bf16, Row::Amx] {
        assert_eq!(row.to_string().parse::<Row>(), Ok(row));
    }
    assert!("avx".parse::<Row>().is_err());
    assert!(Row::choose().is_available());
}

#[test]
#[should_panic(expected = "exceeds")]
fn a_view_past_its_slice_is_refused() {
    MatRef::new(&[0.0; 10], 3, 4, 4, 1);
}

#[test]
#[should_panic(expected = "overlap")]
fn overlapping_result_rows_are_refused() {
    MatMut::new(&mut [0.0; 100], 3, 4, 2);
}

#[cfg(target_arch = "x86_64")]
mod layout {
    use super::super::blocked::{self, Kernel};
    use super::super::pack;
    use super::*;

    /// The whole blocked product with the AMX instructions played by [`emulated_block`]: packing
    /// and addressing of that row are tested where the hardware is missing.
    #[test]
    fn tiles_hold_what_amx_reads() {
        if !pack::is_available() {
            println!("skipped: no AVX512-BF16 to pack with");
            return;
        }
        check(|a, b, c, acc| blocked::run(Kernel::Emulated, a, b, c, acc), BF16_BOUND);
    }
}

/// [`amx::block`] in plain code, step by step over flat memory as its instructions address it.
#[cfg(target_arch = "x86_64")]
pub(super) fn emulated_block(
    a: [&[pack::Tile]; 2],
    b: [&[pack::Tile]; 2],
    c: &mut [f32],
    stride: usize,
    accumulate: bool,
) {
    let load = |tiles: &[pack::Tile], t: usize, row: usize, lane: usize| {
        f32::from_bits(u32::from(tiles[t].0[row * 32 + lane]) << 16)
    };
    for (i, a) in a.into_iter().enumerate() {
        for (j, b) in b.into_iter().enumerate() {
            for m in 0..16 {
                for n in 0..16 {
                    let at = (16 * i + m) * stride + 16 * j + n;
                    let mut sum = if accumulate { c[at] } else { 0.0 };
                    for t in 0..a.len() {
                        for p in 0..16 {
                            sum += load(a, t, m, 2 * p) * load(b, t, p, 2 * n);
                            sum += load(a, t, m, 2 * p + 1) * load(b, t, p, 2 * n + 1);
                        }
                    }
                    c[at] = sum;
                }
            }
        }
    }
}
