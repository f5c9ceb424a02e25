//! The table of arithmetic: an opcode with its modifiers and types becomes a function on whole
//! registers.
//!
//! Modifiers are matched in full, so that one whose meaning is not known here is never ignored.

use std::cmp::Ordering;

use half::bf16;

use crate::decode::Ty;
use crate::op::{Alu, Compare};
use crate::value::{Lanes, WARP, bits_of, f32_of, half_bits, half_of, low, signed};

/// An arithmetic instruction: its function and the bits of each operand.
pub(crate) struct Entry {
    pub(crate) f: Alu,
    pub(crate) operands: Vec<u32>,
}

fn unary(bits: u32, f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Entry {
    let run = move |s: &[&Lanes; 4], out: &mut Lanes| (0..WARP).for_each(|i| out[i] = f(s[0][i]));
    Entry { f: Box::new(run), operands: vec![bits] }
}

fn binary(bits: [u32; 2], f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static) -> Entry {
    let run = move |s: &[&Lanes; 4], out: &mut Lanes| {
        (0..WARP).for_each(|i| out[i] = f(s[0][i], s[1][i]))
    };
    Entry { f: Box::new(run), operands: bits.to_vec() }
}

fn ternary(bits: [u32; 3], f: impl Fn(u64, u64, u64) -> u64 + Send + Sync + 'static) -> Entry {
    let run = move |s: &[&Lanes; 4], out: &mut Lanes| {
        (0..WARP).for_each(|i| out[i] = f(s[0][i], s[1][i], s[2][i]))
    };
    Entry { f: Box::new(run), operands: bits.to_vec() }
}

fn quaternary(
    bits: [u32; 4],
    f: impl Fn(u64, u64, u64, u64) -> u64 + Send + Sync + 'static,
) -> Entry {
    let run = move |s: &[&Lanes; 4], out: &mut Lanes| {
        (0..WARP).for_each(|i| out[i] = f(s[0][i], s[1][i], s[2][i], s[3][i]));
    };
    Entry { f: Box::new(run), operands: bits.to_vec() }
}

/// The instruction `name` with its modifiers (types left out) and types, in their order.
pub(crate) fn find(name: &str, mods: &[&str], types: &[Ty]) -> Option<Entry> {
    match (mods, types) {
        _ if name == "cvt" => convert(mods, types),
        (_, [Ty::F32]) => float32(name, mods),
        (_, [Ty::F64]) => float64(name, mods),
        (_, [Ty::F16]) => half(name, mods, 1),
        (_, [Ty::F16x2]) => half(name, mods, 2),
        (_, [ty]) if !ty.is_float() => integer(name, mods, *ty),
        ([], [a, b]) if name == "dp4a" => dot4(*a, *b),
        (["lo"], [a, b]) if name == "dp2a" => dot2(*a, *b, 0),
        (["hi"], [a, b]) if name == "dp2a" => dot2(*a, *b, 2),
        _ => None,
    }
}

/// The GPU's only NaN.
fn canonical(v: f32) -> u64 {
    if v.is_nan() { 0x7fff_ffff } else { bits_of(v) }
}

fn canonical64(v: f64) -> u64 {
    if v.is_nan() { 0x7fff_ffff_ffff_ffff } else { v.to_bits() }
}

fn flush(v: f32) -> f32 {
    if v.is_subnormal() { 0f32.copysign(v) } else { v }
}

fn saturate(v: f32) -> f32 {
    // NaN becomes zero.
    if v > 0.0 { v.min(1.0) } else { 0.0 }
}

/// Rounding of a sum or product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounding {
    Nearest,
    Zero,
    Down,
    Up,
}

/// `a · b + c`, rounded once.
fn fused(a: f32, b: f32, c: f32, rounding: Rounding) -> f32 {
    let nearest = a.mul_add(b, c);
    if rounding == Rounding::Nearest || !nearest.is_finite() {
        return nearest;
    }
    // In f64 the product is exact, the sum is `sum + error` exactly.
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let virtual_c = sum - product;
    let error = (product - (sum - virtual_c)) + (c - virtual_c);
    let above = f64::from(nearest) - sum;
    let negative = sum < 0.0 || (sum == 0.0 && error < 0.0);
    match rounding {
        Rounding::Down if above > error => nearest.next_down(),
        Rounding::Up if above < error => nearest.next_up(),
        Rounding::Zero if !negative && above > error => nearest.next_down(),
        Rounding::Zero if negative && above < error => nearest.next_up(),
        _ => nearest,
    }
}

/// Rounding, flush to zero, saturation.
fn float_mods(mods: &[&str]) -> Option<(Rounding, bool, bool)> {
    let (mut rounding, mut ftz, mut sat) = (Rounding::Nearest, false, false);
    for m in mods {
        match *m {
            "rn" => {}
            "rz" => rounding = Rounding::Zero,
            "rm" => rounding = Rounding::Down,
            "rp" => rounding = Rounding::Up,
            "ftz" => ftz = true,
            "sat" => sat = true,
            _ => return None,
        }
    }
    Some((rounding, ftz, sat))
}

fn float32(name: &str, mods: &[&str]) -> Option<Entry> {
    let clean = |v: f32, ftz: bool| if ftz { flush(v) } else { v };
    if let "add" | "sub" | "mul" | "fma" = name {
        let (rounding, ftz, sat) = float_mods(mods)?;
        let sum = move |a: f32, b: f32, c: f32| {
            let v = fused(clean(a, ftz), clean(b, ftz), clean(c, ftz), rounding);
            canonical(clean(if sat { saturate(v) } else { v }, ftz))
        };
        let plain = rounding == Rounding::Nearest && !ftz && !sat;
        return Some(match name {
            "add" if plain => binary([32; 2], |a, b| canonical(f32_of(a) + f32_of(b))),
            "sub" if plain => binary([32; 2], |a, b| canonical(f32_of(a) - f32_of(b))),
            "mul" if plain => binary([32; 2], |a, b| canonical(f32_of(a) * f32_of(b))),
            "fma" if plain => {
                ternary([32; 3], |a, b, c| canonical(f32_of(a).mul_add(f32_of(b), f32_of(c))))
            }
            "add" => binary([32; 2], move |a, b| sum(f32_of(a), 1.0, f32_of(b))),
            "sub" => binary([32; 2], move |a, b| sum(f32_of(a), 1.0, -f32_of(b))),
            // A product's zero has the sign of the product.
            "mul" => binary([32; 2], move |a, b| {
                sum(f32_of(a), f32_of(b), (-0f32).copysign(f32_of(a) * f32_of(b)))
            }),
            _ => ternary([32; 3], move |a, b, c| sum(f32_of(a), f32_of(b), f32_of(c))),
        });
    }
    let (mods, ftz) = match mods.split_last() {
        Some((&"ftz", rest)) => (rest, true),
        _ => (mods, false),
    };
    let one =
        |f: fn(f32) -> f32| unary(32, move |a| canonical(clean(f(clean(f32_of(a), ftz)), ftz)));
    let two = |f: fn(f32, f32) -> f32| {
        binary([32; 2], move |a, b| {
            canonical(clean(f(clean(f32_of(a), ftz), clean(f32_of(b), ftz)), ftz))
        })
    };
    Some(match (name, mods) {
        ("neg", []) => one(|a| -a),
        ("abs", []) => one(f32::abs),
        ("min", []) => two(f32::min),
        ("max", []) => two(f32::max),
        ("min", ["NaN"]) => two(|a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) }),
        ("max", ["NaN"]) => two(|a, b| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) }),
        ("div", ["rn" | "approx" | "full"]) => two(|a, b| a / b),
        ("rcp", ["rn" | "approx"]) => one(|a| 1.0 / a),
        ("sqrt", ["rn" | "approx"]) => one(f32::sqrt),
        ("rsqrt", ["approx"]) => one(|a| (1.0 / f64::from(a).sqrt()) as f32),
        ("ex2", ["approx"]) => one(|a| f64::from(a).exp2() as f32),
        ("lg2", ["approx"]) => one(|a| f64::from(a).log2() as f32),
        ("sin", ["approx"]) => one(|a| f64::from(a).sin() as f32),
        ("cos", ["approx"]) => one(|a| f64::from(a).cos() as f32),
        ("tanh", ["approx"]) => one(|a| f64::from(a).tanh() as f32),
        ("copysign", []) => two(|a, b| b.copysign(a)),
        _ => return None,
    })
}

fn float64(name: &str, mods: &[&str]) -> Option<Entry> {
    let of = f64::from_bits;
    let one = |f: fn(f64) -> f64| unary(64, move |a| canonical64(f(of(a))));
    let two = |f: fn(f64, f64) -> f64| binary([64; 2], move |a, b| canonical64(f(of(a), of(b))));
    Some(match (name, mods) {
        ("add", [] | ["rn"]) => two(|a, b| a + b),
        ("sub", [] | ["rn"]) => two(|a, b| a - b),
        ("mul", [] | ["rn"]) => two(|a, b| a * b),
        ("div", ["rn"]) => two(|a, b| a / b),
        ("min", []) => two(f64::min),
        ("max", []) => two(f64::max),
        ("neg", []) => one(|a| -a),
        ("abs", []) => one(f64::abs),
        ("sqrt", ["rn"]) => one(f64::sqrt),
        ("rcp", ["rn"]) => one(|a| 1.0 / a),
        ("fma", ["rn"]) => {
            ternary([64; 3], move |a, b, c| canonical64(of(a).mul_add(of(b), of(c))))
        }
        _ => return None,
    })
}

/// `n` halves in a register. Sums and products in f64 are exact, or so near that one rounding
/// follows (22-bit products).
fn half(name: &str, mods: &[&str], n: u32) -> Option<Entry> {
    let bits = 16 * n;
    let each = move |a: u64, b: u64, c: u64, f: fn(f64, f64, f64) -> f64| {
        (0..n).fold(0, |out, i| {
            let part = |v: u64| half_of(v >> (16 * i));
            out | half_bits(f(part(a), part(b), part(c))) << (16 * i)
        })
    };
    let one = |f: fn(f64, f64, f64) -> f64| unary(bits, move |a| each(a, 0, 0, f));
    let two = |f: fn(f64, f64, f64) -> f64| binary([bits; 2], move |a, b| each(a, b, 0, f));
    Some(match (name, mods) {
        ("add", [] | ["rn"]) => two(|a, b, _| a + b),
        ("sub", [] | ["rn"]) => two(|a, b, _| a - b),
        ("mul", [] | ["rn"]) => two(|a, b, _| a * b),
        ("fma", ["rn"]) => ternary([bits; 3], move |a, b, c| each(a, b, c, |a, b, c| a * b + c)),
        ("neg", []) => one(|a, _, _| -a),
        ("abs", []) => one(|a, _, _| a.abs()),
        ("min", []) => two(|a, b, _| a.min(b)),
        ("max", []) => two(|a, b, _| a.max(b)),
        _ => return None,
    })
}

fn integer(name: &str, mods: &[&str], ty: Ty) -> Option<Entry> {
    let n = ty.bits();
    let is_signed = ty.is_signed();
    let wide =
        move |v: u64| if is_signed { i128::from(signed(v, n)) } else { i128::from(low(v, n)) };
    let product = move |a: u64, b: u64| wide(a).wrapping_mul(wide(b));
    Some(match (name, mods) {
        ("mov", []) => unary(n, move |a| low(a, n)),
        ("add", []) => binary([n; 2], move |a, b| low(a.wrapping_add(b), n)),
        ("sub", []) => binary([n; 2], move |a, b| low(a.wrapping_sub(b), n)),
        ("mul", ["lo"]) => binary([n; 2], move |a, b| low(a.wrapping_mul(b), n)),
        ("mul", ["hi"]) => binary([n; 2], move |a, b| low((product(a, b) >> n) as u64, n)),
        ("mul", ["wide"]) if n <= 32 && is_signed => {
            binary([n; 2], move |a, b| low(signed(a, n).wrapping_mul(signed(b, n)) as u64, 2 * n))
        }
        ("mul", ["wide"]) if n <= 32 => binary([n; 2], move |a, b| low(a, n) * low(b, n)),
        ("mad", ["lo"]) => {
            ternary([n; 3], move |a, b, c| low(a.wrapping_mul(b).wrapping_add(c), n))
        }
        ("mad", ["hi"]) => {
            ternary([n; 3], move |a, b, c| low(((product(a, b) >> n) as u64).wrapping_add(c), n))
        }
        ("mad", ["wide"]) if n <= 32 => ternary([n, n, 2 * n], move |a, b, c| {
            low((product(a, b) as u64).wrapping_add(c), 2 * n)
        }),
        ("div", []) => binary([n; 2], move |a, b| {
            if low(b, n) == 0 { low(u64::MAX, n) } else { low((wide(a) / wide(b)) as u64, n) }
        }),
        ("rem", []) => binary([n; 2], move |a, b| {
            if low(b, n) == 0 { low(u64::MAX, n) } else { low((wide(a) % wide(b)) as u64, n) }
        }),
        ("min", []) if is_signed => {
            binary([n; 2], move |a, b| low(signed(a, n).min(signed(b, n)) as u64, n))
        }
        ("max", []) if is_signed => {
            binary([n; 2], move |a, b| low(signed(a, n).max(signed(b, n)) as u64, n))
        }
        ("min", []) => binary([n; 2], u64::min),
        ("max", []) => binary([n; 2], u64::max),
        ("neg", []) => unary(n, move |a| low(a.wrapping_neg(), n)),
        ("abs", []) if is_signed => unary(n, move |a| low(signed(a, n).unsigned_abs(), n)),
        ("and", []) => binary([n; 2], |a, b| a & b),
        ("or", []) => binary([n; 2], |a, b| a | b),
        ("xor", []) => binary([n; 2], |a, b| a ^ b),
        ("not", []) => unary(n, move |a| low(!a, n)),
        ("cnot", []) => unary(n, |a| u64::from(a == 0)),
        ("shl", []) => binary([n, 32], move |a, by| {
            if low(by, 32) >= u64::from(n) { 0 } else { low(a << (by as u32 % 64), n) }
        }),
        ("shr", []) if is_signed => binary([n, 32], move |a, by| {
            low((signed(a, n) >> low(by, 32).min(u64::from(n - 1))) as u64, n)
        }),
        ("shr", []) => binary([n, 32], move |a, by| {
            if low(by, 32) >= u64::from(n) { 0 } else { low(a, n) >> (by as u32 % 64) }
        }),
        ("shf", ["l", mode @ ("wrap" | "clamp")]) => funnel(*mode == "wrap", true),
        ("shf", ["r", mode @ ("wrap" | "clamp")]) => funnel(*mode == "wrap", false),
        ("popc", []) => unary(n, |a| u64::from(a.count_ones())),
        ("clz", []) => unary(n, move |a| u64::from(a.leading_zeros() - (64 - n))),
        ("brev", []) => unary(n, move |a| a.reverse_bits() >> (64 - n)),
        ("bfind", []) => unary(n, move |a| {
            let a = if is_signed && signed(a, n) < 0 { low(!a, n) } else { a };
            if a == 0 { 0xffff_ffff } else { u64::from(63 - a.leading_zeros()) }
        }),
        ("bfe", []) => ternary([n, 32, 32], move |a, start, len| {
            extract(a, start as u32 & 255, len as u32 & 255, n, is_signed)
        }),
        ("bfi", []) => quaternary([n, n, 32, 32], move |a, b, start, len| {
            insert(a, b, start as u32 & 255, len as u32 & 255, n)
        }),
        ("prmt", []) => ternary([32; 3], permute),
        ("sad", []) => ternary([n; 3], move |a, b, c| {
            low(c.wrapping_add((wide(a) - wide(b)).unsigned_abs() as u64), n)
        }),
        ("lop3", []) => quaternary([32; 4], |a, b, c, table| {
            (0..8).filter(|row| table >> row & 1 == 1).fold(0, |out, row| {
                let side = |v: u64, bit: u32| if row >> bit & 1 == 1 { v } else { low(!v, 32) };
                out | side(a, 2) & side(b, 1) & side(c, 0)
            })
        }),
        _ => return None,
    })
}

fn funnel(wrap: bool, left: bool) -> Entry {
    ternary([32; 3], move |lo, hi, by| {
        let by = if wrap { by & 31 } else { low(by, 32).min(32) };
        let both = hi << 32 | lo;
        low(if left { (both << by) >> 32 } else { both >> by }, 32)
    })
}

fn extract(a: u64, start: u32, len: u32, n: u32, is_signed: bool) -> u64 {
    let len = len.min(64);
    let sign = is_signed && len > 0 && a >> (start.saturating_add(len - 1)).min(n - 1) & 1 == 1;
    let field = if start >= n { 0 } else { low(low(a, n) >> start, len) };
    // Bits beyond the register count as the sign.
    let present = len.min(n.saturating_sub(start));
    low(if sign { field | !low(u64::MAX, present) } else { field }, n)
}

fn insert(a: u64, b: u64, start: u32, len: u32, n: u32) -> u64 {
    if start >= n {
        return b;
    }
    let mask = low(low(u64::MAX, len.min(64)) << start, n);
    (b & !mask) | (a << start & mask)
}

fn permute(a: u64, b: u64, selector: u64) -> u64 {
    let bytes = b << 32 | a;
    (0..4).fold(0, |out, i| {
        let pick = selector >> (4 * i);
        let byte = bytes >> (8 * (pick & 7)) & 255;
        let byte = if pick & 8 != 0 { if byte & 128 != 0 { 255 } else { 0 } } else { byte };
        out | byte << (8 * i)
    })
}

fn dot4(a: Ty, b: Ty) -> Option<Entry> {
    let (a, b) = (a.is_signed32()?, b.is_signed32()?);
    let byte = |v: u64, i: u32, is_signed: bool| {
        let byte = (v >> (8 * i)) as u8;
        if is_signed { i32::from(byte as i8) } else { i32::from(byte) }
    };
    Some(ternary([32; 3], move |x, y, z| {
        let sum =
            (0..4).fold(z as u32 as i32, |sum, i| sum.wrapping_add(byte(x, i, a) * byte(y, i, b)));
        u64::from(sum as u32)
    }))
}

/// Two 16-bit values of `x` by bytes `first` and `first + 1` of `y`.
fn dot2(a: Ty, b: Ty, first: u32) -> Option<Entry> {
    let (a, b) = (a.is_signed32()?, b.is_signed32()?);
    let part = |v: u64, shift: u32, bits: u32, is_signed: bool| {
        let v = low(v >> shift, bits);
        if is_signed { signed(v, bits) } else { v as i64 }
    };
    Some(ternary([32; 3], move |x, y, z| {
        let sum = (0..2)
            .fold(z as i64, |sum, i| sum + part(x, 16 * i, 16, a) * part(y, 8 * (first + i), 8, b));
        low(sum as u64, 32)
    }))
}

fn convert(mods: &[&str], types: &[Ty]) -> Option<Entry> {
    let (sat, mods) = match mods.split_last() {
        Some((&"sat", rest)) => (true, rest),
        _ => (false, mods),
    };
    let (ftz, mods) = match mods.split_last() {
        Some((&"ftz", rest)) => (true, rest),
        _ => (false, mods),
    };
    let &[to, from] = types else { return None };
    if let ["rn"] = mods
        && from == Ty::F32
        && !sat
        && !ftz
    {
        match to {
            Ty::F16x2 => {
                return Some(binary([32; 2], |high, low| {
                    half_bits(f32_of(high).into()) << 16 | half_bits(f32_of(low).into())
                }));
            }
            Ty::Bf16x2 => {
                let bits = |v: u64| u64::from(bf16::from_f32(f32_of(v)).to_bits());
                return Some(binary([32; 2], move |high, low| bits(high) << 16 | bits(low)));
            }
            _ => {}
        }
    }
    let (m, n) = (from.bits(), to.bits());
    if !from.is_float() && !to.is_float() {
        if !mods.is_empty() || ftz {
            return None;
        }
        let read = move |v: u64| {
            if from.is_signed() { i128::from(signed(v, m)) } else { i128::from(low(v, m)) }
        };
        let (least, most) = to.range();
        return Some(unary(m, move |a| {
            low(if sat { read(a).clamp(least, most) } else { read(a) } as u64, n)
        }));
    }
    if !from.is_float() {
        // An integer of up to 24 (53) bits is exact; others are rounded once, to nearest.
        let exact = matches!(to, Ty::F32 | Ty::F64 | Ty::F16) && !sat && !ftz;
        if !exact || mods != ["rn"] {
            return None;
        }
        return Some(match (to, from.is_signed()) {
            (Ty::F32, true) => unary(m, move |a| bits_of(signed(a, m) as f32)),
            (Ty::F32, false) => unary(m, move |a| bits_of(low(a, m) as f32)),
            (Ty::F64, true) => unary(m, move |a| (signed(a, m) as f64).to_bits()),
            (Ty::F64, false) => unary(m, move |a| (low(a, m) as f64).to_bits()),
            (_, true) => unary(m, move |a| half_bits(signed(a, m) as f64)),
            (_, false) => unary(m, move |a| half_bits(low(a, m) as f64)),
        });
    }
    let read: fn(u64) -> f64 = match from {
        Ty::F16 => half_of,
        Ty::Bf16 => |v| f64::from(f32::from_bits((v as u32) << 16)),
        Ty::F32 => |v| f64::from(f32_of(v)),
        Ty::F64 => f64::from_bits,
        _ => return None,
    };
    let flushed =
        move |v: u64| if ftz && from == Ty::F32 { f64::from(flush(f32_of(v))) } else { read(v) };
    let whole: fn(f64) -> f64 = match mods {
        ["rni"] => f64::round_ties_even,
        ["rzi"] => f64::trunc,
        ["rmi"] => f64::floor,
        ["rpi"] => f64::ceil,
        [] | ["rn"] => |v| v,
        _ => return None,
    };
    let is_whole = matches!(mods, ["rni" | "rzi" | "rmi" | "rpi"]);
    if !to.is_float() {
        // Values beyond the range become its ends, NaN becomes zero.
        let (least, most) = to.range();
        return is_whole.then(|| {
            unary(m, move |a| {
                let v = whole(flushed(a));
                let v = if v.is_nan() { 0 } else { (v as i128).clamp(least, most) };
                low(v as u64, n)
            })
        });
    }
    let narrower = n < m || (from == Ty::F16 && to == Ty::Bf16);
    if narrower != (mods == ["rn"]) && !is_whole {
        return None;
    }
    let write: fn(f64) -> u64 = match to {
        Ty::F16 => half_bits,
        // By way of f32, which every source but f64 is.
        Ty::Bf16 if from != Ty::F64 => |v| u64::from(bf16::from_f32(v as f32).to_bits()),
        Ty::F32 => |v| canonical(v as f32),
        Ty::F64 => canonical64,
        _ => return None,
    };
    Some(unary(m, move |a| {
        let v = whole(flushed(a));
        write(if !sat {
            v
        } else if v > 0.0 {
            v.min(1.0)
        } else {
            0.0
        })
    }))
}

/// The comparison `name` (`eq`, `ltu`, `hs`, …) of two values of a type.
pub(crate) fn compare(name: &str, ty: Ty, ftz: bool) -> Option<Compare> {
    fn mask(f: impl Fn(u64, u64) -> bool + Send + Sync + 'static) -> Compare {
        Box::new(move |a, b| (0..WARP).fold(0, |mask, i| mask | u32::from(f(a[i], b[i])) << i))
    }
    let accepts: fn(Ordering) -> bool = match name.strip_suffix('u').unwrap_or(name) {
        "eq" => Ordering::is_eq,
        "ne" => Ordering::is_ne,
        "lt" | "lo" => Ordering::is_lt,
        "le" | "ls" => Ordering::is_le,
        "gt" | "hi" => Ordering::is_gt,
        "ge" | "hs" => Ordering::is_ge,
        "num" => |_| true,
        "nan" => |_| false,
        _ => return None,
    };
    if ty.is_float() {
        let unordered = match name {
            "eq" | "ne" | "lt" | "le" | "gt" | "ge" | "num" => false,
            "equ" | "neu" | "ltu" | "leu" | "gtu" | "geu" | "nan" => true,
            _ => return None,
        };
        let read: fn(u64) -> f64 = match (ty, ftz) {
            (Ty::F32, true) => |v| f64::from(flush(f32_of(v))),
            (Ty::F32, false) => |v| f64::from(f32_of(v)),
            (Ty::F64, false) => f64::from_bits,
            (Ty::F16, false) => half_of,
            _ => return None,
        };
        return Some(mask(move |a, b| read(a).partial_cmp(&read(b)).map_or(unordered, accepts)));
    }
    let known = match name {
        "eq" | "ne" => true,
        "lt" | "le" | "gt" | "ge" => !ftz,
        "lo" | "ls" | "hi" | "hs" => !ty.is_signed(),
        _ => false,
    };
    if !known || ftz {
        return None;
    }
    let n = ty.bits();
    Some(if ty.is_signed() {
        mask(move |a, b| accepts(signed(a, n).cmp(&signed(b, n))))
    } else {
        mask(move |a, b| accepts(low(a, n).cmp(&low(b, n))))
    })
}
