//! The encodings of tensors in GGUF files: ggml's numbers, names and sizes of them.

/// Encoding of a tensor's values. A row is a whole number of blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    F32,
    F16,
    Bf16,
    /// Blocks of 32: the scale as f16, 16 bytes with value `i` in the low and value `i + 16` in the
    /// high nibble, minus 8.
    Q4_0,
    /// As `Q4_0`, with a smallest value instead of the 8.
    Q4_1,
    Q5_0,
    Q5_1,
    /// Blocks of 32: the scale as f16, 32 signed bytes.
    Q8_0,
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
    /// 4 bits through a table of 16 values.
    Iq4Nl,
    Iq4Xs,
    /// Blocks of 32 e2m1 numbers under one power of two.
    Mxfp4,
}

/// An encoding, the number of its `ggml_type`, its name, values and bytes of a block.
type Row = (Encoding, u32, &'static str, usize, usize);

/// All that are read.
const TABLE: [Row; 16] = [
    (Encoding::F32, 0, "F32", 1, 4),
    (Encoding::F16, 1, "F16", 1, 2),
    (Encoding::Bf16, 30, "BF16", 1, 2),
    (Encoding::Q4_0, 2, "Q4_0", 32, 18),
    (Encoding::Q4_1, 3, "Q4_1", 32, 20),
    (Encoding::Q5_0, 6, "Q5_0", 32, 22),
    (Encoding::Q5_1, 7, "Q5_1", 32, 24),
    (Encoding::Q8_0, 8, "Q8_0", 32, 34),
    (Encoding::Q2K, 10, "Q2_K", 256, 84),
    (Encoding::Q3K, 11, "Q3_K", 256, 110),
    (Encoding::Q4K, 12, "Q4_K", 256, 144),
    (Encoding::Q5K, 13, "Q5_K", 256, 176),
    (Encoding::Q6K, 14, "Q6_K", 256, 210),
    (Encoding::Iq4Nl, 20, "IQ4_NL", 32, 18),
    (Encoding::Iq4Xs, 23, "IQ4_XS", 256, 136),
    (Encoding::Mxfp4, 39, "MXFP4", 32, 17),
];

/// ggml's names of types that are not read, for messages.
const OTHERS: [(u32, &str); 17] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (40, "NVFP4"),
];

impl Encoding {
    fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// The encoding of a `ggml_type`. Errors: what it is called, or its number.
    pub(crate) fn of_ggml(number: u32) -> Result<Encoding, String> {
        let known = TABLE.iter().find(|row| row.1 == number).map(|row| row.0);
        let other = || OTHERS.iter().find(|other| other.0 == number);
        known.ok_or_else(|| other().map_or(number.to_string(), |(_, name)| (*name).to_owned()))
    }

    /// The number of `ggml_type`.
    pub fn ggml_type(self) -> u32 {
        self.row().1
    }

    /// ggml's name.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// Values of a block.
    pub fn block(self) -> usize {
        self.row().3
    }

    /// Whether tensors can be written in it.
    pub fn is_written(self) -> bool {
        matches!(self, Encoding::F32 | Encoding::F16 | Encoding::Q8_0 | Encoding::Q4_0)
    }

    /// Rows of `k` values can be encoded.
    pub fn fits(self, k: usize) -> bool {
        k.is_multiple_of(self.block())
    }

    /// Bytes of `n` values. Panics: they do not fill whole blocks.
    pub fn bytes(self, n: usize) -> usize {
        assert!(self.fits(n), "{n} values in blocks of {}", self.block());
        n / self.block() * self.row().4
    }
}

/// Names of all encodings that are read.
pub(crate) fn known() -> String {
    TABLE.map(|row| row.2).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_encodings() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, i);
            assert_eq!(Encoding::of_ggml(row.1), Ok(row.0));
        }
        assert_eq!(Encoding::of_ggml(16), Err("IQ2_XXS".to_owned()));
        assert_eq!(Encoding::of_ggml(77), Err("77".to_owned()));
    }
}
