//! From the blocks of a GGUF row to numbers, bit for bit those of ggml's reference
//! (`dequantize_row_*`): the fixtures of the tests are the `gguf` package's.
//!
//! Each function gets one block. Bits lie where the comments say; `f16` is little-endian.

use half::{bf16, f16};

use super::Encoding;

/// What the 16 levels of IQ4_NL and IQ4_XS stand for.
const NONLINEAR: [f32; 16] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0,
    89.0, 113.0,
];
/// Twice the 16 numbers of e2m1.
const E2M1: [f32; 16] =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];

impl Encoding {
    /// Writes the values that `bytes` encode. Panics: their number is not that of `out`.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(bytes.len(), self.bytes(out.len()), "bytes of {} values", out.len());
        match self {
            Encoding::F32 => each(bytes, out, |b: &[u8; 4]| f32::from_le_bytes(*b)),
            Encoding::F16 => each(bytes, out, |b: &[u8; 2]| f16::from_le_bytes(*b).to_f32()),
            Encoding::Bf16 => each(bytes, out, |b: &[u8; 2]| bf16::from_le_bytes(*b).to_f32()),
            Encoding::Q4_0 => blocks(bytes, out, q4_0),
            Encoding::Q4_1 => blocks(bytes, out, q4_1),
            Encoding::Q5_0 => blocks(bytes, out, q5_0),
            Encoding::Q5_1 => blocks(bytes, out, q5_1),
            Encoding::Q8_0 => blocks(bytes, out, q8_0),
            Encoding::Q2K => blocks(bytes, out, q2_k),
            Encoding::Q3K => blocks(bytes, out, q3_k),
            Encoding::Q4K => blocks(bytes, out, q4_k),
            Encoding::Q5K => blocks(bytes, out, q5_k),
            Encoding::Q6K => blocks(bytes, out, q6_k),
            Encoding::Iq4Nl => blocks(bytes, out, iq4_nl),
            Encoding::Iq4Xs => blocks(bytes, out, iq4_xs),
            Encoding::Mxfp4 => blocks(bytes, out, mxfp4),
        }
    }
}

/// Numbers of `B` bytes.
fn each<const B: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn(&[u8; B]) -> f32) {
    for (v, b) in out.iter_mut().zip(bytes.as_chunks::<B>().0) {
        *v = read(b);
    }
}

/// Blocks of `B` bytes and `N` values.
fn blocks<const B: usize, const N: usize>(
    bytes: &[u8],
    out: &mut [f32],
    read: impl Fn(&[u8; B], &mut [f32; N]),
) {
    for (values, b) in out.as_chunks_mut::<N>().0.iter_mut().zip(bytes.as_chunks::<B>().0) {
        read(b, values);
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Nibble of value `i` of 32: the low ones of 16 bytes, then the high ones.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 16] >> (i / 16 * 4) & 15
}

/// The scale, nibbles.
fn q4_0(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (i, v) in out.iter_mut().enumerate() {
        *v = d * (f32::from(nibble(&b[2..], i)) - 8.0);
    }
}

/// Scale and smallest value, nibbles.
fn q4_1(b: &[u8; 20], out: &mut [f32; 32]) {
    let (d, least) = (half_at(b, 0), half_at(b, 2));
    for (i, v) in out.iter_mut().enumerate() {
        *v = d * f32::from(nibble(&b[4..], i)) + least;
    }
}

/// The fifth bit of value `i`, as 16.
fn fifth(high: &[u8], i: usize) -> u8 {
    (high[i / 8] >> (i % 8) & 1) << 4
}

/// The scale, 32 fifth bits, nibbles.
fn q5_0(b: &[u8; 22], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (i, v) in out.iter_mut().enumerate() {
        *v = d * (f32::from(nibble(&b[6..], i) | fifth(&b[2..], i)) - 16.0);
    }
}

/// Scale and smallest value, 32 fifth bits, nibbles.
fn q5_1(b: &[u8; 24], out: &mut [f32; 32]) {
    let (d, least) = (half_at(b, 0), half_at(b, 2));
    for (i, v) in out.iter_mut().enumerate() {
        *v = d * f32::from(nibble(&b[8..], i) | fifth(&b[4..], i)) + least;
    }
}

/// The scale, signed bytes.
fn q8_0(b: &[u8; 34], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (v, q) in out.iter_mut().zip(&b[2..]) {
        *v = f32::from(*q as i8) * d;
    }
}

/// Two bits of value `i` of 256: of each half four times 32, from the lowest bits up.
fn two_bits(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

/// 16 scales (low nibbles) and smallest values (high nibbles) of 16 values each, two bits a value,
/// the scale of the scales, that of the smallest values.
fn q2_k(b: &[u8; 84], out: &mut [f32; 256]) {
    let (d, least) = (half_at(b, 80), half_at(b, 82));
    for (i, v) in out.iter_mut().enumerate() {
        let scales = b[i / 16];
        *v = d * f32::from(scales & 15) * f32::from(two_bits(&b[16..80], i))
            - least * f32::from(scales >> 4);
    }
}

/// 32 bytes of third bits (none: minus 4), two bits a value, 16 scales of six bits, their scale.
fn q3_k(b: &[u8; 110], out: &mut [f32; 256]) {
    let (packed, d) = (&b[96..108], half_at(b, 108));
    for (g, values) in out.chunks_exact_mut(16).enumerate() {
        let low = packed[g % 8] >> (g / 8 * 4) & 15;
        let high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        for (j, v) in values.iter_mut().enumerate() {
            let i = g * 16 + j;
            let third = b[i % 32] >> (i / 32) & 1;
            let q = f32::from(two_bits(&b[32..96], i)) - if third == 1 { 0.0 } else { 4.0 };
            *v = scale * q;
        }
    }
}

/// Scale and smallest value, six bits each, of group `j` of eight.
fn scale_and_least(packed: &[u8], j: usize) -> (f32, f32) {
    let (scale, least) = if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        (packed[j + 4] & 15 | packed[j - 4] >> 2 & 0x30, packed[j + 4] >> 4 | packed[j] >> 2 & 0x30)
    };
    (f32::from(scale), f32::from(least))
}

/// The scale of the scales, that of the smallest values, eight of both, nibbles: of each quarter
/// the low ones of 32 bytes, then the high ones.
fn q4_k(b: &[u8; 144], out: &mut [f32; 256]) {
    k_of_eight(b, &b[16..], |_, _| 0, out);
}

/// As `q4_k`, with 32 bytes of fifth bits before the nibbles.
fn q5_k(b: &[u8; 176], out: &mut [f32; 256]) {
    k_of_eight(b, &b[48..], |j, l| (b[16 + l] >> j & 1) << 4, out);
}

fn k_of_eight(b: &[u8], low: &[u8], high: impl Fn(usize, usize) -> u8, out: &mut [f32; 256]) {
    let (d, dmin) = (half_at(b, 0), half_at(b, 2));
    for (j, values) in out.chunks_exact_mut(32).enumerate() {
        let (scale, least) = scale_and_least(&b[4..16], j);
        let (scale, least) = (d * scale, dmin * least);
        for (l, v) in values.iter_mut().enumerate() {
            let q = low[j / 2 * 32 + l] >> (j % 2 * 4) & 15 | high(j, l);
            *v = scale * f32::from(q) - least;
        }
    }
}

/// Nibbles (of each half the low ones of 64 bytes, then the high ones), two bits above them, 16
/// signed scales, their scale.
fn q6_k(b: &[u8; 210], out: &mut [f32; 256]) {
    let d = half_at(b, 208);
    for (i, v) in out.iter_mut().enumerate() {
        let low = b[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
        let q = f32::from(low | two_bits(&b[128..192], i) << 4) - 32.0;
        *v = d * f32::from(b[192 + i / 16] as i8) * q;
    }
}

/// The scale, nibbles into the table.
fn iq4_nl(b: &[u8; 18], out: &mut [f32; 32]) {
    let d = half_at(b, 0);
    for (i, v) in out.iter_mut().enumerate() {
        *v = d * NONLINEAR[usize::from(nibble(&b[2..], i))];
    }
}

/// The scale of the scales, two high and four low bits of eight of them, nibbles into the table.
fn iq4_xs(b: &[u8; 136], out: &mut [f32; 256]) {
    let (d, high) = (half_at(b, 0), u16::from_le_bytes([b[2], b[3]]));
    for (j, values) in out.chunks_exact_mut(32).enumerate() {
        let low = b[4 + j / 2] >> (j % 2 * 4) & 15;
        let scale = d * (f32::from(low | ((high >> (2 * j) & 3) as u8) << 4) - 32.0);
        for (l, v) in values.iter_mut().enumerate() {
            *v = scale * NONLINEAR[usize::from(nibble(&b[8 + 16 * j..], l))];
        }
    }
}

/// The power of two, nibbles into the table of doubled numbers.
fn mxfp4(b: &[u8; 17], out: &mut [f32; 32]) {
    let e = u32::from(b[0]);
    // Half of 2^(e - 127); the two least are subnormal.
    let d = f32::from_bits(if e < 2 { 0x0020_0000 << e } else { (e - 1) << 23 });
    for (i, v) in out.iter_mut().enumerate() {
        *v = d * E2M1[usize::from(nibble(&b[1..], i))];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::read::Header;

    /// Made by `tests/fixtures/make.py`.
    const FIXTURE: &[u8] = include_bytes!("../../tests/fixtures/encodings.gguf");

    #[test]
    fn every_encoding_means_what_the_gguf_package_reads() {
        let header = Header::read(FIXTURE).expect("written by the gguf package");
        let mut seen = Vec::new();
        for (name, tensor) in &header.tensors {
            let Some(expected) = header.tensors.get(format!("{name}.expected").as_str()) else {
                assert!(name.ends_with(".expected"), "{name}");
                continue;
            };
            assert_eq!(*name, tensor.encoding.name());
            assert_eq!(tensor.shape, [2, 512]);
            seen.push(tensor.encoding);
            let mut got = vec![0.0; 1024];
            tensor.encoding.decode(tensor.data, &mut got);
            let mut want = vec![0.0; 1024];
            Encoding::F32.decode(expected.data, &mut want);
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                assert_eq!(got.to_bits(), want.to_bits(), "{name} {i}: {got} {want}");
            }
        }
        assert_eq!(seen.len(), 16, "{seen:?}");
    }
}
