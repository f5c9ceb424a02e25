//! Matrix fragments against plain loops over matrices.

use half::f16;
use lacuna_ptxsim::Launch;

use crate::random::Random;
use crate::support::launch;

/// Runs one product: registers of `a`, `b` and `c` lie lane by lane in the input, those of `d` in
/// the output.
fn product(instruction: &str, n_a: usize, n_b: usize, fragments: &[u32]) -> Vec<u32> {
    let per_lane = n_a + n_b + 4;
    assert_eq!(fragments.len(), 32 * per_lane);
    let list = |first: usize, n: usize| {
        (first..first + n).map(|r| format!("%r{r}")).collect::<Vec<_>>().join(", ")
    };
    let loads: String =
        (0..per_lane).map(|r| format!("ld.global.u32 %r{r}, [%d1+{}];\n", 4 * r)).collect();
    let body = format!(
        "mul.wide.u32 %d0, %t, {}; add.s64 %d1, %in, %d0; {loads}
         {instruction} {{{}}}, {{{}}}, {{{}}}, {{{}}};
         mul.wide.u32 %d2, %t, 16; add.s64 %d3, %out, %d2; st.global.v4.u32 [%d3], {{{}}};",
        4 * per_lane,
        list(20, 4),
        list(0, n_a),
        list(n_a, n_b),
        list(n_a + n_b, 4),
        list(20, 4)
    );
    let outcome = launch(&body, &Launch::new(1, 32), fragments, 128);
    assert_eq!(outcome.counts.unwrap_or_else(|e| panic!("{e}")).mma, 1);
    outcome.memory.read(outcome.output)
}

/// Lays out fragments as the PTX manual draws them: `group = lane / 4`, `thread = lane % 4`.
fn fragments(
    k: usize,
    width: usize,
    a: &dyn Fn(usize, usize) -> u32,
    b: &dyn Fn(usize, usize) -> u32,
    c: &dyn Fn(usize, usize) -> u32,
) -> Vec<u32> {
    // Elements a register, registers of a and b.
    let per = 4 / width;
    let halves = k / (4 * per);
    let mut all = Vec::new();
    for lane in 0..32 {
        let (group, thread) = (lane / 4, lane % 4);
        let pack = |element: &dyn Fn(usize) -> u32| {
            (0..per).fold(0, |word, e| word | element(e) << (8 * width * e))
        };
        for r in 0..2 * halves {
            let (row, first) = (
                if r % 2 == 0 { group } else { group + 8 },
                thread * per + if r < 2 { 0 } else { k / 2 },
            );
            all.push(pack(&|e| a(row, first + e)));
        }
        for r in 0..halves {
            all.push(pack(&|e| b(thread * per + if r == 0 { 0 } else { k / 2 } + e, group)));
        }
        for i in 0..4 {
            all.push(c(if i < 2 { group } else { group + 8 }, 2 * thread + i % 2));
        }
    }
    all
}

/// Element `(row, column)` of the result.
fn result(d: &[u32], row: usize, column: usize) -> u32 {
    d[(row % 8 * 4 + column / 2) * 4 + row / 8 * 2 + column % 2]
}

#[test]
fn products_of_integers() {
    for (k, a_signed, b_signed) in [
        (32, false, true),
        (32, true, true),
        (32, false, false),
        (16, true, false),
        (16, true, true),
    ] {
        let mut random = Random::new(k as u64);
        let mut bytes = |n: usize| (0..n).map(|_| random.next() as u8).collect::<Vec<_>>();
        let (a, b) = (bytes(16 * k), bytes(8 * k));
        let c: Vec<u32> = (0..128).map(|_| random.next() as u32).collect();
        let all =
            fragments(k, 1, &|r, x| a[r * k + x].into(), &|x, n| b[n * k + x].into(), &|r, n| {
                c[r * 8 + n]
            });
        let sign = |signed| if signed { "s8" } else { "u8" };
        let name = format!(
            "mma.sync.aligned.m16n8k{k}.row.col.s32.{}.{}.s32",
            sign(a_signed),
            sign(b_signed)
        );
        let d = product(&name, k / 8, k / 16, &all);
        let part = |v: u8, signed: bool| if signed { i32::from(v as i8) } else { i32::from(v) };
        for row in 0..16 {
            for column in 0..8 {
                let dot: i32 = (0..k)
                    .map(|x| part(a[row * k + x], a_signed) * part(b[column * k + x], b_signed))
                    .sum();
                assert_eq!(
                    result(&d, row, column),
                    c[row * 8 + column].wrapping_add(dot as u32),
                    "{name} at {row}, {column}"
                );
            }
        }
    }
}

#[test]
fn products_of_halves() {
    for (k, brain) in [(16, false), (8, false), (16, true), (8, true)] {
        let mut random = Random::new(k as u64);
        let mut draw = |n: usize| {
            let bits = |v: f32| {
                if brain { half::bf16::from_f32(v).to_bits() } else { f16::from_f32(v).to_bits() }
            };
            (0..n).map(|_| u32::from(bits(random.normal()))).collect::<Vec<_>>()
        };
        let (a, b) = (draw(16 * k), draw(8 * k));
        let c: Vec<f32> = (0..128).map(|_| random.normal()).collect();
        let all = fragments(k, 2, &|r, x| a[r * k + x], &|x, n| b[n * k + x], &|r, n| {
            c[r * 8 + n].to_bits()
        });
        let ty = if brain { "bf16" } else { "f16" };
        let d = product(
            &format!("mma.sync.aligned.m16n8k{k}.row.col.f32.{ty}.{ty}.f32"),
            k / 4,
            k / 8,
            &all,
        );
        let value = |bits: u32| {
            if brain {
                half::bf16::from_bits(bits as u16).to_f64()
            } else {
                f16::from_bits(bits as u16).to_f64()
            }
        };
        for row in 0..16 {
            for column in 0..8 {
                let dot: f64 =
                    (0..k).map(|x| value(a[row * k + x]) * value(b[column * k + x])).sum();
                let expected = f64::from(c[row * 8 + column]) + dot;
                let got = f64::from(f32::from_bits(result(&d, row, column)));
                assert!(
                    (got - expected).abs() <= 1e-6 * expected.abs().max(1.0),
                    "{got} {expected}"
                );
            }
        }
    }
}

#[test]
fn tiles_from_shared_memory() {
    // 32 rows of 8 halves, padded to 24 bytes... rows are 16 bytes long and 48 apart.
    for (count, transposed) in [(4, false), (4, true), (2, false), (1, true)] {
        let trans = if transposed { ".trans" } else { "" };
        let registers = (20..20 + count).map(|r| format!("%r{r}")).collect::<Vec<_>>().join(", ");
        let stores: String =
            (0..count).map(|i| format!("st.global.u32 [%d3+{}], %r{};\n", 4 * i, 20 + i)).collect();
        let body = format!(
            ".shared .align 16 .b8 tile[1536]; mov.u64 %d5, tile; mul.wide.u32 %d0, %t, 16; add.s64 %d1, %in, %d0;
             ld.global.v4.u32 {{%r0, %r1, %r2, %r3}}, [%d1]; mul.wide.u32 %d2, %t, 48; add.s64 %d2, %d5, %d2;
             st.shared.v4.u32 [%d2], {{%r0, %r1, %r2, %r3}}; bar.warp.sync -1; cvt.u32.u64 %r5, %d2;
             ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{registers}}}, [%r5];
             mul.wide.u32 %d0, %t, {}; add.s64 %d3, %out, %d0; {stores}",
            4 * count
        );
        let words: Vec<u32> = (0..128).map(|i| (2 * i) | (2 * i + 1) << 16).collect();
        let outcome = launch(&body, &Launch::new(1, 32), &words, 32 * count);
        outcome.counts.unwrap_or_else(|e| panic!("{e}"));
        let got: Vec<u32> = outcome.memory.read(outcome.output);
        for lane in 0..32 {
            for i in 0..count {
                // Element (row, column) of tile i holds 64 i + 8 row + column.
                let element = |row: usize, column: usize| (64 * i + 8 * row + column) as u32;
                let (long, short) = (lane / 4, lane % 4 * 2);
                let expected = if transposed {
                    element(short, long) | element(short + 1, long) << 16
                } else {
                    element(long, short) | element(long, short + 1) << 16
                };
                assert_eq!(got[lane * count + i], expected, "x{count}{trans} lane {lane} tile {i}");
            }
        }
    }
}
