//! The instruction rows and the choice among them at start-up.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::{MatMut, MatRef, gemm};

/// One way of computing a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// bf16 operands in AMX tiles, f32 sums.
    Amx,
    /// bf16 operands with the AVX512-BF16 dot product, f32 sums.
    Bf16,
    /// Plain f32.
    F32,
}

impl Row {
    /// Whether this CPU (and, for AMX, this operating system) can run the row. Cached after the
    /// first call.
    pub fn is_available(self) -> bool {
        static FOUND: OnceLock<[bool; 2]> = OnceLock::new();
        let found = FOUND.get_or_init(|| {
            #[cfg(target_arch = "x86_64")]
            {
                let bf16 = super::pack::is_available();
                [bf16 && super::amx::is_available(), bf16]
            }
            #[cfg(not(target_arch = "x86_64"))]
            [false, false]
        });
        match self {
            Row::Amx => found[0],
            Row::Bf16 => found[1],
            Row::F32 => true,
        }
    }

    /// The row to train with: AMX where there is one, AVX512-BF16 where a short trial (some
    /// milliseconds) finds it faster than f32, which differs between CPUs, else f32.
    pub fn choose() -> Row {
        if Row::Amx.is_available() {
            return Row::Amx;
        }
        if Row::Bf16.is_available() && trial(Row::Bf16) < trial(Row::F32) {
            return Row::Bf16;
        }
        Row::F32
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Row::Amx => "amx",
            Row::Bf16 => "bf16",
            Row::F32 => "f32",
        })
    }
}

impl FromStr for Row {
    type Err = UnknownRow;

    fn from_str(name: &str) -> Result<Row, UnknownRow> {
        match name {
            "amx" => Ok(Row::Amx),
            "bf16" => Ok(Row::Bf16),
            "f32" => Ok(Row::F32),
            _ => Err(UnknownRow(name.to_owned())),
        }
    }
}

/// The name of a row that there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRow(pub String);

impl fmt::Display for UnknownRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no compute row is called `{}`: use amx, bf16 or f32", self.0)
    }
}

impl std::error::Error for UnknownRow {}

/// Best time of a product of a training step's proportions, on one thread.
fn trial(row: Row) -> Duration {
    let (m, n, k) = (256, 512, 256);
    let (a, b) = (vec![0.5f32; m * k], vec![0.25f32; k * n]);
    let mut c = vec![0f32; m * n];
    let mut once = || {
        let start = Instant::now();
        let (a, b) = (MatRef::row_major(&a, m, k), MatRef::row_major(&b, n, k).transposed());
        gemm(row, a, b, MatMut::row_major(&mut c, m, n), false);
        start.elapsed()
    };
    (0..6).map(|_| once()).min().unwrap_or(Duration::MAX)
}
