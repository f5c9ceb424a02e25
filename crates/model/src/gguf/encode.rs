//! How GGUF encodes the values of a row, equal byte for byte to ggml's reference quantisers
//! (`ggml-quants.c`, `*_ref`).

use half::f16;

use super::Encoding;

/// Values in a block of the quantised encodings.
const BLOCK: usize = 32;

impl Encoding {
    /// Appends the encoded `values`. What f16 cannot hold becomes its largest number: ±65504, as a
    /// value or as a scale. Panics: they do not fill whole blocks, or the encoding is only read
    /// ([`Encoding::is_written`]).
    pub(crate) fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        assert!(self.fits(values.len()), "{} values in blocks of {}", values.len(), self.block());
        match self {
            Encoding::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Encoding::F16 => out.extend(values.iter().flat_map(|v| to_f16(*v).to_le_bytes())),
            Encoding::Q8_0 => {
                values.as_chunks::<BLOCK>().0.iter().for_each(|block| q8_0(block, out))
            }
            Encoding::Q4_0 => {
                values.as_chunks::<BLOCK>().0.iter().for_each(|block| q4_0(block, out))
            }
            other => panic!("{} is only read", other.name()),
        }
    }
}

fn to_f16(v: f32) -> f16 {
    f16::from_f32(v.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
}

fn q8_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    let largest = block.iter().fold(0f32, |a, v| a.max(v.abs()));
    let scale = largest / 127.0;
    let inverse = inverse(scale);
    out.extend(to_f16(scale).to_le_bytes());
    // Half away from zero, like C's roundf.
    out.extend(block.iter().map(|v| (v * inverse).round() as i8 as u8));
}

fn q4_0(block: &[f32; BLOCK], out: &mut Vec<u8>) {
    // The value of largest magnitude, the first of equal ones, becomes -8: its sign is the scale's,
    // turned.
    let largest = block.iter().fold(0f32, |a, v| if a.abs() < v.abs() { *v } else { a });
    let scale = largest / -8.0;
    let inverse = inverse(scale);
    let nibble = |v: f32| ((v * inverse + 8.5) as i8).min(15) as u8;
    out.extend(to_f16(scale).to_le_bytes());
    out.extend((0..BLOCK / 2).map(|i| nibble(block[i]) | nibble(block[i + BLOCK / 2]) << 4));
}

/// One over `scale`; 0 for a block of zeros.
fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(encoding: Encoding, values: &[f32]) -> Vec<u8> {
        let mut out = Vec::new();
        encoding.encode(values, &mut out);
        assert_eq!(out.len(), encoding.bytes(values.len()));
        out
    }

    fn decode_q4_0(bytes: &[u8]) -> Vec<f32> {
        let scale = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        let low = bytes[2..].iter().map(|b| b & 15);
        let high = bytes[2..].iter().map(|b| b >> 4);
        low.chain(high).map(|n| (f32::from(n) - 8.0) * scale).collect()
    }

    fn decode_q8_0(bytes: &[u8]) -> Vec<f32> {
        let scale = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        bytes[2..].iter().map(|b| f32::from(*b as i8) * scale).collect()
    }

    /// A block of a SplitMix-like sequence, of magnitude 2^-3 … 2^4.
    fn blocks() -> impl Iterator<Item = [f32; BLOCK]> {
        let mut state = 11u64;
        (0..500).map(move |i| {
            std::array::from_fn(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * (i % 8 - 3) as f32
            })
        })
    }

    #[test]
    fn q4_0_by_hand() {
        // The largest magnitude is -4 at place 20: scale 0.5, and it becomes nibble 0.
        let mut values = [0f32; BLOCK];
        (values[20], values[0], values[16], values[1], values[31]) = (-4.0, 3.5, 1.0, -0.25, 0.24);
        let bytes = encode(Encoding::Q4_0, &values);
        assert_eq!(bytes[..2], f16::from_f32(0.5).to_le_bytes());
        // 3.5 / 0.5 + 8 = 15 low, 1.0 / 0.5 + 8 = 10 high.
        assert_eq!(bytes[2], 0xaf);
        // -0.25 / 0.5 + 8.5 = 8.0, cut: 8. Place 17 is zero: 8.
        assert_eq!(bytes[3], 0x88);
        assert_eq!(bytes[2 + 4], 0x08, "place 20 is the high nibble of byte 4");
        assert_eq!(bytes[2 + 15], 0x88, "0.24 / 0.5 + 8.5 = 8.98, cut: 8");

        // Both signs of the largest magnitude: the first decides, the other one is cut off at 15.
        (values[20], values[21]) = (4.0, -4.0);
        let bytes = encode(Encoding::Q4_0, &values);
        assert_eq!(bytes[..2], f16::from_f32(-0.5).to_le_bytes());
        assert_eq!((bytes[2 + 4] >> 4, bytes[2 + 5] >> 4), (0, 15));
    }

    #[test]
    fn q8_0_by_hand() {
        let mut values = [0f32; BLOCK];
        (values[0], values[1], values[2], values[31]) = (-127.0, 2.5, -2.5, 126.4);
        let bytes = encode(Encoding::Q8_0, &values);
        assert_eq!(bytes[..2], f16::ONE.to_le_bytes());
        assert_eq!([bytes[2], bytes[3], bytes[4], bytes[33]].map(|b| b as i8), [-127, 3, -3, 126]);
    }

    #[test]
    fn every_value_comes_back_to_within_half_a_step() {
        for block in blocks() {
            let largest = block.iter().fold(0f32, |a, v| a.max(v.abs()));
            // f16 rounds the scale by 2^-11 of itself; the value cut off at 15 loses up to a whole
            // step.
            for (got, want) in decode_q8_0(&encode(Encoding::Q8_0, &block)).iter().zip(&block) {
                assert!(
                    (got - want).abs() <= largest / 127.0 * 0.5 + largest * 5e-4,
                    "{got} {want}"
                );
            }
            for (got, want) in decode_q4_0(&encode(Encoding::Q4_0, &block)).iter().zip(&block) {
                let opposite = want.abs() > 7.5 / 8.0 * largest;
                assert!(
                    (got - want).abs()
                        <= largest / 8.0 * if opposite { 1.0 } else { 0.5 } + largest * 5e-4,
                    "{got} {want}"
                );
            }
        }
    }

    #[test]
    fn zeros_and_numbers_beyond_f16() {
        assert_eq!(encode(Encoding::Q8_0, &[0.0; BLOCK]), [0; 34]);
        let zeros = encode(Encoding::Q4_0, &[0.0; BLOCK]);
        assert!(decode_q4_0(&zeros).iter().all(|v| *v == 0.0), "{zeros:?}");
        assert_eq!(
            encode(Encoding::F16, &[1e9, -1e9]),
            [f16::MAX.to_le_bytes(), f16::MIN.to_le_bytes()].concat()
        );
        let huge = decode_q8_0(&encode(Encoding::Q8_0, &[1e30; BLOCK]));
        assert!(huge.iter().all(|v| v.is_finite()), "{huge:?}");
    }
}
