//! How keys and values lie on a GPU: `kernels/cuda/store.cuh` says how.

use crate::kv::KvDtype;
use crate::reference::GROUP;

/// Positions of a block, and of a split of attention.
pub const BLOCK: usize = 256;
/// The longest head that the kernels take.
pub const LONGEST_HEAD: usize = 256;

/// Keys and values of all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    pub dtype: KvDtype,
    pub kv_heads: usize,
    /// Elements of a head, even.
    pub d: usize,
}

impl Layout {
    /// Elements of a head, filled up to one of the sizes there are kernels for.
    pub fn padded(self) -> usize {
        self.d.next_power_of_two().max(GROUP)
    }

    /// Bytes of the keys and values of a layer of a block.
    pub fn layer_bytes(self) -> usize {
        let padded = self.padded();
        let head = match self.dtype {
            KvDtype::F32 => 8 * padded,
            KvDtype::F16 => 4 * padded,
            KvDtype::Int8 => 2 * padded + padded / 8 + 4,
        };
        BLOCK * head * self.kv_heads
    }

    /// Bytes of a query of one head, as the kernels hold it, scales left out.
    pub(super) fn query_bytes(self) -> usize {
        match self.dtype {
            KvDtype::Int8 => self.padded(),
            KvDtype::F16 | KvDtype::F32 => 4 * self.padded(),
        }
    }
}
