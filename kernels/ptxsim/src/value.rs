//! Values of registers: 64 bits a lane, narrower types zero-extended; half precision with one
//! rounding.

use half::f16;

/// Lanes of a warp.
pub(crate) const WARP: usize = 32;
/// A register of a warp.
pub(crate) type Lanes = [u64; WARP];
/// All lanes.
pub(crate) const ALL: u32 = u32::MAX;

/// The lanes of a mask, lowest first.
pub(crate) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut rest = mask;
    std::iter::from_fn(move || {
        let lane = rest.trailing_zeros();
        rest &= rest.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}

/// The low `bits` of a value.
#[inline(always)]
pub(crate) fn low(v: u64, bits: u32) -> u64 {
    if bits >= 64 { v } else { v & ((1 << bits) - 1) }
}

/// The low `bits` of a value as a signed number.
#[inline(always)]
pub(crate) fn signed(v: u64, bits: u32) -> i64 {
    let unused = 64 - bits;
    (v << unused) as i64 >> unused
}

#[inline(always)]
pub(crate) fn f32_of(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

#[inline(always)]
pub(crate) fn bits_of(v: f32) -> u64 {
    u64::from(v.to_bits())
}

pub(crate) fn half_of(v: u64) -> f64 {
    f16::from_bits(v as u16).to_f64()
}

/// Rounds to half precision once, ties to even (conversions by way of f32 round twice).
pub(crate) fn half_bits(v: f64) -> u64 {
    let sign = if v.is_sign_negative() { 0x8000 } else { 0 };
    let size = v.abs();
    if v.is_nan() {
        return 0x7fff;
    }
    if size >= 65520.0 {
        return sign | 0x7c00;
    }
    // Units of the last place: 2^-24 below the normal numbers, else 2^-10 of the power of two
    // below.
    let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(-14);
    let units =
        (size * f64::from_bits(((10 - exponent + 1023) as u64) << 52)).round_ties_even() as u64;
    let normal = if units >= 1024 { ((exponent + 15) as u64) << 10 } else { 0 };
    sign | (normal + if units >= 1024 { units - 1024 } else { units })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_and_the_middle_between_two_round_as_they_should() {
        for h in 0..0x7c00u64 {
            let (value, next) = (half_of(h), half_of(h + 1));
            assert_eq!(half_bits(value), h);
            assert_eq!(half_bits(-value), h | 0x8000);
            if h + 1 < 0x7c00 {
                let middle = (value + next) / 2.0;
                assert_eq!(half_bits(middle), h + h % 2, "ties go to even at {h:#x}");
                assert_eq!(half_bits(middle * (1.0 + 1e-12)), h + 1);
                assert_eq!(half_bits(middle * (1.0 - 1e-12)), h);
            }
        }
        assert_eq!(half_bits(65519.99), 0x7bff);
        assert_eq!(half_bits(65520.0), 0x7c00);
        assert_eq!(half_bits(f64::NAN), 0x7fff);
    }

    #[test]
    fn lanes_of_a_mask() {
        assert_eq!(lanes(0).count(), 0);
        assert_eq!(lanes(0x8000_0101).collect::<Vec<_>>(), [0, 8, 31]);
        assert_eq!(lanes(ALL).count(), WARP);
    }
}
