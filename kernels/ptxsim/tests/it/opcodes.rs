//! A test for each family of opcodes: 32 lanes of drawn and of special values, against plain Rust.

use std::cmp::Ordering;

use half::f16;
use lacuna_ptxsim::{Launch, Memory, Module, Param};

use crate::random::Random;

/// Operands: 64 bits each, of which an instruction takes its part.
type Operands = [u64; 4];

/// Runs `body` once a lane: it finds its operands in `%d0` to `%d3` (`%r0`, `%h0`: their low parts)
/// and leaves its result in `%d9`.
fn run(body: &str, operands: &[Operands]) -> Vec<u64> {
    let ptx = format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry t(.param .u64 in, .param .u64 out) {{
         .reg .pred %p<8>; .reg .b16 %h<10>; .reg .b32 %r<16>; .reg .b64 %d<16>;
         ld.param.u64 %d10, [in]; ld.param.u64 %d11, [out]; mov.u32 %r10, %tid.x;
         mul.wide.u32 %d12, %r10, 32; add.s64 %d10, %d10, %d12; mul.wide.u32 %d12, %r10, 8; add.s64 %d11, %d11, %d12;
         ld.global.v2.u64 {{%d0, %d1}}, [%d10]; ld.global.v2.u64 {{%d2, %d3}}, [%d10+16];
         cvt.u32.u64 %r0, %d0; cvt.u32.u64 %r1, %d1; cvt.u32.u64 %r2, %d2; cvt.u32.u64 %r3, %d3;
         cvt.u16.u64 %h0, %d0; cvt.u16.u64 %h1, %d1; cvt.u16.u64 %h2, %d2;
         {body}
         st.global.u64 [%d11], %d9; ret; }}"
    );
    let module = Module::parse(&ptx).unwrap_or_else(|e| panic!("{e}"));
    let mut memory = Memory::default();
    let flat: Vec<u64> = operands.iter().flatten().copied().collect();
    let input = memory.input("in", &flat);
    let output = memory.output::<u64>("out", operands.len());
    let launch = Launch::new(1, operands.len() as u32);
    let params = [Param::from(input), Param::from(output)];
    module
        .kernel("t")
        .unwrap()
        .launch(&launch, &params, &mut memory)
        .unwrap_or_else(|e| panic!("{body}: {e}"));
    memory.read(output)
}

/// Values at which arithmetic has its corners, then drawn ones.
fn operands(seed: u64) -> Vec<Operands> {
    const CORNERS: [u64; 16] = [
        0,
        1,
        u64::MAX,
        1 << 31,
        (1 << 31) - 1,
        1 << 63,
        (1 << 63) - 1,
        0xffff_ffff,
        0x8000_0000_8000_0000,
        0x0000_0020_0000_0020,
        0x7fff_8000_7fff_8000,
        0x0101_0101_8080_8080,
        33,
        255,
        0x8080_8080,
        0xffff_0000,
    ];
    let mut random = Random::new(seed);
    let mut draw = || match random.below(4) {
        0 => CORNERS[random.below(16) as usize],
        1 => random.below(70),
        _ => random.next(),
    };
    (0..512).map(|_| std::array::from_fn(|_| draw())).collect()
}

/// Floats of all kinds in the low 32 bits.
fn float_operands(seed: u64) -> Vec<Operands> {
    const CORNERS: [f32; 12] = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        1.5,
        2.5,
        -2.5,
        f32::INFINITY,
        f32::NAN,
        f32::MIN_POSITIVE,
        1.0e-40,
    ];
    let mut random = Random::new(seed);
    let mut draw = || {
        let value = match random.below(5) {
            0 => CORNERS[random.below(12) as usize],
            1 => f32::from_bits(random.next() as u32),
            2 => (random.unit() * 400.0 - 200.0) as f32,
            _ => random.normal(),
        };
        u64::from(value.to_bits())
    };
    (0..512).map(|_| std::array::from_fn(|_| draw())).collect()
}

/// Checks `body` in chunks of a block against `expected`.
fn check(body: &str, all: Vec<Operands>, expected: impl Fn(Operands) -> u64) {
    let got = run(body, &all);
    for (operands, got) in all.iter().zip(got) {
        let expected = expected(*operands);
        assert_eq!(got, expected, "{body} of {operands:#x?}: {got:#x}, not {expected:#x}");
    }
}

/// An instruction on 32-bit registers whose result is `%r9`.
fn check32(instruction: &str, expected: impl Fn(u32, u32, u32, u32) -> u32) {
    let body = format!("{instruction} cvt.u64.u32 %d9, %r9;");
    check(&body, operands(32), |[a, b, c, d]| {
        u64::from(expected(a as u32, b as u32, c as u32, d as u32))
    });
}

fn check64(instruction: &str, expected: impl Fn(u64, u64, u64, u64) -> u64) {
    check(instruction, operands(64), |[a, b, c, d]| expected(a, b, c, d));
}

fn check16(instruction: &str, expected: impl Fn(u16, u16, u16) -> u16) {
    let body = format!("{instruction} cvt.u64.u16 %d9, %h9;");
    check(&body, operands(16), |[a, b, c, _]| u64::from(expected(a as u16, b as u16, c as u16)));
}

fn check_float(instruction: &str, expected: impl Fn(f32, f32, f32) -> f32) {
    let body = format!("{instruction} cvt.u64.u32 %d9, %r9;");
    check(&body, float_operands(7), |[a, b, c, _]| {
        let value =
            expected(f32::from_bits(a as u32), f32::from_bits(b as u32), f32::from_bits(c as u32));
        u64::from(if value.is_nan() { 0x7fff_ffff } else { value.to_bits() })
    });
}

#[test]
fn sums_and_products_of_integers() {
    check32("add.s32 %r9, %r0, %r1;", |a, b, _, _| a.wrapping_add(b));
    check32("sub.u32 %r9, %r0, %r1;", |a, b, _, _| a.wrapping_sub(b));
    check32("add.s32 %r9, %r0, -16;", |a, _, _, _| a.wrapping_sub(16));
    check32("mul.lo.s32 %r9, %r0, %r1;", |a, b, _, _| a.wrapping_mul(b));
    check32("mul.hi.s32 %r9, %r0, %r1;", |a, b, _, _| {
        ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32
    });
    check32("mul.hi.u32 %r9, %r0, %r1;", |a, b, _, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    check32("mad.lo.s32 %r9, %r0, %r1, %r2;", |a, b, c, _| a.wrapping_mul(b).wrapping_add(c));
    check32("mad.hi.u32 %r9, %r0, %r1, %r2;", |a, b, c, _| {
        (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c)
    });
    check32("neg.s32 %r9, %r0;", |a, _, _, _| a.wrapping_neg());
    check32("abs.s32 %r9, %r0;", |a, _, _, _| (a as i32).wrapping_abs() as u32);
    check32("min.s32 %r9, %r0, %r1;", |a, b, _, _| (a as i32).min(b as i32) as u32);
    check32("max.s32 %r9, %r0, -127;", |a, _, _, _| (a as i32).max(-127) as u32);
    check32("min.u32 %r9, %r0, %r1;", |a, b, _, _| a.min(b));
    check32("max.u32 %r9, %r0, %r1;", |a, b, _, _| a.max(b));
    check32("div.u32 %r9, %r0, %r1;", |a, b, _, _| a.checked_div(b).unwrap_or(u32::MAX));
    check32("rem.u32 %r9, %r0, %r1;", |a, b, _, _| a.checked_rem(b).unwrap_or(u32::MAX));
    check32("div.s32 %r9, %r0, %r1;", |a, b, _, _| {
        if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 }
    });
    check32("rem.s32 %r9, %r0, %r1;", |a, b, _, _| {
        if b == 0 { u32::MAX } else { (a as i32).wrapping_rem(b as i32) as u32 }
    });
    check32("sad.s32 %r9, %r0, %r1, %r2;", |a, b, c, _| {
        (a as i32).abs_diff(b as i32).wrapping_add(c)
    });
    check64("add.s64 %d9, %d0, %d1;", |a, b, _, _| a.wrapping_add(b));
    check64("sub.s64 %d9, %d0, %d1;", |a, b, _, _| a.wrapping_sub(b));
    check64("mul.lo.s64 %d9, %d0, %d1;", |a, b, _, _| a.wrapping_mul(b));
    check64("mul.hi.s64 %d9, %d0, %d1;", |a, b, _, _| {
        ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
    });
    check64("mul.hi.u64 %d9, %d0, %d1;", |a, b, _, _| {
        ((u128::from(a) * u128::from(b)) >> 64) as u64
    });
    check64("mad.lo.s64 %d9, %d0, %d1, %d2;", |a, b, c, _| a.wrapping_mul(b).wrapping_add(c));
    check64("mul.wide.s32 %d9, %r0, %r1;", |a, b, _, _| {
        (i64::from(a as i32) * i64::from(b as i32)) as u64
    });
    check64("mul.wide.u32 %d9, %r0, %r1;", |a, b, _, _| u64::from(a as u32) * u64::from(b as u32));
    check64("mad.wide.s32 %d9, %r0, %r1, %d2;", |a, b, c, _| {
        ((i64::from(a as i32) * i64::from(b as i32)) as u64).wrapping_add(c)
    });
    check64("mad.wide.u32 %d9, %r0, %r1, %d2;", |a, b, c, _| {
        (u64::from(a as u32) * u64::from(b as u32)).wrapping_add(c)
    });
    check64("min.s64 %d9, %d0, %d1;", |a, b, _, _| (a as i64).min(b as i64) as u64);
    check64("div.s64 %d9, %d0, %d1;", |a, b, _, _| {
        if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 }
    });
    check16("add.s16 %h9, %h0, %h1;", |a, b, _| a.wrapping_add(b));
    check16("mul.lo.s16 %h9, %h0, %h1;", |a, b, _| a.wrapping_mul(b));
    check16("max.s16 %h9, %h0, %h1;", |a, b, _| (a as i16).max(b as i16) as u16);
    check32("mul.wide.s16 %r9, %h0, %h1;", |a, b, _, _| {
        (i32::from(a as u16 as i16) * i32::from(b as u16 as i16)) as u32
    });
}

#[test]
fn bits() {
    check32("and.b32 %r9, %r0, 252645135;", |a, _, _, _| a & 0x0f0f_0f0f);
    check32("or.b32 %r9, %r0, %r1;", |a, b, _, _| a | b);
    check32("xor.b32 %r9, %r0, %r1;", |a, b, _, _| a ^ b);
    check32("not.b32 %r9, %r0;", |a, _, _, _| !a);
    check64("not.b64 %d9, %d0;", |a, _, _, _| !a);
    check32("shl.b32 %r9, %r0, %r1;", |a, b, _, _| a.checked_shl(b).unwrap_or(0));
    check32("shr.u32 %r9, %r0, %r1;", |a, b, _, _| a.checked_shr(b).unwrap_or(0));
    check32("shr.s32 %r9, %r0, %r1;", |a, b, _, _| ((a as i32) >> b.min(31)) as u32);
    check64("shl.b64 %d9, %d0, %r1;", |a, b, _, _| a.checked_shl(b as u32).unwrap_or(0));
    check64("shr.s64 %d9, %d0, %r1;", |a, b, _, _| ((a as i64) >> (b as u32).min(63)) as u64);
    check64("shr.u64 %d9, %d0, 32;", |a, _, _, _| a >> 32);
    check16("shr.s16 %h9, %h0, 3;", |a, _, _| ((a as i16) >> 3) as u16);
    check16("shl.b16 %h9, %h0, 5;", |a, _, _| a << 5);
    check32("popc.b32 %r9, %r0;", |a, _, _, _| a.count_ones());
    check32("clz.b32 %r9, %r0;", |a, _, _, _| a.leading_zeros());
    check64("clz.b64 %r9, %d0; cvt.u64.u32 %d9, %r9;", |a, _, _, _| a.leading_zeros().into());
    check32("brev.b32 %r9, %r0;", |a, _, _, _| a.reverse_bits());
    check32("bfind.u32 %r9, %r0;", |a, _, _, _| a.checked_ilog2().unwrap_or(u32::MAX));
    check32("bfind.s32 %r9, %r0;", |a, _, _, _| {
        (if (a as i32) < 0 { !a } else { a }).checked_ilog2().unwrap_or(u32::MAX)
    });
    check32("bfe.u32 %r9, %r0, 4, 7;", |a, _, _, _| a >> 4 & 127);
    check32("bfe.s32 %r9, %r0, 4, 7;", |a, _, _, _| ((a << 21) as i32 >> 25) as u32);
    check32("bfe.s32 %r9, %r0, 28, 8;", |a, _, _, _| (a as i32 >> 28) as u32);
    check32("bfe.u32 %r9, %r0, 0, 0;", |_, _, _, _| 0);
    check32("bfi.b32 %r9, %r0, %r1, 4, 8;", |a, b, _, _| b & !0xff0 | (a & 255) << 4);
    check32("bfi.b32 %r9, %r0, %r1, 28, 8;", |a, b, _, _| b & !(15 << 28) | a << 28);
    check64("bfi.b64 %d9, %d0, %d1, 32, 32;", |a, b, _, _| b & 0xffff_ffff | a << 32);
    check32("lop3.b32 %r9, %r0, %r1, %r2, 106;", |a, b, c, _| (a & b) ^ c);
    check32("lop3.b32 %r9, %r0, %r1, %r2, 234;", |a, b, c, _| (a & b) | c);
    check32("shf.l.wrap.b32 %r9, %r0, %r1, %r2;", |lo, hi, by, _| {
        let by = by & 31;
        (((u64::from(hi) << 32 | u64::from(lo)) << by) >> 32) as u32
    });
    check32("shf.r.clamp.b32 %r9, %r0, %r1, %r2;", |lo, hi, by, _| {
        ((u64::from(hi) << 32 | u64::from(lo)) >> by.min(32)) as u32
    });
    check32("prmt.b32 %r9, %r0, %r1, 30292;", |a, b, _, _| {
        // 0x7654: the bytes of b.
        let _ = a;
        b
    });
    check32("prmt.b32 %r9, %r0, %r1, 12294;", |a, b, _, _| {
        // 0x3006
        let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
        u32::from_le_bytes([bytes[6], bytes[0], bytes[0], bytes[3]])
    });
    check32("prmt.b32 %r9, %r0, %r1, 43144;", |a, b, _, _| {
        // 0xa888: signs of bytes 0, 0, 0 and 2
        let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
        let sign = |byte: u8| if byte & 128 != 0 { 255 } else { 0 };
        u32::from_le_bytes([sign(bytes[0]), sign(bytes[0]), sign(bytes[0]), sign(bytes[2])])
    });
}

#[test]
fn dot_products() {
    fn dot(a: u32, b: u32, c: u32, signed: (bool, bool)) -> u32 {
        let part = |v: u8, signed: bool| if signed { i32::from(v as i8) } else { i32::from(v) };
        let products = a
            .to_le_bytes()
            .into_iter()
            .zip(b.to_le_bytes())
            .map(|(x, y)| part(x, signed.0) * part(y, signed.1));
        products.fold(c as i32, i32::wrapping_add) as u32
    }
    check32("dp4a.s32.s32 %r9, %r0, %r1, %r2;", |a, b, c, _| dot(a, b, c, (true, true)));
    check32("dp4a.u32.u32 %r9, %r0, %r1, %r2;", |a, b, c, _| dot(a, b, c, (false, false)));
    check32("dp4a.u32.s32 %r9, %r0, %r1, %r2;", |a, b, c, _| dot(a, b, c, (false, true)));
    check32("dp4a.s32.u32 %r9, %r0, %r1, %r2;", |a, b, c, _| dot(a, b, c, (true, false)));
    check32("dp2a.lo.s32.s32 %r9, %r0, %r1, %r2;", |a, b, c, _| {
        let (x, y) = ((a as i16, (a >> 16) as i16), b.to_le_bytes());
        (c as i32).wrapping_add(
            i32::from(x.0) * i32::from(y[0] as i8) + i32::from(x.1) * i32::from(y[1] as i8),
        ) as u32
    });
}

#[test]
fn arithmetic_of_floats() {
    check_float("add.f32 %r9, %r0, %r1;", |a, b, _| a + b);
    check_float("sub.rn.f32 %r9, %r0, %r1;", |a, b, _| a - b);
    check_float("mul.f32 %r9, %r0, %r1;", |a, b, _| a * b);
    check_float("fma.rn.f32 %r9, %r0, %r1, %r2;", |a, b, c| a.mul_add(b, c));
    check_float("mul.f32 %r9, %r0, 0f3FB8AA3B;", |a, _, _| a * f32::from_bits(0x3fb8_aa3b));
    check_float("neg.f32 %r9, %r0;", |a, _, _| -a);
    check_float("abs.f32 %r9, %r0;", |a, _, _| a.abs());
    check_float("div.rn.f32 %r9, %r0, %r1;", |a, b, _| a / b);
    check_float("rcp.rn.f32 %r9, %r0;", |a, _, _| 1.0 / a);
    check_float("sqrt.rn.f32 %r9, %r0;", |a, _, _| a.sqrt());
    check_float("add.sat.f32 %r9, %r0, %r1;", |a, b, _| {
        if (a + b).is_nan() { 0.0 } else { (a + b).clamp(0.0, 1.0) }
    });
    check_float("add.ftz.f32 %r9, %r0, %r1;", |a, b, _| {
        let flush = |v: f32| if v.is_subnormal() { 0f32.copysign(v) } else { v };
        flush(flush(a) + flush(b))
    });
    let body = "max.f32 %r9, %r0, %r1; cvt.u64.u32 %d9, %r9;";
    for (a, b, expected) in
        [(1f32, 2f32, 2f32), (f32::NAN, 2.0, 2.0), (2.0, f32::NAN, 2.0), (-3.0, -4.0, -3.0)]
    {
        assert_eq!(
            run(body, &[[u64::from(a.to_bits()), u64::from(b.to_bits()), 0, 0]]),
            [u64::from(expected.to_bits())]
        );
    }
}

#[test]
fn sums_rounded_down_up_and_to_zero_enclose_the_exact_one() {
    let all = float_operands(11);
    let result = |mode: &str| {
        run(&format!("fma.{mode}.f32 %r9, %r0, %r1, %r2; cvt.u64.u32 %d9, %r9;"), &all)
    };
    let (down, up, zero, nearest) = (result("rm"), result("rp"), result("rz"), result("rn"));
    let mut inexact = 0;
    for (i, operands) in all.iter().enumerate() {
        let [a, b, c, _] = operands.map(|v| f64::from(f32::from_bits(v as u32)));
        let [down, up, zero, nearest] =
            [down[i], up[i], zero[i], nearest[i]].map(|v| f32::from_bits(v as u32));
        if !(a * b + c).is_finite() || !nearest.is_finite() || (a * b + c).abs() < 1e-30 {
            continue;
        }
        // Nearly exact: the f64 sum has 29 bits more.
        let slack = (a * b + c).abs() * 1e-15 + (a * b).abs() * 1e-15;
        assert!(
            f64::from(down) <= a * b + c + slack && f64::from(up) >= a * b + c - slack,
            "{operands:x?}"
        );
        assert!(down == up || down.next_up() == up, "{operands:x?}: neighbours");
        assert!(nearest == down || nearest == up);
        assert_eq!(zero, if nearest > 0.0 { down } else { up });
        inexact += usize::from(down != up);
    }
    assert!(inexact > 100, "{inexact} rounded");
}

#[test]
fn functions_of_floats_are_near() {
    let near = |name: &str, f: fn(f64) -> f64, range: (f64, f64)| {
        let mut random = Random::new(5);
        let all: Vec<Operands> = (0..256)
            .map(|_| {
                [
                    u64::from(((range.0 + (range.1 - range.0) * random.unit()) as f32).to_bits()),
                    0,
                    0,
                    0,
                ]
            })
            .collect();
        let got = run(&format!("{name} %r9, %r0; cvt.u64.u32 %d9, %r9;"), &all);
        for (operands, got) in all.iter().zip(got) {
            let (x, y) = (
                f64::from(f32::from_bits(operands[0] as u32)),
                f64::from(f32::from_bits(got as u32)),
            );
            assert!((y - f(x)).abs() <= 1e-6 * (1e-3 + f(x).abs()), "{name} of {x}: {y}");
        }
    };
    near("ex2.approx.f32", f64::exp2, (-20.0, 20.0));
    near("ex2.approx.ftz.f32", f64::exp2, (-20.0, 20.0));
    near("lg2.approx.f32", f64::log2, (0.1, 1000.0));
    near("rcp.approx.ftz.f32", f64::recip, (0.1, 1000.0));
    near("rsqrt.approx.f32", |x| 1.0 / x.sqrt(), (0.001, 1000.0));
    near("sqrt.approx.f32", f64::sqrt, (0.001, 1000.0));
    near("sin.approx.f32", f64::sin, (-3.0, 3.0));
    near("cos.approx.f32", f64::cos, (-3.0, 3.0));
    near("tanh.approx.f32", f64::tanh, (-3.0, 3.0));
}

#[test]
fn arithmetic_of_halves_rounds_once() {
    let halves = |seed| {
        let mut random = Random::new(seed);
        let mut draw = || {
            let half = |v: f32| u64::from(f16::from_f32(v).to_bits());
            half(random.normal()) | half(random.normal() * 100.0) << 16
        };
        (0..512).map(|_| std::array::from_fn(|_| draw())).collect::<Vec<Operands>>()
    };
    // Sums of two halves are exact in f32 but for far exponents; products always are.
    let each = |f: fn(f64, f64, f64) -> f64| {
        move |[a, b, c, _]: Operands| {
            (0..2).fold(0, |out, i| {
                let part = |v: u64| f16::from_bits((v >> (16 * i)) as u16).to_f64();
                // `half` rounds f64 by way of f32: its own nearest neighbours decide.
                let exact = f(part(a), part(b), part(c));
                let first = f16::from_f64(exact);
                let near =
                    [-1i32, 0, 1].map(|d| f16::from_bits((i32::from(first.to_bits()) + d) as u16));
                let key = |h: &f16| ((h.to_f64() - exact).abs(), h.to_bits() & 1);
                let best = near
                    .into_iter()
                    .min_by(|x, y| key(x).0.total_cmp(&key(y).0).then(key(x).1.cmp(&key(y).1)))
                    .unwrap();
                let best = if exact == 0.0 || exact.abs() >= 65520.0 { first } else { best };
                out | u64::from(best.to_bits()) << (16 * i)
            })
        }
    };
    check("add.f16x2 %r9, %r0, %r1; cvt.u64.u32 %d9, %r9;", halves(1), each(|a, b, _| a + b));
    check("sub.f16x2 %r9, %r0, %r1; cvt.u64.u32 %d9, %r9;", halves(2), each(|a, b, _| a - b));
    check("mul.f16x2 %r9, %r0, %r1; cvt.u64.u32 %d9, %r9;", halves(3), each(|a, b, _| a * b));
    check(
        "fma.rn.f16x2 %r9, %r0, %r1, %r2; cvt.u64.u32 %d9, %r9;",
        halves(4),
        each(|a, b, c| a * b + c),
    );
}

#[test]
fn conversions() {
    check64("cvt.s64.s32 %d9, %r0;", |a, _, _, _| i64::from(a as i32) as u64);
    check64("cvt.u64.u32 %d9, %r0;", |a, _, _, _| u64::from(a as u32));
    check32("cvt.s32.s8 %r9, %r0;", |a, _, _, _| i32::from(a as i8) as u32);
    check32("cvt.u32.u16 %r9, %h0;", |a, _, _, _| u32::from(a as u16));
    check32("cvt.s32.s16 %r9, %h0;", |a, _, _, _| i32::from(a as i16) as u32);
    check32("cvt.rn.f32.s32 %r9, %r0;", |a, _, _, _| (a as i32 as f32).to_bits());
    check32("cvt.rn.f32.u32 %r9, %r0;", |a, _, _, _| (a as f32).to_bits());
    check64("cvt.rn.f64.s64 %d9, %d0;", |a, _, _, _| (a as i64 as f64).to_bits());
    check32("cvt.sat.s8.s32 %r9, %r0;", |a, _, _, _| u32::from((a as i32).clamp(-128, 127) as u8));
    let float = |instruction: &str, f: fn(f32) -> u32| {
        check(
            &format!("{instruction} cvt.u64.u32 %d9, %r9;"),
            float_operands(3),
            move |[a, ..]| u64::from(f(f32::from_bits(a as u32))),
        );
    };
    float("cvt.rni.s32.f32 %r9, %r0;", |a| a.round_ties_even() as i32 as u32);
    float("cvt.rzi.s32.f32 %r9, %r0;", |a| a as i32 as u32);
    float("cvt.rmi.s32.f32 %r9, %r0;", |a| a.floor() as i32 as u32);
    float("cvt.rpi.u32.f32 %r9, %r0;", |a| a.ceil() as u32);
    float("cvt.rni.f32.f32 %r9, %r0;", |a| {
        if a.is_nan() { 0x7fff_ffff } else { a.round_ties_even().to_bits() }
    });
    float("cvt.sat.f32.f32 %r9, %r0;", |a| {
        if a.is_nan() { 0 } else { a.clamp(0.0, 1.0).to_bits() & 0x7fff_ffff }
    });
    float("cvt.rn.f16.f32 %h9, %r0; cvt.u32.u16 %r9, %h9;", |a| {
        if a.is_nan() { 0x7fff } else { u32::from(f16::from_f32(a).to_bits()) }
    });
    float("cvt.f64.f32 %d8, %r0; cvt.rn.f32.f64 %r9, %d8;", |a| {
        if a.is_nan() { 0x7fff_ffff } else { a.to_bits() }
    });
    check(
        "cvt.f32.f16 %r9, %h0; cvt.u64.u32 %d9, %r9;",
        (0..1024).map(|i| [i * 31, 0, 0, 0]).collect(),
        |[a, ..]| u64::from(f16::from_bits(a as u16).to_f32().to_bits()),
    );
    let pair = |v: u64| u64::from(f16::from_f32(f32::from_bits(v as u32)).to_bits());
    let finite = |all: Vec<Operands>| {
        all.into_iter()
            .filter(|o| o.iter().all(|v| !f32::from_bits(*v as u32).is_nan()))
            .collect::<Vec<_>>()
    };
    check(
        "cvt.rn.f16x2.f32 %r9, %r0, %r1; cvt.u64.u32 %d9, %r9;",
        finite(float_operands(9)),
        |[a, b, ..]| pair(a) << 16 | pair(b),
    );
}

#[test]
fn comparisons_and_selections() {
    let select = |setp: &str| format!("{setp} selp.b32 %r9, 1, 0, %p0;");
    check32(&select("setp.lt.s32 %p0, %r0, %r1;"), |a, b, _, _| u32::from((a as i32) < b as i32));
    check32(&select("setp.le.u32 %p0, %r0, %r1;"), |a, b, _, _| u32::from(a <= b));
    check32(&select("setp.hi.u32 %p0, %r0, %r1;"), |a, b, _, _| u32::from(a > b));
    check64("setp.ge.s64 %p0, %d0, %d1; selp.b64 %d9, 1, 0, %p0;", |a, b, _, _| {
        u64::from(a as i64 >= b as i64)
    });
    check32(&select("setp.eq.s16 %p0, %h0, %h1;"), |a, b, _, _| u32::from(a as u16 == b as u16));
    check32(
        &select("setp.ne.s32 %p1, %r2, 0; setp.gt.and.s32 %p0, %r0, %r1, !%p1;"),
        |a, b, c, _| u32::from(a as i32 > b as i32 && c == 0),
    );
    check32(
        &select("setp.ne.s32 %p1, %r2, 0; setp.gt.or.s32 %p2|%p0, %r0, %r1, %p1;"),
        |a, b, c, _| u32::from(a as i32 <= b as i32 || c != 0),
    );
    check32(
        "setp.lt.u32 %p1, %r0, %r1; setp.lt.u32 %p2, %r1, %r2; and.pred %p0, %p1, %p2; not.pred %p3, %p0; selp.b32 %r9, 7, %r0, %p3;",
        |a, b, c, _| if a < b && b < c { a } else { 7 },
    );
    let float = |name: &str, f: fn(f32, f32) -> bool| {
        check(
            &format!("setp.{name}.f32 %p0, %r0, %r1; selp.u64 %d9, 1, 0, %p0;"),
            float_operands(13),
            move |[a, b, ..]| u64::from(f(f32::from_bits(a as u32), f32::from_bits(b as u32))),
        );
    };
    float("lt", |a, b| a < b);
    float("geu", |a, b| a.partial_cmp(&b).is_none_or(Ordering::is_ge));
    float("ltu", |a, b| a.partial_cmp(&b).is_none_or(Ordering::is_lt));
    float("neu", |a, b| a != b);
    float("ne", |a, b| a.partial_cmp(&b).is_some_and(Ordering::is_ne));
    float("equ", |a, b| a.partial_cmp(&b).is_none_or(Ordering::is_eq));
    float("nan", |a, b| a.is_nan() || b.is_nan());
    float("num", |a, b| !a.is_nan() && !b.is_nan());
}

#[test]
fn moves_of_parts() {
    check64("mov.b64 %d9, {%r1, %r0};", |a, b, _, _| u64::from(b as u32) | a << 32);
    check32("mov.b32 {%h8, %h9}, %r0; cvt.u32.u16 %r9, %h9;", |a, _, _, _| a >> 16);
    check32("mov.b32 %r9, {%h1, %h0};", |a, b, _, _| b & 0xffff | a << 16);
    check64("mov.b64 {_, %r9}, %d0; cvt.u64.u32 %d9, %r9;", |a, _, _, _| a >> 32);
    check64("{ .reg .b16 low; mov.b32 {low, _}, %r0; cvt.u64.u16 %d9, low; }", |a, _, _, _| {
        a & 0xffff
    });
}

#[test]
fn predication_and_branches() {
    check32(
        "mov.u32 %r9, 5; setp.lt.u32 %p0, %r0, %r1; @%p0 mov.u32 %r9, 6; @!%p0 add.s32 %r9, %r9, %r2;",
        |a, b, c, _| {
            if a < b { 6 } else { c.wrapping_add(5) }
        },
    );
    // A loop whose trip count differs by lane, with a label of its own block.
    check32(
        "and.b32 %r4, %r0, 31; mov.u32 %r9, 0; { again: setp.eq.s32 %p0, %r4, 0; @%p0 bra done; add.s32 %r9, %r9, %r4; add.s32 %r4, %r4, -1; bra.uni again; done: }",
        |a, _, _, _| (a & 31) * ((a & 31) + 1) / 2,
    );
}

#[test]
fn what_is_not_known_is_an_error_with_its_line() {
    let parse = |body: &str| {
        Module::parse(&format!(
            ".version 8.4\n.visible .entry t() {{\n.reg .b32 %r<4>;\n{body}\n}}"
        ))
        .err()
    };
    let line_four = |body: &str, problem: &str| {
        let error = parse(body).unwrap_or_else(|| panic!("{body} is understood"));
        assert_eq!((error.line, error.problem), (4, problem), "{error}");
    };
    line_four("frobnicate.b32 %r0, %r1;", "an unknown opcode");
    line_four("add.cc.u32 %r0, %r1, %r2;", "an unknown opcode");
    line_four(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 %r0, %r1, %r2, %r3;",
        "an unknown opcode",
    );
    line_four("add.s32 %r0, %r9, %r1;", "an unknown register");
    line_four("add.s32 %r0, %r1;", "other operands than known");
    line_four("bra nowhere;", "an unknown label");
    line_four("ld.global.v2.u32 {%r0}, [%r1];", "other operands than known");
    line_four(".maxregs 5;", "unknown directive");
    assert!(parse("add.s32 %r0, %r1, %r2;").is_none());
    assert!(parse("ret").is_some(), "no semicolon");
    // Hostile text does not panic and takes no memory.
    for text in [
        "{",
        "}",
        ";",
        ".visible .entry",
        ".visible .entry x(",
        "@",
        ".const .b8 x[99999999999999999999];",
        ".reg .b32 %r<9>;",
        ":",
        ".loc",
    ] {
        let _ = Module::parse(text);
        let _ = parse(text);
    }
    assert_eq!(parse(".reg .b32 %x<4000000000>;").unwrap().problem, "too many registers");
    assert_eq!(parse(".shared .b8 x[1000000000];").unwrap().problem, "too much memory");
}
