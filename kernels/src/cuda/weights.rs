//! How the weights of a matrix lie on a GPU: `kernels/cuda/int4.cu` and `float.cu` say how.
//!
//! Rows and columns are filled up to multiples of 64 with what multiplies as nothing. A matrix may
//! be made of parts (gate and up), each filled up by itself.

use std::sync::Arc;

use half::f16;

use super::{Gpu, GpuError, Room, View};
use crate::reference::GROUP;

/// Rows and columns come in multiples of this.
pub const UNIT: usize = 64;
/// Rows of a block of INT4 weights, and its columns.
const BLOCK: (usize, usize) = (16, 64);
/// Both nibbles are what stands for 0.
const NOTHING: u8 = 0x88;

/// `n` filled up.
pub fn padded(n: usize) -> usize {
    n.next_multiple_of(UNIT)
}

/// A matrix on a GPU.
#[derive(Debug)]
pub enum Weights {
    Int4(Int4Weights),
    F32(F32Weights),
}

/// Shape of a matrix: `n` outputs that are stored, of `rows`; `k` inputs, filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub n: usize,
    pub rows: usize,
    pub k: usize,
}

#[derive(Debug)]
pub struct Int4Weights {
    pub shape: Shape,
    levels: Room,
    scales: Room,
}

#[derive(Debug)]
pub struct F32Weights {
    pub shape: Shape,
    values: Room,
}

impl Weights {
    pub fn shape(&self) -> Shape {
        match self {
            Weights::Int4(w) => w.shape,
            Weights::F32(w) => w.shape,
        }
    }

    pub fn bytes(&self) -> usize {
        match self {
            Weights::Int4(w) => w.levels.bytes() + w.scales.bytes(),
            Weights::F32(w) => w.values.bytes(),
        }
    }
}

impl Int4Weights {
    /// `parts` rows each of `k` inputs, as in a file: `nibbles` `[n, ⌈k/2⌉]` (low nibble = even k),
    /// `scales` `[n, ⌈k/32⌉]`. Panics: a length does not match.
    pub fn upload(
        gpu: &Arc<dyn Gpu>,
        parts: &[usize],
        k: usize,
        nibbles: &[u8],
        scales: &[f16],
    ) -> Result<Int4Weights, GpuError> {
        let (levels, packed_scales, shape) = pack(parts, k, nibbles, scales);
        let (levels, scales) = (Room::of(gpu, &levels)?, Room::of(gpu, &packed_scales)?);
        Ok(Int4Weights { shape, levels, scales })
    }

    pub fn levels(&self) -> View {
        self.levels.view()
    }

    pub fn scales(&self) -> View {
        self.scales.view()
    }
}

impl F32Weights {
    /// `values` `[n, k]`, `parts` rows each. Panics: a length does not match.
    pub fn upload(
        gpu: &Arc<dyn Gpu>,
        parts: &[usize],
        k: usize,
        values: &[f32],
    ) -> Result<F32Weights, GpuError> {
        let shape = shape(parts, k);
        assert_eq!(values.len(), parts.iter().sum::<usize>() * k);
        let mut all = vec![0f32; shape.rows * shape.k];
        for (from, to) in sources(parts).enumerate() {
            all[to * shape.k..][..k].copy_from_slice(&values[from * k..][..k]);
        }
        Ok(F32Weights { shape, values: Room::of(gpu, &all)? })
    }

    pub fn values(&self) -> View {
        self.values.view()
    }
}

/// A vector on a GPU that goes with the rows of a matrix (a bias) or its columns (a norm's weight),
/// zeros where these are filled up.
pub fn vector(gpu: &Arc<dyn Gpu>, parts: &[usize], values: &[f32]) -> Result<Room, GpuError> {
    assert_eq!(values.len(), parts.iter().sum::<usize>());
    let mut all = vec![0f32; shape(parts, 1).rows];
    for (value, to) in values.iter().zip(sources(parts)) {
        all[to] = *value;
    }
    Room::of(gpu, &all)
}

fn shape(parts: &[usize], k: usize) -> Shape {
    let rows = parts.iter().map(|n| padded(*n)).sum();
    // Of one part only what there is is stored; several are read by who knows where each begins.
    Shape { n: if parts.len() == 1 { parts[0] } else { rows }, rows, k: padded(k) }
}

/// Where each row of the parts lies.
fn sources(parts: &[usize]) -> impl Iterator<Item = usize> {
    let starts = parts.iter().scan(0, |next, n| {
        let start = *next;
        *next += padded(*n);
        Some(start..start + n)
    });
    starts.flatten()
}

/// Blocks of 16 rows × 64 k as int4.cu describes them.
pub fn pack(
    parts: &[usize],
    k: usize,
    nibbles: &[u8],
    scales: &[f16],
) -> (Vec<u8>, Vec<f16>, Shape) {
    let (n, shape) = (parts.iter().sum::<usize>(), shape(parts, k));
    let (row_bytes, row_groups) = (k.div_ceil(2), k.div_ceil(GROUP));
    assert_eq!((nibbles.len(), scales.len()), (n * row_bytes, n * row_groups));
    let blocks = shape.k / BLOCK.1;
    let mut levels = vec![NOTHING; shape.rows * shape.k / 2];
    let mut packed_scales = vec![f16::ZERO; shape.rows * shape.k / GROUP];
    for (from, row) in sources(parts).enumerate() {
        let (first, in_block) = (row / BLOCK.0 * blocks, row % BLOCK.0);
        let shift = in_block / 8 * 4;
        for (pair, two) in nibbles[from * row_bytes..][..row_bytes].iter().enumerate() {
            for (i, nibble) in [(2 * pair, two & 15), (2 * pair + 1, two >> 4)] {
                if i >= k {
                    continue;
                }
                let (group, t, half, e) = (i / 32 % 2, i / 8 % 4, i / 4 % 2, i % 4);
                let lane = 4 * (in_block % 8) + t;
                let at = (first + i / BLOCK.1) * 512 + 16 * lane + 4 * (2 * group + half) + e;
                levels[at] = levels[at] & !(15 << shift) | nibble << shift;
            }
        }
        for (group, scale) in scales[from * row_groups..][..row_groups].iter().enumerate() {
            packed_scales[(first + group / 2) * 32 + 16 * (group % 2) + in_block] = *scale;
        }
    }
    (levels, packed_scales, shape)
}
